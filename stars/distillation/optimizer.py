"""The optimizer of a student, and its learning-rate schedule."""

from __future__ import annotations

from torch.nn import Parameter
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from stars.config.models import TrainingConfig
from stars.networks.blueprint import Head
from stars.networks.network import Network

WARM_UP = 0.15  # share of the steps in which the learning rate rises


def descent(student: Network, config: TrainingConfig) -> tuple[AdamW, OneCycleLR]:
    """AdamW with a one-cycle learning rate, which is higher for the head.

    The head reads mean firing rates below 1 and must give scores beyond 10. So its
    weights change most, and Adam moves them by about one learning rate a step. They
    have no weight decay.

    Args:
        student: a network with a Head.
        config: `learning_rate`, times `head_rate` for the head; `weight_decay`;
            `steps`.

    Source: Loshchilov & Hutter 2019 (AdamW), arXiv:1711.05101; Smith & Topin 2019 (one
        cycle), arXiv:1708.07120.
    """
    heads = {spec.name for spec in student.blueprint.layers if isinstance(spec, Head)}
    parts: dict[bool, list[Parameter]] = {False: [], True: []}
    for name, layer in student.layers.items():
        parts[name in heads] += layer.parameters()
    optimizer = AdamW(
        [
            {"params": parts[False], "weight_decay": config.weight_decay},
            {"params": parts[True], "weight_decay": 0.0},
        ]
    )
    rate = config.learning_rate
    schedule = OneCycleLR(
        optimizer,
        [rate, rate * config.head_rate],
        total_steps=config.steps,
        pct_start=WARM_UP,
    )
    return optimizer, schedule
