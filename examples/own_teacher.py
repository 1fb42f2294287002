"""Distill a network of your own, without its data, and prove the result.

Your network is any nn.Module with BatchNorm2d layers and a last Linear layer. Give it
four attributes, and pass it to `stars.distill`. Here a small CNN with random weights
stands in for it: load your own weights where the comment says so.

    python examples/own_teacher.py                   # a full run, minutes
    python examples/own_teacher.py --config tiny.toml
"""

from __future__ import annotations

import argparse
import itertools

import torch
from torch import nn

import export
import stars
import targets


class Classifier(nn.Module):
    """Gray images of 28 x 28 pixels in ten classes."""

    input_shape = (1, 28, 28)
    classes = 10
    mean = (0.286,)  # of pixel / 255, as in its training; one value a channel
    deviation = (0.353,)

    def __init__(self) -> None:
        super().__init__()
        widths, layers = (1, 16, 32), []
        for before, width in itertools.pairwise(widths):
            convolution = nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], self.classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalized images [B, 1, 28, 28] -> class scores [B, 10]."""
        scores: torch.Tensor = self.head(self.body(images).mean((2, 3)))
        return scores


def main() -> None:
    """Distill, write NIR, compare two simulators."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", help="a TOML file of settings")
    teacher = Classifier()  # then: teacher.load_state_dict(torch.load("mine.pt"))
    student = stars.distill(teacher, config=parser.parse_args().config)
    export.write(student.graph, "student.nir")
    report = targets.parity("student.nir", student.images[:50], on=["norse", "loihi"])
    print(student)
    print("exact on both:", report.ok)


if __name__ == "__main__":
    main()
