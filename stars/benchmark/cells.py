"""The cells of each benchmark's sweep, with their budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stars.benchmark.sweep import Cell
from stars.config.models import DistillConfig, validated
from stars.config.presets import merged
from stars.config.recipes import RCA, RECIPES, TAR
from stars.errors import ConfigError, guess

# Benchmarks start from fresh weights: those of the teacher would hide what images and
# losses teach.
FRESH: dict[str, Any] = {"student": {"start": "fresh"}}
STARS_PRIORS = ("relational", "tail", "membrane_tail")  # not part of plain methods
VARIANTS: dict[str, tuple[str, ...]] = {
    "base": (),
    "rca": ("rca",),
    "tar": ("tar",),
    "both": ("rca", "tar"),
}
STARS_TERMS: dict[str, dict[str, Any]] = {
    "rca": {"name": "relational", **RCA},
    "tar": {"name": "tail", **TAR},
}
# Losses that do not train the head are mixed with kl; their weights and options.
WITH_KL: dict[str, dict[str, Any]] = {
    "samd": {"weight": 10.0},
    "feature_map": {"match": "relation"},
    "rkd": {},
    "layerwise": {"weight": 0.3},
}


def ablation(
    base: dict[str, Any],
    methods: Sequence[str],
    variants: Sequence[str],
    seeds: Sequence[int],
    passes: int,
    terms: Mapping[str, dict[str, Any]],
) -> list[Cell]:
    """Cells of methods x variants x seeds, all with one budget.

    The budget is `passes` batches forward and backward through the teacher in the
    synthesis, and `training.steps` steps of the student. A method with two passes a
    step takes half as many steps; one with longer rounds has fewer rounds.

    Args:
        base: values that all cells share; no priors and no rounds.
        methods: rows of RECIPES.
        variants: rows of VARIANTS.
        seeds: of each method and variant.
        passes: of the teacher.
        terms: the priors "rca" and "tar" to add.

    Raises:
        ConfigError: a name is unknown, or a method's rounds do not divide the budget.
    """
    check_names(methods, RECIPES, "method")
    check_names(variants, VARIANTS, "variant")
    check_absent(base, ("prior",))
    return [
        Cell(
            {"method": method, "variant": variant},
            (config := method_config(base, method, variant, seed, passes, terms)),
            {
                "teacher_images": passes * config.synthesis.batch_size,
                "student_steps": config.training.steps,
            },
        )
        for method in methods
        for variant in variants
        for seed in seeds
    ]


def method_config(
    base: dict[str, Any],
    method: str,
    variant: str,
    seed: int,
    passes: int,
    terms: Mapping[str, dict[str, Any]],
) -> DistillConfig:
    """The configuration of one cell of `ablation`."""
    own = {"synthesis": {"method": method}, "seed": seed}
    values = merged(merged(FRESH, base), own)
    plain = validated(DistillConfig, values, f"method {method!r}")
    one_round = plain.synthesis.steps * RECIPES[method].passes
    if passes < one_round or passes % one_round:
        raise ConfigError(
            f"method {method!r} takes {one_round} passes of the teacher a round; a"
            f" budget of {passes} is not a multiple; choose another --passes"
        )
    priors = [t.model_dump() for t in plain.prior if t.name not in STARS_PRIORS]
    added = [terms[name] for name in VARIANTS[variant]]
    rounds = {"rounds": passes // one_round}
    return validated(
        DistillConfig,
        merged(values, {"prior": [*priors, *added], "synthesis": rounds}),
        f"method {method!r}",
    )


def losses(
    base: dict[str, Any], names: Sequence[str], seeds: Sequence[int], data: str
) -> list[Cell]:
    """Cells of losses x {invented, real} images x seeds.

    Args:
        base: values that all cells share; no losses.
        names: rows of LOSSES.
        seeds: of each loss.
        data: the real images; "" for no such cells.
    """
    check_absent(base, ("loss", "data"))
    sources = {"invented": "", **({"real": data} if data else {})}
    return [
        cell(
            {"loss": name, "images": images},
            merged(base, {"loss": mix(name), "data": source, "seed": seed}),
        )
        for name in names
        for images, source in sources.items()
        for seed in seeds
    ]


def mix(loss: str) -> list[dict[str, Any]]:
    """The loss alone, or with kl if it does not train the head."""
    row = {"name": loss, **WITH_KL.get(loss, {})}
    return [{"name": "kl"}, row] if loss in WITH_KL else [row]


def references(base: dict[str, Any], seeds: Sequence[int], data: str) -> list[Cell]:
    """Cells of data-free distillation and of its references.

    The references are distillation from real images, and the student trained on real
    images and labels without a teacher.
    """
    check_absent(base, ("loss", "data"))
    direct = {"loss": [{"name": "ce", "labels": True}], "data": data}
    ways: dict[str, dict[str, Any]] = {
        "data-free": {},
        "distilled": {"data": data},
        "direct": direct,
    }
    return [
        cell({"way": way}, merged(base, {**values, "seed": seed}))
        for way, values in ways.items()
        for seed in seeds
    ]


def cell(labels: dict[str, str], values: dict[str, Any]) -> Cell:
    """A cell whose budget is the student's steps."""
    config = validated(DistillConfig, merged(FRESH, values), "-".join(labels.values()))
    return Cell(labels, config, {"student_steps": config.training.steps})


def check_names(names: Sequence[str], table: Mapping[str, Any], what: str) -> None:
    """Refuse names that a table does not have.

    Raises:
        ConfigError: a name is unknown, or there is none; lists the known ones.
    """
    if unknown := sorted(set(names) - set(table)) or not names:
        near = guess(unknown[0], table) if isinstance(unknown, list) else ""
        raise ConfigError(
            f"{what} {unknown} is unknown{near}; there are {sorted(table)}"
        )


def check_absent(base: dict[str, Any], keys: Sequence[str]) -> None:
    """Refuse a configuration that sets keys that the benchmark varies.

    Raises:
        ConfigError: it does; names the keys.
    """
    if found := sorted(set(keys) & set(base)):
        raise ConfigError(f"the benchmark sets {found} itself; remove it from --config")
