"""A run directory as ``prepare`` and ``train`` leave it, small and made by hand: for tests of the serving room alone.

``write_synthetic_run(path)`` writes everything that ``serving.export.repository.write_repository`` reads. Its feature graphs and models are
little ONNX graphs with random weights that use every column, so that a column that goes astray changes an answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq

from models.families.factors.scores import FactorScores
from models.families.factors.towers import ALSTowers, BPRTowers
from models.families.family import TrainingData
from models.families.rows.lightgbm import LightGBMLearner, LightGBMSettings
from models.retrieval.ranker.columns import RANKER, RankerColumns
from models.retrieval.ranker.features import declared
from models.training.tables import Table
from workflows.compiler.onnx_graph import ENCODED_SUFFIX, GraphBuilder
from workflows.features import columns as names
from workflows.features.feature_set import BUILT_IN
from workflows.tasks.task import Answer

NO_CART = "The cart task is left out: the log has no cart events."

AS_OF_US = 1_700_006_400_000_000  # 2023-11-15T00:00:00Z, a Wednesday
SESSION_GAP_US = 30 * 60 * 1_000_000
HOUR_US = 3_600_000_000
CATEGORIES = ["", "books", "garden", "tøys", "music"]
BRANDS = ["", "acme", "zeta"]


class SyntheticRun:
    """Draws the tables of a run; see ``write_synthetic_run``."""

    def __init__(
        self,
        path: Path,
        items: int,
        users: int,
        seed: int,
        cart: bool,
        dimension: int,
        recents: int,
        leave_out: str = "interacted",
        ranker: bool = False,
    ) -> None:
        self.ranker = ranker
        self.path, self.cart, self.dimension, self.length, self.leave_out = path, cart, dimension, recents, leave_out
        self.rng = np.random.default_rng(seed)
        self.last_event_us = AS_OF_US - 1
        self.item_ids = sorted(str(1000 + number) for number in range(items))
        self.user_ids = [f"u{number}" for number in range(users)]
        self.items = self._items()
        self.users = self._users()
        self.users["left_out"] = self._left_out()

    def _items(self) -> dict[str, list[Any]]:
        rng, count = self.rng, len(self.item_ids)
        prices = [None if rng.random() < 0.1 else float(np.float32(rng.uniform(1, 90))) for _ in range(count)]
        return {
            "item_id": self.item_ids,
            "item_category": [CATEGORIES[code] for code in rng.integers(0, len(CATEGORIES), count)],
            "item_brand": [BRANDS[code] for code in rng.integers(0, len(BRANDS), count)],
            "item_price": prices,
            "item_price_ratio": [None if price is None else float(np.float32(price / 40)) for price in prices],
            "item_recent_events": rng.integers(0, 50, count).astype(float).tolist(),
            "item_events": rng.integers(50, 500, count).astype(float).tolist(),
            "item_purchases": rng.integers(0, 50, count).astype(float).tolist(),
            "item_age_days": rng.uniform(0, 60, count).astype(np.float32).astype(float).tolist(),
        }

    def _users(self) -> dict[str, list[Any]]:
        rng, count = self.rng, len(self.user_ids)
        table: dict[str, list[Any]] = {"user_id": self.user_ids}
        for name in ("user_events", "user_views", "user_carts", "user_purchases"):
            table[name] = rng.integers(0, 40, count).astype(float).tolist()
        table["user_mean_price"] = [None if rng.random() < 0.2 else float(np.float32(rng.uniform(2, 50))) for _ in range(count)]
        # The first users are in the middle of a session.
        idle = np.where(
            np.arange(count) < 5, rng.integers(1, SESSION_GAP_US, count), rng.integers(SESSION_GAP_US + 1, 40 * HOUR_US, count)
        )
        table["priced_events"] = [
            0.0 if mean is None else float(rng.integers(1, 9)) for mean in table["user_mean_price"]
        ]  # fmt: skip
        table["last_seen"] = (AS_OF_US - idle).tolist()
        table["session_start"] = (AS_OF_US - idle - rng.integers(0, HOUR_US, count)).tolist()
        table["session_events"] = rng.integers(1, 9, count).astype(float).tolist()
        chosen = [self.rng.choice(len(self.item_ids), size=rng.integers(0, self.length + 1), replace=False) for _ in range(count)]
        table["recent_items"] = [[self.item_ids[place] for place in places] for places in chosen]
        table["recent_categories"] = [[self.items["item_category"][place] for place in places] for places in chosen]
        table["recent_brands"] = [[self.items["item_brand"][place] for place in places] for places in chosen]
        return table

    def _left_out(self) -> list[list[int]]:
        """Rows of the items: of every third user a long history, of the last user all items but three."""
        rng, count = np.random.default_rng(5), len(self.item_ids)
        if self.leave_out in ("recent", "nothing"):
            return [[] for _ in self.user_ids]
        lists = []
        for place, recent in enumerate(self.users["recent_items"]):
            size = count - 3 if place == len(self.user_ids) - 1 else int(rng.integers(count // 2)) if place % 3 == 0 else 0
            own = set(rng.choice(count, size=size, replace=False).tolist())
            own |= {self.item_ids.index(item) for item in recent} if self.leave_out == "interacted" else set()
            lists.append(sorted(own))
        return lists

    def hidden(self, place: int) -> list[str]:
        """What is left out for the user at a place, by the rule."""
        recent = self.users["recent_items"][place] if self.leave_out in ("recent", "interacted") else []
        return sorted({*recent, *(self.item_ids[row] for row in self.users["left_out"][place])})

    def queries_now(self) -> dict[str, list[Any]]:
        """The QUERY columns of every user and of a stranger at the instant of the snapshot, by the contract's words."""
        table: dict[str, list[Any]] = {name: [] for name in names.QUERY}
        for place in range(len(self.user_ids)):
            user = {name: values[place] for name, values in self.users.items()}
            idle = AS_OF_US - user["last_seen"]
            running = idle <= SESSION_GAP_US
            user["user_recency_hours"] = idle / HOUR_US
            user["session_minutes"] = (AS_OF_US - user["session_start"]) / (HOUR_US / 60) if running else 0.0
            user["session_events"] = user["session_events"] if running else 0.0
            self._append(table, user)
        stranger = dict.fromkeys(names.QUERY_CONTINUOUS, 0.0) | {"user_recency_hours": None, "user_mean_price": None}
        self._append(table, {**stranger, "user_id": "", **{name: [] for name in names.QUERY_LISTS}})
        return table

    def _append(self, table: dict[str, list[Any]], row: dict[str, Any]) -> None:
        for name in names.QUERY:
            table[name].append({"hour": 0, "weekday": 3}.get(name, row.get(name)))

    def requests(self) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Requests of every form, and their QUERY columns by the contract's words."""
        rng, ids, lists = np.random.default_rng(23), self.item_ids, names.QUERY_LISTS
        asked: dict[str, list[Any]] = {name: [] for name in ("form", "timestamp", "given_items", "cart_items")}
        table: dict[str, list[Any]] = {name: [] for name in names.QUERY}
        now = self.queries_now()
        for place in range(32):
            form = place % len(names.FORMS)
            user = place % len(self.user_ids) if form >= 2 else len(self.user_ids)
            given = [ids[row] for row in rng.integers(0, len(ids), rng.integers(1, 8) if form % 2 else 0)]
            cart = [ids[row] for row in rng.integers(0, len(ids), place // len(names.FORMS) % 4)]
            told = [list(dict.fromkeys(part[::-1]))[::-1] for part in (given, cart)]
            row = {name: values[user] for name, values in now.items()}
            stored = {name: values[user] for name, values in self.users.items()} if form >= 2 else {}
            more = len(told[0]) + len(told[1])
            known = [self.items["item_price"][ids.index(item)] for part in told for item in part]
            prices, mean = [price for price in known if price is not None], row["user_mean_price"]
            if prices:
                priced = stored.get("priced_events", 0.0)
                row["user_mean_price"] = ((mean or 0.0) * priced + sum(prices)) / (priced + len(prices))
            for name, number in (("user_events", more), ("user_views", len(told[0])), ("user_carts", len(told[1]))):
                row[name] += number
            if more:
                running = bool(stored) and AS_OF_US - 1 - stored["last_seen"] <= SESSION_GAP_US
                start = stored["session_start"] if running else AS_OF_US - 1
                row["session_events"] = more + (stored["session_events"] if running else 0.0)
                row["user_recency_hours"], row["session_minutes"] = 1 / HOUR_US, (AS_OF_US - start) / (HOUR_US / 60)
            recents = list(dict.fromkeys([*row["recent_items"], *told[0], *told[1]][::-1]))[: self.length][::-1]
            facts = (
                recents,
                *([self.items[name][ids.index(item)] for item in recents] for name in ("item_category", "item_brand")),
            )
            for name, values in ({**row, **dict(zip(lists, facts, strict=True))}).items():
                table[name].append(values)
            for name, value in zip(asked, (names.FORMS[form], AS_OF_US, given, cart), strict=True):
                asked[name].append(value)
        return asked, table

    def example_rows(self, count: int) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Random QUERY and ITEM columns."""
        now = self.queries_now()
        rows = self.rng.integers(0, len(now["user_id"]), count)
        query = {name: [values[row] for row in rows] for name, values in now.items()}
        query["hour"] = self.rng.integers(0, 24, count).tolist()
        query["weekday"] = self.rng.integers(1, 8, count).tolist()
        places = self.rng.integers(0, len(self.item_ids), count)
        return query, {name: [values[place] for place in places] for name, values in self.items.items()}

    # The feature graphs.

    def _encode(self, graph: GraphBuilder, name: str) -> None:
        is_list = name in names.QUERY_LISTS
        shape = ["B", "L"] if is_list else ["B", 1]
        if name in ("hour", "weekday"):
            low, high = (0, 24) if name == "hour" else (1, 8)
            value = graph.input(name, "int64", shape)
            keys = list(range(low, high))
            code = graph.add("LabelEncoder", value, domain="ai.onnx.ml", keys_int64s=keys,
                             values_int64s=[key - low + 3 for key in keys], default_int64=2)  # fmt: skip
            graph.output(code, name + ENCODED_SUFFIX, "int64", shape)
        elif name in names.STRINGS:
            value = graph.input(name, "string", shape)
            vocabulary = self._vocabulary(name)
            code = graph.add("LabelEncoder", value, domain="ai.onnx.ml", keys_strings=["", *vocabulary],
                             values_int64s=[0 if is_list else 1, *range(3, 3 + len(vocabulary))], default_int64=2)  # fmt: skip
            graph.output(code, name + ENCODED_SUFFIX, "int64", shape)
        else:
            value = graph.input(name, "float32", shape)
            filled = graph.add("Where", graph.add("IsNaN", value), graph.constant(0.5, np.float32), value)
            graph.output(graph.add("Mul", filled, graph.constant(0.01, np.float32)), name + ENCODED_SUFFIX, "float32", shape)

    def _vocabulary(self, name: str) -> list[str]:
        column = names.SHARED_VOCABULARY.get(name, name)
        if column == "user_id":
            return self.user_ids[: len(self.user_ids) * 3 // 4]
        if column == "item_id":
            return self.item_ids[: len(self.item_ids) * 4 // 5]
        return CATEGORIES[1:] if column == "item_category" else BRANDS[1:]

    def workflow(self, name: str, columns: Sequence[str]) -> onnx.ModelProto:
        graph = GraphBuilder(name)
        for column in columns:
            self._encode(graph, column)
        return graph.model()

    # The models.

    def _table(self, rows: int, width: int) -> np.ndarray:
        return (self.rng.standard_normal((rows, width)) / np.sqrt(width)).astype(np.float32)

    def _cardinality(self, column: str) -> int:
        return {"hour": 27, "weekday": 10}.get(column) or 3 + len(self._vocabulary(column))

    def network(self, name: str, columns: Sequence[str], output: str, width: int) -> onnx.ModelProto:
        """A sum of embeddings and weighted numbers, through a hidden layer."""
        graph = GraphBuilder(name)
        parts = []
        for column in columns:
            if column in names.QUERY_LISTS:
                value = graph.input(column, "int64", ["B", "L"])
                held = graph.add("Cast", graph.add("Greater", value, graph.constant(0, np.int64)), to=onnx.TensorProto.FLOAT)
                rows = graph.add("Gather", graph.constant(self._table(self._cardinality(column), width)), value, axis=0)
                masked = graph.add("Mul", rows, graph.add("Unsqueeze", held, graph.constant([2], np.int64)))
                count = graph.add("ReduceSum", held, graph.constant([1], np.int64), keepdims=1)
                total = graph.add("ReduceSum", masked, graph.constant([1], np.int64), keepdims=0)
                parts.append(graph.add("Div", total, graph.add("Max", count, graph.constant(1, np.float32))))
            elif column in (*names.QUERY_CATEGORICAL, *names.ITEM_CATEGORICAL):
                value = graph.input(column, "int64", ["B", 1])
                row = graph.add("Squeeze", value, graph.constant([1], np.int64))
                parts.append(graph.add("Gather", graph.constant(self._table(self._cardinality(column), width)), row, axis=0))
            else:
                value = graph.input(column, "float32", ["B", 1])
                parts.append(graph.add("MatMul", value, graph.constant(self._table(1, width))))
        hidden = graph.add("Sum", *parts)
        if output == "logit":
            hidden = graph.add("MatMul", graph.add("Relu", hidden), graph.constant(self._table(width, 1)))
        graph.output(hidden, output, "float32", ["B", 1 if output == "logit" else width])
        return graph.model()

    # Files.

    def write(self) -> None:
        for name, columns in {"query": names.QUERY, "item": names.ITEM, "cross": names.CROSS, "cart": names.CART}.items():
            self._save(self.workflow(name, columns), f"workflow/{name}.onnx")
        self._save(self.network("query_tower", names.QUERY, "query_vector", self.dimension), "models/two_tower/query.onnx")
        self._save(self.network("item_tower", names.ITEM, "item_vector", self.dimension), "models/two_tower/item.onnx")
        scalars = (*names.QUERY_SCALARS, *names.ITEM, *names.CROSS)
        self._save(self.network("dlrm", scalars, "logit", 8), "models/ranking/model.onnx")
        self._json({"retrieval_weight": 0.25, "list_weight": 0.5 * self.ranker}, "models/ranking/fusion.json")
        self._neighbours()
        if self.ranker:
            self._ranker()
        if self.cart:
            self._save(self.network("cart_dlrm", (*scalars, *names.CART), "logit", 8), "models/cart/model.onnx")
            # Carts of several lines: a head beside lines with a slope and without, and the base rate beside the same.
            slopes, weights = (1.2, 0.9, 0.0, 0.0), ([0.7, 0.2, 0.1], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.5, 0.1, 0.3])
            of_lines = {
                form: {
                    "one line": {"slope": (0.8, 0.0, 1.1, 1.4)[place], "intercept": 0.1 + place / 10},
                    "several lines": {"slope": slopes[place], "intercept": (-0.4, -3.5, -0.6, -0.7)[place]},
                }
                for place, form in enumerate(names.FORMS)
            }
            of_carts = {form: {"weights": weights[place], "bias": -0.3} for place, form in enumerate(names.FORMS)}
            self._json({"slope": 1.2, "intercept": -0.4, "forms": of_lines}, "models/cart/calibration.json")
            self._json({"weights": [0.7, 0.2, 0.1], "bias": -0.3, "forms": of_carts}, "models/cart/head.json")
        self._snapshot()
        self._examples()

    def _neighbours(self, most: int = 4) -> None:
        """Some items have fewer neighbours than others, many share one, and two tables have some of one item."""
        known, stranger = (
            {"retrieval": weight, "popularity": [0.2, -0.1 * weight], "factors": {"als": 7 * weight, "bpr": 4 / weight}}
            for weight in (1.5, 0.5)
        )
        tables = [{"learner": "item_knn", "shares": {"0.8": 0.5}}, {"learner": "ease", "shares": {"1.0": 0.2, "0.3": 0.4}}]
        self._json({"tables": tables, "known": known, "stranger": stranger}, "models/item_to_item/blend.json")
        rng, count = np.random.default_rng(11), len(self.item_ids)
        for learner in ("item_knn", "ease"):
            columns = np.stack([rng.permutation(max(most, count // 3))[:most] for _ in range(count)]).astype(np.int32)
            columns[np.arange(most) >= rng.integers(0, most + 1, count)[:, None]] = -1
            columns[columns >= count] = -1
            weights = np.where(columns < 0, 0, rng.uniform(0.1, 1, columns.shape)).astype(np.float32)
            np.savez(self.path / f"models/item_to_item/snapshot_{learner}.npz", columns=columns, weights=weights)

        self._factors()

    def _factors(self, width: int = 5) -> None:
        """Vectors of every item but one, which no interaction named, and of every second user."""
        rng, count = np.random.default_rng(12), len(self.item_ids)
        items = rng.standard_normal((count + 2, width)).astype(np.float32)
        items[[0, count // 2, -1]] = 0
        items /= np.linalg.norm(items, 2)  # what ALS folds in by: the sum of the squares is at most 1
        folder = self.path / "models/item_to_item"
        FactorScores(ALSTowers(items, rng.standard_normal(width).astype(np.float32), 20.0), ()).write(folder / "snapshot_als.npz")
        users = tuple(self.user_ids[::2])
        own = rng.standard_normal((len(users) + 1, width - 1)).astype(np.float32)
        own[0] = 0
        FactorScores(BPRTowers(items, own, 4.0), users).write(folder / "snapshot_bpr.npz")

    def _ranker(self, lists: int = 60, size: int = 20) -> None:
        """Trees grown on numbers drawn at random, of which each column counts for something."""
        columns = RankerColumns.of(BUILT_IN, ("item_knn", "ease"))
        rng, rows = np.random.default_rng(13), lists * size
        table = {name: rng.standard_normal(rows).astype(np.float32) for name in columns.names}
        wanted = sum(table.values())
        label = (wanted > np.quantile(wanted, 0.8)).astype(np.float64)
        empty = Table(self.path, {name: values[:0] for name, values in table.items()})
        groups, none = np.repeat(np.arange(lists), size), np.zeros(0, np.int64)
        data = TrainingData(
            RANKER, Answer.RANKING, declared(columns.names), {}, Table(self.path, table), label, empty, label[:0], groups, none
        )
        fitted = LightGBMLearner(LightGBMSettings(rounds_without_validation=20, min_rows=5, num_threads=1)).fit(data, 3)
        self._save(fitted.onnx(), "models/ranker/model.onnx")
        self._json({"tables": list(columns.tables)}, "models/ranker/config.json")

    def _snapshot(self) -> None:
        state = {
            "as_of": "2023-11-15T00:00:00+00:00", "as_of_us": AS_OF_US, "session_gap_us": SESSION_GAP_US, "recent_items": self.length,
            "leave_out": self.leave_out, "id_types": {"user_id": "string", "item_id": "int64"}, "has_cart": self.cart,
            "no_cart": "" if self.cart else NO_CART, "request_kinds": {"recent_items": "view", "cart_items": "cart"},
            "interaction_types": ["view", "cart", "purchase", "rating"], "last_event_us": self.last_event_us,
        }  # fmt: skip
        self._json(state, "snapshot/state.json")
        self._parquet(self.items, "snapshot/items.parquet")
        self._parquet(self.users, "snapshot/users.parquet")
        now = self.queries_now()
        hidden = [*(self.hidden(place) for place in range(len(self.user_ids))), []]
        self._parquet({**now, "left_out": hidden}, "snapshot/queries.parquet")
        encoded = self._features(self.items, ["item"], names.ITEM)
        self._parquet(encoded, "features/snapshot/items/part_0.parquet")
        asked, told = self.requests()
        self._parquet({**asked, **told}, "snapshot/requests.parquet")
        self._parquet(
            self._as_lists(self._features(told, ["query"], names.QUERY), told), "features/snapshot/requests/part_0.parquet"
        )
        vectors = self._run("models/two_tower/item.onnx", encoded)
        np.save(self.path / "models/two_tower/item_vectors.npy", vectors)
        queries = self._features(now, ["query"], names.QUERY)
        self._parquet(self._as_lists(queries, now), "features/snapshot/queries/part_0.parquet")
        self._parquet(
            {"query_vector": self._run("models/two_tower/query.onnx", queries).tolist()},
            "models/two_tower/offline_queries.parquet",
        )

    def _examples(self, count: int = 40) -> None:
        query, item = self.example_rows(count)
        anchors = {"example_id": list(range(count))}
        self._parquet({**anchors, **query, **item}, "examples/test/recommend.parquet")
        encoded = self._features({**query, **item}, ["query", "item"], (*names.QUERY, *names.ITEM))
        self._parquet({**anchors, **self._as_lists(encoded, query)}, "features/test/recommend/part_0.parquet")
        vectors = self._run("models/two_tower/query.onnx", encoded)
        self._parquet({"row": list(range(count)), "query_vector": vectors.tolist()}, "models/two_tower/offline.parquet")
        cross = {name: self.rng.random(count).astype(np.float32).astype(float).tolist() for name in names.CROSS}
        cart = {name: self.rng.integers(1, 9, count).astype(float).tolist() for name in names.CART}
        scalars = {name: query[name] for name in names.QUERY_SCALARS}
        for model, extra, graphs in (("ranking", {}, ["cross"]), ("cart", cart, ["cross", "cart"])):
            if model == "cart" and not self.cart:
                continue
            raw = {**scalars, **item, **cross, **extra}
            self._parquet({**anchors, **raw}, f"examples/test/{model}.parquet")
            features = self._features(
                {**raw, **{name: query[name] for name in names.QUERY_LISTS}}, ["query", "item", *graphs], tuple(raw)
            )
            self._parquet(
                {**anchors, **{name: value[:, 0].tolist() for name, value in features.items()}},
                f"features/test/{model}/part_0.parquet",
            )
            logits = self._run(f"models/{model}/model.onnx", features)[:, 0].tolist()
            self._parquet({"row": list(range(count)), "logit": logits}, f"models/{model}/offline.parquet")

    def _features(self, raw: dict[str, list[Any]], graphs: Sequence[str], wanted: Sequence[str]) -> dict[str, Any]:
        encoded: dict[str, Any] = {}
        for graph in graphs:
            session = onnxruntime.InferenceSession(str(self.path / f"workflow/{graph}.onnx"))
            feeds = {value.name: self._raw(value.name, raw[value.name]) for value in session.get_inputs()}
            for output, value in zip(session.get_outputs(), session.run(None, feeds), strict=True):
                encoded[output.name.removesuffix(ENCODED_SUFFIX)] = value
        return {name: encoded[name] for name in wanted}

    def _raw(self, name: str, values: list[Any]) -> np.ndarray:
        if name in names.QUERY_LISTS:
            padded = np.full((len(values), self.length), "", dtype=object)
            for row, value in enumerate(values):
                padded[row, : len(value)] = value
            return padded
        if name in names.STRINGS:
            return np.array(values, dtype=object).reshape(-1, 1)
        if name in ("hour", "weekday"):
            return np.array(values, np.int64).reshape(-1, 1)
        return np.array([np.nan if value is None else value for value in values], np.float32).reshape(-1, 1)

    def _as_lists(self, encoded: dict[str, Any], raw: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Encoded columns as NVTabular writes them: lists without padding."""
        table = {}
        for name, value in encoded.items():
            if name in names.QUERY_LISTS:
                table[name] = [row[: len(given)].tolist() for row, given in zip(value, raw[name], strict=True)]
            else:
                table[name] = value[:, 0].tolist()
        return table

    def _run(self, model: str, encoded: dict[str, Any]) -> np.ndarray:
        session = onnxruntime.InferenceSession(str(self.path / model))
        feeds = {}
        for value in session.get_inputs():
            feeds[value.name] = encoded[value.name]
        return session.run(None, feeds)[0]

    def _save(self, model: onnx.ModelProto, relative: str) -> None:
        (self.path / relative).parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, self.path / relative)

    def _json(self, content: Any, relative: str) -> None:
        (self.path / relative).parent.mkdir(parents=True, exist_ok=True)
        (self.path / relative).write_text(json.dumps(content))

    def _parquet(self, table: dict[str, Any], relative: str) -> None:
        arrays = {}
        for name, value in table.items():
            kind = self._kind(name, value)
            arrays[name] = pa.array(value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 else
                                    value[:, 0].tolist() if isinstance(value, np.ndarray) else value, type=kind)  # fmt: skip
        (self.path / relative).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(arrays), self.path / relative)

    @staticmethod
    def _kind(name: str, value: Any) -> Any:
        if name in ("last_seen", "session_start"):
            return pa.timestamp("us", tz="UTC")
        if name == "left_out":
            return pa.list_(pa.string() if any(isinstance(entry, str) for row in value for entry in row) else pa.int32())
        if name in (*names.QUERY_LISTS, "given_items", "cart_items"):
            strings = all(isinstance(entry, str) for row in value for entry in row)
            return pa.list_(pa.string() if strings else pa.int64())
        if name == "query_vector":
            return pa.list_(pa.float32())
        first = next((entry for entry in list(value) if entry is not None), None)
        return pa.float32() if isinstance(first, float) or (isinstance(value, np.ndarray) and value.dtype == np.float32) else None


def write_synthetic_run(
    path: Path,
    *,
    items: int = 50,
    users: int = 20,
    seed: int = 7,
    cart: bool = True,
    dimension: int = 8,
    recents: int = 5,
    leave_out: str = "interacted",
    ranker: bool = False,
) -> Path:
    """Write a run directory and return it.

    Args:
        path: where to; made if need be.
        items: size of the catalogue; ids are "1000", "1001", ...
        users: number of identified users; ids are "u0", "u1", ...
        seed: seed of everything.
        cart: whether there is a cart model.
        dimension: length of the query and item vectors.
        recents: L.
        leave_out: what ``recommend`` leaves out.
        ranker: whether trees order candidates beside the DLRM.
    """
    path.mkdir(parents=True, exist_ok=True)
    SyntheticRun(path, items, users, seed, cart, dimension, recents, leave_out, ranker).write()
    return path
