"""The files in `conformance/` are what the cases give, and are read back."""

from pathlib import Path

import numpy as np
import pytest

from export.from_nir import read
from stars.errors import FormatError
from targets.conformance.cases import CASES
from targets.conformance.golden import read_suite, write

SUITE = Path(__file__).parents[3] / "conformance"


def test_writing_again_gives_the_golden_files(tmp_path):
    assert write(tmp_path) == len(CASES)
    dt, again = read_suite(tmp_path)
    kept_dt, kept = read_suite(SUITE)
    assert (dt, list(again)) == (kept_dt, list(kept))
    assert (tmp_path / "cases.json").read_text() == (SUITE / "cases.json").read_text()
    for name in CASES:
        one, other = (np.load(place / f"{name}.npz") for place in (tmp_path, SUITE))
        assert sorted(one) == sorted(other)
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
        graphs = [
            read(place / f"{name}.nir", dt=dt, steps=3) for place in (tmp_path, SUITE)
        ]
        assert graphs[0] == graphs[1]


def test_the_golden_files_are_small():
    sizes = {path.name: path.stat().st_size for path in SUITE.iterdir()}
    assert max(sizes.values()) <= 50_000, sizes
    assert sum(sizes.values()) < 1_500_000


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(FormatError):
        read_suite(tmp_path)
    (tmp_path / "cases.json").write_text('{"schema": "other"}')
    with pytest.raises(FormatError, match=r"expected the schema stars\.conformance"):
        read_suite(tmp_path)
