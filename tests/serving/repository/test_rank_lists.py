"""Trees that order candidates: the same columns and scores when served as offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.families.neighbours.table import Neighbours
from models.retrieval.ranker.features import DECAYS, NAMED, given_by_tables, list_features, spread_column, table_column
from serving.export.offline_chain import OfflineChain
from serving.local import LocalRepository
from serving.pieces.rank_lists import ListColumns, RankerTable
from serving.settings import ExportSettings
from workflows.compiler.onnx_graph import GraphBuilder

Array = np.ndarray[Any, Any]


def _tables(rng: np.random.Generator, items: int, most: int) -> dict[str, Neighbours]:
    tables = {}
    for name in ("ease", "item_knn"):
        columns = np.stack([rng.permutation(items)[: min(most, items)] for _ in range(items)]).astype(np.int32)
        columns[rng.random(columns.shape) < 0.3] = -1
        weights = np.where(columns < 0, 0, rng.uniform(0.1, 1, columns.shape)).astype(np.float32)
        tables[name] = Neighbours(columns, weights)
    return tables


def _served(tables: dict[str, Neighbours], recents: int, width: int, feeds: dict[str, Array]) -> dict[str, Array]:
    items = len(tables["ease"].columns)
    graph = GraphBuilder("columns")
    candidates = graph.input("candidates", "int64", ["B", width])
    scores = graph.input("scores", "float32", ["B", width])
    recent = graph.input("recent", "int64", ["B", recents])
    number = graph.input("number", "float32", ["B", width])
    lists = ListColumns(graph, candidates, scores, width)
    served = []
    for name, table in tables.items():
        columns = np.pad(table.columns, ((0, 1), (0, 0)), constant_values=-1)
        additions = np.pad(table.weights, ((0, 1), (0, 0)))
        shares = {
            table_column(name, decay): np.power(np.float32(decay), np.arange(recents, dtype=np.float32)) for decay in DECAYS
        }
        served.append(RankerTable(np.where(columns < 0, np.int32(items), columns), additions, shares))
    found = lists.of_tables(served, recent, recents)
    found[NAMED] = lists.counted([found[table_column(name, DECAYS[0])] for name in tables])
    found[spread_column("number")] = lists.in_spreads(number)
    for name, value in found.items():
        graph.output(value, name, "float32", ["B", width])
    session = onnxruntime.InferenceSession(graph.model().SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(found, session.run(list(found), feeds), strict=True))


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 5), st.integers(1, 9))
def test_candidates_stand_in_their_lists_alike_served_and_offline(seed: int, items: int, recents: int, width: int) -> None:
    rng, questions = np.random.default_rng(seed), 3
    tables = _tables(rng, items, 4)
    real = np.minimum(rng.integers(0, width + 1, questions), items)
    candidates = np.full((questions, width), -1, np.int64)
    recent = np.full((questions, recents), -1, np.int64)
    for row in range(questions):
        candidates[row, : real[row]] = rng.permutation(items)[: real[row]]
        held = rng.integers(0, recents + 1)
        recent[row, :held] = rng.integers(0, items + 1, held)
    number = rng.standard_normal(candidates.shape).astype(np.float32)
    offline = list_features(candidates >= 0, given_by_tables(tables, recent, candidates), {"number": number})
    scores = np.where(candidates >= 0, np.float32(1), np.float32(-np.inf))
    fillers = np.where(candidates < 0, items + rng.integers(0, 3, candidates.shape), candidates)
    served = _served(tables, recents, width, {"candidates": fillers, "scores": scores, "recent": recent, "number": number})
    assert set(served) == set(offline)
    for name, values in offline.items():
        np.testing.assert_allclose(served[name][candidates >= 0], values[candidates >= 0], atol=2e-5, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("shop", [{}, {"items": 9}, {"recents": 1}])
def test_what_is_served_is_what_trees_and_dlrm_make_of_the_candidates(
    export: Callable[..., LocalRepository], tmp_path: Path, shop: dict[str, int]
) -> None:
    served = export(candidates=20, ranker=True, **shop)  # exporting has held both against each other, or it would have failed
    run = next(folder for folder in served.path.parents if (folder / "snapshot").is_dir())
    chain = OfflineChain(run, served.contract, ExportSettings())
    sure = total = 0
    for place, user in enumerate(chain.users[:8]):
        answer = served.ask("recommend", user_id=[[user]], k=[5])
        expected = chain.recommend(place, 5)
        for item, score in zip(answer["items"][0], answer["scores"][0], strict=True):
            if item and item not in expected.unsure:
                assert score == pytest.approx(expected.scores[item], abs=2e-3)
                sure += 1
            total += bool(item)
    assert sure >= 0.8 * total


def test_trees_change_the_answer(export: Callable[..., LocalRepository]) -> None:
    scores = [
        export(candidates=20, ranker=ranker).ask("recommend", user_id=[["u1"]], k=[5])["scores"] for ranker in (False, True)
    ]
    assert np.abs(scores[0] - scores[1]).max() > 1e-3
