"""One request encoded in several ways, each of which answers the same requests with the same numbers before any is timed.

A request is one row. Each way is given it in the form that it takes: a feed of ONNX Runtime, a pandas frame, or the dictionary of
arrays that Merlin Systems hands to NVTabular's C++ operators.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.encoding.events import CATEGORICAL, CONTINUOUS, LIST, draw, every_user, feature_graph
from cartwheel.core.errors import ParityError
from workflows.compiler.fit import fit_workflow
from workflows.compiler.onnx_graph import ENCODED_SUFFIX
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.graph import Plan
from workflows.compiler.plan.onnx_frames import onnx_feeds, open_session
from workflows.compiler.plan.read import read_plan

Name = TypeVar("Name", bound=Hashable)
Array = npt.NDArray[Any]
Answer = Mapping[str, Array]
"""Encoded column -> its values for the one row, flat."""

TOLERANCE: Final = 1e-6
"""Largest difference of two floats, relative to 1 or to the larger one, at which two answers count as the same."""
REQUESTS: Final = 64
"""Different requests, asked in turn."""
BATCH: Final = 256
"""Rows of a request for the candidates of a ranking, say; without the list, whose length differs from row to row."""
_TURNS: Final = 5
_OTHER_CHUNK: Final = 1_000_000
"""A part of the log that no workflow is fitted on."""

ONNX: Final = "Cartwheel"
TRANSFORM: Final = "NVTabular's transform"
RUNNER: Final = "NVTabular as Merlin Systems runs it"
CPP: Final = "NVTabular's C++ operators"


@dataclass(frozen=True)
class Way:
    """A way to encode a request.

    Attributes:
        name: what it is called.
        run: encodes a request that is given in its own form.
        requests: the requests in that form.
        answer: what ``run`` returned, as an ``Answer``.
    """

    name: str
    run: Callable[[Any], Any]
    requests: Sequence[Any]
    answer: Callable[[Any], Answer]


def prepare_ways(users: int, folder: Path) -> dict[str, list[Way]]:
    """Fit the whole graph, and the part of it that NVTabular has in C++, and make the ways to encode requests with them.

    Args:
        users: size of the vocabulary of ``user_id``.
        folder: where vocabularies go.

    Returns:
        Part -> the ways to encode it, Cartwheel's first.

    Raises:
        ParityError: if two ways disagree.
    """
    events = every_user(users)
    whole = fit_workflow(feature_graph(folder, numbers=True), events, folder)
    covered = fit_workflow(feature_graph(folder, numbers=False), events, folder)
    rows = _rows(events)
    batches = [pl.concat((rows[start:] + rows[:start]) * (BATCH // REQUESTS)) for start in range(8)]
    ids = [*CATEGORICAL, LIST]
    plan = read_plan(whole)
    parts = {
        "whole graph": [_onnx(plan, list(plan), rows), _transform(whole, rows), _runner(whole, rows, RUNNER)],
        "Categorify and FillMissing": [_onnx(read_plan(covered), list(plan), rows), _runner(covered, rows, CPP)],
        "Categorify": [_onnx(plan, ids, rows), _categorify(whole, rows, ids)],
        f"Categorify, {BATCH} rows at once": [_onnx(plan, CATEGORICAL, batches), _categorify(whole, batches, CATEGORICAL)],
    }
    for part, ways in parts.items():
        _check(part, ways)
    return parts


def time_ways(ways: Mapping[Name, Way], seconds: float) -> dict[Name, Array]:
    """Time ways in turn, several times, so that what else runs on the machine hits all alike; the first turn is warm-up.

    Args:
        ways: the ways under any names.
        seconds: how long each is timed; each encodes at least five requests.

    Returns:
        Name -> microseconds of each request.
    """
    taken: dict[Name, list[float]] = {name: [] for name in ways}
    for turn in range(_TURNS + 1):
        for name, way in ways.items():
            found = _turn(way, seconds / _TURNS)
            if turn:
                taken[name] += found
    return {name: np.array(found) * 1e6 for name, found in taken.items()}


def _rows(events: pl.DataFrame) -> list[pl.DataFrame]:
    """Return requests of one row each: every other one of a user of the table, the rest of unknown users; no id is null."""
    known = events.drop_nulls("user_id").sample(REQUESTS // 2, seed=1)
    unknown = draw(REQUESTS // 2, _OTHER_CHUNK).with_columns(user_id=pl.col("item_id").str.replace("item", "stranger"))
    rows = pl.concat([known, unknown])
    return [rows[(place * REQUESTS // 2 + place // 2) % REQUESTS] for place in range(REQUESTS)]


def _onnx(plan: Plan, columns: Sequence[str], rows: Sequence[pl.DataFrame]) -> Way:
    session = open_session(compile_onnx(plan, columns, "request"))
    outputs = [column + ENCODED_SUFFIX for column in columns]

    def answer(values: Sequence[Array]) -> Answer:
        return {column: value.reshape(-1) for column, value in zip(columns, values, strict=True)}

    return Way(ONNX, lambda feed: session.run(outputs, feed), [onnx_feeds(session, row) for row in rows], answer)


def _transform(workflow: Any, rows: Sequence[pl.DataFrame]) -> Way:
    def answer(frame: Any) -> Answer:
        return {name: np.concatenate([np.atleast_1d(value) for value in frame[name]]) for name in frame.columns}

    return Way(TRANSFORM, workflow.transform, [row.to_pandas() for row in rows], answer)


def _runner(workflow: Any, rows: Sequence[pl.DataFrame], name: str) -> Way:
    """Run C++ operators where NVTabular has them and pandas for the rest, converting in between.

    That is what the runner of Merlin Systems does with a workflow, here without its walk over the graph.
    """
    import pandas as pd

    categorify = _operator(workflow, "Categorify").inference_initialize(None, {})
    fill = _operator(workflow, "FillMissing").inference_initialize(None, {})
    rest = [operator for kind in ("LogOp", "Normalize") if (operator := _operator(workflow, kind))]
    selector = _selector()

    def run(request: dict[str, Any]) -> Any:
        ids = categorify.transform(None, {name: request[name] for name in (*CATEGORICAL, LIST)})
        numbers = fill.transform(None, {name: request[name] for name in CONTINUOUS})
        if rest:
            frame = pd.DataFrame(numbers)
            for operator in rest:
                frame = operator.transform(selector, frame)
            numbers = {name: frame[name].to_numpy() for name in CONTINUOUS}
        return {**ids, **numbers}

    return Way(name, run, [_arrays(row, (*CATEGORICAL, LIST, *CONTINUOUS)) for row in rows], _flat)


def _categorify(workflow: Any, rows: Sequence[pl.DataFrame], columns: Sequence[str]) -> Way:
    operator = _operator(workflow, "Categorify").inference_initialize(None, {})
    requests = [_arrays(row, columns) for row in rows]
    # The operator puts its answer into the dictionary that it is given.
    return Way(CPP, lambda request: operator.transform(None, dict(request)), requests, _flat)


def _operator(workflow: Any, kind: str) -> Any:
    """Return the one operator of a class in a workflow, None where there is none."""
    waiting = [workflow.output_node]
    while waiting:
        node = waiting.pop()
        if type(node.op).__name__ == kind:
            return node.op
        waiting += node.parents_with_dependencies
    return None


def _selector() -> Any:
    from merlin.dag import ColumnSelector

    return ColumnSelector(list(CONTINUOUS))


def _arrays(row: pl.DataFrame, columns: Sequence[str]) -> dict[str, Any]:
    """Return a row as Merlin Systems hands it over: arrays that may not be written to, lists as their values and offsets."""
    arrays: dict[str, Any] = {}
    for name in columns:
        values = row[name].explode() if name == LIST else row[name]
        # Polars gives a float's null as NaN.
        array = np.array(values.to_list(), dtype=object) if values.dtype == pl.String else values.to_numpy(writable=True)
        array.flags.writeable = False
        arrays[name] = (array, np.array([0, len(array)], dtype=np.int32)) if name == LIST else array
    return arrays


def _flat(answer: Mapping[str, Any]) -> Answer:
    return {name: value[0] if isinstance(value, tuple) else value for name, value in answer.items()}


def _check(part: str, ways: Sequence[Way]) -> None:
    """Compare the answers of all ways to all requests with those of the first."""
    first, *others = ways
    for place, request in enumerate(first.requests):
        expected = first.answer(first.run(request))
        for way in others:
            found = way.answer(way.run(way.requests[place]))
            for column, values in expected.items():
                if not _same(values, found[column]):
                    raise ParityError(
                        f"{part}, request {place}, column {column!r}: {first.name} answers {values}, {way.name} {found[column]}.",
                        "Nothing was timed; mend what differs first.",
                    )


def _same(left: Array, right: Array) -> bool:
    if left.shape != right.shape:
        return False
    if left.dtype.kind != "f":
        return bool(np.array_equal(left, right))
    return bool(np.allclose(left, right, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))


def _turn(way: Way, seconds: float) -> list[float]:
    requests, run = way.requests, way.run
    taken: list[float] = []
    deadline = time.perf_counter() + seconds
    asked = answered = 0.0
    while answered < deadline:
        request = requests[len(taken) % len(requests)]
        asked = time.perf_counter()
        run(request)
        answered = time.perf_counter()
        taken.append(answered - asked)
    return taken
