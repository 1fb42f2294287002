"""The report of a distillation: accuracies, firing rates and warnings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stars.data.accuracy import share_right
from stars.data.images import LabeledImages
from stars.errors import DataError
from stars.graph import reference
from stars.graph.encoding import DirectEncoding
from stars.graph.spiking_graph import SpikingGraph
from stars.graph.trace import HEALTHY_RATES
from stars.grid.certificate import Certificate, certify
from stars.networks.network import Network
from stars.networks.outputs import Outputs
from stars.networks.student import to_graph
from stars.teacher.teacher import Teacher

# A teacher that lacks this much of its file's accuracy was given foreign test images.
FAR_BELOW = 0.1


@dataclass(frozen=True)
class Students:
    """The student before and on the grid, on the CPU, in evaluation mode."""

    student: Network
    grid: Network
    encoding: DirectEncoding


@dataclass(frozen=True)
class DistillResult:
    """The student on the grid, and measurements at the last step, never the best one.

    Args:
        graph: the student to deploy.
        certificate: of the graph.
        rates: spikes per neuron and step of each layer, on images of the bank.
        teacher_accuracy, student_accuracy, grid_accuracy: on real test images, 0 to 1;
            None without any.
        seconds: of synthesis, training and fine-tuning, with all interrupted parts.
        recorded_accuracy: of the teacher as its file says, 0 to 1; None if it does not.
    """

    graph: SpikingGraph
    certificate: Certificate
    rates: Mapping[str, float]
    teacher_accuracy: float | None
    student_accuracy: float | None
    grid_accuracy: float | None
    seconds: float
    recorded_accuracy: float | None = None

    def accuracies(self) -> dict[str, float | None]:
        """The three accuracies by name."""
        return {
            "teacher": self.teacher_accuracy,
            "student": self.student_accuracy,
            "grid": self.grid_accuracy,
        }

    def warnings(self) -> list[str]:
        """Warnings before deployment: unusual rates, inexactness, a low accuracy."""
        low, high = HEALTHY_RATES
        found = [
            f"layer {name!r} fires at {100 * rate:.1f} % a step, expected"
            f" {100 * low:.0f} to {100 * high:.0f} %"
            for name, rate in self.rates.items()
            if not low <= rate <= high
        ]
        if not self.certificate.ok:
            found.append(f"not exact on every target: {self.certificate.verdict}")
        here, said = self.teacher_accuracy, self.recorded_accuracy
        if here is not None and said is not None and here < said - FAR_BELOW:
            found.append(
                f"the teacher classifies {100 * here:.2f} % of the test images"
                f" correctly, but its file says {100 * said:.2f} %; check"
                " test_data and the order of its classes"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Everything except the graph, as plain values."""
        return {
            **{f"{name}_accuracy": value for name, value in self.accuracies().items()},
            "rates": dict(self.rates),
            "certificate": self.certificate.verdict,
            "warnings": self.warnings(),
            "seconds": self.seconds,
        }


def measure(
    students: Students,
    teacher: Teacher,
    test: LabeledImages | None,
    images: NDArray[np.uint8],
    metadata: Mapping[str, str],
    seconds: float,
) -> DistillResult:
    """The graph of the student on the grid, and its measurements.

    Args:
        students: before and on the grid.
        teacher: on the CPU.
        test: real images; None for none.
        images: uint8 [N, C, H, W], for the firing rates.
        metadata: of the graph.
        seconds: to report.
    """
    encoding = students.encoding
    graph = to_graph(students.grid, encoding, metadata)
    rates = reference.run(graph, encoding.encode(images, graph.steps)).rates()

    def measured(network: Network) -> float | None:
        return None if test is None else accuracy(network, encoding, test)

    return DistillResult(
        graph=graph,
        certificate=certify(graph),
        rates=rates,
        teacher_accuracy=None if test is None else teacher_accuracy(teacher, test),
        student_accuracy=measured(students.student),
        grid_accuracy=measured(students.grid),
        seconds=round(seconds, 1),
        recorded_accuracy=teacher.spec.accuracy,
    )


def check_images(images: LabeledImages, teacher: Teacher, kind: str) -> None:
    """Refuse images that do not fit the teacher; `kind` is "test" or "training".

    Raises:
        DataError: another shape, or a label that the teacher does not have.
    """
    spec = teacher.spec
    if images.images.shape[1:] != spec.input_shape:
        raise DataError(
            f"{kind} images have shape {images.images.shape[1:]}, the teacher takes"
            f" {spec.input_shape}"
        )
    if images.classes > spec.classes:
        raise DataError(
            f"{kind} labels go up to {images.classes - 1}, the teacher has"
            f" {spec.classes} classes"
        )


def accuracy(network: Network, encoding: DirectEncoding, test: LabeledImages) -> float:
    """The share of `test` whose largest final membrane is the label's."""

    def scores(images: NDArray[np.uint8]) -> Tensor:
        inputs = encoding.encode(images, 1)[0].astype(np.float32)
        outputs: Outputs = network(torch.from_numpy(inputs))
        return outputs.mean_logits

    return share_right(scores, test)


def teacher_accuracy(teacher: Teacher, test: LabeledImages) -> float:
    """The share of `test` that the teacher classifies correctly."""

    def scores(images: NDArray[np.uint8]) -> Tensor:
        outputs: Outputs = teacher(teacher.normalize(torch.from_numpy(images)))
        return outputs.mean_logits

    return share_right(scores, test)
