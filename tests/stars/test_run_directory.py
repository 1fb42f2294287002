"""A run directory is created once, opened again, and never half-written."""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from stars.config.models import DistillConfig
from stars.errors import ConfigError, DataError, FormatError, TrainingError
from stars.run_directory import Run, checkpoint

CONFIG = DistillConfig(seed=7)


def test_a_new_run_holds_its_configuration_and_manifest(tmp_path: Path):
    run = Run.create(tmp_path / "runs" / "a", CONFIG)
    assert DistillConfig.model_validate(run.read_config()) == CONFIG
    manifest = json.loads(run.manifest_path.read_text())
    assert manifest["seed"] == 7
    assert manifest["versions"]["torch"] is not None
    assert {"command", "python", "versions", "git_commit"} <= set(manifest)


def test_a_run_is_not_written_over(tmp_path: Path):
    Run.create(tmp_path / "a", CONFIG)
    with pytest.raises(ConfigError, match="already holds a run; give another --out"):
        Run.create(tmp_path / "a", CONFIG)


def test_a_run_resumes_with_its_own_configuration_only(tmp_path: Path):
    Run.create(tmp_path / "a", CONFIG)
    assert Run.create(tmp_path / "a", CONFIG, resume=True).path == tmp_path / "a"
    with pytest.raises(ConfigError, match="made with another configuration"):
        Run.create(tmp_path / "a", DistillConfig(seed=8), resume=True)
    with pytest.raises(ConfigError, match="holds no run to resume"):
        Run.create(tmp_path / "b", CONFIG, resume=True)


def test_a_run_killed_between_its_first_two_files_can_be_resumed(tmp_path: Path):
    run = Run.create(tmp_path / "a", CONFIG)
    run.manifest_path.unlink()
    Run.create(tmp_path / "a", CONFIG, resume=True).add_to_manifest({"x": 1})
    assert json.loads(run.manifest_path.read_text())["seed"] == 7


def test_what_is_not_a_run_is_left_alone(tmp_path: Path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("precious", "file"):
        with pytest.raises(ConfigError, match="exists and is not a run"):
            Run.create(tmp_path / name, CONFIG)
    with pytest.raises(DataError, match=r"not a run directory: it has no config\.toml"):
        Run.open(tmp_path / "precious")
    assert [p.name for p in (tmp_path / "precious").iterdir()] == ["thesis.tex"]


def test_an_error_before_the_first_checkpoint_takes_the_directory_back(tmp_path: Path):
    run = Run.create(tmp_path / "a", CONFIG)
    run.log({"round": 1})
    with pytest.raises(TrainingError), run.begun():
        raise TrainingError("the loss became nan")
    assert not run.path.exists()


@pytest.mark.parametrize("name", ["config.toml", "manifest.json"])
def test_a_run_that_cannot_be_created_leaves_nothing(tmp_path, monkeypatch, name):
    """Its folder for half-written files is full from the file `name` on."""
    real = tempfile.mkstemp

    def full(*, prefix: str, **options: object) -> object:
        if name in prefix:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(prefix=prefix, **options)

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(DataError, match=rf"{name}': No space left"):
        Run.create(tmp_path / "a", CONFIG)
    assert not (tmp_path / "a").exists()


def test_an_error_after_a_checkpoint_leaves_all_of_it(tmp_path: Path):
    run = Run.create(tmp_path / "a", CONFIG)
    run.save_checkpoint({"round": 1})
    with pytest.raises(TrainingError), run.begun():
        raise TrainingError("the loss became nan")
    assert run.load_checkpoint() == {"round": 1}
    assert run.config_path.is_file()


def test_an_error_leaves_a_directory_that_holds_somebody_elses_file(tmp_path: Path):
    run = Run.create(tmp_path / "a", CONFIG)
    (run.path / "notes.txt").write_text("mine")
    with pytest.raises(TrainingError), run.begun():
        raise TrainingError("the loss became nan")
    assert [p.name for p in run.path.iterdir()] == ["notes.txt"]


def test_keys_of_older_checkpoints_get_their_present_names(tmp_path: Path):
    run = Run.create(tmp_path / "run", DistillConfig())
    old = {"synthesiser": {"optimiser": 1}, "optimiser": 2, "round": 3}
    run.save_checkpoint({"distillation": old})
    now = {"synthesizer": {"optimizer": 1}, "optimizer": 2, "round": 3}
    assert run.load_checkpoint() == {"distillation": now}


def test_a_method_of_the_user_keeps_the_keys_of_its_state(tmp_path: Path):
    run = Run.create(tmp_path / "run", DistillConfig())
    state = {"distillation": {"synthesizer": {"optimiser": 1}}}
    run.save_checkpoint(state)
    assert run.load_checkpoint() == state


def test_checkpoints_are_replaced_whole(tmp_path: Path):
    run = Run.create(tmp_path / "a", CONFIG)
    assert run.load_checkpoint() is None
    run.save_checkpoint({"w": torch.arange(3), "round": 1})
    with pytest.raises(AttributeError):
        run.save_checkpoint({"w": lambda: None})  # cannot be pickled
    state = run.load_checkpoint()
    assert state["round"] == 1
    assert state["w"].tolist() == [0, 1, 2]
    assert [p.name for p in run.checkpoint_path.parent.iterdir()] == ["last.pt"]


def test_a_damaged_checkpoint_is_told(tmp_path: Path):
    run = Run.create(tmp_path / "a", CONFIG)
    run.save_checkpoint({"w": torch.arange(3000)})
    run.checkpoint_path.write_bytes(run.checkpoint_path.read_bytes()[:900])
    with pytest.raises(FormatError, match=r"last\.pt' is damaged"):
        run.load_checkpoint()


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path):
    run = Run.create(tmp_path / "a", CONFIG)
    run.checkpoint_path.parent.mkdir()
    torch.save({"w": Path("x")}, run.checkpoint_path)
    with pytest.raises(FormatError, match="damaged"):
        run.load_checkpoint()


def test_metrics_go_back_to_the_checkpoint(tmp_path: Path):
    run = Run.create(tmp_path / "a", CONFIG)
    run.forget_log(after=1)  # nothing there yet
    for number in (1, 2, 3):
        run.log({"round": number})
    with run.metrics_path.open("a") as file:
        file.write('{"round": 4, "lo')  # killed in the middle of a line
    run.forget_log(after=2)
    lines = run.metrics_path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"round": 1}, {"round": 2}]


def test_the_manifest_keeps_the_checksum_of_every_artifact(tmp_path: Path):
    run = Run.create(tmp_path / "a", CONFIG)
    run.graph_path.parent.mkdir()
    for path, content in ((run.student_path, b"abc"), (run.graph_path, b"x")):
        path.write_bytes(content)
        run.record_artifact(path)
    sums = json.loads(run.manifest_path.read_text())["sha256"]
    assert sums == {
        "student.safetensors": hashlib.sha256(b"abc").hexdigest(),
        "artifacts/student.nir": hashlib.sha256(b"x").hexdigest(),
    }


def test_two_checkpoints_are_kept_and_no_more(tmp_path: Path):
    run = Run.create(tmp_path / "a", CONFIG)
    for number in (1, 2, 3):
        run.save_checkpoint({"round": number})
    newest, previous = run.checkpoint_paths
    assert checkpoint(newest) == {"round": 3}
    assert checkpoint(previous) == {"round": 2}
    assert set(newest.parent.iterdir()) == {newest, previous}


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, damage, caplog
):
    run = Run.create(tmp_path / "a", CONFIG)
    for number in (1, 2):
        run.save_checkpoint({"w": torch.arange(3000), "round": number})
    content = bytearray(run.checkpoint_path.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"cut": content[:900], "changed": content, "gone": None, "empty": b""}
    run.checkpoint_path.unlink()
    if damaged[damage] is not None:
        run.checkpoint_path.write_bytes(damaged[damage])
    assert run.load_checkpoint()["round"] == 1
    told = (
        "last.pt' is damaged" in caplog.text
        and "the earlier 'previous.pt'" in caplog.text
    )
    assert told == (damage != "gone")


def test_what_a_kill_left_half_is_removed_and_nothing_else(tmp_path: Path):
    run = Run.create(tmp_path / "a", CONFIG)
    run.save_checkpoint({"round": 1})
    left = run.checkpoint_path.with_name(".last.pt.x1y2_z34.pt")
    mine = run.path / ".notes.txt"
    for path in (left, mine):
        path.write_bytes(b"half")
    with run.locked():
        assert not left.exists()
    assert mine.exists()
    assert run.load_checkpoint() == {"round": 1}


def test_a_run_killed_in_its_first_write_can_be_made(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".config.toml.x1y2_z34.toml").write_text("ha")
    with Run.create(tmp_path / "a", CONFIG).locked():
        names = {p.name for p in (tmp_path / "a").iterdir()}
    assert names == {"config.toml", "manifest.json"}


def test_a_full_disk_is_one_clear_error_and_the_checkpoint_stays(tmp_path: Path):
    run = Run.create(tmp_path / "a", CONFIG)
    run.save_checkpoint({"round": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(DataError, match=r"cannot write .*last\.pt.*File too large"):
            run.save_checkpoint({"w": torch.zeros(100_000), "round": 2})
        with pytest.raises(DataError, match=r"cannot write .*metrics"):
            run.log({"x": "y" * 30_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run.load_checkpoint() == {"round": 1}
    assert [p.name for p in run.checkpoint_path.parent.iterdir()] == ["last.pt"]


def test_a_full_disk_leaves_nothing_that_complains_later(tmp_path: Path):
    run = Run.create(tmp_path / "a", CONFIG)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    kept: list[object] = []
    try:
        run.save_checkpoint({"w": torch.zeros(100_000)})
    except DataError as error:
        kept += [error, kept]  # a cycle, which is collected in any order
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert kept
    del kept
    gc.collect()  # here, an uncaught warning is an error


def test_a_folder_that_cannot_be_is_one_clear_error(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot write"):
        Run.create(tmp_path / "file" / "a", CONFIG)


def test_two_processes_do_not_work_on_one_run(tmp_path: Path):
    run = Run.create(tmp_path / "a", CONFIG)
    other = (
        "import sys; from pathlib import Path; from stars.run_directory import Run\n"
        "try:\n"
        "    with Run(Path(sys.argv[1])).locked(): print('free')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )

    def ask() -> str:
        command = [sys.executable, "-c", other, str(run.path)]
        return subprocess.check_output(command, text=True)

    with run.locked():
        assert ask().startswith("ConfigError another process works on")
    assert ask() == "free\n"


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"sha256": 3}', "[" * 100_000])
def test_a_damaged_manifest_is_one_clear_error(tmp_path: Path, text):
    run = Run.create(tmp_path / "a", CONFIG)
    run.manifest_path.write_text(text)
    with pytest.raises(FormatError, match=r"manifest\.json'"):
        run.record_artifact(run.config_path)
    assert run.manifest_path.read_text() == text
