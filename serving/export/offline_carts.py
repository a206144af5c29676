"""``cart`` computed in NumPy from the run's offline files, as the reference of the parity check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_table
from serving.export.offline_chain import recent_codes, typed_column
from serving.export.run_files import floats, padded, strings
from serving.export.run_models import read_calibration
from serving.export.snapshot import read_state
from workflows.compiler.onnx_graph import ENCODED_SUFFIX
from workflows.features.columns import CART, FORMS
from workflows.features.feature_set import read_feature_set
from workflows.features.pair import cross_features


@dataclass(frozen=True)
class CartRequest:
    """One request of ``snapshot/requests.parquet``.

    Attributes:
        form: its form, one of ``FORMS``.
        user: who asks; "" is a stranger.
        recent_items: the given recent items, as told of.
        cart_items: the lines, as told of.
        timestamp: Unix microseconds.
    """

    form: str
    user: str
    recent_items: list[str]
    cart_items: list[str]
    timestamp: int


class OfflineCarts:
    """The offline probabilities of the requests of ``snapshot/requests.parquet``.

    Args:
        run: run directory with a cart model.
    """

    def __init__(self, run: Path) -> None:
        layout = RunLayout(run)
        raw = read_table(layout.snapshot("requests"))
        items = read_table(layout.snapshot("items"))
        item_features, query_features = (read_table(layout.features("snapshot", name)) for name in ("items", "requests"))
        self.requests = read_requests(run)
        self._rows = {item: row for row, item in enumerate(strings(items["item_id"]))}
        self._categories, self._brands = (strings(items[name]) for name in ("item_category", "item_brand"))
        self._prices = floats(items["item_price"])
        self._mean_prices = floats(raw["user_mean_price"])
        width = read_state(run).recent_items
        self._recents = {name: padded(raw[name], width, None, object) for name in ("recent_categories", "recent_brands")}
        columns = read_feature_set(layout)
        self._queries = {name: typed_column(query_features, name, columns.query_categorical) for name in columns.query_scalars}
        self._items = {name: typed_column(item_features, name, columns.item_categorical) for name in columns.item}
        self._graphs = [OnnxModel(layout.graph(name)) for name in ("cross", "cart")]
        self._model = OnnxModel(layout.model("cart").scores)
        self._calibration = read_calibration(layout.model("cart"))

    def probabilities(self, place: int) -> tuple[npt.NDArray[np.float64], float]:
        """Return the probability of each line as told of, [lines], and that of the whole cart.

        Args:
            place: row in ``snapshot/requests.parquet``.
        """
        request = self.requests[place]
        distinct = list(dict.fromkeys(request.cart_items))
        if not distinct:
            return np.zeros(0), 0.0
        logit = self._logits(place, distinct)
        place_of_size = int(len(distinct) > 1)
        slope, intercept, weights, bias = (
            table[FORMS.index(request.form), place_of_size].astype(np.float64) for table in self._calibration
        )
        lines = dict(zip(distinct, _sigmoid(slope * logit + intercept).tolist(), strict=True))
        if not (weights.any() or slope):
            return np.array([lines[item] for item in request.cart_items]), float(_sigmoid(bias))
        features = np.array([logit.max(), logit.mean(), np.log1p(len(distinct))])
        least = float(_sigmoid(slope * logit.max() + intercept))
        whole = min(float(_sigmoid(features @ weights + bias)), min(least * len(distinct), 1.0))
        if weights.any():
            return np.array([lines[item] for item in request.cart_items]), max(least, whole)
        return np.array([min(lines[item], whole) for item in request.cart_items]), whole

    def _logits(self, place: int, items: list[str]) -> npt.NDArray[np.float64]:
        rows = np.array([self._rows[item] for item in items])
        categories, brands = (
            recent_codes(self._recents[name][place], [own[row] for row in rows])
            for name, own in (("recent_categories", self._categories), ("recent_brands", self._brands))
        )
        means = np.full(len(rows), self._mean_prices[place], np.float32)
        raw: dict[str, Any] = dict(cross_features(categories[0], brands[0], means, categories[1], brands[1], self._prices[rows]))
        raw |= dict(zip(CART, (len(rows), np.nansum(self._prices[rows])), strict=True))
        feeds = {name: np.broadcast_to(np.asarray(value, np.float32), len(rows)).reshape(-1, 1) for name, value in raw.items()}
        columns = {name: np.repeat(value[place : place + 1], len(rows), axis=0) for name, value in self._queries.items()}
        columns |= {name: value[rows] for name, value in self._items.items()}
        for graph in self._graphs:
            columns |= {name.removesuffix(ENCODED_SUFFIX): value for name, value in graph.run(feeds).items()}
        logits: npt.NDArray[np.float64] = self._model.run(columns)["logit"][:, 0].astype(np.float64)
        return logits


def read_requests(run: Path) -> list[CartRequest]:
    """Read ``snapshot/requests.parquet``, who asks what when.

    Raises:
        RunError: if it is missing.
    """
    columns = ("form", "user_id", "given_items", "cart_items", "timestamp")
    table = read_table(RunLayout(run).snapshot("requests")).select(list(columns)).to_pylist()
    return [CartRequest(*(row[name] for name in columns)) for row in table]


def _sigmoid(value: Any) -> npt.NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(value, np.float64))))
