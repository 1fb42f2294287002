"""`stars conformance`: write the cases of the NIR suite, and run readers on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonFlag, Output


def write(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The folder to write.")],
    json: JsonFlag = False,
) -> None:
    """Write the cases: NIR files, inputs, spikes, membranes and the rule of each."""
    from targets.conformance.golden import write as write_suite

    count = write_suite(folder)
    data = {"path": str(folder), "cases": count}
    text = f"{folder}: {count} cases"
    Output.of(context, json=json).emit("stars.conformance.write/1", data, text)


def run(
    context: typer.Context,
    reader: Annotated[
        list[str] | None,
        typer.Option(
            help=(
                "Reader to run; repeat for several: norse, snntorch, spikingjelly, "
                "sinabs, rockpool, nirtorch, snn-mlir, ours, or module:function. "
                "Default: ours."
            )
        ),
    ] = None,
    cases: Annotated[
        Path | None,
        typer.Option(help="Folder of cases. Default: they are written anew."),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table as Markdown.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Run readers of NIR on the cases, each in an environment of its own.

    Exit code 3 if a reader gives wrong spikes in a case that the format decides.
    """
    import tempfile

    from targets.conformance.golden import write as write_suite
    from targets.conformance.run import run as run_suite

    output = Output.of(context, json=json)
    with tempfile.TemporaryDirectory(prefix="stars-conformance-") as place:
        if cases is None:
            write_suite(Path(place))
        report = run_suite(cases or Path(place), reader or ["ours"], output.note)
    text = report.markdown() if markdown else report.text()
    output.emit("stars.conformance/1", report.to_json(), text)
    if any(c.outcome == "wrong" for row in report.cells.values() for c in row.values()):
        raise typer.Exit(3)
