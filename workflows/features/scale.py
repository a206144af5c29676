"""How an encoded number is read back in its own unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Scale:
    """What the encoding did to a number: maybe the logarithm of one more than it, less a mean, over a standard deviation.

    Attributes:
        mean: what was subtracted.
        spread: what was divided by; 0 where training has one value.
        log: whether the logarithm was taken first.

    >>> Scale(1.0, 2.0).raw(np.array([0.5]))
    array([2.])
    """

    mean: float = 0.0
    spread: float = 1.0
    log: bool = False

    def raw(self, encoded: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return encoded values in the column's own unit, float64 of the same shape."""
        found = encoded.astype(np.float64) * self.spread + self.mean
        return np.asarray(np.expm1(found) if self.log else found, np.float64)

    def to_json(self) -> dict[str, Any]:
        """Return the scale as JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Scale:
        """Return the scale that ``to_json`` described."""
        return Scale(float(content["mean"]), float(content["spread"]), bool(content["log"]))
