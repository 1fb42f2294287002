"""Configurations: unknown keys, ranges, TOML round trips, precedence."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from stars.config.models import (
    DistillConfig,
    StudentConfig,
    TeacherTrainingConfig,
    distill_config,
    read_toml,
    term_values,
    to_toml,
    validated,
)
from stars.config.presets import PRESETS, STARTED, STARTED_PRESETS, merged
from stars.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"sead": 1},
            r"sead: unknown key \(did you mean 'seed'\?\); known are \['backend', ",
        ),
        (
            {"training": {"lr": 1}},
            r"training.lr: unknown key; known are \['batch_size', .*'learning_rate'",
        ),
        ({"student": {"steps": 0}}, r"student.steps: .*greater than.* 1, found 0"),
        ({"seed": -1}, "seed: .*found -1"),
        ({"backend": "gpu"}, r"backend: .*'norse-eager' or 'fused', found 'gpu'"),
        ({"prior": [{"weight": 1.0}]}, r"prior.0.name: field required"),
        ({"loss": [{"name": "kl", "weight": -1}]}, r"loss.0.weight: .*found -1"),
        ({"training": {"learning_rate": "fast"}}, r"learning_rate: .*found 'fast'"),
        ({"training": 3}, "training: .*found 3"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(values, message):
    with pytest.raises(ConfigError, match="^here: .*" + message):
        validated(DistillConfig, values, "here")


def test_everything_that_is_wrong_is_told_at_once():
    with pytest.raises(ConfigError, match=r"epochs: .*; .*seed: ") as error:
        validated(TeacherTrainingConfig, {"epochs": 0, "seed": -3}, "here")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [TeacherTrainingConfig, StudentConfig])
def test_a_named_architecture_has_its_own_options(kind):
    assert kind.model_validate({"architecture": "resnet18"}).options == {}
    given = {"architecture": "wrn16-2", "options": {"stem_stride": 2}}
    assert kind.model_validate(given).options == {"stem_stride": 2}
    assert kind.model_validate({"architecture": "vgg"}).options["depths"] == [1, 1, 1]


def test_added_priors_stand_behind_those_of_the_method():
    flags = {
        "synthesis": {"method": "fast"},
        "add_prior": [{"name": "tail", "weight": 20.0, "variant": "relu"}],
    }
    config = distill_config("default", None, flags)
    names = [term.name for term in config.prior]
    assert names == ["batch_norm", "one_hot", "adversarial", "tail"]
    assert config.prior[-1].model_extra == {"variant": "relu"}
    with pytest.raises(ConfigError, match=r"prior\.3\.name: field required"):
        distill_config("default", None, {**flags, "add_prior": [{"weight": 1.0}]})


@pytest.mark.parametrize("preset", PRESETS)
def test_toml_gives_back_the_configuration(preset: str):
    flags = {
        "seed": 3,
        "teacher": {"input_shape": [1, 8, 8], "classes": 3, "mean": [0.1]},
        "prior": [{"name": "tail", "weight": 0.5, "thresholds": [1.0, 2.0]}],
        "student": {"options": {"widths": [4, 8]}},
    }
    config = distill_config(preset, None, flags)
    again = validated(DistillConfig, tomllib.loads(to_toml(config)), "again")
    assert again == config
    assert again.prior[0].model_extra == {"thresholds": [1.0, 2.0]}
    assert to_toml(again) == to_toml(config)


def test_a_flag_goes_over_the_file_and_the_file_over_the_preset(tmp_path: Path):
    file = tmp_path / "a.toml"
    file.write_text("seed = 5\ntest_data = 'none'\n[training]\nsteps = 77\n")
    config = distill_config("quick", file, {"seed": 9})
    assert config.seed == 9
    assert config.test_data == "none"
    assert config.training.steps == 77
    quick = STARTED_PRESETS["quick"]
    assert config.synthesis.rounds == quick["synthesis"]["rounds"]
    assert config.training.batch_size == DistillConfig().training.batch_size


def kind(**values: Any) -> tuple[str, str, float, list[str]]:
    """What a configuration makes of the student."""
    config = distill_config("quick", None, values)
    student = config.student
    return (
        student.architecture,
        student.start,
        config.training.steps,
        [loss.name for loss in config.loss],
    )


STARTS = (
    "teacher",
    "teacher",
    STARTED_PRESETS["quick"]["training"]["steps"],
    ["kl", "layerwise"],
)
FRESH = ("resnet", "fresh", PRESETS["quick"]["training"]["steps"], ["kl"])


@pytest.mark.parametrize("source", ["fashion-mnist", "a.safetensors", "b/c.pth"])
def test_a_student_starts_from_a_teacher_of_our_architectures(source: str):
    assert kind(teacher={"source": source}) == STARTS
    assert kind(teacher={"source": source}, student={"steps": 8}) == STARTS
    assert kind(teacher={"source": source}, student={"start": "fresh"}) == FRESH
    vgg = kind(teacher={"source": source}, student={"architecture": "vgg"})
    assert vgg == ("vgg", *FRESH[1:])
    options = {"options": {"widths": [4], "depths": [1]}}
    assert kind(teacher={"source": source}, student=options) == FRESH


def test_a_student_of_a_module_is_fresh_unless_the_configuration_says_otherwise():
    teacher = {"source": "own.module:teacher"}
    assert kind(teacher=teacher) == FRESH
    assert kind(teacher=teacher, student={"architecture": "teacher"}) == STARTS
    assert kind(teacher=teacher, student={"start": "teacher"}) == STARTS


def test_given_values_go_over_those_of_a_student_that_starts_from_its_teacher():
    given = {
        "loss": [{"name": "nld"}],
        "training": {"learning_rate": 0.5},
        "synthesis": {"method": "deepinversion"},
    }
    config = distill_config("default", None, given)
    assert [loss.name for loss in config.loss] == ["nld"]
    assert config.training.learning_rate == 0.5
    assert config.training.head_rate == STARTED["training"]["head_rate"]
    assert config.synthesis.steps == 400  # of the method's recipe


def test_merging_changes_neither_side_and_replaces_lists():
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    over = {"a": {"y": [3]}}
    assert merged(base, over) == {"a": {"x": 1, "y": [3]}, "b": 1}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


def test_an_unknown_preset_lists_what_there_is():
    with pytest.raises(ConfigError, match=r"'fast' is unknown; there are \['default'"):
        distill_config("fast", None, {})


def test_a_file_that_is_not_there_or_not_toml_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"a\.toml': No such file"):
        read_toml(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text("seed = = 3")
    with pytest.raises(ConfigError, match="not TOML"):
        read_toml(tmp_path / "b.toml")
    for content in (b"\xff\xfe", b"a = " + b"[" * 10_000, b"a = " + b"1" * 5000):
        (tmp_path / "c.toml").write_bytes(content)
        with pytest.raises(ConfigError, match="not TOML"):
            read_toml(tmp_path / "c.toml")


def test_the_message_names_the_file(tmp_path: Path):
    file = tmp_path / "a.toml"
    file.write_text("sead = 5\n")
    with pytest.raises(ConfigError, match=r"a\.toml': sead: unknown key"):
        distill_config("default", file, {})


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("kl", {}),
        ("kl:weight=2", {"weight": 2}),
        ("kl:temperature=4.0,weight=.5", {"temperature": 4.0, "weight": 0.5}),
        ("kl:form=paper,masked=true", {"form": "paper", "masked": True}),
        ('kl:form="paper"', {"form": "paper"}),
        ("kl:levels=[1, 2],path=a:b,c", {"levels": [1, 2], "path": "a:b,c"}),
        ("own.losses:f", {"name": "own.losses:f"}),
        ("own:f:weight=1,x=-2e3", {"name": "own:f", "weight": 1, "x": -2e3}),
    ],
)
def test_a_term_of_the_command_line_is_one_of_the_file(text, values):
    assert term_values(text) == {"name": "kl", **values}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected NAME or NAME:key=value"),
        ("weight=1", "expected NAME or NAME:key=value"),
        ("kl:=1", "expected NAME or NAME:key=value"),
        ("kl:weight=1,weight=2", "'weight' is given twice"),
        ("kl:name=ce", "'name' is given twice"),
    ],
)
def test_what_is_no_term_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        term_values(text)
