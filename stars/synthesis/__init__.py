"""Data-free synthesis: one file for each method, and the table of them.

Holds the methods, the generator, the critic that scores images, and their views.
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
from stars.config.user_code import imported
from stars.errors import ConfigError
from stars.objective import Term
from stars.synthesis.cmi import ContrastiveInversion
from stars.synthesis.critic import Student
from stars.synthesis.deepinversion import DeepInversion
from stars.synthesis.fast import FastGenerator
from stars.synthesis.forgetful import ForgetfulGenerator
from stars.synthesis.generative import LastingGenerator
from stars.teacher.teacher import Teacher


class Synthesizer(Protocol):
    """Makes images in rounds; between rounds the student learns from them."""

    def round(self, student: Student) -> tuple[Tensor, dict[str, float]]:
        """Images, pixels / 255 [N, C, H, W], and the terms' last values.

        Beside each term NAME stands "gradient/NAME", the length of its gradient. In
        every process all images, whether the processes shared the work or not.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
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
        ConfigError: an unknown method or option; lists what there is.
    """
    if config.method in METHODS:
        method = METHODS[config.method]
    elif ":" in config.method:
        method = imported(config.method, "synthesis method")
    else:
        raise ConfigError(
            f"synthesis method {config.method!r} is unknown; there are"
            f" {sorted(METHODS)}, or module:class for one of your own"
        )
    what = f"synthesis method {config.method!r}"
    return method(
        teacher, priors, config, **checked_options(method, config.options, what)
    )
