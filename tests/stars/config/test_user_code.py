"""A user's code that raises is named with its file and line."""

import pytest

from stars.config.models import TermConfig
from stars.config.user_code import guarded
from stars.errors import ConfigError, DataError
from stars.losses import LOSSES
from stars.objective import bind


def refuse(error):
    raise error


def test_an_error_names_the_innermost_line_of_the_user():
    with pytest.raises(ConfigError, match=r"loss 'x' raised KeyError: 'a' \(in '") as e:
        guarded(refuse, "loss 'x'")(KeyError("a"))
    assert "test_user_code.py', line 13, in refuse)" in str(e.value)


def test_our_own_errors_pass_as_they_are():
    with pytest.raises(DataError, match=r"^mine$"):
        guarded(refuse, "loss 'x'")(DataError("mine"))


def test_a_loss_that_raises_in_training_is_named(tmp_path, monkeypatch):
    (tmp_path / "loss_of_mine.py").write_text(
        "def broken(student, teacher, *, power: int = 1):\n    return [][power]\n"
    )
    monkeypatch.chdir(tmp_path)
    term = TermConfig(name="loss_of_mine:broken", power=2)
    (bound,) = bind(LOSSES, [term], "loss")
    with pytest.raises(ConfigError, match=r"raised IndexError.*line 2, in broken"):
        bound.function(None, None)
