"""The interface of a tuning subject: a name, a space, and a function from settings to a validation metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from models.tuning.space import Space

Report = Callable[[int, float], None]
"""What an attempt calls after each epoch with its number, from 0, and the figure; it may raise to end the attempt."""
Attempt = Callable[[Mapping[str, Any], Path, Report], float]
"""Tries settings: (the values searched, a folder to work in, where to report) -> the figure on validation; may raise ``DivergedError``."""


class DivergedError(Exception):
    """An attempt that came to no finite figure: settings that are bad, and no defect."""


@dataclass(frozen=True)
class Subject:
    """A model or a baseline that is tuned.

    Attributes:
        name: of the model or baseline.
        section: the section of the configuration that holds its settings.
        space: what is searched.
        current: the values of now, of each setting in the space; tried first.
        metric: the figure, in words.
        direction: which way is better.
        fingerprint: trials of another fingerprint (other data, seed or settings that are not searched) do not compare.
        attempt: tries settings.
    """

    name: str
    section: str
    space: Space
    current: Mapping[str, Any]
    metric: str
    direction: Literal["maximize", "minimize"]
    fingerprint: str
    attempt: Attempt
