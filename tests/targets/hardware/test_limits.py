"""Limits of chips: complete or said to be not, and a wrong file is refused."""

from __future__ import annotations

import pytest

from stars.errors import ConfigError, FormatError
from targets.hardware.limits import (
    CHIPS,
    LIMITS,
    MEMORIES,
    MICROCONTROLLERS,
    load_limits,
    parse_limits,
)

# --- limits as data ---


@pytest.mark.parametrize("name", CHIPS)
def test_the_bundled_limits_are_complete_or_say_what_they_leave_out(name: str):
    limits = load_limits(name)
    assert limits.name == name
    assert set(limits.limits) | set(limits.unchecked) == set(LIMITS)
    assert all(limit.source for limit in limits.limits.values())


@pytest.mark.parametrize("name", MICROCONTROLLERS)
def test_microcontrollers_have_every_limit_of_memory(name: str):
    limits = load_limits(name)
    assert limits.name == name
    assert limits.microcontroller
    assert not load_limits("loihi2").microcontroller
    assert set(limits.limits) == set(MEMORIES)
    assert all(limit.source for limit in limits.limits.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "KeyError"),
        ("name = ", "not TOML"),
        ("name = " + "[" * 10_000, "nested too deeply"),
        ('name = ""\ntitle = ""\nabout = ""\n[limits.delay]\nvalue = inf', "infinity"),
        ('name = "x"\ntitle = "x"\nabout = ""\n[limits]', "missing"),
        (
            'name = "x"\ntitle = "x"\nabout = ""\n[limits.sugar]\nvalue = 1\n'
            'source = "x"',
            r"unknown \['sugar'\]",
        ),
        (
            'name = "x"\ntitle = "x"\nabout = ""\n[limits.ram_bytes]\nvalue = 1\n'
            'source = "x"',
            r"missing \['clock_hz', 'flash_bytes'\]",
        ),
        (
            'name = "x"\ntitle = "x"\nabout = ""\n[limits.delay]\nvalue = 0\n'
            'source = ""',
            r"without source \['delay'\]",
        ),
    ],
)
def test_a_wrong_file_of_limits_is_refused(text: str, message: str):
    with pytest.raises(FormatError, match=message):
        parse_limits(text, "mine.toml")


def test_limits_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"name = \xff")
    with pytest.raises(FormatError, match="can't decode byte 0xff"):
        load_limits("", tmp_path / "mine.toml")


def test_an_unknown_chip_is_named_with_those_there_are(tmp_path):
    with pytest.raises(ConfigError, match="there are loihi1, loihi2"):
        load_limits("loihi3")
    with pytest.raises(ConfigError, match="no such file"):
        load_limits("loihi1", tmp_path / "none.toml")
