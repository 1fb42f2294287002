"""`stars doctor`: what is installed, what is missing, and the command that mends it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from cli.grid import Grid
from cli.options import CAPABILITIES, choice
from cli.output import JsonFlag, Output
from stars.errors import ConfigError, guess

if TYPE_CHECKING:
    from targets.installation import Finding


def doctor(
    context: typer.Context,
    require: Annotated[
        list[str] | None,
        choice("Fail also if this is missing. Repeat for several.", CAPABILITIES),
    ] = None,
    load: Annotated[
        bool,
        typer.Option(
            "--load",
            help="Import each package and list the devices; takes seconds.",
        ),
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Show what is installed and how to install the rest.

    Exit code 5 if the core, or a capability named by --require, is missing.
    """
    from targets import installation

    needed = {"core", *(require or [])}
    known = installation.REMEDIES
    if unknown := needed - known.keys():
        raise ConfigError(
            f"--require: unknown capability {', '.join(sorted(unknown))}"
            f"{guess(min(unknown), known)}; there are {', '.join(known)}"
        )
    findings = installation.examine(load=load)
    broken = {finding.capability for finding in findings if finding.problem}
    devices = installation.devices() if load and "core" not in broken else []
    data = {
        "capabilities": {name: name not in broken for name in installation.REMEDIES},
        "findings": [{**asdict(f), "remedy": f.remedy} for f in findings],
        "devices": devices,
    }
    out = Output.of(context, json=json)
    out.emit("stars.doctor/1", data, _table(findings, devices))
    if broken & needed:
        raise typer.Exit(5)


def _table(findings: list[Finding], devices: list[str]) -> RenderableType:
    rows = [
        (f.capability, f.name, f.version or "", f.problem or "ok", f.remedy or "")
        for f in findings
    ]
    head = ("capability", "package", "version", "state", "remedy")
    caption = "versions only; --load imports each package and lists the devices"
    if devices:
        caption = f"devices: {', '.join(devices)}"
    return Group(Grid(head, rows, texts=[1, 2, 3, 4]), Text(caption))
