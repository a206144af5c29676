"""Searching with integers first finds what searching everything in single precision finds."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.pieces import scan
from serving.pieces.neighbours import Additions, ItemBases
from serving.pieces.state import NeighbourTable
from workflows.compiler.onnx_graph import GraphBuilder

ITEMS, KEPT, DIMENSION, RECENTS = 300, 7, 12, 6


def vectors(kind: str) -> np.ndarray:
    rng = np.random.default_rng(5)
    table = rng.standard_normal((ITEMS, DIMENSION)).astype(np.float32)
    if kind == "crowded":  # so close together that integers cannot tell them apart
        table = table[:1] + 1e-4 * table
    elif kind == "uneven":
        table *= np.exp(3 * rng.standard_normal((ITEMS, 1))).astype(np.float32)
    elif kind == "unit":
        table /= np.linalg.norm(table, axis=1, keepdims=True)
    elif kind == "nothing":
        table[:] = 0
    return table


def search(
    table: np.ndarray, neighbours: tuple[NeighbourTable, ...] = (), bases: np.ndarray | None = None
) -> onnxruntime.InferenceSession:
    graph = GraphBuilder("search")
    vector, excluded = graph.input("vector", "float32", ["B", DIMENSION]), graph.input("excluded", "int64", ["B", "X"])
    added = None
    if neighbours:
        added = Additions(graph, neighbours, graph.input("recent", "int64", ["B", RECENTS]), RECENTS)
    of_items = None if bases is None else ItemBases(bases, graph.input("known", "int64", ["B"]))
    scores, index = scan.nearest(graph, vector, table, excluded, KEPT, added, of_items)
    graph.output(scores, "scores", "float32", ["B", KEPT])
    graph.output(index, "index", "int64", ["B", KEPT])
    return onnxruntime.InferenceSession(graph.model().SerializeToString())


TABLES = {kind: vectors(kind) for kind in ("plain", "crowded", "uneven", "unit", "nothing")}
SEARCHES = {kind: search(table) for kind, table in TABLES.items()}


def require_best(truth: np.ndarray, excluded: list[int], scores: np.ndarray, index: np.ndarray) -> None:
    """Check that the best of ``truth`` [queries, items] were found, each once, and none that is excluded."""
    truth[:, [item for item in excluded if 0 <= item < ITEMS]] = -np.inf
    tolerance = 1e-5 * max(1e-30, float(np.abs(truth[np.isfinite(truth)]).max(initial=0)))
    np.testing.assert_allclose(scores, -np.sort(-truth, axis=1)[:, :KEPT], rtol=1e-5, atol=tolerance)
    np.testing.assert_allclose(np.take_along_axis(truth, index, axis=1), scores, rtol=1e-5, atol=tolerance)
    assert all(len(set(row)) == KEPT for row in index.tolist())


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(sorted(TABLES)),
    seed=st.integers(0, 10_000),
    queries=st.sampled_from([1, 3, scan.FEW, scan.FEW + 1]),
    excluded=st.lists(st.integers(-1, ITEMS), max_size=40),
    length=st.sampled_from([0.0, 1e-3, 1.0, 1e3]),
)
def test_the_best_are_those_of_the_full_search(kind: str, seed: int, queries: int, excluded: list[int], length: float) -> None:
    vector = (length * np.random.default_rng(seed).standard_normal((queries, DIMENSION))).astype(np.float32)
    barred = np.tile(np.array([excluded or [-1]], np.int64), (queries, 1))
    scores, index = SEARCHES[kind].run(None, {"vector": vector, "excluded": barred})
    truth = vector.astype(np.float64) @ TABLES[kind].T.astype(np.float64)
    require_best(truth, excluded, scores, index)


def neighbour_table(seed: int) -> NeighbourTable:
    """Three neighbours of each item at most, among a few that many share."""
    rng = np.random.default_rng(seed)
    columns = rng.integers(0, ITEMS // 10, (ITEMS + 1, 3))
    columns[rng.random(columns.shape) < 0.3] = ITEMS
    columns[ITEMS] = ITEMS
    additions = np.where(columns < ITEMS, rng.uniform(0.1, 2.0, columns.shape), 0).astype(np.float32)
    return NeighbourTable(columns, additions, np.power(np.float32(0.5), np.arange(RECENTS, dtype=np.float32)))


NEIGHBOURS = neighbour_table(3)
WITH = {kind: search(table, (NEIGHBOURS,)) for kind, table in TABLES.items()}


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(sorted(TABLES)),
    seed=st.integers(0, 10_000),
    queries=st.sampled_from([1, 3, scan.FEW, scan.FEW + 1]),
    excluded=st.lists(st.integers(-1, ITEMS), max_size=40),
    length=st.sampled_from([0.0, 0.3, 3.0]),
)
def test_what_neighbours_add_counts_in_every_search(
    kind: str, seed: int, queries: int, excluded: list[int], length: float
) -> None:
    rng = np.random.default_rng(seed)
    vector = (length * rng.standard_normal((queries, DIMENSION))).astype(np.float32)
    recent = np.full((queries, RECENTS), -1, np.int64)
    truth = vector.astype(np.float64) @ TABLES[kind].T.astype(np.float64)
    for row, held in enumerate(rng.integers(0, RECENTS + 1, queries)):
        recent[row, :held] = rng.integers(0, ITEMS + 1, held)  # ITEMS is an item that the catalogue does not know
        for age, item in enumerate(recent[row, :held][::-1]):
            for column, addition in zip(NEIGHBOURS.columns[item], NEIGHBOURS.additions[item], strict=True):
                if column < ITEMS:
                    truth[row, column] += addition * 0.5**age
    barred = np.tile(np.array([excluded or [-1]], np.int64), (queries, 1))
    scores, index = WITH[kind].run(None, {"vector": vector, "excluded": barred, "recent": recent})
    require_best(truth, excluded, scores, index)


BASES = np.random.default_rng(4).standard_normal((2, ITEMS)).astype(np.float32) * np.array([[0.1], [3.0]], np.float32)
BASES[:, ::3] = 0
BASED = {kind: search(table, (NEIGHBOURS,), BASES) for kind, table in TABLES.items()}


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(sorted(TABLES)),
    seed=st.integers(0, 10_000),
    queries=st.sampled_from([1, 3, scan.FEW + 1]),
    excluded=st.lists(st.integers(-1, ITEMS), max_size=40),
    length=st.sampled_from([0.0, 1e-6, 0.3, 30.0]),
)
def test_what_every_item_has_counts_in_every_search(
    kind: str, seed: int, queries: int, excluded: list[int], length: float
) -> None:
    rng = np.random.default_rng(seed)
    vector = (length * rng.standard_normal((queries, DIMENSION))).astype(np.float32)
    known, recent = rng.integers(0, 2, queries), np.full((queries, RECENTS), -1)
    recent[:, 0] = rng.integers(0, ITEMS, queries)
    barred = np.tile(np.array([excluded or [-1]], np.int64), (queries, 1))
    feeds = {"vector": vector, "excluded": barred, "recent": recent, "known": known}
    scores, index = BASED[kind].run(None, feeds)
    truth = vector.astype(np.float64) @ TABLES[kind].T.astype(np.float64) + BASES[known]
    for row, item in enumerate(recent[:, 0]):
        for column, addition in zip(NEIGHBOURS.columns[item], NEIGHBOURS.additions[item], strict=True):
            if column < ITEMS:
                truth[row, column] += addition
    require_best(truth, excluded, scores, index)


@pytest.mark.parametrize("left", [0, 3])
def test_fewer_than_wanted_may_be_left(left: int) -> None:
    barred = np.arange(left, ITEMS).reshape(1, -1)
    scores, index = SEARCHES["unit"].run(None, {"vector": np.ones((1, DIMENSION), np.float32), "excluded": barred})
    assert np.isfinite(scores[0]).sum() == left
    assert set(index[0, :left].tolist()) == set(range(left))


def test_integers_decide_where_they_can_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The full search is made to answer wrongly, so that one sees who answered."""
    wrong = (np.zeros((1, KEPT), np.float32), np.full((1, KEPT), -7))
    monkeypatch.setattr(scan._Search, "_in_full", lambda self, graph: tuple(graph.constant(value) for value in wrong))
    for kind, by_integers in (("unit", True), ("crowded", False)):
        sure = search(TABLES[kind] if kind == "crowded" else np.eye(ITEMS, DIMENSION, dtype=np.float32))
        query = np.linspace(1, 0.1, DIMENSION, dtype=np.float32).reshape(1, -1)
        index = sure.run(["index"], {"vector": query, "excluded": np.array([[-1]])})[0]
        assert (index[0].tolist() == list(range(KEPT))) == by_integers
