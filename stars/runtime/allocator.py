"""What the C library does with freed memory."""

from __future__ import annotations

import ctypes
import platform

MALLOC = {  # of mallopt(3): its number and our value
    "M_MMAP_MAX": (-4, 0),
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1),
    "M_TOP_PAD": (-2, 2**28),
}


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, for the tensors of the next step.

    Each step frees and asks for the same large tensors. By default glibc gives them
    back to the system every time, and their pages are cleared anew: a third of the
    time of a training pass, half of one that records all membranes. For the whole
    process; nothing where the C library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in MALLOC.values():
        mallopt(parameter, value)
