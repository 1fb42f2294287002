"""A teacher without BatchNorm is refused only where a prior or method reads it."""

import pytest

from stars.config.models import DistillConfig
from stars.distillation.inputs import read_inputs, statistics_readers
from stars.errors import ConfigError

MODULE = """
from torch import nn

def grouped():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 3))
"""
TEACHER = {
    "source": "plain:grouped",
    "input_shape": [1, 8, 8],
    "classes": 3,
    "mean": [0.5],
    "deviation": [0.5],
}


def settings(**changes):
    return DistillConfig.model_validate({"teacher": TEACHER, **changes})


READERS = {
    "forgetful": ["batch_norm", "tail"],
    "deepinversion": ["batch_norm"],
    "cmi": ["batch_norm", "cmi"],
    "dafl": [],
}


@pytest.mark.parametrize("method", READERS)
def test_only_what_reads_statistics_asks_for_them(method, tmp_path, monkeypatch):
    (tmp_path / "plain.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    config = settings(synthesis={"method": method})
    assert statistics_readers(config) == READERS[method]
    if READERS[method]:
        with pytest.raises(ConfigError, match=f"but {', '.join(READERS[method])} mat"):
            read_inputs(config)
    else:
        teacher, test, real = read_inputs(config)
        assert (teacher.spec.classes, test, real) == (3, None, None)


def test_a_prior_without_weight_and_real_images_read_none():
    priors = [{"name": "batch_norm", "weight": 0.0}, {"name": "one_hot"}]
    assert statistics_readers(settings(prior=priors)) == []
    assert statistics_readers(settings(data="mnist:DATA")) == []
