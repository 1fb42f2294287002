"""write_result: a result of a run as its file, unless a wider result is there."""

from __future__ import annotations

import logging
from pathlib import Path

from stars.errors import FormatError
from stars.files.writing import write_json
from stars.run_directory import Run
from targets.energy_model.report import EnergyReport
from targets.parity_check.report import ParityReport
from targets.report.read import read_energy, read_parity

log = logging.getLogger(__name__)


def write_result(run: Run, new: ParityReport | EnergyReport, *, replace: bool) -> Path:
    """Write parity.json or energy.json of a run; return the file.

    If the file holds a wider result on the present files of the run, it stays, and the
    new result becomes parity-last.json or energy-last.json. A mismatch is never put
    aside.

    Args:
        run: where to write.
        new: the result.
        replace: whether to overwrite a wider result.

    Raises:
        DataError: the file cannot be written.
    """
    name = "parity" if isinstance(new, ParityReport) else "energy"
    path = run.path / f"{name}.json"
    try:
        old = read_parity(path) if name == "parity" else read_energy(path)
    except FormatError:  # its command is what repairs it
        old = None
    if old is not None and not replace and is_wider(run, old, new):
        path = path.with_name(f"{name}-last.json")
        log.warning(
            "%s.json stays, because it is wider (%s); this result is in '%s'; --replace"
            " overwrites the wider one",
            name,
            ", ".join(f"{what}: {images:,}" for what, images in old.width.items()),
            path,
        )
    write_json(path, new.to_json())
    return path


def is_wider(
    run: Run, old: ParityReport | EnergyReport, new: ParityReport | EnergyReport
) -> bool:
    """Whether an old result is of the present files, and has what a new one lacks."""
    if old.origin is None or new.origin is None:
        return False
    if old.origin.mismatch(run.path, run.graph_path) is not None:
        return False
    if isinstance(new, ParityReport) and new.fails:
        return False
    lacks = any(new.width.get(name, 0) < count for name, count in old.width.items())
    return lacks or new.origin.steps != old.origin.steps
