"""`stars targets`: what can run an exported network, and what the rest needs."""

from __future__ import annotations

import typer
from rich.markup import escape
from rich.table import Table

from cli.output import JsonFlag, Output


def targets(context: typer.Context, json: JsonFlag = False) -> None:
    """List the targets and whether they can run here."""
    from targets import table

    out = Output.of(context, json=json)
    rows = []
    text = Table("target", "what it is", "available")
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
        text.add_row(name, escape(target.description), escape(state))
    out.emit("stars.targets/1", {"targets": rows}, text)
