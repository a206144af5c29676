"""Two levels find the same best scores as sorting everything."""

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.pieces.top import barred, best, score_columns
from workflows.compiler.onnx_graph import GraphBuilder


def search(items: int, kept: int, block: int) -> onnxruntime.InferenceSession:
    columns = score_columns(items, kept, block)
    graph = GraphBuilder("search")
    scores, indices = graph.input("scores", "float32", ["B", columns]), graph.input("indices", "int64", ["B", "X"])
    values, index = best(graph, barred(graph, scores, indices, items, columns), kept, columns, block)
    graph.output(values, "values", "float32", ["B", kept])
    graph.output(index, "index", "int64", ["B", kept])
    return onnxruntime.InferenceSession(graph.model().SerializeToString())


SEARCHES = {(items, kept): search(items, kept, 5) for items, kept in ((5, 5), (24, 3), (30, 4), (31, 6), (59, 12), (60, 11))}


def test_two_levels_are_used_where_they_pay() -> None:
    assert score_columns(24, 3, 5) == 25
    assert score_columns(25, 3, 5) == 30
    assert score_columns(24, 5, 5) == 25
    assert score_columns(23, 5, 5) == 24
    assert score_columns(100_000, 200) == 100_100


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=st.sampled_from(sorted(SEARCHES)),
    seed=st.integers(0, 10_000),
    order=st.sampled_from(["random", "ascending", "equal"]),
    excluded=st.lists(st.integers(-1, 60), max_size=40),
)
def test_the_best_allowed_items_are_found(shape: tuple[int, int], seed: int, order: str, excluded: list[int]) -> None:
    items, kept = shape
    columns = score_columns(items, kept, 5)
    scores = np.random.default_rng(seed).integers(-9, 9, (2, columns)).astype(np.float32)
    scores = {"random": scores, "ascending": np.sort(scores, axis=1), "equal": np.zeros_like(scores)}[order]
    taken = [index for index in excluded if index <= items]
    indices = np.array([taken, [-1] * len(taken)], np.int64)
    values, index = SEARCHES[shape].run(None, {"scores": scores, "indices": indices})
    for row in range(2):
        allowed = scores[row, :items].copy()
        allowed[[place for place in indices[row] if 0 <= place < items]] = -np.inf
        np.testing.assert_array_equal(values[row], np.sort(allowed)[::-1][:kept])
        real = np.isfinite(values[row])
        np.testing.assert_array_equal(allowed[index[row][real]], values[row][real])
        assert len(set(index[row][real].tolist())) == real.sum()


@pytest.mark.parametrize("items", [1, 99, 100, 101])
def test_any_catalogue_has_a_spare_column(items: int) -> None:
    assert score_columns(items, items) > items
