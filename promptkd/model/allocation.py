"""Memory that a step on the CPU has freed stays with the process, for the next step.

glibc gives large blocks back to the kernel at once, and each step then waits for thousands of new pages to be mapped
and filled with zeros (docs/performance.md has what that costs). A process holds what it held at most until it ends.
"""

from __future__ import annotations

import ctypes
import os

# Parameters of mallopt (malloc.h of glibc).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_BLOCK = 2**30  # bytes; a larger one is mapped by itself, and given back when it is freed
_KEPT = 2**31 - 1  # free bytes at the end of the heap that are not given back


def keep_freed_memory() -> bool:
    """Makes the C library keep freed memory; whether it does. No effect without glibc, or where MALLOC_* is set."""
    if any(name.startswith("MALLOC_") for name in os.environ):  # whoever sets these knows better
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  # others have a mallopt of other numbers
    except (OSError, AttributeError, TypeError):  # TypeError: Windows
        return False
    return bool(library.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK) and library.mallopt(_TRIM_THRESHOLD, _KEPT))
