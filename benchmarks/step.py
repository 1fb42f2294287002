"""Times a student's forward pass and training step against other libraries.

    python benchmarks/step.py [--json FILE] [--threads N] [--device cuda]

All rows run the student's convolutions and BatchNorm on the same cores, with the LIF
neuron of each library (dt / tau = 1/2, threshold 1, reset to 0, gradient through the
reset). For all, the steps are folded into the batch and the first layer's current is
held; typical snnTorch code does not do so. The two floors are the network with ReLU for
LIF, and its convolutions alone. Calls of all rows alternate, so that a slow minute
slows all of them. Compare only the ratios; absolute times depend on the machine. Our
row is the student as it is trained, with fused BatchNorm. All rows keep freed memory,
as the training commands do.

The other libraries are timed if they are installed:

    pip install --no-deps spikingjelly==2.0.0 snntorch==1.0.0 loguru tqdm
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stars.config.models import StudentConfig
from stars.networks.architectures import blueprint
from stars.networks.batch_norm import fuse
from stars.networks.blueprint import Activation, Blueprint, ConvBN
from stars.networks.lif import LIFConstants, LIFLayer
from stars.networks.network import Network, SumReLU
from stars.runtime.allocator import keep_freed_memory

RESULTS = Path(__file__).parent / "results" / "step.json"
NORSE, OURS, RELU, CONVOLUTIONS = "norse", "stars", "relu floor", "convolutions"
WARM_UP = 2

Timing = dict[str, list[float]]


@dataclass(frozen=True)
class Case:
    """One student to time."""

    name: str
    input_shape: tuple[int, int, int]
    options: dict[str, Any]
    steps: int
    batch: int

    def blueprint(self) -> Blueprint:
        """The student's topology."""
        return blueprint("resnet", self.input_shape, 10, self.options)


DEFAULT = StudentConfig().options
RESNET18 = {"widths": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}


class OverTime(nn.Module):
    """Replaces the student's LIF by a library's neuron [T, B, ...] -> [T, B, ...]."""

    def __init__(
        self, run: Callable[[Tensor], Tensor], steps: int, *, encodes: bool
    ) -> None:
        super().__init__()
        self.run, self.steps, self.encodes = run, steps, encodes

    def forward(self, *currents: Tensor) -> Tensor:
        """Currents, which are summed -> the neuron's output, [T B, C, H, W]."""
        x = sum(currents[1:], start=currents[0])
        if self.encodes:
            x = x.expand(self.steps, *x.shape)
        else:
            x = x.unflatten(0, (self.steps, -1))
        return self.run(x).flatten(0, 1)


class SumOf(nn.Module):
    """The sum of currents, without a neuron."""

    def forward(self, *currents: Tensor) -> Tensor:
        """[N, C, H, W] each."""
        return sum(currents[1:], start=currents[0])


def spikingjelly() -> Callable[[Tensor], Tensor]:
    """SpikingJelly's LIFNode for all steps at once, with its default kernel."""
    activation_based = "spikingjelly.activation_based"
    neuron = importlib.import_module(f"{activation_based}.neuron")
    functional = importlib.import_module(f"{activation_based}.functional")
    node = neuron.LIFNode(tau=2.0, v_reset=0.0, step_mode="m")

    def run(x: Tensor) -> Tensor:
        functional.reset_net(node)
        spikes: Tensor = node(x)
        return spikes

    return run


def snntorch() -> Callable[[Tensor], Tensor]:
    """The Leaky neuron of snnTorch, step by step; the input is halved as in LIFBox."""
    library = importlib.import_module("snntorch")
    cell = library.Leaky(beta=0.5, reset_mechanism="zero")

    def run(x: Tensor) -> Tensor:
        membrane, spikes = torch.zeros_like(x[0]), []
        for current in x:
            z, membrane = cell(current * 0.5, membrane)
            spikes.append(z)
        return torch.stack(spikes)

    return run


def lif(spec: Activation, steps: int, backend: Any) -> nn.Module:
    """The student's own layer."""
    return LIFLayer(LIFConstants(), steps, encodes=spec.encodes, backend=backend)


def other(spec: Activation, steps: int, make: Callable[[], Any]) -> nn.Module:
    """Another library's neuron."""
    return OverTime(make(), steps, encodes=spec.encodes)


def floor(spec: Activation, steps: int, make: Callable[[], nn.Module]) -> nn.Module:
    """A layer without state; the first one repeats its output T times."""
    layer = make()
    return OverTime(layer, steps, encodes=True) if spec.encodes else layer


def bare(spec: ConvBN) -> nn.Module:
    """A convolution without BatchNorm."""
    return nn.Conv2d(*spec.channels, spec.kernel, spec.stride, spec.padding, bias=False)


ROWS: dict[str, Callable[[Activation, int], nn.Module]] = {
    NORSE: partial(lif, backend="norse-eager"),
    "spikingjelly": partial(other, make=spikingjelly),
    "snntorch": partial(other, make=snntorch),
    OURS: partial(lif, backend="fused"),
    RELU: partial(floor, make=SumReLU),
    CONVOLUTIONS: partial(floor, make=SumOf),
}


def network(case: Case, row: str, device: str) -> Network:
    """The case's student with the neuron of one row."""
    torch.manual_seed(0)
    make = ROWS[row]
    extra = {"convolution": bare} if row == CONVOLUTIONS else {}
    result = Network(
        case.blueprint(), lambda spec: make(spec, case.steps), case.steps, **extra
    )
    if row == OURS:
        fuse(result)
    return result.to(device, memory_format=torch.channels_last)


def there(row: str) -> bool:
    """Whether a row's library is installed; prints a line if not."""
    if row not in ("spikingjelly", "snntorch"):
        return True
    try:
        importlib.import_module(row)
    except ImportError as error:
        print(f"skipped: {row} ({error})")
        return False
    return True


def calls(
    module: Network, images: Tensor, *, bf16: bool
) -> dict[str, Callable[[], None]]:
    """A forward pass and a training step, by name."""
    optimizer = torch.optim.SGD(module.parameters(), 1e-6)
    autocast = partial(torch.autocast, images.device.type, torch.bfloat16, bf16)

    def forward() -> None:
        with torch.no_grad(), autocast():
            module(images)

    def train() -> None:
        with autocast():
            outputs = module(images)
        outputs.logits.float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return {"forward": forward, "train": train}


def timed(call: Callable[[], None], device: str) -> float:
    """The milliseconds of one call."""
    if device != "cpu":
        torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) * 1e3


def measure(
    case: Case, rows: list[str], device: str, repeats: int, *, bf16: bool
) -> list[dict[str, Any]]:
    """One line for each row, for the forward pass and for the training step."""
    images = torch.randn(case.batch, *case.input_shape, device=device)
    found = []
    todo = {row: calls(network(case, row, device), images, bf16=bf16) for row in rows}
    for kind in ("forward", "train"):
        times: Timing = {row: [] for row in rows}
        for _ in range(WARM_UP):
            for row in rows:
                todo[row][kind]()
        for _ in range(repeats):
            for row in rows:
                times[row].append(timed(todo[row][kind], device))
        median = {row: statistics.median(values) for row, values in times.items()}
        found += [
            {
                "student": case.name,
                "steps": case.steps,
                "batch": case.batch,
                "precision": "bfloat16" if bf16 else "float32",
                "kind": kind,
                "row": row,
                "milliseconds": round(median[row], 1),
                "ratio_to_norse": round(median[NORSE] / median[row], 2),
                "times_relu_floor": round(median[row] / median[RELU], 2),
            }
            for row in rows
        ]
    return found


def summary(lines: list[dict[str, Any]]) -> dict[str, float]:
    """The ratios of the training step in the first case."""
    first = lines[0]
    chosen = {
        (line["precision"], line["row"]): line["milliseconds"]
        for line in lines
        if line["kind"] == "train"
        and (line["student"], line["steps"]) == (first["student"], first["steps"])
    }
    eager = chosen["float32", NORSE]
    ours = {p: chosen[p, OURS] for p in ("float32", "bfloat16")}
    result = {
        "train_ratio_to_eager_norse": eager / ours["float32"],
        "train_ratio_to_eager_norse_bfloat16": chosen["bfloat16", NORSE]
        / ours["bfloat16"],
        "train_ratio_to_eager_norse_best": eager / min(ours.values()),
        "train_times_relu_floor": ours["float32"] / chosen["float32", RELU],
    }
    if ("float32", "spikingjelly") in chosen:
        result["train_ratio_to_spikingjelly"] = (
            chosen["float32", "spikingjelly"] / ours["float32"]
        )
    return {name: round(value, 2) for name, value in result.items()}


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 16], help="T")
    parser.add_argument(
        "--resnet18-batch",
        type=int,
        default=8,
        help="0 skips it; 128 takes 100 times the work of the default student",
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    rows = [row for row in ROWS if there(row)]
    cases = [
        Case("default", (1, 28, 28), DEFAULT, steps, options.batch)
        for steps in options.steps
    ]
    if options.resnet18_batch:
        cases.append(Case("resnet18", (3, 32, 32), RESNET18, 4, options.resnet18_batch))
    lines: list[dict[str, Any]] = []
    for case in cases:
        for bf16 in (False, True):
            lines += measure(case, rows, options.device, options.repeats, bf16=bf16)
            for line in lines[-2 * len(rows) :]:
                print(*line.values(), sep="  ", flush=True)
    document = {
        "processor": platform.processor() or platform.machine(),
        "device": options.device,
        "threads": options.threads,
        "torch": torch.__version__,
        **summary(lines),
        "lines": lines,
    }
    print(json.dumps(summary(lines), indent=2))
    options.json.parent.mkdir(exist_ok=True)
    options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
