"""Softened class scores, divergences between them, and checks of options."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from stars.errors import ConfigError
from stars.networks.outputs import Outputs
from stars.runtime.device import wide


def log_softened(
    scores: Float[Tensor, "*N K"], temperature: float, loss: str
) -> Float[Tensor, "*N K"]:
    """The logarithm of softmax(scores / tau) over the last axis, float32 or wider.

    Raises:
        ConfigError: the temperature of `loss` is not positive.
    """
    if not temperature > 0:
        raise ConfigError(f"{loss}: temperature is {temperature}; it must be > 0")
    return F.log_softmax(wide(scores) / temperature, dim=-1)


def divergence(
    log_p: Float[Tensor, "*N K"], log_q: Float[Tensor, "*N K"]
) -> Float[Tensor, "*N"]:
    """KL(p || q) of each row, in nats."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def predicted(teacher: Outputs) -> Int[Tensor, " B"]:
    """The class that the teacher predicts for each sample."""
    return teacher.mean_logits.argmax(1)


def check_share(value: float, name: str, loss: str) -> None:
    """Refuse an option of `loss` outside of 0..1.

    Raises:
        ConfigError: it is outside.
    """
    if not 0 <= value <= 1:
        raise ConfigError(f"{loss}: {name} is {value}; it must be in 0..1")


def check_not_negative(value: float, name: str, loss: str) -> None:
    """Refuse a negative option of `loss`.

    Raises:
        ConfigError: below 0, or not a number.
    """
    if not value >= 0:
        raise ConfigError(f"{loss}: {name} is {value}; it must be >= 0")
