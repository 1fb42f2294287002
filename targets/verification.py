"""verify(file, proof): whether a parity.json is the proof of a file, by its bytes."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from export.onnx_proof import fingerprint, proof_of
from stars.errors import FormatError
from stars.files.writing import sha256
from targets.parity_check.report import TargetReport
from targets.record import Record
from targets.report.read import read_parity


class Verification(Record):
    """Whether a proof is that of a file."""

    file: str
    sha256: str = Field(description="of an ONNX file without its entry 'proof'")
    proof: str
    proof_sha256: str
    ok: bool = Field(description="whether the proof is of this file and without a fail")
    targets: tuple[str, ...] = Field(description="that ran the file")
    verdict: str


def verify(file: Path, proof: Path) -> Verification:
    """Whether a proof names the bytes of a file, and what it says of them.

    Args:
        file: a .nir, .onnx or .safetensors file.
        proof: a parity.json.

    Raises:
        FormatError: a file is missing, or the proof is damaged or names no file.
    """
    for path in (file, proof):
        if not path.is_file():
            raise FormatError(f"'{path}': no such file")
    report = read_parity(proof)
    if report is None or report.origin is None:
        raise FormatError(
            f"'{proof}' names no file: it has schema 1 of an older version; run 'stars"
            " parity' again"
        )
    digest, own = fingerprint(file), sha256(proof)
    names = {
        name
        for one in report.origin.files
        if one.sha256 == digest
        for name in one.targets
    }
    ran = [target for target in report.targets if target.name in names]
    known = any(one.sha256 == digest for one in report.origin.files)
    ok = known and report.ok
    if not known:
        others = ", ".join(
            f"{one.file} ({one.sha256[:12]}...)" for one in report.origin.files
        )
        verdict = f"FAIL: the proof is of other files: {others or 'none'}"
    elif not ok:
        failed = ", ".join(target.name for target in report.targets if not target.ok)
        verdict = f"FAIL: the proof is of this file and says that it differs: {failed}"
    else:
        verdict = f"PASS: the proof is of this file; {counts(ran)}"
    named = proof_of(file)
    if known and named not in (None, own):
        verdict += f"; the file names another proof, {named}"
    return Verification(
        file=str(file),
        sha256=digest,
        proof=str(proof),
        proof_sha256=own,
        ok=ok,
        targets=[target.name for target in ran],
        verdict=verdict,
    )


def counts(ran: list[TargetReport]) -> str:
    """What ran the file, and how much of it was compared."""
    if not ran:
        return "no target of its own ran it"
    steps = sum(target.neuron_steps for target in ran)
    images = max(target.images for target in ran)
    names = ", ".join(target.name for target in ran)
    return f"0 of {steps:,} neuron-steps differ on {images:,} images ({names})"
