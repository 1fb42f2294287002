"""Data-parallel training in several processes: ranks, shares and sums.

Every process draws the random numbers of the whole batch and works on its own rows.
Losses and priors see the gathered rows, so each process computes the loss of the whole
batch. The gradient of that loss reaches only the process's own rows, and the gradients
of the parameters are summed. So N processes compute what one does, up to rounding.

With one process, every function here is the identity.
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

TIMEOUT = timedelta(minutes=10)  # how long a process waits for the others
FAILURES = "stars/failures"  # key of the failure count in the group's store

Value = TypeVar("Value")


class Group:
    """A context in which the processes of a launcher form one group.

    torchrun and `accelerate launch` set WORLD_SIZE; without it nothing is set up or
    imported. If processes fail, only one raises its error; the others exit with code 1.

    Attributes:
        first: whether this process has rank 0, which writes all files.

    Raises:
        MissingDependencyError: several processes need accelerate, which is missing.
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
            # Wait: a process that leaves while another one sends is aborted.
            dist.barrier()
            dist.destroy_process_group()
        elif isinstance(error, Exception) and not first_to_fail():
            raise SystemExit(1) from None


def leave(code: int) -> NoReturn:
    """Exit from a process of a group without cleaning up.

    When the interpreter ends, a leftover thread of gloo sometimes aborts it ("terminate
    called without an active exception"), although all work is done.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def join() -> None:
    """Join the launcher's group, on a device of this process's own.

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
    """Whether this process is the first of the group to fail; call it once."""
    try:
        store = dist.distributed_c10d._get_default_store()
        return store.add(FAILURES, 1) == 1
    except RuntimeError:  # the process that kept the store is gone
        return False


def processes() -> int:
    """The number of processes in the group."""
    there = dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if there else 1


def rank() -> int:
    """The rank of this process; rank 0 writes all files."""
    return dist.get_rank() if processes() > 1 else 0


def own_device(name: str) -> str:
    """The device of this process: for "cuda" the one of its local rank.

    Raises:
        ConfigError: a numbered device, which several processes cannot share.
    """
    if processes() == 1 or name == "cpu":
        return name
    if ":" in name:
        raise ConfigError(
            f"device {name!r} cannot be that of {processes()} processes; give 'cuda'"
        )
    return f"{name}:{os.environ.get('LOCAL_RANK', '0')}"


def check_batch(size: int, where: str) -> None:
    """Refuse a batch size that the number of processes does not divide.

    Raises:
        ConfigError: it is not divisible.
    """
    if size % processes():
        raise ConfigError(
            f"{where} is {size}, the size of the batch of all processes; expected a"
            f" multiple of {processes()}, the number of processes"
        )


def check_alike(value: object, what: str) -> None:
    """Refuse values that differ between processes.

    Raises:
        ConfigError: they differ.
    """
    if processes() == 1:
        return
    values: list[object] = [None] * processes()
    with together():
        dist.all_gather_object(values, value)
    if any(other != values[0] for other in values):
        raise ConfigError(f"{what} is not the same in all processes: {values}")


def from_first(value: Value) -> Value:
    """The `value` of rank 0, in every process."""
    if processes() == 1:
        return value
    values = [value]
    with together():
        dist.broadcast_object_list(values)
    return values[0]


def share(batch: Tensor) -> Tensor:
    """This process's rows of [B, ...]: [B / processes, ...]; B must be divisible."""
    if processes() == 1:
        return batch
    rows = len(batch) // processes()
    return batch[rank() * rows : (rank() + 1) * rows]


def gathered(rows: Tensor, dim: int = 0) -> Tensor:
    """The rows of all processes along `dim`, by rank; the inverse of `share`.

    Gradients reach only a process's own rows. They are complete if all processes
    compute the same loss from the gathered rows.
    """
    if processes() == 1:
        return rows
    result: Tensor = Gathered.apply(rows, dim)
    return result


def mean_over_processes(x: Tensor) -> Tensor:
    """The mean of `x` over the processes; gradients behave as those of `gathered`.

    It turns the mean over each process's rows into the mean over the whole batch.
    """
    if processes() == 1:
        return x
    result: Tensor = MeanOverProcesses.apply(x)
    return result


def sum_in_place(x: Tensor) -> Tensor:
    """`x`, overwritten by its sum over the processes."""
    if processes() > 1:
        with together():
            dist.all_reduce(x)
    return x


def sum_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Sum the gradients of the optimizer's parameters over the processes."""
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
    """A context for calls that need every process.

    Raises:
        TrainingError: a process did not take part.
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
