"""Tables of a repository that are arrays in one file."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.errors import RunError

AGAIN: Final = "Write the repository again with `cartwheel export`."


@contextmanager
def read_arrays(path: Path) -> Iterator[Any]:
    """Open an ``.npz`` file as ``numpy.load`` does.

    Raises:
        RunError: if it cannot be read, lacks an array, or holds what makes no sense to the block.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            yield content
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} cannot be read ({error}).", AGAIN) from error
