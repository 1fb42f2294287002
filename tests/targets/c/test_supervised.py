"""A program that is run has a time limit, a log and no orphans."""

import os
import time

import pytest

from stars.errors import TargetError
from targets.c.supervised import run_program


def run(tmp_path, script: str, seconds: float = 30.0, given: bytes | None = None):
    run_program(["/bin/sh", "-c", script], tmp_path, "the script", seconds, given)


def test_a_program_reads_what_it_is_given_and_works_in_its_folder(tmp_path):
    run(tmp_path, "cat > copy", given=b"\0bytes")
    assert (tmp_path / "copy").read_bytes() == b"\0bytes"


def test_a_failure_is_told_with_the_end_of_the_log(tmp_path):
    with pytest.raises(TargetError, match=r"the script failed: .*code 7.*\nlast words"):
        run(tmp_path, "echo last words; exit 7")
    with pytest.raises(TargetError, match="killed by SIGKILL"):
        run(tmp_path, "kill -KILL $$")
    with pytest.raises(TargetError, match="the script cannot start"):
        run_program([tmp_path / "nothing"], tmp_path, "the script", 1.0)


def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path):
    started = time.monotonic()
    with pytest.raises(TargetError, match="not done after 1 s"):
        run(tmp_path, "sleep 600 & echo $! > child; sleep 600", seconds=1.0)
    assert time.monotonic() - started < 20
    child = int((tmp_path / "child").read_text())
    while time.monotonic() - started < 20 and alive(child):
        time.sleep(0.1)  # a zombie until its new parent sees it
    assert not alive(child)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
