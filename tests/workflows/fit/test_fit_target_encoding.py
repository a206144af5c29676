"""Statistics of targets against NVTabular's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from both_fits import by_polars, fit_both, operator, transform

from cartwheel.errors import DataError
from workflows.fit.target_encoding import Folds

RNG = np.random.default_rng(5)
EVENTS = pl.DataFrame(
    {
        "x": RNG.choice(["a", "b", "ä", "日本"], 60),
        "y": RNG.integers(0, 3, 60),
        "bought": RNG.integers(0, 2, 60),
        "paid": RNG.normal(5.0, 3.0, 60).astype(np.float32),
    }
)

OPTIONS: dict[str, dict[str, Any]] = {
    "no folds": {"kfold": 1},
    "folds": {"kfold": 4, "fold_seed": 7},
    "folds in turn": {"kfold": 3, "fold_seed": None},
    "smoothing": {"kfold": 2, "p_smooth": 3},
    "type": {"kfold": 1, "out_dtype": "float64"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_encodes_as_nvtabular_does(tmp_path: Path, options: dict[str, Any]) -> None:
    def graph(ops: Any, out: str) -> Any:
        return ["x", ["x", "y"]] >> ops.TargetEncoding(["bought", "paid"], out_path=out, **options)

    both = fit_both(graph, EVENTS, tmp_path)
    ours, theirs = operator(both.ours, "TargetEncoding"), operator(both.theirs, "TargetEncoding")
    assert set(ours.stats) == set(theirs.stats)
    assert ours.means == pytest.approx(theirs.means, rel=1e-7)
    for name, path in ours.stats.items():
        _check_equal(pd.read_parquet(path), pd.read_parquet(theirs.stats[name]))
    pd.testing.assert_frame_equal(transform(both.ours, EVENTS), transform(both.theirs, EVENTS), rtol=1e-6)
    both.check_schemas()


def _check_equal(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Compare tables of statistics, whose rows NVTabular has in no order."""
    assert list(ours.columns) == list(theirs.columns)
    keys = [name for name in ours.columns if not name.endswith(("_count", "_sum"))]
    tables = [table.sort_values(keys, ignore_index=True) for table in (ours, theirs)]
    pd.testing.assert_frame_equal(*tables, check_dtype=False, rtol=1e-6)


def test_a_mean_that_is_given_is_not_measured(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        return ["x"] >> ops.TargetEncoding("bought", kfold=1, target_mean={"bought": 0.25})

    workflow = by_polars(graph, EVENTS, tmp_path)
    assert operator(workflow, "TargetEncoding").means == {}
    assert transform(workflow, pl.DataFrame({"x": ["unseen"], "bought": [0]}))["TE_x_bought"].tolist() == [0.25]


@pytest.mark.parametrize("seed", [None, 3])
def test_folds_do_not_depend_on_how_the_rows_are_cut(seed: int | None) -> None:
    folds, whole = Folds(5, seed), Folds(5, seed)
    parts = np.concatenate([folds.draw(rows) for rows in (0, 1, 100, 7)])
    assert parts.tolist() == whole.draw(108).tolist()


def test_refuses_a_target_that_is_no_number(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": ["a"], "bought": ["yes"]})
    with pytest.raises(DataError, match="TargetEncoding is fitted on column 'bought', which is string"):
        by_polars(lambda ops, out: ["x"] >> ops.TargetEncoding("bought"), events, tmp_path)


def test_refuses_a_category_that_is_a_list(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": [["a"]], "bought": [1]})
    with pytest.raises(DataError, match=r"column 'x', which is list\[string\]"):
        by_polars(lambda ops, out: ["x"] >> ops.TargetEncoding("bought"), events, tmp_path)
