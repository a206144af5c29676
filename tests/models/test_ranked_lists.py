"""Chunks that several threads look at come out in order, and what fails in one of them is told."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import models.metrics.ranked_lists
from models.metrics.ranked_lists import Chunk, pairs_of, rank
from models.metrics.ranking import place, top_columns

LISTS, ITEMS = 50, 30


def questions() -> Chunk:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 9, size=(LISTS, ITEMS)).astype(np.float64)
    row, column = np.nonzero(generator.random(scores.shape) < 0.1)
    return Chunk(scores, row, column, np.maximum(np.bincount(row, minlength=LISTS), 1), np.array)


def part(whole: Chunk, start: int, stop: int) -> Chunk:
    row, places = pairs_of(whole.truth_row, np.arange(start, stop))
    return Chunk(whole.scores[start:stop], row, whole.truth_column[places], whole.n_truth[start:stop], np.array)


@pytest.mark.parametrize("shared", [False, True], ids=["scored by one", "scored by several"])
@pytest.mark.parametrize("lists_of_a_chunk", [1, 3, LISTS])
def test_chunks_are_joined_in_their_order(monkeypatch: pytest.MonkeyPatch, lists_of_a_chunk: int, shared: bool) -> None:
    monkeypatch.setattr(models.metrics.ranked_lists, "_CELLS", lists_of_a_chunk * ITEMS)
    whole = questions()
    judged = rank(LISTS, ITEMS, 4, "rank", lambda start, stop: part(whole, start, stop), shared=shared)
    expected = place(whole.scores, whole.truth_row, whole.truth_column, whole.n_truth)
    for name in ("row", "above", "tied", "tied_truth", "n_truth"):
        np.testing.assert_array_equal(getattr(judged.placement, name), getattr(expected, name))
    np.testing.assert_array_equal(judged.top, top_columns(whole.scores, 4))


def test_only_a_scorer_that_may_be_shared_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.metrics.ranked_lists, "_CELLS", ITEMS)
    whole, asking = questions(), {False: set[int](), True: set[int]()}
    for shared, threads in asking.items():

        def chunk(start: int, stop: int, threads: set[int] = threads) -> Chunk:
            threads.add(threading.get_ident())
            return part(whole, start, stop)

        rank(LISTS, ITEMS, 4, "rank", chunk, shared=shared)
    assert asking[False] == {threading.get_ident()}
    assert threading.get_ident() not in asking[True]


def test_few_chunks_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No chunk is looked at before so many are held that the next one must wait for it: the most there can be."""
    monkeypatch.setattr(models.metrics.ranked_lists, "_CELLS", ITEMS)
    monkeypatch.setattr(models.metrics.ranked_lists, "_THREADS", 2)
    whole, lock, full = questions(), threading.Lock(), threading.Event()
    held, most = 0, 0

    def competing(scores: np.ndarray) -> np.ndarray:
        nonlocal held
        assert full.wait(60), "fewer chunks are scored ahead than there are threads to look at them"
        with lock:
            held -= 1
        return scores.copy()

    def chunk(start: int, stop: int) -> Chunk:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
            if held == 2 + 1:
                full.set()
        return replace(part(whole, start, stop), competing=competing)

    rank(LISTS, ITEMS, 4, "rank", chunk)
    assert held == 0
    assert most == 2 + 1


def test_no_lists_are_ranked_to_nothing() -> None:
    judged = rank(0, ITEMS, 4, "rank", lambda start, stop: part(questions(), start, stop))
    assert judged.top.shape == (0, 4)
    assert len(judged.placement.n_truth) == 0


def test_what_fails_in_a_chunk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.metrics.ranked_lists, "_CELLS", ITEMS)
    whole = questions()
    whole.scores[7, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        rank(LISTS, ITEMS, 4, "rank", lambda start, stop: part(whole, start, stop))


@given(st.lists(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_pairs_are_those_whose_list_is_chosen(rows: list[int], lists: set[int]) -> None:
    row, chosen = np.array(sorted(rows), np.int64), np.array(sorted(lists), np.int64)
    renumbered, places = pairs_of(row, chosen)
    np.testing.assert_array_equal(places, np.flatnonzero(np.isin(row, chosen)))
    np.testing.assert_array_equal(chosen[renumbered], row[places])
