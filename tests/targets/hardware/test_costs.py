"""Cost tables: every number has a source, and a damaged table is refused."""

from __future__ import annotations

import numpy as np
import pytest

from stars.errors import ConfigError, FormatError
from targets.hardware.costs import (
    TABLES,
    Cost,
    Memory,
    load_table,
    parse_table,
    read_table,
)

# -- cost tables


@pytest.mark.parametrize("name", TABLES)
def test_every_bundled_number_has_a_source(name):
    table = load_table(name)
    assert table.name == name
    assert table.process
    assert min(table.ac.joules, table.mac.joules) > 0
    for value in vars(table).values():
        if isinstance(value, Cost | Memory):
            assert len(value.source) > 10


def test_an_unknown_table_lists_those_that_there_are():
    with pytest.raises(ConfigError, match="there are loihi1, loihi2, spinnaker2"):
        load_table("loihi9")


TEXT = "".join(f'{name} = "mine"\n' for name in ("name", "title", "process", "about"))
COST = '[costs.{}]\npicojoules = {}\nsource = "measured"\n'
COSTS = "".join(
    COST.format(name, 1.5)
    for name in ("ac", "mac", "update_active", "update_inactive", "spike")
)
MEMORY = (
    "[memory]\nword_bytes = 4\nqueue_messages = 10\nbytes = [0, 8]\n"
    'picojoules = [0, 1]\nsource = "measured"\n'
)


def test_a_table_of_ones_own_is_read(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT + COSTS)
    table = read_table(path)
    assert (table.name, table.ac.joules, table.bound) == ("mine", 1.5e-12, False)
    assert table.memory is table.ann_mac is None


def test_a_memory_costs_by_its_size_and_no_more_beyond_the_last():
    memory = load_table("lemaire45").memory
    words = [0, 1024, 2048, 8192, 2**18, 2**22]
    picojoules = [memory.access(n) * 1e12 for n in words]
    np.testing.assert_allclose(picojoules, [0, 5, 10, 20, 100, 100])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "not TOML"),
        ("name = " + "[" * 10_000, "nested too deeply"),
        (COSTS, "no text 'name'; no text 'title'; no text 'process'"),
        (TEXT + COST.format("ac", 1), "no cost 'mac'; no cost 'update_active'"),
        (TEXT + COSTS + COST.format("ax", 1), "unknown cost 'ax'"),
        ("gas = 3\n" + TEXT + COSTS, "unknown entry 'gas'"),
        (TEXT + COSTS.replace("1.5", "-1", 1), "'ac' is -1 pJ; give a number from 0"),
        (TEXT + COSTS.replace("1.5", "nan", 1), "'ac' is nan pJ"),
        (TEXT + COSTS.replace("1.5", "inf", 1), "'ac' is inf pJ"),
        (TEXT + COSTS.replace("1.5", "1" * 400, 1), "pJ; give a number from 0"),
        (TEXT + COSTS.replace("1.5", "true", 1), "'ac' is True pJ"),
        (TEXT + COSTS.replace("1.5", "'1'", 1), "'ac' is '1' pJ"),
        (TEXT + COSTS.replace("measured", " ", 1), "'ac' has no source"),
        (TEXT + COSTS.replace("picojoules = 1.5", "", 1), "'ac' is None pJ"),
        (TEXT + "costs = 3\n", "no cost 'ac'"),
        (TEXT + COSTS + COST.format("qnn_bit", 1), "'qnn_bit' and 'qnn_add' one alone"),
        (TEXT + COSTS + MEMORY, "needs the cost 'address_ac' too"),
        (TEXT + COSTS + MEMORY.replace("[0, 8]", "[8, 0]"), "these rising"),
        (TEXT + COSTS + MEMORY.replace("[0, 1]", "[0, -1]"), "lists of numbers"),
        (TEXT + COSTS + MEMORY.replace("= 4", "= 0"), "word_bytes is 0"),
    ],
)
def test_a_damaged_table_is_refused_with_all_that_is_wrong(text, message):
    with pytest.raises(FormatError, match=r"cost table 'mine\.toml'") as error:
        parse_table(text, "mine.toml")
    assert message in str(error.value)


def test_a_table_that_is_gone_or_takes_a_bundled_name_is_refused(tmp_path):
    with pytest.raises(FormatError, match="No such file"):
        read_table(tmp_path / "gone.toml")
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace('name = "mine"', 'name = "loihi1"', 1) + COSTS)
    with pytest.raises(ConfigError, match="'loihi1' is that of a bundled table"):
        read_table(path)
