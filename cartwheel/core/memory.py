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
    """Give back what is free: collect cycles, and have the C library trim what it holds; nothing where it is another than glibc."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
