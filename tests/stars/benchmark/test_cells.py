"""The cells of each sweep."""

from __future__ import annotations

import pytest

from stars.benchmark import cells as plans
from stars.benchmark.sweep import Cell
from stars.config.recipes import RECIPES
from stars.errors import ConfigError

# Plans


def planned(**changes) -> list[Cell]:
    values = {
        "base": {"training": {"steps": 90}},
        "methods": list(RECIPES),
        "variants": list(plans.VARIANTS),
        "seeds": [0, 1],
        "passes": 800,
        "terms": plans.STARS_TERMS,
    }
    return plans.ablation(**{**values, **changes})


def test_all_methods_of_an_ablation_have_one_budget():
    cells = planned()
    assert len(cells) == len({c.name for c in cells}) == 6 * 4 * 2
    assert {tuple(c.budget.items()) for c in cells} == {
        (("teacher_images", 800 * 128), ("student_steps", 90))
    }
    for cell in cells:
        s = cell.config.synthesis
        passes = RECIPES[s.method].passes
        assert s.rounds * s.steps * passes == 800


def test_variants_add_rca_and_tar_to_the_methods_own_priors():
    found = {
        (c.labels["method"], c.labels["variant"]): [t.name for t in c.config.prior]
        for c in planned(seeds=[0])
    }
    assert found["dafl", "base"] == ["one_hot", "balance", "activation"]
    assert found["dafl", "rca"][3:] == ["relational"]
    assert found["dafl", "tar"][3:] == ["tail"]
    assert found["dafl", "both"][3:] == ["relational", "tail"]
    # The recipe of forgetful has both priors; its base has neither.
    assert found["forgetful", "base"] == ["batch_norm", "one_hot", "adversarial"]


def test_the_terms_of_stars_can_be_others():
    terms = {**plans.STARS_TERMS, "tar": {"name": "tail", "variant": "relu"}}
    (cell,) = planned(methods=["fast"], variants=["tar"], seeds=[0], terms=terms)
    assert cell.config.prior[-1].model_extra == {"variant": "relu"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["magic"]}, r"method \['magic'\] is unknown; there are \['cmi'"),
        ({"variants": ["best"]}, r"variant \['best'\] is unknown; there are \['base'"),
        ({"methods": []}, "is unknown; there are"),
        ({"passes": 810}, "takes 40 passes of the teacher a round; a budget of 810"),
        ({"base": {"prior": []}}, r"sets \['prior'\] itself; remove it"),
        ({"base": {"sead": 1}}, "sead: unknown key"),
    ],
)
def test_an_ablation_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        planned(**changes)


def test_losses_that_leave_the_head_untrained_stand_beside_kl():
    pytest.importorskip("torch")
    from stars.losses import LOSSES  # noqa: PLC0415 - the plans need no torch

    cells = plans.losses({}, list(LOSSES), [0], "mnist:DATA@train[5000:]")
    assert len(cells) == 2 * len(LOSSES)
    mixes = {c.labels["loss"]: [t.name for t in c.config.loss] for c in cells}
    assert mixes["kl"] == ["kl"]
    assert mixes["rkd"] == ["kl", "rkd"]
    assert {c.config.data for c in cells if c.labels["images"] == "invented"} == {""}
    assert plans.WITH_KL.keys() <= LOSSES.keys()


def test_the_references_are_data_labels_and_neither():
    cells = plans.references({}, [3], "x.npz")
    assert [(c.labels["way"], c.config.data) for c in cells] == [
        ("data-free", ""),
        ("distilled", "x.npz"),
        ("direct", "x.npz"),
    ]
    assert cells[2].config.loss[0].model_extra == {"labels": True}
    assert {c.config.seed for c in cells} == {3}
