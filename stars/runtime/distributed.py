"""Several processes that train as one: who they are, and what they tell each other.

Every process draws the whole batch's random numbers and works on its own rows of it.
What the losses and priors see is gathered, so each process computes the loss of the
whole batch; the gradient of that loss stops at a process's own rows, and those of the
parameters are summed. So N processes do what one does, up to the order of sums.

All of it is the identity in a process of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, distributed as dist

from stars.errors import ConfigError, MissingDependencyError, TrainingError

TIMEOUT = timedelta(minutes=10)  # that a process waits for the others
FAILURES = "stars/failures"  # counts those of the group, in its store

Value = TypeVar("Value")


class Group:
    """Within it, the processes that a launcher started are one group.

    Launchers say so by WORLD_SIZE, as torchrun and `accelerate launch` do; without it
    nothing is set up, and nothing imported. When processes fail, one alone raises what
    it failed by, the others leave with exit code 1.

    Attributes:
        first: whether this process is the one that writes.

    Raises:
        MissingDependencyError: there is more than one process, and no accelerate.
    """

    first: bool

    def __enter__(self) -> Group:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            join()
        self.first = rank() == 0
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if processes() == 1:
            return
        if error is None:
            # Together: a process that leaves while another still sends is aborted.
            dist.barrier()
            dist.destroy_process_group()
        elif isinstance(error, Exception) and not first_to_fail():
            raise SystemExit(1) from None


def leave(code: int) -> NoReturn:
    """End a process that was one of a group, and take nothing down.

    A thread that gloo leaves behind aborts an interpreter now and then as it ends
    ("terminate called without an active exception"), after all work was done.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def join() -> None:
    """Make this process a member of its launcher's group, on its own device.

    Raises:
        MissingDependencyError: accelerate is not installed.
    """
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingDependencyError(
            "several processes need accelerate: pip install 'stars-snn[distributed]'"
        ) from error
    if torch.cuda.is_available():  # the bank stays on the CPU
        PartialState(backend="cuda:nccl,cpu:gloo", timeout=TIMEOUT)
    else:
        PartialState(cpu=True, timeout=TIMEOUT)


def first_to_fail() -> bool:
    """Whether no other process of the group has failed before; to be asked once."""
    try:
        store = dist.distributed_c10d._get_default_store()
        return store.add(FAILURES, 1) == 1
    except RuntimeError:  # it went away with the process that kept it
        return False


def processes() -> int:
    """How many there are in the group."""
    there = dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if there else 1


def rank() -> int:
    """Which one of them this is; 0 is the one that writes."""
    return dist.get_rank() if processes() > 1 else 0


def own_device(name: str) -> str:
    """The device of this process: of "cuda", the one with its number on the machine.

    Raises:
        ConfigError: a device with a number, which not all can have.
    """
    if processes() == 1 or name == "cpu":
        return name
    if ":" in name:
        raise ConfigError(
            f"device {name!r} cannot be that of {processes()} processes; give 'cuda'"
        )
    return f"{name}:{os.environ.get('LOCAL_RANK', '0')}"


def check_batch(size: int, where: str) -> None:
    """Refuse a batch that has not as many rows for each process.

    Raises:
        ConfigError: it has not.
    """
    if size % processes():
        raise ConfigError(
            f"{where} is {size}, the size of the batch of all processes; expected a"
            f" multiple of {processes()}, the number of processes"
        )


def check_alike(value: object, what: str) -> None:
    """Refuse to go on when processes have different values.

    Raises:
        ConfigError: they have.
    """
    if processes() == 1:
        return
    values: list[object] = [None] * processes()
    with together():
        dist.all_gather_object(values, value)
    if any(other != values[0] for other in values):
        raise ConfigError(f"{what} is not the same in all processes: {values}")


def from_first(value: Value) -> Value:
    """What the first process gave for `value`."""
    if processes() == 1:
        return value
    values = [value]
    with together():
        dist.broadcast_object_list(values)
    return values[0]


def share(batch: Tensor) -> Tensor:
    """This process's rows of [B, ...]: [B / processes, ...]; B must be a multiple."""
    if processes() == 1:
        return batch
    rows = len(batch) // processes()
    return batch[rank() * rows : (rank() + 1) * rows]


def gathered(rows: Tensor, dim: int = 0) -> Tensor:
    """The rows of all processes along `dim`, in their order; inverse of `share`.

    Gradients reach a process's own rows. That is the whole gradient where all processes
    go on to compute the same loss of what they get here.
    """
    if processes() == 1:
        return rows
    result: Tensor = Gathered.apply(rows, dim)
    return result


def mean_over_processes(x: Tensor) -> Tensor:
    """The mean of all processes' `x`; for gradients the same holds as for `gathered`.

    A mean over the rows of each share becomes the mean over the rows of the batch.
    """
    if processes() == 1:
        return x
    result: Tensor = MeanOverProcesses.apply(x)
    return result


def sum_in_place(x: Tensor) -> Tensor:
    """`x`, which now holds the sum of all processes' values."""
    if processes() > 1:
        with together():
            dist.all_reduce(x)
    return x


def sum_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Sum what `backward` left in the optimizer's parameters over the processes."""
    if processes() == 1:
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = sum_in_place(torch.cat([g.flatten() for g in gradients]))
    for gradient, total in zip(
        gradients, flat.split([g.numel() for g in gradients]), strict=True
    ):
        gradient.copy_(total.view_as(gradient))


@contextmanager
def together() -> Iterator[None]:
    """Around what needs every process.

    Raises:
        TrainingError: one did not take part.
    """
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            f"process {rank()} of {processes()} lost the others; one of them stopped,"
            f" or did not answer in time ({str(error).splitlines()[0]})"
        ) from error


class Gathered(torch.autograd.Function):
    """See `gathered`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, dim: int) -> Tensor:  # noqa: D102
        ctx.dim, ctx.rows = dim, rows.shape[dim]
        mine = rows.contiguous()
        parts = [torch.empty_like(mine) for _ in range(processes())]
        with together():
            dist.all_gather(parts, mine)
        return torch.cat(parts, dim)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # noqa: D102
        return gradient.narrow(ctx.dim, rank() * ctx.rows, ctx.rows), None


class MeanOverProcesses(torch.autograd.Function):
    """See `mean_over_processes`."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:  # noqa: D102
        return sum_in_place(x.clone()) / processes()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Any:  # noqa: D102
        return gradient / processes()
