"""torch.compile for small kernels, kept between runs; left out without a compiler."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Hashable
from functools import cache
from types import FunctionType
from typing import ParamSpec, TypeVar

import platformdirs
import torch

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


def compiled(run: Callable[P, R]) -> Callable[P, R]:
    """`run` through torch.compile, for any size; as it is where no compiler is."""
    if not compiler_ready():
        return run
    # Code of its own: torch counts the kernels of one piece of code, and stops at 8.
    code = run.__code__.replace()
    own = FunctionType(code, run.__globals__, run.__name__, None, run.__closure__)
    return torch.compile(own, dynamic=True)


@cache
def kernel(
    run: Callable[P, R], _: Hashable = None, *, fused: bool = True
) -> Callable[P, R]:
    """`compiled`, once for each function and each kind of its arguments.

    A kind is what torch compiles anew for: a type of numbers, how many there are. Where
    nothing is to be fused, `run` as it is.
    """
    return compiled(run) if fused else run


@cache
def compiler_ready() -> bool:
    """Whether torch.compile can build kernels; if not, the log says so once.

    Kernels are kept in the user's cache folder, so that only a first run builds them.
    """
    named = os.environ.get("CXX", "g++").split()[:1]
    if not any(shutil.which(name) for name in (*named, "clang++")):
        log.warning(
            "backend 'fused' needs a C++ compiler and found none; running the same"
            " arithmetic uncompiled, with the same bits, more slowly (install g++, or"
            " set CXX)"
        )
        return False
    # It warns of a CUDA toolkit without a GPU, whatever is compiled.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    folder = platformdirs.user_cache_path("stars") / "kernels"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    return True
