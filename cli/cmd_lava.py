"""`stars lava`: make Lava's Python 3.10 environment, and say whether it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import JsonFlag, Output

if TYPE_CHECKING:
    from targets.lava.environment import Status


def setup(
    context: typer.Context,
    force: Annotated[
        bool, typer.Option("--force", help="Create it again even if it is ready.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Create the Python 3.10 environment for Lava.

    Does nothing if it is ready.

    The interpreter is STARS_LAVA_PYTHON, or found on this machine, or downloaded by
    uv. The environment is in the user's cache folder, or in STARS_LAVA_ENV.
    """
    from targets.lava import environment

    out = Output.of(context, json=json)
    _emit(out, environment.setup(out.note, force=force))


def status(context: typer.Context, json: JsonFlag = False) -> None:
    """Show whether Lava's environment is ready; if not, exit with 5."""
    from targets.lava import environment

    out = Output.of(context, json=json)
    found = environment.status()
    _emit(out, found)
    if not found.ready:
        out.note("run 'stars lava setup'")
        raise typer.Exit(5)


def _emit(out: Output, found: Status) -> None:
    data = {
        "ready": found.ready,
        "reason": found.reason,
        "root": str(found.root),
        "python": str(found.python) if found.ready else None,
        "python_version": found.python_version or None,
        "packages": found.packages,
    }
    versions = {"python": found.python_version, **found.packages}
    shown = ", ".join(f"{name} {v}" for name, v in versions.items() if v)
    text = f"Lava's environment in {found.root} {found.reason}"
    out.emit("stars.lava/1", data, f"{text}: {shown}" if shown else text)
