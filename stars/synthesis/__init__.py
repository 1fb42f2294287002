"""Data-free synthesis: one file for each method, and a table of the methods.

Holds the methods, the generator, the critic that scores images, and image views.
Import from it: `synthesizer`, `METHODS`; their defaults are in `stars.config.recipes`.
It may import `stars.priors`, `stars.teacher` and what these may import.
All of it needs torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from stars.config.models import SynthesisConfig
from stars.config.options import checked_options
from stars.config.user_code import guarded, imported
from stars.errors import ConfigError, guess
from stars.objective import Term
from stars.synthesis.cmi import ContrastiveInversion
from stars.synthesis.critic import Student
from stars.synthesis.deepinversion import DeepInversion
from stars.synthesis.fast import FastGenerator
from stars.synthesis.forgetful import ForgetfulGenerator
from stars.synthesis.generative import LastingGenerator
from stars.teacher.teacher import Teacher


class Synthesizer(Protocol):
    """Makes images in rounds; the student learns from them between rounds."""

    def round(self, student: Student) -> tuple[Tensor, dict[str, float]]:
        """Images, pixels / 255 [N, C, H, W], and the values of the last step's terms.

        The values hold "gradient/NAME", the length of the gradient, for each term NAME.
        Every process returns all images.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        ...


# (teacher, priors, config, *, options)
METHODS: dict[str, Callable[..., Synthesizer]] = {
    "forgetful": ForgetfulGenerator,
    "deepinversion": DeepInversion,
    "dafl": LastingGenerator,
    "dfq": LastingGenerator,
    "cmi": ContrastiveInversion,
    "fast": FastGenerator,
}


def synthesizer(
    teacher: Teacher, priors: tuple[Term, ...], config: SynthesisConfig
) -> Synthesizer:
    """The method that `config` names, with its options.

    Raises:
        ConfigError: an unknown method or option; the message lists the known ones.
    """
    if config.method in METHODS:
        method = METHODS[config.method]
    elif ":" in config.method:
        code = imported(config.method, "synthesis method")
        method = guarded(code, f"synthesis method {config.method!r}")
    else:
        raise ConfigError(
            f"synthesis method {config.method!r} is"
            f" unknown{guess(config.method, METHODS)}; there are {sorted(METHODS)}, or"
            " module:class for your own"
        )
    what = f"synthesis method {config.method!r}"
    return method(
        teacher, priors, config, **checked_options(method, config.options, what)
    )
