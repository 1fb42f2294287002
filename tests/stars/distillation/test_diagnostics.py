"""Silent layers and collapsed generators cause warnings or errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stars.config.models import DistillConfig
from stars.config.presets import merged
from stars.distillation.diagnostics import (
    check_speaks,
    collapsed,
    firing_rates,
    silent,
    tell,
    twins,
)
from stars.distillation.distiller import Distillation
from stars.distillation.loop import distill
from stars.errors import TrainingError
from stars.networks.student import lif_layers
from stars.run_directory import Run

TINY = {
    "student": {"options": {"widths": [3, 4], "depths": [1, 1]}, "steps": 2},
    "synthesis": {
        "rounds": 2,
        "steps": 2,
        "batch_size": 12,
        "harvest": 2,
        "latent": 4,
        "width": 4,
        "bank": 60,
    },
    "training": {"steps": 4, "batch_size": 12},
    "grid": {"steps": 2},
    "seed": 1,
}


def quiet(*_: object) -> None:
    """Show no progress."""


def images(count: int, noise: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    one = rng.integers(60, 180, (1, 3, 8, 8))
    return (one + rng.integers(-noise, noise + 1, (count, 3, 8, 8))).astype(np.uint8)


def test_twins_are_counted_by_hand():
    three = np.zeros((3, 1, 2, 2), np.uint8)
    three[2] = 9
    assert twins(three) == pytest.approx(2 / 3)
    three[1] = 2  # an RMS of exactly NEAR is no twin
    assert twins(three) == 0


def test_images_that_are_nearly_alike_are_a_collapse_and_others_are_not():
    (text,) = collapsed(images(40, noise=1))
    assert text.startswith("100 % of its synthetic images have a twin")
    assert collapsed(images(40, noise=30)) == []
    assert collapsed(images(1, noise=1)) == []
    assert collapsed(images(2000, noise=1))  # not all are compared


def test_silent_layers_are_named_with_the_learning_rate():
    (text,) = silent({"a": 0.0, "b": 1e-6}, 0.5)
    assert "'a' does not spike once" in text
    assert "which is 0.5" in text


def test_the_policy_decides_whether_it_stops(caplog):
    tell(["it hums"], "round 3", "warn")
    assert "round 3: it hums" in caplog.text
    tell([], "round 3", "stop")
    with pytest.raises(TrainingError, match="round 3: it hums"):
        tell(["it hums"], "round 3", "stop")


def test_a_student_with_a_silent_last_layer_is_refused():
    check_speaks({"a": 0.0, "b": 0.1}, "end")
    check_speaks({"a": 0.1, "b": 0.0}, "warn")
    with pytest.raises(TrainingError, match="silent: its last layer 'b'"):
        check_speaks({"a": 0.1, "b": 0.0}, "end")


def mute(student: torch.nn.Module, name: str) -> None:
    """Remove every current of the layers that feed `name`."""
    with torch.no_grad():
        student.layers[name].bn.weight.zero_()
        student.layers[name].bn.bias.fill_(-1.0)


def test_rates_are_those_of_each_layer_and_change_nothing(make_teacher):
    student = Distillation(DistillConfig.model_validate(TINY), make_teacher()).student
    mute(student, "stem")
    before = {k: v.clone() for k, v in student.state_dict().items()}
    rates = firing_rates(student.train(), torch.rand(5, 1, 8, 8))
    assert list(rates) == list(lif_layers(student))
    assert rates["stem_act"] == 0
    assert student.training
    assert all(torch.equal(before[k], v) for k, v in student.state_dict().items())


@pytest.mark.parametrize("policy", ["end", "stop"])
def test_a_run_that_goes_wrong_says_in_which_round(
    make_teacher, tmp_path, monkeypatch, caplog, policy
):
    config = DistillConfig.model_validate(
        merged(TINY, {"trouble": policy, "backend": "norse-eager"})
    )
    learn = Distillation.learn

    def broken(self, network, *arguments, **options):
        values = learn(self, network, *arguments, **options)
        if network is self.student:
            mute(network, "s2b1_conv2")
            mute(network, "s2b1_shortcut")
        return values

    monkeypatch.setattr(Distillation, "learn", broken)
    run = Run.create(tmp_path / "a", config)
    message = "round 1: layer" if policy == "stop" else "the finished student is silent"
    with pytest.raises(TrainingError, match=message):
        distill(config, make_teacher(), None, run, quiet)
    assert "round 1: layer 's2b1_act2' does not spike once" in caplog.text
    assert not run.student_path.exists()
