"""The peer: ``recommend`` by NVTabular's own transform and TensorFlow, in one model of Triton's Python backend.

Written to be as good as the plain way can be. Everything is loaded once. It answers in one of two ways, as its config says:
one request after the other, as Merlin Systems' own Triton models do
(https://github.com/NVIDIA-Merlin/systems/blob/main/merlin/systems/triton/models/workflow_model.py), or all requests that Triton
hands over together at once: one transform, one pass of the query tower, one ``tf.matmul`` and ``tf.math.top_k``, one pass of the
DLRM.
What is the same for every request is made once at the start: the item vectors, the encoded features of the items, the state of
the shoppers as plain arrays. The ids of the query are encoded once and used by both models. The cross features are compared
on integer codes with NumPy, and only then normalised by NVTabular. The reasons, which Cartwheel answers too, are left out.

``config.pbtxt`` names the run directory, the number of candidates, how many items to answer and the way. This file is copied as
``model.py`` into the peer's repository by ``benchmarks/serving.py``; it imports Cartwheel's rooms ``workflows`` and ``models``
for the definition of the trained models and of the cross features.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

# TensorFlow at its own defaults, as a server would run it: Cartwheel's training turns this off to be repeatable.
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore")

import pandas as pd  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402

from serving.export.neighbours import read_served_blend  # noqa: E402
from workflows.features.columns import COUNTED_KINDS, CROSS, ITEM, QUERY, QUERY_CONTINUOUS, QUERY_LISTS, QUERY_SCALARS  # noqa: E402
from workflows.features.pair import cross_features  # noqa: E402

Array = npt.NDArray[Any]

HOUR_US: Final = 3_600_000_000
_COUNTS: Final = ("user_events", *COUNTED_KINDS)
_COUNTED_KINDS: Final = {kind: name for name, kind in COUNTED_KINDS.items()}


class TritonPythonModel:
    """The interface that Triton's Python backend looks for by this name."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the workflows, the models and the snapshot of the run that the config names."""
        parameters = {key: value["string_value"] for key, value in json.loads(args["model_config"])["parameters"].items()}
        run = Path(parameters["run"])
        self._k, self._candidates = int(parameters["k"]), int(parameters["candidates"])
        self._together = parameters["together"] == "true"
        self._state = json.loads((run / "snapshot" / "state.json").read_text())
        fusion = json.loads((run / "models" / "ranking" / "fusion.json").read_text())
        if fusion.get("list_weight", 0.0):
            raise pb_utils.TritonModelException(
                f"{run} orders candidates by trees, which this peer does not have: set ranker.trees to 0."
            )
        self._weight, self._ranking_weight = fusion["retrieval_weight"], fusion.get("ranking_weight", 1.0)
        logging.disable(logging.WARNING)
        self._load_models(run)
        self._load_catalogue(run)
        self._users = _Users(run, self._item_of)
        self.execute_rows([_Row()])  # traces the functions and reads the vocabularies, before the first request does

    def _load_models(self, run: Path) -> None:
        from cartwheel.merlin_compat import tf
        from models.families.dlrm.model import load_dlrm
        from models.families.two_tower.model import load_two_tower

        self._tf = tf
        self._query_workflow = _workflow(run / "workflow" / "recommend", QUERY)
        self._cross_workflow = _workflow(run / "workflow" / "ranking", CROSS)
        self._tower = load_two_tower(run / "models" / "two_tower")
        self._dlrm = load_dlrm(run / "models" / "ranking")
        vectors = np.load(run / "models" / "two_tower" / "item_vectors.npy", allow_pickle=False)
        self._blend = read_served_blend(run, len(vectors), int(self._state["recent_items"]))
        joined = np.concatenate([vectors, *(model.items for model, _ in self._blend.factors)], axis=1)
        self._vectors = tf.constant(np.ascontiguousarray(joined.T))
        self._retrieve = tf.function(self._retrieve_eagerly, autograph=False, reduce_retracing=True)
        self._rank = tf.function(self._rank_eagerly, autograph=False, reduce_retracing=True)

    def _load_catalogue(self, run: Path) -> None:
        items = pd.read_parquet(run / "snapshot" / "items.parquet")
        self._item_of = {item: row for row, item in enumerate(items["item_id"])}
        self._categories, self._category_of = _coded(items["item_category"])
        self._brands, self._brand_of = _coded(items["item_brand"])
        self._ids = items["item_id"].to_numpy(dtype=object)
        self._category_names, self._brand_names = items["item_category"].to_numpy(), items["item_brand"].to_numpy()
        self._prices = items["item_price"].to_numpy(dtype=np.float32)
        encoded = pd.concat(
            [pd.read_parquet(part) for part in sorted((run / "features" / "snapshot" / "items").glob("*.parquet"))]
        )
        floats = {name for name in ITEM if encoded[name].dtype.kind == "f"}
        self._items = {
            name: self._tf.constant(encoded[name].to_numpy(np.float32 if name in floats else np.int32)) for name in ITEM
        }

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests, in their order."""
        if self._together:
            return self._answer(requests)
        return [answer for request in requests for answer in self._answer([request])]

    def _answer(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests in one go."""
        rows = [list(_rows(request)) for request in requests]
        items, scores = self.execute_rows([row for several in rows for row in several])
        responses, start = [], 0
        for several in rows:
            part = slice(start, start + len(several))
            start = part.stop
            tensors = [pb_utils.Tensor("items", items[part]), pb_utils.Tensor("scores", scores[part])]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
        return responses

    def execute_rows(self, rows: Sequence[_Row]) -> tuple[Array, Array]:
        """Return the best item ids and their scores, ``[B, k]`` each."""
        tf = self._tf
        raw, recent_rows = self._raw_queries(rows)
        frame = self._query_workflow.transform(raw)
        query = _dense(frame, int(self._state["recent_items"]))
        excluded = self._excluded(rows, recent_rows)
        places, additions = self._additions(recent_rows)
        weight, base = self._bases(raw["recent_items"])
        similarity, candidates = self._retrieve(
            {name: tf.constant(query[name]) for name in QUERY},
            tf.constant(weight),
            tf.constant(self._factors(rows, recent_rows)),
            tf.constant(base),
            tf.constant(places),
            tf.constant(additions),
            tf.constant(excluded),
        )
        cross = self._cross(raw, candidates.numpy())
        scalars = {name: tf.constant(query[name]) for name in QUERY_SCALARS}
        scores, chosen = self._rank(scalars, cross, candidates, similarity)
        items = np.where(np.isfinite(scores.numpy()), self._ids[chosen.numpy()], "")
        return items.astype(object), scores.numpy()

    def _raw_queries(self, rows: Sequence[_Row]) -> tuple[pd.DataFrame, list[list[int]]]:
        """Return the raw QUERY columns and the catalogue rows of the recent items."""
        columns: dict[str, list[Any]] = {name: [] for name in QUERY}
        recent_rows = []
        for row in rows:
            features = self._users.features(row, self._state)
            looked = list(dict.fromkeys(reversed(row.recent_items)))[::-1]
            known = features["rows"]
            if looked:
                features.update(self._with_events(features, looked))
                known = [self._item_of.get(item, -1) for item in features["recent_items"]]
            recent_rows.append(known)
            for name in QUERY:
                columns[name].append(features[name])
        frame = {name: np.array(values, np.float32) if name in QUERY_CONTINUOUS else values for name, values in columns.items()}
        return pd.DataFrame(frame), recent_rows

    def _with_events(self, features: Mapping[str, Any], looked: Sequence[str]) -> dict[str, Any]:
        """Return the QUERY columns that change where each of these distinct items is one event more."""
        items = list(dict.fromkeys(reversed([*features["recent_items"], *looked])))
        items = items[: self._state["recent_items"]][::-1]
        rows = [self._item_of.get(item, -1) for item in items]
        kind = _COUNTED_KINDS.get(self._state["request_kinds"]["recent_items"])
        return {
            "recent_items": items,
            "recent_categories": [self._category_names[place] if place >= 0 else "" for place in rows],
            "recent_brands": [self._brand_names[place] if place >= 0 else "" for place in rows],
            "user_events": features["user_events"] + len(looked),
            **({kind: features[kind] + len(looked)} if kind else {}),
            "user_mean_price": self._mean_price(features, looked),
        }

    def _mean_price(self, features: Mapping[str, Any], items: Sequence[str]) -> float:
        """Return the mean price of what is stored and of the known prices of ``items``, NaN where none is known."""
        prices = self._prices[[self._item_of[item] for item in items if item in self._item_of]].astype(np.float64)
        known = prices[~np.isnan(prices)]
        mean, count = float(features["user_mean_price"]), float(features["priced_events"])
        if not len(known):
            return mean
        return float(((0.0 if np.isnan(mean) else mean) * count + known.sum()) / (count + len(known)))

    def _excluded(self, rows: Sequence[_Row], recent_rows: Sequence[Sequence[int]]) -> Array:
        """Return (query, item) pairs that must not be answered, int32 ``[E, 2]``."""
        pairs = []
        for place, (row, recents) in enumerate(zip(rows, recent_rows, strict=True)):
            banned = [self._item_of.get(item, -1) for item in row.exclude]
            banned += self._users.left_out(row.user)
            if self._state["leave_out"] in ("recent", "interacted"):
                banned += [self._item_of.get(item, -1) for item in row.recent_items]
                banned += [*recents, *self._users.rows(row.user)]
            pairs += [(place, item) for item in banned if item >= 0]
        return np.array(pairs, np.int32).reshape(-1, 2)

    def _additions(self, recent_rows: Sequence[Sequence[int]]) -> tuple[Array, Array]:
        """Return (query, item) places, int32 ``[M, 2]``, and what the neighbours of the recent items add there, float32 ``[M]``."""
        places, additions, tables = [np.zeros((0, 2), np.int32)], [np.zeros(0, np.float32)], self._blend.tables
        for query, recents in enumerate(recent_rows if tables else ()):
            for age, item in enumerate(reversed(recents)):
                for table in tables:
                    columns = table.columns[item]
                    places.append(np.column_stack([np.full(len(columns), query), columns]).astype(np.int32))
                    additions.append(table.additions[item] * table.shares[age])
        where, what = np.concatenate(places), np.concatenate(additions)
        return where[what > 0], what[what > 0]

    def _bases(self, recent_items: Sequence[Sequence[str]]) -> tuple[Array, Array]:
        """Return how much the dot product counts in each question, float32 ``[B, 1]``, and what is added to each item, ``[B, N]``."""
        bases, known = self._blend.bases, np.array([int(len(items) > 0) for items in recent_items])
        if bases is None:
            return np.ones((len(known), 1), np.float32), np.zeros((len(known), 1), np.float32)
        return bases.retrieval[known][:, None], bases.items[known]

    def _factors(self, rows: Sequence[_Row], recent_rows: Sequence[Sequence[int]]) -> Array:
        """Return the weighted query vectors of the factor models, float32 ``[B, D]``, one model behind the other."""
        known = np.array([int(len(recents) > 0) for recents in recent_rows])
        width = max(1, max(len(recents) for recents in recent_rows))
        places = np.full((len(rows), width), -1, np.int64)
        for row, recents in enumerate(recent_rows):
            places[row, : len(recents)] = [item if item >= 0 else len(self._ids) for item in recents]
        users = [row.user for row in rows]
        parts = [weight[known][:, None] * model.queries(users, places) for model, weight in self._blend.factors]
        return np.concatenate([np.zeros((len(rows), 0), np.float32), *parts], axis=1)

    def _retrieve_eagerly(
        self, query: Mapping[str, Any], weight: Any, factors: Any, base: Any, places: Any, additions: Any, excluded: Any
    ) -> tuple[Any, Any]:
        tf = self._tf
        vector = tf.concat([weight * self._tower.query(query, training=False), factors], axis=1)
        scores = tf.matmul(vector, self._vectors) + base
        scores = tf.tensor_scatter_nd_add(scores, places, additions)
        lowest = tf.fill([tf.shape(excluded)[0]], float("-inf"))
        scores = tf.tensor_scatter_nd_update(scores, excluded, lowest)
        return tuple(tf.math.top_k(scores, self._candidates))

    def _cross(self, raw: pd.DataFrame, candidates: Array) -> dict[str, Any]:
        width = max(1, max(len(recent) for recent in raw["recent_items"]))
        recent = [
            np.array(
                [[table.get(name, 0) if name else 0 for name in names] + [-1] * (width - len(names)) for names in raw[column]]
            )
            for column, table in (("recent_categories", self._category_of), ("recent_brands", self._brand_of))
        ]
        values = cross_features(
            recent[0][:, None],
            recent[1][:, None],
            raw["user_mean_price"].to_numpy(np.float32)[:, None],
            self._categories[candidates],
            self._brands[candidates],
            self._prices[candidates],
        )
        encoded = self._cross_workflow.transform(pd.DataFrame({name: values[name].ravel() for name in CROSS}))
        return {name: self._tf.constant(encoded[name].to_numpy(np.float32)[:, None]) for name in CROSS}

    def _rank_eagerly(self, query: Mapping[str, Any], cross: Mapping[str, Any], items: Any, similarity: Any) -> tuple[Any, Any]:
        tf = self._tf
        flat = tf.reshape(items, [-1])
        columns = {name: tf.repeat(value, self._candidates, axis=0) for name, value in query.items()}
        columns.update({name: tf.gather(value, flat)[:, None] for name, value in self._items.items()})
        logits = tf.reshape(self._dlrm.merlin({**columns, **cross}, training=False), tf.shape(items))
        scores = tf.where(tf.math.is_finite(similarity), self._ranking_weight * logits + self._weight * similarity, float("-inf"))
        best, order = tf.math.top_k(scores, self._k)
        return best, tf.gather(items, order, batch_dims=1)


class _Row:
    """One question."""

    def __init__(self, user: str = "", recent_items: Sequence[str] = (), exclude: Sequence[str] = (), timestamp: int = 0) -> None:
        self.user = user
        self.recent_items = [item for item in recent_items if item]
        self.exclude = [item for item in exclude if item]
        self.timestamp = timestamp


class _Users:
    """What the snapshot stores of each shopper, and the raw QUERY columns of a question."""

    def __init__(self, run: Path, item_of: Mapping[str, int]) -> None:
        users = pd.read_parquet(run / "snapshot" / "users.parquet")
        self._row_of = {user: row for row, user in enumerate(users["user_id"])}
        self._counts = {
            name: users[name].to_numpy(np.float32) for name in (*_COUNTS, "user_mean_price", "priced_events", "session_events")
        }
        instants = {name: users[name].dt.tz_localize(None) for name in ("last_seen", "session_start")}
        self._times = {name: column.to_numpy("datetime64[us]").astype(np.int64) for name, column in instants.items()}
        self._lists = {name: [list(values) for values in users[name]] for name in QUERY_LISTS}
        self._left_out = [list(rows) for rows in users["left_out"]]
        self._rows = [[item_of[item] for item in items] for items in self._lists["recent_items"]]

    def features(self, row: _Row, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the raw QUERY columns; categories and brands of the recent items only where those are the stored ones."""
        now = row.timestamp or int(state["as_of_us"])
        hours = now // HOUR_US
        found = self._row_of.get(row.user, -1)
        user = row.user if found >= 0 else ""
        features: dict[str, Any] = {"user_id": user, "hour": hours % 24, "weekday": (hours // 24 + 3) % 7 + 1}
        features.update(self._stored(found, now, int(state["session_gap_us"]), len(dict.fromkeys(row.recent_items))))
        return features

    def left_out(self, user: str) -> list[int]:
        """Return the catalogue rows of what is left out for a user beside the recent items."""
        return self._left_out[self._row_of[user]] if user in self._row_of else []

    def rows(self, user: str) -> list[int]:
        """Return the catalogue rows of the stored recent items of a user."""
        return self._rows[self._row_of[user]] if user in self._row_of else []

    def _stored(self, row: int, now: int, gap: int, more: int) -> dict[str, Any]:
        """Return what is stored, and what depends on the clock where ``more`` events lie a microsecond before now."""
        told = more > 0
        clock = {
            "user_recency_hours": 1 / HOUR_US if told else np.nan,
            "session_events": more,
            "session_minutes": 60 * told / HOUR_US,
        }
        if row < 0:
            nothing = {**dict.fromkeys((*_COUNTS, "priced_events"), 0.0), **{name: [] for name in QUERY_LISTS}, "rows": []}
            return {**nothing, "user_mean_price": np.nan, **clock}
        idle = max(0, now - self._times["last_seen"][row])
        if idle - told <= gap:
            clock["session_events"] += self._counts["session_events"][row]
            clock["session_minutes"] = max(0, now - self._times["session_start"][row]) * 60 / HOUR_US
        if not told:
            clock["user_recency_hours"] = idle / HOUR_US
        return {
            **{name: values[row] for name, values in self._counts.items()},
            **{name: values[row] for name, values in self._lists.items()},
            "rows": self._rows[row],
            **clock,
        }


def _rows(request: Any) -> Iterator[_Row]:
    """Read the questions of a request; an absent input is an empty one."""
    given = {}
    for name in ("user_id", "recent_items", "exclude", "timestamp"):
        tensor = pb_utils.get_input_tensor_by_name(request, name)
        if tensor is not None:
            given[name] = tensor.as_numpy()
    for place in range(len(next(iter(given.values())))):
        texts = {name: [text.decode() for text in value[place]] for name, value in given.items() if name != "timestamp"}
        timestamp = int(given["timestamp"][place, 0]) if "timestamp" in given else 0
        yield _Row(texts.get("user_id", [""])[0], texts.get("recent_items", ()), texts.get("exclude", ()), timestamp)


def _workflow(folder: Path, columns: Sequence[str]) -> Any:
    """Load a saved workflow and keep the columns that this step reads."""
    import nvtabular

    workflow = nvtabular.Workflow.load(str(folder))
    workflow.remove_inputs([name for name in workflow.input_schema.column_names if name not in columns])
    return workflow


def _coded(names: pd.Series) -> tuple[Array, dict[str, int]]:
    """Number the names from 1; "" is 0."""
    codes, distinct = pd.factorize(names)
    table = {name: code for code, name in enumerate(distinct, start=1)}
    blank = np.asarray(names == "")
    return np.where(blank, 0, codes + 1), table


def _dense(frame: pd.DataFrame, width: int) -> dict[str, Array]:
    """Return the encoded columns as the models read them: ``[B, 1]``, lists ``[B, width]`` with zeros behind."""
    columns = {}
    for name in QUERY_SCALARS:
        columns[name] = frame[name].to_numpy(np.float32 if name in QUERY_CONTINUOUS else np.int32)[:, None]
    for name in QUERY_LISTS:
        padded = np.zeros((len(frame), width), np.int32)
        for row, values in enumerate(frame[name]):
            padded[row, : len(values)] = values
        columns[name] = padded
    return columns
