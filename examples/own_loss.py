"""Distill with a loss of your own beside the usual one.

A loss is a function of the outputs of student and teacher that returns a scalar. Its
keyword arguments are options. It must be at the top level of a module or script.

    python examples/own_loss.py                     # a full run, minutes
    python examples/own_loss.py --config tiny.toml
"""

from __future__ import annotations

import argparse

import torch
from torch.nn import functional as F

import stars
from stars.networks.outputs import Outputs


def margin(student: Outputs, teacher: Outputs, *, width: float = 1.0) -> torch.Tensor:
    """Hinge loss: the teacher's class leads every other class by `width`.

    Args:
        student: logits [T, B, K].
        teacher: logits [1, B, K].
        width: of the margin, in units of the scores.
    """
    scores, best = student.mean_logits, teacher.mean_logits.argmax(1)
    return F.multi_margin_loss(scores, best, margin=width)


def main() -> None:
    """Distill the bundled teacher with KL divergence and the margin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", help="a TOML file of settings")
    student = stars.distill(
        "fashion-mnist",
        config=parser.parse_args().config,
        losses=["kl", margin],
        progress=lambda stage, done, total, _: print(f"{stage} {done}/{total}"),
    )
    print(student)


if __name__ == "__main__":
    main()
