"""Origin: the files, the inputs and the version that a result was measured with.

parity.json and energy.json hold one. It binds them to the bytes of the files, so that a
report on another file does not repeat their numbers.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePath

from pydantic import Field

from export.onnx_proof import fingerprint
from targets.inputs import Inputs
from targets.record import Record

PART = 1000  # inputs that are hashed at once


class RanFile(Record):
    """One file, and the targets that ran it."""

    file: str = Field(description="relative to the run or to its NIR file, or absolute")
    sha256: str = Field(description="of an ONNX file without its entry 'proof'")
    targets: tuple[str, ...]

    @property
    def inside(self) -> bool:
        """Whether the file is in the folder of the run or of the NIR file."""
        path = PurePath(self.file)
        return not path.is_absolute() and ".." not in path.parts


class Origin(Record):
    """What a result was measured with."""

    stars_version: str
    steps: int = Field(description="T, steps per input")
    data: str = Field(description="name of the inputs")
    inputs: int = Field(description="how many ran")
    inputs_sha256: str = Field(
        description="of the uint8 images in C order, or of the encoded inputs as"
        " little-endian float64, a part of 1,000 inputs after the other"
    )
    files: tuple[RanFile, ...] = Field(
        description="all that ran; none if the network was not read from a file"
    )

    def mismatch(self, folder: Path, network: Path) -> str | None:
        """Why this is not the origin of the files in a folder; None if it is.

        Args:
            folder: the run directory.
            network: its NIR file, which must be among the files.
        """
        known = [one for one in self.files if one.inside]
        if str(network.relative_to(folder)) not in [one.file for one in known]:
            return f"'{network}' did not run"
        for one in known:
            path = folder / one.file
            if not path.is_file():
                return f"'{path}' ran and is gone"
            if fingerprint(path) != one.sha256:
                return (
                    f"'{path}' is another file than the one that ran: its SHA-256 is"
                    f" {fingerprint(path)}, that of the other was {one.sha256}"
                )
        return None


def inputs_digest(inputs: Inputs) -> str:
    """The SHA-256 of the inputs that run."""
    digest = hashlib.sha256()
    for start in range(0, len(inputs), PART):
        part = inputs.raw(start, min(start + PART, len(inputs)))
        digest.update(part.astype(part.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
