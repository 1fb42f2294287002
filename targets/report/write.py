"""Write the files of a report or of a comparison; each is written atomically."""

from __future__ import annotations

from pathlib import Path

from stars.files.writing import write_json, write_text
from targets.report.model import Report
from targets.report.model_card import model_card
from targets.report.page import comparison_html, report_html
from targets.report.side_by_side import SideBySide


def write_report(report: Report, picture: bytes | None, folder: Path) -> list[Path]:
    """Write report.html, report.json and MODEL_CARD.md; return their paths.

    Raises:
        DataError: `folder` cannot be created or written to.
    """
    page, data = folder / "report.html", folder / "report.json"
    card = folder / "MODEL_CARD.md"
    write_text(page, report_html(report, picture))
    write_json(data, report.to_json())
    write_text(card, model_card(report))
    return [page, data, card]


def write_comparison(found: SideBySide, folder: Path) -> list[Path]:
    """Write compare.html and compare.json; return their paths.

    Raises:
        DataError: `folder` cannot be created or written to.
    """
    page, data = folder / "compare.html", folder / "compare.json"
    write_text(page, comparison_html(found))
    write_json(data, found.to_json())
    return [page, data]
