"""torch.compile for small kernels, cached between runs; needs a C++ compiler."""

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
    """`run` compiled by torch for any size, or `run` itself without a compiler."""
    if not compiler_ready():
        return run
    # A copy of the code, because torch compiles at most 8 kernels per code object.
    code = run.__code__.replace()
    own = FunctionType(code, run.__globals__, run.__name__, None, run.__closure__)
    return torch.compile(own, dynamic=True)


@cache
def kernel(
    run: Callable[P, R], _: Hashable = None, *, fused: bool = True
) -> Callable[P, R]:
    """`run` compiled once for each kind of arguments; `run` itself if not `fused`.

    A kind is what makes torch compile again, such as dtypes or the number of tensors.
    """
    return compiled(run) if fused else run


@cache
def compiler_ready() -> bool:
    """Whether torch.compile can build kernels; if not, log a warning once.

    Kernels are kept in the user's cache folder, so only a first run builds them.
    """
    named = os.environ.get("CXX", "g++").split()[:1]
    if not any(shutil.which(name) for name in (*named, "clang++")):
        log.warning(
            "backend 'fused' found no C++ compiler; it runs uncompiled, with the same"
            " bits, but more slowly (install g++, or set CXX)"
        )
        return False
    # This logger warns about a CUDA toolkit without a GPU, even for CPU code.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    folder = platformdirs.user_cache_path("stars") / "kernels"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    return True
