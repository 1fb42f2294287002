"""read_rates(path): firing rates by layer, from a JSON file or a parity report."""

from __future__ import annotations

from pathlib import Path

from stars.errors import DataError
from stars.files.json_toml import parse_json


def read_rates(path: Path) -> dict[str, float]:
    """The numbers by layer in a JSON object, or in its entry "rates".

    Raises:
        DataError: the file is missing, or holds something else.
    """
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
        found = found.get("rates", found)
        return {str(name): float(rate) for name, rate in found.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"rates '{path}': expected a JSON object of numbers by layer, such as"
            f' {{"lif1": 0.1}}, or a parity.json ({error})'
        ) from error
