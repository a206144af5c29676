"""Which retrievers brought a candidate, against the definition in NumPy; and that answers name them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from cartwheel.core.onnx_model import OnnxModel
from serving.client.answers import parse_metadata, parse_recommendations
from serving.local import LocalRepository
from serving.pieces.brought import Parts, brought_by
from serving.pieces.neighbours import ItemBases
from workflows.compiler.onnx_graph import GraphBuilder

ITEMS, CANDIDATES, BATCH = 40, 12, 5


def expected(said: np.ndarray, scores: np.ndarray) -> list[int]:
    """The definition, for the candidates of one query: what each part says of each of them, [C, P], and their scores, [C]."""
    real = np.isfinite(scores)
    bits = [0] * len(scores)
    if not real.any():
        return bits
    lift, least = said - said[real].mean(axis=0), scores[real].min()
    for place in np.flatnonzero(real):
        named = [part for part in range(said.shape[1]) if scores[place] - lift[place, part] < least]
        named = named or [int(lift[place].argmax())]
        bits[place] = sum(1 << part for part in named)
    return bits


@pytest.mark.parametrize("widths", [(6,), (6, 4), (3, 5, 2)])
@pytest.mark.parametrize("based", [True, False])
@pytest.mark.parametrize("tabled", [True, False])
def test_it_is_what_the_definition_says(widths: Sequence[int], based: bool, tabled: bool) -> None:
    rng = np.random.default_rng(sum(widths) + 2 * based + tabled)
    vectors = rng.normal(size=(ITEMS, sum(widths))).astype(np.float32)
    query = rng.normal(size=(BATCH, sum(widths))).astype(np.float32)
    bases, row = rng.normal(size=(2, ITEMS)).astype(np.float32), rng.integers(0, 2, BATCH)
    added = np.where(rng.random((BATCH, ITEMS)) < 0.2, rng.random((BATCH, ITEMS)), 0).astype(np.float32) * tabled
    edges = np.cumsum([0, *widths])
    dense = [query[:, start:stop] @ vectors[:, start:stop].T for start, stop in itertools.pairwise(edges)]
    parts = [*dense, *([bases[row]] if based else []), *([added] if tabled else [])]
    whole = np.sum(parts, axis=0).astype(np.float32)
    items = np.argsort(-whole, axis=1)[:, :CANDIDATES]
    scores = np.take_along_axis(whole, items, axis=1)
    scores[0], scores[1, 7:] = -np.inf, -np.inf  # one of whom nothing may be answered, one with fewer items
    items[1, 7:] = ITEMS
    graph = GraphBuilder("brought")
    inputs = [graph.input(*each) for each in (
        ("vector", "float32", ["B", "D"]), ("items", "int64", ["B", "C"]), ("scores", "float32", ["B", "C"]), ("row", "int64", ["B", 1])
    )]  # fmt: skip
    own = graph.add("Squeeze", inputs[3], graph.constant([1], np.int64))
    of = Parts(inputs[0], vectors, widths, ItemBases(bases, own) if based else None, tabled)
    graph.output(brought_by(graph, of, inputs[1], inputs[2]), "bits", "int64", ["B", "C"])
    if not based:
        graph.output(graph.add("Identity", own), "same", "int64", ["B"])
    model = OnnxModel(graph.model().SerializeToString())
    found = model.run({"vector": query, "items": items.astype(np.int64), "scores": scores, "row": row.astype(np.int64)})["bits"]
    for place in range(BATCH):
        said = np.stack([part[place, np.minimum(items[place], ITEMS - 1)] for part in parts], axis=1).astype(np.float64)
        assert found[place].tolist() == expected(said, scores[place].astype(np.float64)), place
    assert not found[0].any()


def test_every_answered_item_names_what_brought_it(local: LocalRepository) -> None:
    answer = local.ask("recommend", user_id=[["u1"], [""]], k=[60])
    there = answer["items"] != ""
    assert (answer["retrievers"][there] > 0).all()
    assert not answer["retrievers"][~there].any()


def test_names_stand_for_bits() -> None:
    metadata = parse_metadata({"retrievers": '["two_tower", "als", "popularity"]'}, "here")
    outputs = {
        "items": np.array([[b"a", b"b", b"c"]], dtype=object),
        "scores": np.array([[3.0, 2.0, 1.0]]),
        "reason": np.zeros((1, 3), int),
        "reason_item": np.array([[b"", b"", b""]], dtype=object),
    }
    [old] = parse_recommendations(outputs, ["u"], metadata)
    assert [item.retrievers for item in old] == [()] * 3, "an older export does not say"
    [new] = parse_recommendations({**outputs, "retrievers": np.array([[1, 6, 0]])}, ["u"], metadata)
    assert [item.retrievers for item in new] == [("two_tower",), ("als", "popularity"), ()]
