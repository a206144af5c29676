"""The parameters of a step as short text that identifies them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

import numpy as np
import polars as pl

SHORT: Final = 8
"""So many values of a sequence are written out; of more, their number and a digest."""

_DIGEST_CHARACTERS: Final = 12


def parameters(step: Any) -> dict[str, str]:
    """Return the parameters of a step, or of a part of one, as texts: the fields of its dataclass, in their order.

    A field that takes no part in comparisons, because a digest beside it does, is told by the number of its values alone: the length of
    the step, where it has one.
    """
    told = {}
    for field in fields(step) if is_dataclass(step) else ():
        value = getattr(step, field.name)
        if field.compare:
            told[field.name] = f"#{value[:_DIGEST_CHARACTERS]}" if field.name == "digest" else describe_value(value)
        elif hasattr(value, "__len__"):
            told[field.name] = f"{len(step if hasattr(step, '__len__') else value)} values"
    return told


def described(step: Any) -> str:
    """Return a step on one line, for example ``Standardize(mean=1.5, std=0.5, dtype='float32')``.

    Two steps of one class have one text if and only if their parameters are equal, but for sequences that agree in length and in the
    first 48 bits of their SHA-256.
    """
    return f"{type(step).__name__}({', '.join(f'{name}={text}' for name, text in parameters(step).items())})"


def describe_value(value: Any) -> str:
    """Return a parameter as text; ``1204 values #5f1c0a9be2d4`` for a long sequence."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return _listed((f"{key!r}: {describe_value(item)}" for key, item in value.items()), len(value), "{}")
    if isinstance(value, (tuple, list, np.ndarray, pl.Series)):
        return _listed(map(describe_value, value), len(value), "()")
    if isinstance(value, (set, frozenset)):
        return _listed(sorted(map(describe_value, value)), len(value), "{}")
    return described(value) if is_dataclass(value) and not isinstance(value, type) else repr(value)


def digest(parts: Iterable[str]) -> str:
    """Return the first 12 hexadecimal digits of the SHA-256 of texts, each followed by a zero byte."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return whole.hexdigest()[:_DIGEST_CHARACTERS]


def _listed(parts: Iterable[str], count: int, brackets: str) -> str:
    if count > SHORT:
        return f"{count} values #{digest(parts)}"
    return f"{brackets[0]}{', '.join(parts)}{brackets[1]}"
