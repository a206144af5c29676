"""Declared tasks of a run as ``prepare`` and ``train`` leave them, small and made by hand: a linear model on every kind of column."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq

from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.run_layout import RunLayout, TaskLayout
from models.tasks.spread import Spread
from workflows.compiler.onnx_graph import ENCODED_SUFFIX, GraphBuilder
from workflows.features.column import Column, Kind, Owner

COLUMNS = (
    Column("user_events", Owner.SHOPPER, Kind.COUNT, "events so far"),
    Column("spent", Owner.SHOPPER, Kind.AMOUNT, "money spent"),
    Column("favourite", Owner.SHOPPER, Kind.CATEGORY, "favourite category"),
    Column("weekday", Owner.MOMENT, Kind.CALENDAR, "day of the week"),
    Column("liked", Owner.SHOPPER, Kind.TAGS, "liked categories", width=3),
    Column("taste", Owner.SHOPPER, Kind.VECTOR, "taste", width=2),
)
CALENDAR = ("hour", "weekday", "day_of_month")
VALUES = ("", "books", "garden", "tøys")
SLOPE, INTERCEPT = 0.8, -0.2
FACTOR, SPREAD = 1.25, Spread(0.8, 0.1, (0.6, 1.1), (0.3, 0.5, 0.9), (0.1, -0.2, 0.4))
FLAG = "spent_filled"
_WEIGHTS = {"user_events": 0.3, "spent": -0.7, FLAG: 0.4, "favourite": (0.0, 0.2, 0.5, -0.6, 0.9, 0.1, -0.3), "weekday": -0.15}


class SyntheticTask:
    """Draws a task; see the module."""

    def __init__(
        self,
        run: Path,
        name: str,
        entity: str = "user",
        answer: str = "probability",
        columns: tuple[Column, ...] = COLUMNS,
        families: tuple[str, ...] = (),
    ) -> None:
        self.families = families
        self.layout, self.entity, self.answer, self.columns = RunLayout(run).task(name), entity, answer, columns
        self.rng = np.random.default_rng(len(name))
        self.flagged = any(column.name == "spent" for column in columns)

    def rows(self, count: int) -> dict[str, list[Any]]:
        """Random raw columns; money is missing now and then."""
        rng = self.rng
        drawn = {
            "user_events": rng.integers(0, 9, count).astype(float).tolist(),
            "spent": [None if rng.random() < 0.2 else float(np.float32(rng.uniform(0, 4))) for _ in range(count)],
            "favourite": [VALUES[place] for place in rng.integers(0, 4, count)],
            "weekday": rng.integers(1, 8, count).tolist(),
            "liked": [[VALUES[place] for place in rng.integers(1, 4, rng.integers(0, 4))] for _ in range(count)],
            "taste": rng.normal(size=(count, 2)).astype(np.float32).astype(float).tolist(),
        }
        of_families = {
            name: rng.integers(1, 8, count).tolist() if name in CALENDAR else rng.uniform(0, 9, count).astype(np.float32).tolist()
            for name in (column.name for column in self.columns if column.name not in drawn)
        }
        return {column.name: (drawn | of_families)[column.name] for column in self.columns}

    def encoding(self) -> onnx.ModelProto:
        """The graph ``encode.onnx``."""
        graph = GraphBuilder(self.layout.name)
        for column in self.columns:
            out, name = column.name + ENCODED_SUFFIX, column.name
            if column.kind is Kind.VECTOR:
                value = graph.input(name, "float32", ["B", f"L_{name}"])
                graph.output(value, out, "float32", ["B", f"L_{name}"])
            elif column.kind in (Kind.CATEGORY, Kind.TAGS):
                shape = ["B", f"L_{name}" if column.kind is Kind.TAGS else 1]
                keys = VALUES[1:] if column.kind is Kind.TAGS else VALUES
                ids = list(range(3, 3 + len(keys)))
                pad = ([""], [0]) if column.kind is Kind.TAGS else ([], [])
                code = graph.add(
                    "LabelEncoder",
                    graph.input(name, "string", shape),
                    domain="ai.onnx.ml",
                    keys_strings=[*pad[0], *keys],
                    values_int64s=[*pad[1], *ids],
                    default_int64=2,
                )
                graph.output(code, out, "int64", shape)
            elif column.kind is Kind.CALENDAR:
                code = graph.add(
                    "LabelEncoder",
                    graph.input(name, "int64", ["B", 1]),
                    domain="ai.onnx.ml",
                    keys_int64s=list(range(1, 8)),
                    values_int64s=list(range(3, 10)),
                    default_int64=2,
                )
                graph.output(code, out, "int64", ["B", 1])
            else:
                value = graph.input(name, "float32", ["B", 1])
                missing = graph.add("IsNaN", value)
                filled = graph.add("Where", missing, graph.constant(1.0, np.float32), value)
                graph.output(graph.add("Mul", filled, graph.constant(0.5, np.float32)), out, "float32", ["B", 1])
                if name == "spent":
                    flag = graph.add("Cast", missing, to=onnx.TensorProto.FLOAT)
                    graph.output(flag, FLAG + ENCODED_SUFFIX, "float32", ["B", 1])
        return graph.model()

    def scorer(self) -> onnx.ModelProto:
        """The graph ``model.onnx``: a weighted sum."""
        graph = GraphBuilder("linear")
        parts = []
        for name in (*(column.name for column in self.columns), *([FLAG] if self.flagged else [])):
            kind = next((column.kind for column in self.columns if column.name == name), Kind.NUMBER)
            if kind in (Kind.CATEGORY, Kind.CALENDAR, Kind.TAGS):
                width = 3 if kind is Kind.TAGS else 1
                table = np.linspace(-0.5, 0.5, 12, dtype=np.float32) * (1 if name != "weekday" else 0.3)
                table[0] = 0
                looked = graph.add("Gather", graph.constant(table), graph.input(name, "int64", ["B", width]), axis=0)
                parts.append(graph.add("ReduceSum", looked, graph.constant([1], np.int64), keepdims=1))
            elif kind is Kind.VECTOR:
                weights = np.array([[0.25], [-0.5]], np.float32)
                parts.append(graph.add("MatMul", graph.input(name, "float32", ["B", 2]), graph.constant(weights)))
            else:
                value = graph.input(name, "float32", ["B", 1])
                parts.append(graph.add("Mul", value, graph.constant(_WEIGHTS.get(name, 0.01), np.float32)))
        score = graph.add("Sum", *parts) if len(parts) > 1 else parts[0]
        if self.answer == "quantity":
            score = graph.add("Exp", score)
        graph.output(score, "score", "float32", ["B", 1])
        return graph.model()

    def feeds(self, raw: dict[str, list[Any]]) -> dict[str, np.ndarray]:
        """Raw columns as the encoding reads them."""
        fed = {}
        for column in self.columns:
            values = raw[column.name]
            if column.kind is Kind.TAGS:
                fed[column.name] = np.array([[*row, *[""] * (3 - len(row))] for row in values], dtype=object)
            elif column.kind is Kind.VECTOR:
                fed[column.name] = np.array(values, np.float32)
            elif column.kind is Kind.CATEGORY:
                fed[column.name] = np.array(values, dtype=object)[:, None]
            elif column.kind is Kind.CALENDAR:
                fed[column.name] = np.array(values, np.int64)[:, None]
            else:
                fed[column.name] = np.array([np.nan if value is None else value for value in values], np.float32)[:, None]
        return fed

    def encoded(self, raw: dict[str, list[Any]]) -> dict[str, np.ndarray]:
        outputs = OnnxModel(self.encoding().SerializeToString()).run(self.feeds(raw))
        return {name.removesuffix(ENCODED_SUFFIX): value for name, value in outputs.items()}

    def score(self, encoded: dict[str, np.ndarray]) -> np.ndarray:
        return self._scores.run(encoded)["score"][:, 0]

    @cached_property
    def _scores(self) -> OnnxModel:
        return OnnxModel(self.scorer().SerializeToString())

    def typical(self) -> dict[str, Any]:
        """Typical encoded values."""
        all_ = {"user_events": 2.0, "spent": 0.5, "favourite": 3, "weekday": 4, "liked": [0, 0, 0], "taste": [0.1, -0.2]}
        return {column.name: all_.get(column.name, 4 if column.name in CALENDAR else 1.0) for column in self.columns} | (
            {FLAG: 0.0} if self.flagged else {}
        )

    def reasons(self) -> dict[str, list[str]]:
        """Column that is a reason -> the columns that are replaced together."""
        return {column.name: [column.name, FLAG] if column.name == "spent" else [column.name] for column in self.columns}

    def contributions(self, encoded: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Column -> how far the score falls where it is typical."""
        whole, typical = self.score(encoded), self.typical()
        return {
            name: whole
            - self.score(
                {
                    **encoded,
                    **{
                        each: np.broadcast_to(np.asarray(typical[each], encoded[each].dtype), encoded[each].shape)
                        for each in group
                    },
                }
            )
            for name, group in self.reasons().items()
        }

    def answers(self, score: np.ndarray) -> np.ndarray:
        return score * FACTOR if self.answer == "quantity" else 1 / (1 + np.exp(-(SLOPE * score + INTERCEPT)))

    def write(self, stored: int = 20, examples: int = 30) -> TaskLayout:
        layout, model = self.layout, self.layout.model("linear")
        for folder in (layout.folder, model.path, layout.examples("test").parent):
            folder.mkdir(parents=True, exist_ok=True)
        spec = {
            "name": layout.name, "title": f"Whether {layout.name} happens", "entity": self.entity, "answer": self.answer,
            "columns": [column.to_json() for column in self.columns], "base_rate": {"train": 0.25},
            "costs": {"false_positive": 1.0, "false_negative": 3.0}, "families": list(self.families),
        }  # fmt: skip
        layout.spec.write_text(json.dumps(spec), encoding="utf-8")
        layout.leaderboard.write_text(json.dumps({"served": "linear"}), encoding="utf-8")
        onnx.save(self.encoding(), layout.graph)
        onnx.save(self.scorer(), model.scores)
        config = {"model": "linear", "typical": self.typical(), "reasons": self.reasons()}
        model.config.write_text(json.dumps(config), encoding="utf-8")
        slope, intercept = (SLOPE, INTERCEPT) if self.answer == "probability" else (1.0, 0.0)
        calibration: dict[str, Any] = {"slope": slope, "intercept": intercept}
        if self.answer == "quantity":
            calibration |= {"factor": FACTOR, "spread": vars(SPREAD)}
        model.calibration.write_text(json.dumps(calibration), encoding="utf-8")
        rows = self.rows(examples)
        encoded = self.encoded(rows)
        score = self.score(encoded)
        ids = [f"e{place}" for place in range(examples)]
        self._table({"entity": ids, "label": [0.0, 1.0] * (examples // 2), **rows}, layout.examples("test"))
        reasons = {f"reason_{name}": values for name, values in self.contributions(encoded).items()}
        about: dict[str, Any] = {"entity": ids, "score": score, "answer": self.answers(score)}
        if self.answer == "quantity":
            about |= dict(zip(("low", "high", "order"), SPREAD.bounds(self.answers(score).astype(np.float64)), strict=True))
        pq.write_table(pa.table({**about, **reasons}), model.offline)
        if self.entity in ("user", "item"):
            self.stored = self.rows(stored)
            self._table({"entity": [f"u{place}" for place in range(stored)], **self.stored}, layout.stored)
        return layout

    def _table(self, rows: dict[str, list[Any]], path: Path) -> None:
        types = {
            "user_events": pa.float32(),
            "spent": pa.float32(),
            "liked": pa.list_(pa.string()),
            "taste": pa.list_(pa.float32()),
        }
        pq.write_table(pa.table({name: pa.array(values, types.get(name)) for name, values in rows.items()}), path)


def write_tasks(run: Path) -> dict[str, SyntheticTask]:
    """Write a task about users, one about items that asks a quantity, and one about rows with fewer columns than reasons."""
    tasks = {
        "churn": SyntheticTask(run, "churn"),
        "demand": SyntheticTask(run, "demand", "item", "quantity"),
        "intent": SyntheticTask(run, "intent", "row", columns=COLUMNS[1:3]),
    }
    for task in tasks.values():
        task.write()
    return tasks
