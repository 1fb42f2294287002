"""student.safetensors: a student's weights, and all that is needed to run them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_bytes, save_file

from stars.architectures import blueprint
from stars.architectures.network import Network
from stars.encode import DirectEncoding
from stars.errors import FormatError
from stars.files import atomic
from stars.grid_network import LayerGrid, grid_network
from stars.lif import LIFConstants
from stars.nodes.base import Shape
from stars.student import build

METADATA_KEY = "stars.student"


@dataclass(frozen=True)
class StudentFile:
    """What student.safetensors says beside the weights.

    Args:
        architecture, options, input_shape, classes: of the blueprint.
        steps: T.
        surrogate: of the neurons; no part of what runs.
        encoding: how images become the input.
        grids: of each layer, by name; empty off the grid.
    """

    architecture: str
    options: Mapping[str, Any]
    input_shape: Shape
    classes: int
    steps: int
    surrogate: str
    encoding: DirectEncoding
    grids: Mapping[str, LayerGrid]

    @classmethod
    def from_json(cls, text: str) -> StudentFile:
        """What `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: something else.
        """
        raw = json.loads(text)
        values = {field.name: raw[field.name] for field in fields(cls)}
        grids = {name: LayerGrid(**grid) for name, grid in raw["grids"].items()}
        special = {
            "input_shape": tuple(raw["input_shape"]),
            "encoding": DirectEncoding(**raw["encoding"]),
            "grids": grids,
        }
        return cls(**{**values, **special})

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    def empty_network(self) -> Network:
        """The network, its weights not loaded yet."""
        plan = blueprint(
            self.architecture, self.input_shape, self.classes, self.options
        )
        constants = LIFConstants(surrogate=self.surrogate)
        if self.grids:
            return grid_network(plan, self.steps, constants, self.grids)
        return build(plan, self.steps, constants)


def save(network: Network, file: StudentFile, path: Path) -> None:
    """Write weights and description as one .safetensors file, all or nothing."""
    tensors = {k: v.contiguous() for k, v in network.state_dict().items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={METADATA_KEY: file.to_json()})


def load(path: Path) -> tuple[Network, StudentFile]:
    """The network that `save` wrote, in evaluation mode, and its description.

    Raises:
        FormatError: missing, not safetensors, not a student of ours, or damaged.
    """
    try:
        content = path.read_bytes()
        tensors = load_bytes(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        file = StudentFile.from_json(header["__metadata__"][METADATA_KEY])
        network = file.empty_network()
        network.load_state_dict(tensors)
    except OSError as error:
        raise FormatError(f"student '{path}': {error.strerror}") from error
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise FormatError(
            f"student '{path}': not a student's file, or damaged ({error})"
        ) from error
    return network.eval(), file
