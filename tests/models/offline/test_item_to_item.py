"""What can be served as a table scores as the table does."""

import re
from pathlib import Path

import numpy as np
import pytest
from recommender_conformance import ask, planted
from scipy.sparse import csr_matrix

from models.families.neighbours.table import Neighbours
from models.families.neighbours.top_k_per_row import top_k_per_row
from models.families.recommender import ItemToItem
from models.families.registry import EASE
from models.retrieval.choose_neighbours import DECAYS
from models.retrieval.learnt import EASE_ITEMS, learners


@pytest.mark.parametrize("name", sorted(learners(10)))
def test_a_table_of_all_neighbours_scores_as_the_model_does(name: str) -> None:
    log = planted()
    model: ItemToItem = learners(log.items)[name]()
    model.fit(log)
    table = Neighbours.from_matrix(model.similarities(log.items), log.items)
    items = np.arange(log.items)
    ours = table.scores(items[:, None], np.ones(1, np.float32))
    theirs = np.maximum(model.scores(ask(*[[item] for item in items])), 0.0)  # the table holds what speaks for an item
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", sorted(learners(10)))
def test_the_strongest_are_kept(name: str) -> None:
    log = planted()
    model: ItemToItem = learners(log.items)[name]()
    model.fit(log)
    whole, part = model.similarities(log.items), model.similarities(3)
    for row in range(log.items):
        kept, every = part[row], np.sort(whole[row].data)[::-1]
        np.testing.assert_allclose(np.sort(kept.data)[::-1], every[:3])
        assert row not in kept.indices
        assert (kept.data > 0).all()
    assert (np.diff(part.indptr) <= 3).all()


def test_items_that_ease_left_out_have_no_neighbours() -> None:
    log = planted()
    model = EASE(max_items=5)
    model.fit(log)
    table = model.similarities(10)
    assert table.shape == (log.items, log.items)
    assert np.count_nonzero(np.diff(table.indptr)) <= 5
    np.testing.assert_allclose(
        Neighbours.from_matrix(table, 10).scores(np.arange(log.items)[:, None], np.ones(1, np.float32)),
        np.maximum(model.scores(ask(*[[item] for item in range(log.items)])), 0),
        atol=1e-7,
    )


@pytest.mark.parametrize("most", [1, 3, 11, 12, 40])
def test_the_strongest_come_first_and_of_equal_ones_those_of_lower_column(most: int) -> None:
    dense = np.random.default_rng(0).integers(-1, 4, (20, 12)).astype(float)
    dense[[0, 7, 19]] = 0  # empty rows, the first and the last among them
    kept = top_k_per_row(csr_matrix(dense), most)
    for row, found in enumerate(kept.toarray()):
        expected = [column for column in np.argsort(-dense[row], kind="stable") if dense[row, column] > 0][:most]
        assert kept.indices[kept.indptr[row] : kept.indptr[row + 1]].tolist() == expected
        assert found[expected].tolist() == dense[row, expected].tolist()


def test_of_no_rows_none_are_kept() -> None:
    assert top_k_per_row(csr_matrix((0, 5)), 3).shape == (0, 5)


def test_the_document_names_every_learner_and_decay() -> None:
    text = (Path(__file__).parents[3] / "docs" / "retrieval.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE) == list(learners(1))
    told = re.search(r"share for the decays ([\d., and]+) a step back", text)
    assert told is not None
    assert tuple(float(number) for number in re.findall(r"[\d.]*\d", told[1])) == DECAYS
    assert f"{EASE_ITEMS:,} most popular" in text
