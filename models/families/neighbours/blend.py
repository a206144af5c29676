"""The weights of the sum of retrievers, stored in ``models/item_to_item/blend.json``.

With L(i) = (log(1 + recent interactions), log(1 + all interactions)) of item i and n the steps back from the end of a history,

    score(i) = r * query vector . item vector + p . L(i) + sum over factor models m of w(m) * score of m
             + sum over tables t and items j of the history of share(t, n) * t(j, i),

where r, p and w are one set of numbers for shoppers with a history and another for those without. A sum of scores can be searched exactly
by one pass over the catalogue, whatever it is the sum of.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError
from cartwheel.core.files import write_json
from cartwheel.core.run_layout import RELATIVE, RunLayout

FOLDER: Final = RELATIVE.item_to_item.path
"""Of a run: ``blend.json`` and, for each learner that counts, a table a catalogue, such as ``valid_ease.npz``."""

POPULARITY: Final = ("item_recent_events", "item_events")
"""Columns of a catalogue whose logarithms L holds."""


@dataclass(frozen=True)
class Base:
    """What counts whatever the history holds.

    Attributes:
        retrieval: r, 0 or above.
        popularity: p, one number for each of ``POPULARITY``.
        factors: name of a factor model -> w, above 0.
    """

    retrieval: float = 1.0
    popularity: tuple[float, float] = (0.0, 0.0)
    factors: Mapping[str, float] = field(default_factory=dict)

    def of_items(self, logs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return [N] p . L(i) of the logarithms [N, 2] of a catalogue, as ``log_popularity`` gives them."""
        return np.asarray(logs @ np.array(self.popularity, np.float32), np.float32)

    @property
    def sentence(self) -> str:
        """The weights, in words; "" where all are 0."""
        parts = [f"{self.retrieval:.3g} x retrieval"] if self.retrieval else []
        names = ("log of recent popularity", "log of popularity")
        parts += [f"{weight:.3g} x {name}" for weight, name in zip(self.popularity, names, strict=True) if weight]
        parts += [f"{weight:.3g} x {name}" for name, weight in self.factors.items()]
        return " + ".join(parts)


@dataclass(frozen=True)
class TableShares:
    """How much the table of one learner counts.

    Attributes:
        learner: name of the model that the table was learnt by.
        shares: decay -> weight, above 0: share(t, n) is the sum of weight * decay^n.
    """

    learner: str
    shares: Mapping[float, float]

    def by_age(self, length: int) -> npt.NDArray[np.float32]:
        """Return [length] share(t, n) for n = 0, 1, ..."""
        age = np.arange(length, dtype=np.float64)
        total = sum((weight * np.power(decay, age) for decay, weight in self.shares.items()), np.zeros(length))
        return np.asarray(total, np.float32)

    @property
    def sentence(self) -> str:
        """The weights, in words."""
        shares = ", ".join(f"{weight:.3g} at decay {decay:g}" for decay, weight in self.shares.items())
        return f"{self.learner} ({shares})"


@dataclass(frozen=True)
class Blend:
    """All weights.

    Attributes:
        tables: those that count.
        known: for shoppers with a history.
        stranger: for shoppers without.
    """

    tables: tuple[TableShares, ...] = ()
    known: Base = field(default_factory=Base)
    stranger: Base = field(default_factory=Base)

    @property
    def alone(self) -> bool:
        """Whether the retrieval model retrieves alone."""
        return self == Blend()

    @property
    def retrieval(self) -> npt.NDArray[np.float32]:
        """[2] weight of the dot product, without a history and with one."""
        return np.array([self.stranger.retrieval, self.known.retrieval], np.float32)

    @property
    def factors(self) -> dict[str, npt.NDArray[np.float32]]:
        """Name of each factor model that counts -> [2] its weight, without a history and with one."""
        names = dict.fromkeys((*self.known.factors, *self.stranger.factors))
        bases = (self.stranger, self.known)
        return {name: np.array([base.factors.get(name, 0.0) for base in bases], np.float32) for name in names}

    def bases(self, logs: npt.NDArray[np.float32], biases: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Return [2, N] what is added whatever a query holds, without a history and with one.

        Args:
            logs: the logarithms [N, 2] of a catalogue.
            biases: [N] those of each factor model that counts.
        """
        result = np.stack([self.stranger.of_items(logs), self.known.of_items(logs)])
        for name, weight in self.factors.items():
            result += weight[:, None] * biases[name]
        return result

    @property
    def sentence(self) -> str:
        """What a reader of figures should know."""
        tables = " + ".join(table.sentence for table in self.tables)
        parts = [self.known.sentence, f"neighbours of the recent items by {tables}" if tables else ""]
        return f"with {' + '.join(part for part in parts if part) or 'nothing'}; without a history {self.stranger.sentence or 'nothing'}"

    def write(self, run: Path) -> None:
        """Write ``blend.json`` of a run."""
        write_json(RunLayout(run).item_to_item.blend, asdict(self))


def log_popularity(columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """Return float32 [N, 2] L of a catalogue's ``POPULARITY`` columns; what is not known counts as no interaction."""
    counts = [np.nan_to_num(np.asarray(columns[name], np.float64)) for name in POPULARITY]
    return np.asarray(np.stack([np.log1p(np.maximum(count, 0.0)) for count in counts], axis=1), np.float32)


def read_blend(run: Path) -> Blend:
    """Read how a run blends; a run without the folder retrieves by the retrieval model alone.

    Raises:
        RunError: if the file cannot be read or holds numbers that make no sense.
    """
    path = RunLayout(run).item_to_item.blend
    if not path.parent.exists():
        return Blend()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        tables = tuple(
            TableShares(str(table["learner"]), {float(decay): float(weight) for decay, weight in table["shares"].items()})
            for table in content["tables"]
        )
        known, stranger = (_base(content[name]) for name in ("known", "stranger"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} cannot be read ({error}); a run of an earlier release holds another form.",
            "Run `cartwheel prepare` and `cartwheel train` again.",
        ) from error
    shares = [pair for table in tables for pair in table.shares.items()]
    if not all(0 < decay <= 1 and 0 < weight < math.inf for decay, weight in shares):
        raise RunError(
            f"{path} holds the decays and weights {shares}, where decays in (0, 1] and weights above 0 are expected.",
            "Run `cartwheel train` again.",
        )
    for base in (known, stranger):
        weights = (base.retrieval, *base.popularity, *base.factors.values())
        if not all(map(math.isfinite, weights)) or min(base.retrieval, *base.factors.values(), 0.0) < 0:
            raise RunError(
                f"{path} holds the weights {asdict(base)}, where finite numbers are expected, and no negative one of a model.",
                "Run `cartwheel train` again.",
            )
    return Blend(tables, known, stranger)


def _base(content: Mapping[str, Any]) -> Base:
    recent, every = content["popularity"]
    factors = {str(name): float(weight) for name, weight in content.get("factors", {}).items()}
    return Base(float(content["retrieval"]), (float(recent), float(every)), factors)
