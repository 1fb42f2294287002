"""Peak memory of a student's training step, by T, batch size and depth.

    python benchmarks/memory.py [--json FILE] [--device cuda] [--backend norse-eager]

Each case runs in its own process. The student takes small steps first, so that
everything permanent (weights, optimizer, code) is allocated. Then it takes one step of
the case, with or without checkpointing. The result is the peak above the memory before
this step: on the CPU of resident memory (Linux; MALLOC_MMAP_THRESHOLD_ makes glibc
return large tensors at once), on CUDA of the memory that torch's allocator gave out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from stars.networks.architectures import blueprint
from stars.networks.network import Network
from stars.networks.student import build

RESULTS = Path(__file__).parent / "results" / "memory.json"
WIDTHS = (16, 32, 64)
MIB = 2**20


@dataclass(frozen=True)
class Case:
    """One student and one batch."""

    steps: int = 4
    batch: int = 64
    blocks: int = 1
    checkpointing: bool = False


CASES = (
    Case(),
    *(Case(steps=steps) for steps in (1, 2)),
    *(Case(batch=batch) for batch in (32, 128)),
    *(Case(blocks=blocks) for blocks in (2, 3)),
)


def student(case: Case, backend: Any, device: str) -> Network:
    """A ResNet for 28 x 28 pixels, with the case's number of blocks per stage."""
    options = {"widths": WIDTHS, "depths": (case.blocks,) * len(WIDTHS)}
    plan = blueprint("resnet", (1, 28, 28), 10, options)
    network = build(plan, case.steps, backend=backend).to(device)
    network.checkpointing = case.checkpointing
    return network


def train(network: Network, optimizer: torch.optim.Optimizer, batch: int) -> None:
    """Take one training step."""
    device = next(network.parameters()).device
    outputs = network(torch.randn(batch, 1, 28, 28, device=device))
    optimizer.zero_grad(set_to_none=True)
    outputs.logits.square().mean().backward()
    optimizer.step()


def peak(case: Case, backend: str, device: str) -> float:
    """The peak memory of one step above the memory before it, MiB."""
    torch.manual_seed(0)
    network = student(case, backend, device)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-6)
    train(network, optimizer, 2)
    train(network, optimizer, 3)  # the second size compiles kernels for any size
    before = forget_peak(device)
    train(network, optimizer, case.batch)
    return (peak_bytes(device) - before) / MIB


def forget_peak(device: str) -> int:
    """Reset the peak; the bytes in use."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_bytes(device)


def peak_bytes(device: str) -> int:
    """The peak since `forget_peak`."""
    if device != "cpu":
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def measured(case: Case, backend: str, device: str) -> dict[str, Any]:
    """The case's result, measured in its own process."""
    options = ["--backend", backend, "--device", device]
    command = [sys.executable, __file__, *options, "--case", json.dumps(asdict(case))]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    result = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    )
    return {**asdict(case), "peak_mib": round(float(result.stdout), 1)}


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--backend", default="fused")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.case:
        print(peak(Case(**options.case), options.backend, options.device))
        return
    lines = []
    for case in CASES:
        for checkpointing in (False, True):
            both = Case(case.steps, case.batch, case.blocks, checkpointing)
            lines.append(measured(both, options.backend, options.device))
            print(*lines[-1].values(), sep="  ", flush=True)
    document = {
        "processor": platform.processor() or platform.machine(),
        "device": options.device,
        "backend": options.backend,
        "torch": torch.__version__,
        "widths": WIDTHS,
        "lines": lines,
    }
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
