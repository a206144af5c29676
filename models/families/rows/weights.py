"""Named arrays of a model in one file, without a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.errors import RunError
from cartwheel.core.files import atomic_path

WEIGHTS: Final = "weights.npz"


def write_weights(folder: Path, weights: Mapping[str, Any]) -> None:
    """Write arrays into an existing folder."""
    with atomic_path(folder / WEIGHTS) as aside, aside.open("wb") as stream:
        np.savez(stream, **weights)


def read_weights(folder: Path) -> dict[str, Any]:
    """Read what ``write_weights`` wrote.

    Raises:
        RunError: if it is missing or cannot be read.
    """
    path = folder / WEIGHTS
    try:
        with np.load(path) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception as error:  # zipfile, numpy and the file system each raise their own
        raise RunError(f"{path} cannot be read ({error}).", "Train the model again.") from error
