"""Weights are found in checkpoints of every form, or the keys found are named."""

import pytest
import torch
from safetensors.torch import save_file

from stars.errors import FormatError
from stars.teacher.checkpoint import weights_in
from stars.teacher.loading import load


@pytest.fixture(scope="module")
def teacher(make_teacher):
    return make_teacher()


def prefixed(prefix):
    return lambda weights: {prefix + name: v for name, v in weights.items()}


def halved(weights):
    return {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}


FORMS = {
    "state_dict.pt": lambda w: {"state_dict": w, "epoch": 1},
    "model.pt": lambda w: {"model": w, "optimizer": {"state": {0: {"step": w_(w)}}}},
    "model_state_dict.pth": lambda w: {"model_state_dict": w},
    "net.pt": lambda w: {"net": w, "acc": 93.0, "epoch": 5},
    "deep.pt": lambda w: {"a": {"b": {"c": w}}, "rng": torch.zeros(5)},
    "module.pt": prefixed("module."),
    "orig_mod.pt": prefixed("_orig_mod."),
    "both.pt": prefixed("module._orig_mod."),
    "lightning.ckpt": lambda w: {
        "state_dict": prefixed("model.")(w) | {"criterion.weight": torch.ones(3)}
    },
    "imagenet.pth.tar": lambda w: w,
    "huggingface.bin": lambda w: w,
    "twice.pt": lambda w: {"model": w, "state_dict": prefixed("module.")(w)},
    "half.pt": halved,
}


def w_(weights):
    return next(iter(weights.values()))


@pytest.mark.parametrize("name", FORMS)
def test_a_checkpoint_of_any_form_gives_the_same_teacher(name, teacher, tmp_path):
    weights = teacher.network.state_dict()
    torch.save(FORMS[name](weights), tmp_path / name)
    found = load(str(tmp_path / name), teacher.spec)
    tolerance = 1e-2 if name == "half.pt" else 0
    for key, value in found.network.state_dict().items():
        torch.testing.assert_close(value, weights[key], rtol=tolerance, atol=tolerance)


def test_prefixes_are_taken_from_safetensors_too(teacher, tmp_path):
    weights = prefixed("model.")(teacher.network.state_dict())
    save_file(
        {k: v.contiguous() for k, v in weights.items()}, tmp_path / "a.safetensors"
    )
    found = load(str(tmp_path / "a.safetensors"), teacher.spec)
    assert found.checksum() == teacher.checksum()


WRONG = {
    "another": (lambda w: {"fc.weight": w_(w)}, r"found fc\.weight; expected"),
    "a layer more": (
        lambda w: w | {"aux.weight": w_(w)},
        r"found aux\.weight; expected no other keys",
    ),
    "a layer less": (
        lambda w: dict(list(w.items())[1:]),
        "found no other keys; expected ",
    ),
    "long names": (prefixed("x" * 200 + "_"), r"found \.\.\."),
    "two": (
        lambda w: {"model": w, "ema": {k: v + 1 for k, v in w.items()}},
        "several state dicts that fit: model, ema; save one",
    ),
    "numbers": (lambda _: {"epoch": 3}, "holds no state dict of tensors"),
}


@pytest.mark.parametrize(("form", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_named_shortly(form, message, teacher, tmp_path):
    torch.save(form(teacher.network.state_dict()), tmp_path / "a.pt")
    with pytest.raises(FormatError, match=message) as caught:
        load(str(tmp_path / "a.pt"), teacher.spec)
    assert len(str(caught.value)) - len(str(tmp_path)) < 300


def test_a_prefix_that_another_network_shares_is_no_match():
    tensors = {"a.w": torch.ones(1), "b.w": torch.zeros(1), "b.v": torch.ones(1)}
    assert weights_in(tensors, ["w"])["w"].equal(torch.ones(1))
    assert weights_in(tensors, ["w", "v"]).keys() == {"w", "v"}
