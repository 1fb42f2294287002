"""The entry of an ONNX file that names its proof: added and removed as its last bytes.

A proof holds the SHA-256 of the file, so the file cannot hold that of its proof without
changing its own. Therefore the SHA-256 of an ONNX file is that of its bytes without
this entry: `head -c -75 student.onnx | sha256sum`. Protobuf joins repeated fields, so a
reader finds the entry `proof` among the other metadata_props.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from stars.files.writing import atomic, sha256

# Field 14 of ModelProto, metadata_props: the key "proof" and 64 hexadecimal digits.
HEAD = b"\x72\x49\x0a\x05proof\x12\x40"
ENTRY = re.compile(re.escape(HEAD) + rb"([0-9a-f]{64})\Z")
LENGTH = len(HEAD) + 64


def fingerprint(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; of an ONNX file without its proof entry.

    Raises:
        OSError: the file cannot be read.
    """
    if path.suffix != ".onnx":
        return sha256(path)
    return hashlib.sha256(without_entry(path.read_bytes())).hexdigest()


def proof_of(path: Path) -> str | None:
    """The SHA-256 of the proof that an ONNX file names; None if it names none."""
    found = (
        ENTRY.search(path.read_bytes()[-LENGTH:]) if path.suffix == ".onnx" else None
    )
    return found[1].decode() if found else None


def name_proof(path: Path, digest: str) -> None:
    """Write the SHA-256 of its proof into an ONNX file, in place of any other.

    Raises:
        DataError: the file cannot be written.
    """
    content = without_entry(path.read_bytes()) + HEAD + digest.encode()
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def without_entry(content: bytes) -> bytes:
    """The bytes of an ONNX file without the entry that names its proof."""
    return content[:-LENGTH] if ENTRY.search(content[-LENGTH:]) else content
