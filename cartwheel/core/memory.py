"""Giving memory that is free back to the system: allocators keep it for later, and a run's stages need theirs at different times."""

from __future__ import annotations

import ctypes
import gc
import os
from typing import Final

_POLARS: Final = "_RJEM_MALLOC_CONF"
"""Where the allocator of Polars, jemalloc, looks for its settings when Polars is imported."""
_AT_ONCE: Final = "dirty_decay_ms:0,muzzy_decay_ms:0"


def give_back_at_once() -> None:
    """Let Polars give memory back when it frees it; to be called before Polars is imported. What the user has set stays."""
    os.environ.setdefault(_POLARS, _AT_ONCE)


def give_back() -> None:
    """Give back what is free: collect cycles, and trim."""
    gc.collect()
    trim()


def trim() -> None:
    """Have the C library give back what it holds and nobody uses; nothing where it is another than glibc."""
    its_own = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if its_own is not None:
        its_own(0)
