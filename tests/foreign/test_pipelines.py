"""Whole pipelines as users of Merlin write them, over gRPC through Triton: scores within 1e-5 of Merlin's own, ids equal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pipelines import Pipeline, criteo, grouped_sessions, inside, mmoe, movielens, sessions, two_towers

import cartwheel
from cartwheel.pipeline.foreign.checking import request_arrays
from serving.local import LocalRepository


def served(pipeline: Pipeline, out: Path, **options: Any) -> dict[str, np.ndarray]:
    with cartwheel.serve_model(pipeline.workflow, pipeline.model, out, name="asked", **options) as client:
        return dict(client.infer("asked", pipeline.rows).answers)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "make",
    [partial(movielens, kind="dcn"), partial(movielens, kind="deepfm"), partial(movielens, kind="wide"), criteo, mmoe],
    ids=["dcn", "deepfm", "wide and deep", "criteo", "mmoe"],
)
def test_scores_are_merlins_own(make: Callable[[Path], Pipeline], tmp_path: Path) -> None:
    pipeline = inside(tmp_path, make)
    answers = served(pipeline, tmp_path / "out")
    assert len(answers) == len(pipeline.answers)
    for name, expected in pipeline.answers.items():
        found = answers[name] if name in answers else next(iter(answers.values()))
        np.testing.assert_allclose(found, expected.reshape(found.shape), atol=1e-5, rtol=1e-5)


@pytest.mark.thorough
def test_the_nearest_items_are_those_of_two_towers(tmp_path: Path) -> None:
    towers = inside(tmp_path, two_towers)
    by_tower = cartwheel.TopK(str(towers.items), 10, towers.item_tower, "movieId")
    by_vectors = cartwheel.TopK(str(towers.vectors), 10)
    for place, top in enumerate((by_tower, by_vectors)):
        answers = served(towers, tmp_path / f"out{place}", top_k=top)
        np.testing.assert_allclose(answers["top_scores"], towers.answers["top_scores"], atol=1e-5)
        assert (answers["top_items"] == towers.answers["top_items"]).all()


@pytest.mark.thorough
def test_the_next_item_of_a_session_comes_back_under_its_own_name(tmp_path: Path) -> None:
    session = inside(tmp_path, sessions)
    answers = served(session, tmp_path / "out", top_k=cartwheel.TopK("items", 5))
    np.testing.assert_allclose(answers["top_scores"], session.answers["top_scores"], atol=1e-5)
    assert (answers["top_items"] == session.answers["top_items"]).all()


def test_a_session_is_asked_with_the_lists_that_groupby_makes_of_its_events(tmp_path: Path) -> None:
    pipeline = inside(tmp_path, grouped_sessions)
    written = cartwheel.export_model(pipeline.workflow, pipeline.model, tmp_path / "out", name="asked")
    assert [(column.name, str(column)) for column in written.form.columns] == [
        ("item", "list[int64]"),
        ("price", "list[float32]"),
    ]
    schema = {"item": pl.List(pl.Int64), "price": pl.List(pl.Float32)}
    asked = request_arrays(written.form.columns, pl.DataFrame(pipeline.rows, schema=schema))
    [found] = LocalRepository(written.repository).ask("asked", **asked).values()
    np.testing.assert_allclose(found, pipeline.answers["buys"], atol=1e-5)
