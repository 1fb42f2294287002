"""What each synthesis method is given unless a configuration says otherwise.

Priors, weights, learning rates and steps are those of the method's paper or of its
authors' code; so `method = "dafl"` alone is DAFL. The budget (rounds, batch size) and
the generator's width are the same for all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Defaults of one method.

    Args:
        prior: options and weight of each prior, by its name.
        synthesis: keys of `[synthesis]`.
        passes: how often a step passes its batch through the teacher.
    """

    prior: dict[str, dict[str, Any]]
    synthesis: dict[str, Any] = field(default_factory=dict)
    passes: int = 1

    def values(self) -> dict[str, Any]:
        """As a configuration file would say it."""
        return {
            "prior": [{"name": name, **row} for name, row in self.prior.items()],
            "synthesis": self.synthesis,
        }


DEFAULT_METHOD = "forgetful"

# RCA and TAR, as the `forgetful` recipe has them and as an ablation adds them.
RCA: dict[str, Any] = {"weight": 2.0}
TAR: dict[str, Any] = {"weight": 20.0}

RECIPES: dict[str, Recipe] = {
    # NAYER's idea with our weights (docs/concepts/method.md), and the two of STARS.
    "forgetful": Recipe(
        {
            "batch_norm": {"weight": 10.0},
            "one_hot": {"weight": 2.0},
            "adversarial": {"weight": 1.0},
            "relational": RCA,
            "tail": TAR,
        }
    ),
    # The weights for CIFAR-10 of arXiv:1912.08795, section 4.1.
    "deepinversion": Recipe(
        {
            "batch_norm": {"weight": 10.0},
            "one_hot": {"weight": 1.0},
            "total_variation": {"weight": 2.5e-5},
            "l2": {"weight": 3e-8},
        },
        {"learning_rate": 0.05, "steps": 400},
    ),
    # The authors' code, CIFAR-10; the learning rate of the code of CMI.
    "dafl": Recipe(
        {
            "one_hot": {"weight": 0.05},
            "balance": {"weight": 5.0},
            "activation": {"weight": 0.01},
        },
        {"learning_rate": 1e-3, "latent": 256},
    ),
    # As in the code of CMI.
    "dfq": Recipe(
        {
            "adversarial": {"weight": 1.0, "where": "everywhere"},
            "batch_norm": {"weight": 1.0},
            "one_hot": {"weight": 1.0},
            "balance": {"weight": 20.0},
        },
        {"learning_rate": 1e-3, "latent": 256},
    ),
    # The authors' script for CIFAR-10.
    "cmi": Recipe(
        {
            "batch_norm": {"weight": 1.0},
            "one_hot": {"weight": 0.5},
            "adversarial": {"weight": 0.5},
        },
        {"learning_rate": 1e-3, "latent": 256, "steps": 200},
        passes=2,
    ),
    # The authors' script for CIFAR-10, Fast-10.
    "fast": Recipe(
        {
            "batch_norm": {"weight": 10.0},
            "one_hot": {"weight": 0.5},
            "adversarial": {"weight": 1.33},
        },
        {"learning_rate": 2e-3, "latent": 256, "steps": 10},
    ),
}


def with_recipe(values: dict[str, Any]) -> dict[str, Any]:
    """A distillation's configuration with its method's recipe under it.

    Args:
        values: as in a file; a method that is unknown, or no name at all, is left to
            whoever validates them.
    """
    synthesis = values.get("synthesis", {})
    method = synthesis.get("method") if isinstance(synthesis, dict) else None
    recipe = RECIPES.get(method) if isinstance(method, str) else None
    if recipe is None:
        return values
    defaults = recipe.values()
    return {
        **defaults,
        **values,
        "synthesis": {**defaults["synthesis"], **synthesis},
    }
