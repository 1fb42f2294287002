"""Runs readers on the cases, and says which outputs are right."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stars.errors import ConfigError, TargetError
from targets.conformance import readers as program
from targets.conformance.environments import REQUIREMENTS, python_of
from targets.conformance.golden import Golden, read_suite

SECONDS = 900  # of one reader on all cases
CLOSE = 1e-5  # of membranes in float32; spikes must be equal
Outcome = Literal["right", "open", "wrong", "refuses", "reads"]


@dataclass(frozen=True)
class Cell:
    """One reader on one case.

    Args:
        outcome: right; open: another reading that the format allows; wrong; refuses;
            reads: the file was read, but the reader cannot run it here.
        detail: the reading, the first difference, or the reason of a refusal.
    """

    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """All cells: by reader, then by case.

    Args:
        rules: of each case.
        cells: by reader and case.
    """

    rules: Mapping[str, str]
    cells: Mapping[str, Mapping[str, Cell]]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        cells = {
            reader: {case: asdict(cell) for case, cell in row.items()}
            for reader, row in self.cells.items()
        }
        versions = {r: list(REQUIREMENTS.get(r, ())) for r in self.cells}
        return {"rules": dict(self.rules), "packages": versions, "readers": cells}

    def totals(self, reader: str) -> str:
        """The number of each outcome of one reader."""
        counts = Counter(cell.outcome for cell in self.cells[reader].values())
        return ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common())

    def markdown(self) -> str:
        """A table with a row for each case and a column for each reader."""
        names = list(self.cells)
        lines = [f"| case | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for case in self.rules:
            row = (self.cells[name][case].outcome for name in names)
            lines.append(f"| `{case}` | {' | '.join(map(marked, row))} |")
        return "\n".join(lines)

    def text(self) -> str:
        """The totals of each reader, then every cell that is not right."""
        lines = [f"{name}: {self.totals(name)}" for name in self.cells]
        for name, row in self.cells.items():
            lines += [
                f"{name}, {case}: {cell.outcome}, {cell.detail}"
                for case, cell in row.items()
                if cell.outcome not in {"right", "reads"}
            ]
        return "\n".join(lines)


def marked(outcome: Outcome) -> str:
    """An outcome in a table: wrong ones stand out."""
    return f"**{outcome}**" if outcome == "wrong" else outcome


def run(
    folder: Path,
    readers: Sequence[str],
    report: Callable[[str], None] = lambda _: None,
) -> Report:
    """Run each reader on all cases in a folder.

    Args:
        folder: written by `golden.write`.
        readers: names of `REQUIREMENTS`, or module:function for one's own.
        report: called with a line before each reader.

    Raises:
        ConfigError: a reader is unknown, or its module cannot be imported.
        FormatError: the folder holds no cases.
        MissingDependencyError: an environment cannot be built.
        TargetError: a reader's process failed as a whole.
    """
    dt, cases = read_suite(folder)
    pythons = {name: python_of(name, report) for name in readers}
    cells = {}
    for name, python in pythons.items():
        report(f"{name}: {len(cases)} cases")
        cells[name] = run_reader(name, python, dt, cases)
    return Report({name: case.rule for name, case in cases.items()}, cells)


def run_reader(
    name: str, python: Path, dt: float, cases: Mapping[str, Golden]
) -> dict[str, Cell]:
    """The cells of one reader."""
    with tempfile.TemporaryDirectory(prefix="stars-conformance-") as place:
        out = Path(place)
        asked: dict[str, list[str]] = {}
        for case, golden in cases.items():
            np.save(out / f"{case}.input.npy", golden.inputs)
            inputs = str(out / f"{case}.input.npy")
            asked[case] = [str(golden.path.resolve()), inputs]
        request = {"dt": dt, "cases": asked, "out": place}
        (out / "request.json").write_text(json.dumps(request), encoding="utf-8")
        call(name, [str(python), str(program.__file__), name, f"{place}/request.json"])
        return {case: cell_of(out, case, golden) for case, golden in cases.items()}


def call(name: str, command: list[str]) -> None:
    """Run a reader's process.

    Raises:
        ConfigError: it is one's own and cannot be imported.
        TargetError: it failed or took too long; holds the end of its output.
    """
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise TargetError(f"reader '{name}' took longer than {SECONDS} s") from None
    if not done.returncode:
        return
    said = done.stderr.splitlines() or [""]
    if ":" in name:
        raise ConfigError(f"reader '{name}': {said[-1]}")
    text = f"reader '{name}' failed (exit code {done.returncode})"
    raise TargetError(text, "\n".join(said[-8:]))


def cell_of(out: Path, case: str, golden: Golden) -> Cell:
    """The cell of one case, from the files that the reader's process left."""
    if (out / f"{case}.read").is_file():
        return Cell("reads")
    refusal = out / f"{case}.txt"
    if refusal.is_file():
        return Cell("refuses", " ".join(refusal.read_text("utf-8").split())[:300])
    return judged(np.load(out / f"{case}.npy", allow_pickle=False), golden)


def judged(found: NDArray[np.float64], golden: Golden) -> Cell:
    """Whether an output is right, another open reading, or wrong, and where."""
    if found.shape != golden.output.shape:
        return Cell("wrong", f"shape {found.shape}, expected {golden.output.shape}")
    if same(found, golden.output):
        return Cell("right")
    for reading, output in golden.openings.items():
        if same(found, output):
            return Cell("open", reading)
    off = ~close(found, golden.output)
    step, sample, *neuron = (int(i) for i in np.argwhere(off)[0])
    place = (step, sample, *neuron)
    return Cell(
        "wrong",
        f"{int(off.sum())} of {off.size} values, first at step {step}, sample {sample},"
        f" neuron {tuple(neuron)}: {found[place]:g}, expected {golden.output[place]:g}",
    )


def same(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Whether two outputs agree."""
    return bool(close(found, expected).all())


def close(found: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two outputs agree: spikes are equal, membranes as far as float32 goes."""
    if expected.dtype == bool:
        return np.asarray(found == expected)
    return np.asarray(np.isclose(found, expected, rtol=CLOSE, atol=CLOSE))
