"""student.safetensors: a student's weights and everything needed to run them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stars.errors import FormatError
from stars.graph.encoding import DirectEncoding
from stars.graph.nodes.base import Shape
from stars.grid.quantization import NodeGrid
from stars.networks.architectures import blueprint
from stars.networks.grid_layers import grid_network
from stars.networks.lif import LIFConstants
from stars.networks.network import Network
from stars.networks.student import build
from stars.networks.weights_file import filled, read_tensors, write_tensors

METADATA_KEY = "stars.student"


@dataclass(frozen=True)
class StudentFile:
    """The description of the network in student.safetensors.

    Args:
        architecture, options, input_shape, classes: of the blueprint.
        steps: T.
        surrogate: of the neurons; only training uses it.
        encoding: how images become the input.
        grids: of each layer, by name; empty for a student that is not on the grid.
    """

    architecture: str
    options: Mapping[str, Any]
    input_shape: Shape
    classes: int
    steps: int
    surrogate: str
    encoding: DirectEncoding
    grids: Mapping[str, NodeGrid]

    @classmethod
    def from_json(cls, text: str) -> StudentFile:
        """The description that `to_json` wrote.

        Raises:
            ValueError: the text is no such description.
        """
        return TypeAdapter(cls).validate_json(text, strict=True)

    def to_json(self) -> str:
        """The description as one line of JSON."""
        return json.dumps(asdict(self))

    def empty_network(self) -> Network:
        """The network without its trained weights."""
        plan = blueprint(
            self.architecture, self.input_shape, self.classes, self.options
        )
        constants = LIFConstants(surrogate=self.surrogate)
        if self.grids:
            return grid_network(plan, self.steps, constants, self.grids)
        return build(plan, self.steps, constants)


def save(network: Network, file: StudentFile, path: Path) -> None:
    """Write weights and description as one .safetensors file, atomically."""
    write_tensors(network, {METADATA_KEY: file.to_json()}, path)


def load(path: Path) -> tuple[Network, StudentFile]:
    """The network that `save` wrote, in evaluation mode, and its description.

    Raises:
        FormatError: the file is missing or damaged, or holds no student.
    """
    try:
        tensors, texts = read_tensors(path.read_bytes())
        file = StudentFile.from_json(texts[METADATA_KEY])
        network = filled(file.empty_network, tensors)
    except OSError as error:
        raise FormatError(f"student '{path}': {error.strerror}") from error
    except (ValueError, KeyError) as error:
        raise FormatError(
            f"student '{path}': not a student's file, or damaged ({error})"
        ) from error
    return network.eval(), file
