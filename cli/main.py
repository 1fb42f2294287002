"""The `stars` program: the table of its commands, and the exit code of each error.

A command is one function in its own file `cli/cmd_<name>.py` plus one line in COMMANDS
(or in GROUPS, for `stars <group> <command>`). It parses, calls one function of the
packages below, prints and exits:

    def energy(
        context: typer.Context,
        run: Annotated[Path, typer.Argument(help="A run directory.")],
        json: JsonFlag = False,
    ) -> None:
        \"\"\"Count the operations of a run and say what they cost.\"\"\"
        from targets.energy_model.estimate import estimate  # heavy imports stay inside

        out = Output.of(context, json=json)      # see cli/output.py
        report = estimate(...)
        out.emit("stars.energy/1", report.as_dict(), report.table())

Failures are raised as StarsError and mapped here, nowhere else; a result that fails,
such as a parity mismatch, ends in `raise typer.Exit(3)`. Leave paths unchecked by the
parser (no `exists=True`): whoever opens them says better what is wrong.
"""

from __future__ import annotations

import codecs
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli import (
    cmd_bench_ablation,
    cmd_bench_losses,
    cmd_bench_references,
    cmd_check,
    cmd_compare,
    cmd_conformance,
    cmd_distill,
    cmd_doctor,
    cmd_energy,
    cmd_export,
    cmd_lava,
    cmd_parity,
    cmd_quantize,
    cmd_report,
    cmd_targets,
    cmd_teacher,
    cmd_verify,
)
from cli.output import Settings
from stars.errors import (
    ConfigError,
    DataError,
    FormatError,
    GraphError,
    LimitError,
    MissingDependencyError,
    StarsError,
    UnsupportedNodeError,
)

COMMANDS: dict[str, Callable[..., Any]] = {
    "distill": cmd_distill.distill,
    "quantize": cmd_quantize.quantize,
    "check": cmd_check.check,
    "export": cmd_export.export,
    "parity": cmd_parity.parity,
    "energy": cmd_energy.energy,
    "verify": cmd_verify.verify,
    "report": cmd_report.report,
    "compare": cmd_compare.compare,
    "doctor": cmd_doctor.doctor,
    "targets": cmd_targets.targets,
}
GROUPS: dict[str, dict[str, Callable[..., Any]]] = {
    "bench": {
        "ablation": cmd_bench_ablation.ablation,
        "losses": cmd_bench_losses.losses,
        "references": cmd_bench_references.references,
    },
    "teacher": {"train": cmd_teacher.train},
    "conformance": {"write": cmd_conformance.write, "run": cmd_conformance.run},
    "lava": {"setup": cmd_lava.setup, "status": cmd_lava.status},
}
GROUP_HELP = {
    "bench": "Compare methods, losses or references over seeds.",
    "teacher": "Train ANN teachers.",
    "conformance": "Known spikes for readers of NIR, and which readers give them.",
    "lava": "Set up the Python 3.10 environment of Lava.",
}

# The headings under which `stars --help` lists the commands.
SECTIONS = {
    "Make a network": ("distill", "teacher", "quantize", "export"),
    "Measure and prove": ("check", "parity", "verify", "energy", "conformance"),
    "Show and compare": ("report", "compare", "bench"),
    "Set up": ("doctor", "targets", "lava"),
}
EXAMPLES = {
    "distill": "stars distill --out runs/mine --preset quick",
    "quantize": "stars quantize float.nir --out grid.nir",
    "check": "stars check runs/mine --chip loihi2",
    "export": "stars export runs/mine --target onnx",
    "parity": "stars parity runs/mine --target loihi --target onnx",
    "verify": "stars verify student.nir parity.json",
    "energy": "stars energy runs/mine --table loihi2",
    "report": "stars report runs/mine --out site",
    "compare": "stars compare runs/mine runs/other --out site",
    "doctor": "stars doctor --load",
    "targets": "stars targets",
    "bench ablation": "stars bench ablation --eval fashion-mnist --out runs/ablation",
    "bench losses": "stars bench losses --eval fashion-mnist --out runs/losses",
    "bench references": "stars bench references --data fashion-mnist:DATA"
    " --eval fashion-mnist --out runs/references",
    "conformance write": "stars conformance write cases",
    "conformance run": "stars conformance run --reader ours",
    "teacher train": "stars teacher train --data cifar10:DATA --out runs/teacher",
    "lava setup": "stars lava setup",
    "lava status": "stars lava status",
}

# Every other error, including TargetError, exits with 1.
EXIT_CODES: dict[type[StarsError], int] = {
    ConfigError: 2,
    DataError: 2,
    FormatError: 2,
    GraphError: 2,
    LimitError: 4,
    UnsupportedNodeError: 4,
    MissingDependencyError: 5,
}
SPELLED = {"µ": "u", "±": "+-", "→": "->", "…": "..."}
UNEXPECTED = 1
INTERRUPTED = 130


class HelpInSections(TyperGroup):
    """The program, with its commands under headings in the help."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write each section with a line for each command."""
        for title, names in SECTIONS.items():
            rows = [(n, self.commands[n].get_short_help_str(60)) for n in names]
            with formatter.section(title):
                formatter.write_dl(rows)


class Warnings(logging.Handler):
    """Prints each record as one line on the stderr of that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the level and the message."""
        print(f"{record.levelname.lower()}: {record.getMessage()}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: without the program's name; default: those of the process.

    Returns:
        0 ok, 1 unexpected, 2 usage or configuration, 3 parity failed or another file's
        proof, 4 unsupported or does not fit, 5 missing dependency, 130 interrupted.
    """
    settings = Settings()
    given = list(sys.argv[1:] if arguments is None else arguments)
    prepare_streams()
    show_warnings()
    try:
        build_app()(args=anywhere(given), prog_name="stars", obj=settings)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else UNEXPECTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except StarsError as error:
        _report(f"error: {error}", settings)
        return _exit_code(error)
    except Exception as error:
        _report(f"error: unexpected {type(error).__name__}: {error}", settings)
        return UNEXPECTED
    return 0


def build_app() -> typer.Typer:
    """The parser: the root's options and every command of the two tables."""
    # Plain help: what draws boxes around it takes longer to import than all the rest.
    app = typer.Typer(
        cls=HelpInSections,
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    for name, command in COMMANDS.items():
        app.command(name, epilog=example(name))(command)
    for group, commands in GROUPS.items():
        sub = typer.Typer(
            no_args_is_help=True, help=GROUP_HELP[group], rich_markup_mode=None
        )
        for name, command in commands.items():
            sub.command(name, epilog=example(f"{group} {name}"))(command)
        app.add_typer(sub, name=group)
    return app


def example(name: str) -> str | None:
    """The last line of a command's help."""
    return f"Example: {EXAMPLES[name]}" if name in EXAMPLES else None


def anywhere(given: list[str]) -> list[str]:
    """The arguments with --quiet and --debug before the command, where they belong."""
    end = given.index("--") if "--" in given else len(given)
    moved = [one for one in given[:end] if one in ("--quiet", "--debug")]
    return [*moved, *(one for one in given[:end] if one not in moved), *given[end:]]


def prepare_streams() -> None:
    """Give this process streams that any text can be printed to.

    A closed stream becomes one to nowhere. A stream that is not Unicode gets letters
    for the signs that it lacks.
    """
    codecs.register_error("stars", _spelled)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, nowhere)
        elif not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="stars")


def show_warnings() -> None:
    """Print the warnings of our packages as one line each, without a logger's name."""
    for name in ("stars", "export", "targets"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(Warnings())


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(SPELLED.get(sign, "?") for sign in lacking), error.end


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # 40 ms that no other command needs

        print(f"stars {version('stars-snn')}")
        raise typer.Exit


def _root(
    context: typer.Context,
    show_version: Annotated[  # noqa: ARG001  (its callback does the work)
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            envvar="STARS_QUIET",
            help="Print no progress on stderr. May also follow the command.",
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            envvar="STARS_DEBUG",
            help="Show the traceback of an error. May also follow the command.",
        ),
    ] = False,
) -> None:
    """Distill a trained ANN into a spiking network, and prove what is deployed."""
    settings = context.ensure_object(Settings)
    settings.quiet, settings.debug = quiet, debug


def _exit_code(error: StarsError) -> int:
    for kind in type(error).__mro__:
        if kind in EXIT_CODES:
            return EXIT_CODES[kind]
    return UNEXPECTED


def _report(message: str, settings: Settings) -> None:
    if settings.debug:
        traceback.print_exc()
    print(message, file=sys.stderr)
