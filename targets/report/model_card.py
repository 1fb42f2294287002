"""MODEL_CARD.md: a network, its measurements, its intended use and its limits."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined

from targets.report.model import Report
from targets.report.sentences import (
    certificate_sentence,
    counted,
    data_sentence,
    facts,
    percent,
    verdict,
)
from targets.summary import si

SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#])")


def model_card(report: Report) -> str:
    """The card as Markdown; all names from a user are escaped."""
    templates = Environment(
        loader=PackageLoader("targets.report"),
        autoescape=False,  # Markdown; the filter `plain` escapes names from a user
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["plain"] = escaped
    templates.filters["command"] = command
    text = templates.get_template("model_card.md").render(
        report=report,
        verdict=verdict(report),
        data_sentence=data_sentence(report),
        certificate=certificate_sentence(report),
        facts=facts(report),
        percent=percent,
        counted=counted,
        si=si,
    )
    return text.rstrip() + "\n"


def escaped(content: object) -> str:
    """Text on one line, with Markdown and HTML characters escaped."""
    line = " ".join(str(content).split())
    return SPECIAL.sub(r"\\\1", line)


def command(line: str) -> str:
    """A command line as code; as escaped text if it has a backtick."""
    return escaped(line) if "`" in line else f"`{line}`"
