"""``recommend`` computed in NumPy from the run's offline files, as the reference of the parity check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_table
from models.retrieval.fusion import read_fusion
from models.retrieval.retriever import retrieval_model
from serving.contract.tensors import Contract
from serving.export.neighbours import read_served_blend
from serving.export.offline_ranker import OfflineRanker
from serving.export.run_files import floats, integers, padded, strings
from serving.export.snapshot import read_state
from serving.settings import ExportSettings
from workflows.compiler.onnx_graph import ENCODED_SUFFIX
from workflows.features.columns import CROSS, QUERY_LISTS
from workflows.features.feature_set import read_feature_set
from workflows.features.pair import cross_features

_ROUNDING: Final = 1e-6
"""What single precision may lose of a sum of scores, relative to the largest."""
_NEAR: Final = 1e-4
"""Retrieval scores this close to the last candidate's may fall on either side of it, relative to the lengths of the vectors."""


@dataclass(frozen=True)
class Expected:
    """What ``recommend`` should answer.

    Attributes:
        scores: item id -> final score, of every item that may be answered.
        best: the k best final scores but for those of ``unsure`` items, -inf where there are no more.
        ambiguous: whether rounding decides which items are candidates, so that ``best`` cannot be held against an answer.
        unsure: items whose score rounding may change by more than a little.
        comparable: whether scores can be held against an answer at all: not where each depends on which others there are, and rounding
            decides that.
    """

    scores: dict[str, float]
    best: npt.NDArray[np.float32]
    ambiguous: bool
    unsure: frozenset[str] = frozenset()
    comparable: bool = True


@dataclass(frozen=True)
class _Factors:
    """One factor model's answer to a user: [D] query, [N, D] items, and [2] its weight without a history and with one."""

    query: npt.NDArray[np.float32]
    items: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]


class OfflineChain:
    """The offline answer for the users of ``snapshot/queries.parquet``.

    Args:
        run: run directory.
        contract: the repository's tensors, for the number of candidates.
        settings: the rules of ordering.
    """

    def __init__(self, run: Path, contract: Contract, settings: ExportSettings) -> None:
        layout = RunLayout(run)
        self._settings = settings
        self._state = read_state(run)
        retrieve = next(model for model in contract.models if model.name == "recommend_retrieve")
        self._candidates = int(retrieve.outputs[0].shape[1])
        self._vectors = np.load(retrieval_model(run).item_vectors, allow_pickle=False)
        self._fusion = read_fusion(layout.model("ranking").path)
        self._ranker = OfflineRanker(run, len(self._vectors)) if self._fusion.lists else None
        self._blend = read_served_blend(run, len(self._vectors), self._state.recent_items)
        self._ranking = OnnxModel(layout.model("ranking").scores)
        self._cross = OnnxModel(layout.graph("cross"))
        items = read_table(layout.snapshot("items"))
        queries = read_table(layout.snapshot("queries"))
        self.ids = strings(items["item_id"])
        self.users = strings(queries["user_id"])
        self._rows = {item: row for row, item in enumerate(self.ids)}
        self._categories = strings(items["item_category"])
        self._brands = strings(items["item_brand"])
        self._prices = floats(items["item_price"])
        self._mean_prices = floats(queries["user_mean_price"])
        width = self._state.recent_items
        self._left_out = queries["left_out"].to_pylist()
        self._recents = {name: padded(queries[name], width, None, object) for name in QUERY_LISTS}
        item_features = read_table(layout.features("snapshot", "items"))
        columns = read_feature_set(layout)
        self._items = {name: typed_column(item_features, name, columns.item_categorical) for name in columns.item}
        query_features = read_table(layout.features("snapshot", "queries"))
        self._queries = {name: typed_column(query_features, name, columns.query_categorical) for name in columns.query_scalars}
        offline = read_table(retrieval_model(run).offline_queries)
        self._query_vectors = np.array(offline["query_vector"].to_pylist(), np.float32)

    def places(self, most: int) -> list[int]:
        """Return rows of ``snapshot/queries.parquet`` to ask for, half of them those that most is left out for, the last row among them."""
        longest = sorted(range(len(self.users)), key=lambda place: -len(self._left_out[place]))
        last = len(self.users) - 1
        return sorted(set([last, *longest[: most // 2], *range(len(self.users))][:most]) | {last})

    def recommend(self, place: int, k: int) -> Expected:
        """Return the answer for one user.

        Args:
            place: row in ``snapshot/queries.parquet``.
            k: how many items.
        """
        vectors, query = self._vectors.astype(np.float64), self._query_vectors[place].astype(np.float64)
        similarity = (vectors @ query).astype(np.float32)
        near = _NEAR * float(np.linalg.norm(query) * np.linalg.norm(vectors, axis=1).max())
        factors = self._factors(place)
        similarity = self._blended(place, similarity, factors)
        near = near * self._heaviest + _near_factors(factors) + _ROUNDING * float(np.abs(similarity).max())
        similarity[[self._rows[item] for item in self._left_out[place]]] = -np.inf
        boundary = np.sort(similarity)[::-1][self._candidates - 1]
        pool = np.flatnonzero((similarity >= boundary - near) & np.isfinite(similarity))
        scores, doubtful = self._score(place, pool, similarity[pool])
        spread = self._spread(pool, scores)
        best = np.full(k, -np.inf, np.float32)
        ordered = np.sort(spread[~doubtful])[::-1][:k]
        best[: len(ordered)] = ordered
        answers = {self.ids[item]: float(score) for item, score in zip(pool, spread, strict=True)}
        unsure = frozenset(self.ids[item] for item in pool[doubtful])
        ambiguous = len(pool) > self._candidates
        compares_lists = self._ranker is not None
        comparable = not (ambiguous and (self.crowds or compares_lists)) and not (unsure and self.crowds)
        return Expected(answers, best, ambiguous=ambiguous, unsure=unsure, comparable=comparable)

    @property
    def crowds(self) -> bool:
        """Whether a candidate's score depends on which others there are."""
        return self._settings.diversity > 0 or self._settings.max_per_category > 0

    @property
    def _heaviest(self) -> float:
        """The most that a dot product counts in any request."""
        return 1.0 if self._blend.bases is None else float(self._blend.bases.retrieval.max())

    def _blended(self, place: int, similarity: npt.NDArray[np.float32], factors: Sequence[_Factors]) -> npt.NDArray[np.float32]:
        """Return the retrieval scores of all items, of their dot products with a user's vector."""
        history = [item for item in self._recents["recent_items"][place] if item is not None]
        if self._blend.bases is not None:
            own = int(bool(history))
            similarity = self._blend.bases.retrieval[own] * similarity + self._blend.bases.items[own]
            for each in factors:
                similarity += each.weight[own] * (each.items @ each.query)
        for age, item in enumerate(reversed(history)):
            for table in self._blend.tables if item in self._rows else ():
                columns, additions = table.columns[self._rows[item]], table.additions[self._rows[item]]
                held = columns < len(similarity)
                similarity[columns[held]] += table.shares[age] * additions[held]
        return similarity

    def _factors(self, place: int) -> list[_Factors]:
        history = [item for item in self._recents["recent_items"][place] if item is not None]
        rows = np.array([[self._rows.get(item, len(self.ids)) for item in history]], np.int64)
        return [
            _Factors(model.queries([self.users[place]], rows)[0], model.items, weight) for model, weight in self._blend.factors
        ]

    def _score(
        self, place: int, pool: npt.NDArray[np.int64], retrieval: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return the final scores of the items in ``pool`` before they are spread, and which of them rounding may change."""
        total, doubtful = np.float32(self._fusion.retrieval_weight) * retrieval, np.zeros(len(pool), bool)
        if not len(pool) or not self._fusion.used:
            return total, doubtful
        raw = self._cross_columns(place, pool)
        columns: dict[str, npt.NDArray[Any]] = {
            name: np.repeat(value[place : place + 1], len(pool), axis=0) for name, value in self._queries.items()
        }
        columns.update({name: value[pool] for name, value in self._items.items()})
        columns.update({name.removesuffix(ENCODED_SUFFIX): value for name, value in self._cross.run(raw).items()})
        if self._fusion.ranks:
            total = total + self._ranking.run(columns)["logit"][:, 0]
        if self._ranker is not None:
            listed, doubtful = self._ranker.scores(columns, self._history(place), pool)
            total = total + np.float32(self._fusion.list_weight) * listed
        return total, doubtful

    def _history(self, place: int) -> npt.NDArray[np.int64]:
        """Return the recent items of a user, [L], as ``Neighbours.scores`` reads them."""
        history = [item for item in self._recents["recent_items"][place] if item is not None]
        rows = np.full(self._state.recent_items, -1, np.int64)
        rows[: len(history)] = [self._rows.get(item, len(self.ids)) for item in history]
        return rows

    def _cross_columns(self, place: int, pool: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float32]]:
        categories = recent_codes(self._recents["recent_categories"][place], [self._categories[item] for item in pool])
        brands = recent_codes(self._recents["recent_brands"][place], [self._brands[item] for item in pool])
        prices = np.full(len(pool), self._mean_prices[place], np.float32)
        values = cross_features(categories[0], brands[0], prices, categories[1], brands[1], self._prices[pool])
        return {name: values[name].reshape(-1, 1) for name in CROSS}

    def _spread(self, pool: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Apply the crowding penalty and the cap of a category, the best item first."""
        seen: dict[str, int] = {}
        result = scores.copy()
        for index in np.argsort(-scores, kind="stable"):
            category = self._categories[pool[index]]
            better = seen.get(category, 0) if category else 0
            seen[category] = better + 1
            result[index] -= np.float32(better * self._settings.diversity)
            if 0 < self._settings.max_per_category <= better:
                result[index] = -np.inf
        return result


def _near_factors(factors: Sequence[_Factors]) -> float:
    """Return how much the factor models' products may be off, as ``_NEAR`` says of the retrieval model's."""
    lengths = (float(np.linalg.norm(each.query) * np.linalg.norm(each.items, axis=1).max()) for each in factors)
    return sum(_NEAR * float(each.weight.max()) * length for each, length in zip(factors, lengths, strict=True))


def typed_column(table: Any, name: str, categorical: tuple[str, ...]) -> npt.NDArray[Any]:
    """Return an encoded column as the models read it: [N, 1], int64 where it is among ``categorical``, else float32."""
    if name in categorical:
        return integers(table[name]).reshape(-1, 1)
    return floats(table[name]).reshape(-1, 1)


def recent_codes(recent: npt.NDArray[Any], own: list[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Code texts as ``cross_features`` wants them: -1 pads, 0 is "". Returns the recents [1, L] and the items' own [items]."""
    numbers = {"": 0}
    for text in own:
        numbers.setdefault(text, len(numbers))
    for text in recent:
        if text is not None:
            numbers.setdefault(text, len(numbers))
    codes = [-1 if text is None else numbers[text] for text in recent]
    return np.array([codes], np.int64), np.array([numbers[text] for text in own], np.int64)
