"""Settings of the C library's memory allocator."""

from __future__ import annotations

import ctypes
import platform

MALLOC = {  # parameters of mallopt(3): number and our value
    "M_MMAP_MAX": (-4, 0),
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1),
    "M_TOP_PAD": (-2, 2**28),
}


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the tensors of the next step.

    Each step frees and allocates the same large tensors. By default glibc returns them
    to the system, which clears their pages again. This takes a third of the time of a
    training pass, and half if all membranes are recorded. The setting is for the whole
    process; with another C library nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in MALLOC.values():
        mallopt(parameter, value)
