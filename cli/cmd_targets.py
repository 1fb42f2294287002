"""`stars targets`: what can run an exported network, and what the rest needs."""

from __future__ import annotations

import typer

from cli.grid import Grid
from cli.output import JsonFlag, Output


def targets(context: typer.Context, json: JsonFlag = False) -> None:
    """List the targets and whether they can run here."""
    from targets import table

    out = Output.of(context, json=json)
    rows, cells = [], []
    for name in table.names():
        target = table.load(name)
        problem = target.unavailable()
        available = problem is None
        rows.append(
            {
                "name": name,
                "description": target.description,
                "available": available,
                "problem": problem,
            }
        )
        state = "yes" if problem is None else f"no: {problem}"
        cells.append((name, target.description, state))
    text = Grid(("target", "what it is", "available"), cells, texts=[1, 2])
    out.emit("stars.targets/1", {"targets": rows}, text)
