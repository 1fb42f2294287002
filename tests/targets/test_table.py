"""The table of targets: every row leads to a target, and strangers can add rows."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from stars.errors import ConfigError
from targets import table


@pytest.mark.parametrize("name", table.TARGETS)
def test_every_row_gives_the_target_of_its_name(name: str) -> None:
    target = table.load(name)
    assert target.name == name
    assert target.description
    assert target.chunk >= 1
    problem = target.unavailable()
    assert problem is None or problem


def test_an_unknown_target_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'loihi9' .did you mean 'loihi'.*reference"):
        table.load("loihi9")


def test_another_distribution_adds_a_target_but_cannot_replace_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def installed(*, group: str) -> list[EntryPoint]:
        return [
            EntryPoint("theirs", "targets.simulators.reference:ReferenceTarget", group),
            EntryPoint("reference", "nowhere:Nothing", group),
        ]

    monkeypatch.setattr(table, "entry_points", installed)
    assert table.names() == [*table.TARGETS, "theirs"]
    assert table.load("theirs").description
    assert table.load("reference").name == "reference"
