"""Neighbours by cosine, and pairs of items that shoppers turned to in one visit."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl

from evaluation.vector_neighbours import nearest, same_visit
from workflows.events.event_log import EVENT_COLUMNS

START = datetime(2025, 1, 1, tzinfo=timezone.utc)
EVENTS = [  # user, item, minutes, type
    ("ann", "a", 0, "view"),
    ("ann", "b", 5, "view"),
    ("ann", "b", 6, "view"),
    ("ann", "c", 7, "remove_from_cart"),
    ("ann", "d", 8, "cart"),
    ("ann", "a", 600, "view"),
    ("bob", "a", 3, "view"),
    ("bob", "unlisted", 4, "view"),
    ("bob", "b", 5, "view"),
]


def write(run: Path) -> Path:
    rows = [
        {"user_id": user, "item_id": item, "timestamp": START + timedelta(minutes=minutes), "event_type": kind}
        for user, item, minutes, kind in EVENTS
    ]
    (run / "events").mkdir()
    (run / "snapshot").mkdir()
    pl.DataFrame(rows, schema=dict(EVENT_COLUMNS), orient="row").write_parquet(run / "events" / "events.parquet")
    state = {"session_gap_us": 30 * 60_000_000, "interaction_types": ["view", "cart"]}
    (run / "snapshot" / "state.json").write_text(json.dumps(state))
    return run


def test_the_nearest_first_and_never_itself() -> None:
    vectors = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1], [-1.0, 0.0]])
    items, cosine = nearest(vectors, np.array([0, 1]), 2)
    assert items.tolist() == [[2, 1], [2, 0]]
    assert np.allclose(cosine, [[2 / np.hypot(2, 0.1), 0], [0.1 / np.hypot(2, 0.1), 0]])


def test_no_more_neighbours_than_there_are_others_and_no_direction_is_no_error() -> None:
    items, cosine = nearest(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([0]), 9)
    assert items.tolist() == [[1]]
    assert cosine.tolist() == [[0.0]]


def test_pairs_are_of_one_visit_of_listed_items_and_of_interactions(tmp_path: Path) -> None:
    pairs, apart = same_visit(write(tmp_path), START.isoformat(), ["a", "b", "c", "d"], 100, seed=1)
    assert sorted(map(tuple, pairs.tolist())) == [(0, 1), (1, 3)]
    assert sorted(apart[:, 0]) == sorted(pairs[:, 0])
    assert sorted(apart[:, 1]) == sorted(pairs[:, 1])


def test_only_what_comes_after_the_instant_counts_and_no_more_than_asked(tmp_path: Path) -> None:
    run = write(tmp_path)
    late, _ = same_visit(run, (START + timedelta(minutes=6)).isoformat(), ["a", "b", "c", "d"], 100, seed=1)
    assert late.tolist() == [[1, 3]]
    one, random = same_visit(run, START.isoformat(), ["a", "b", "c", "d"], 1, seed=1)
    assert one.shape == random.shape == (1, 2)
