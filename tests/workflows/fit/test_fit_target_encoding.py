"""Statistics of targets against NVTabular's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from both_fits import by_nvtabular, by_polars, fit_both, operator, transform

from cartwheel.core.errors import DataError
from workflows.compiler.column_arithmetic import Arithmetic
from workflows.compiler.comparison import Comparison
from workflows.compiler.operators.folds import Folds
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.read import read_plan

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
    rows = np.arange(600)
    parts = [folds.at(rows[first:last]) for first, last in ((0, 0), (101, 108), (0, 1), (1, 101), (108, 600))]
    assert np.concatenate([parts[place] for place in (2, 3, 1, 4)]).tolist() == whole.at(rows).tolist()


def test_folds_are_those_of_the_row_however_what_they_make_is_combined(tmp_path: Path) -> None:
    """Polars blanks a column where a branch is not taken, the number of the row as well."""

    def graph(ops: Any, out: str) -> Any:
        encoded = ["x", "z"] >> ops.TargetEncoding("bought", kfold=3, p_smooth=0, out_path=out)
        least = encoded >> Arithmetic("minimum", "TE_x_bought", "TE_z_bought", name="least")
        return least >> ops.Bucketize([0.2, 0.5, 0.8]) >> ops.Normalize()

    events = pl.DataFrame({name: np.random.default_rng(1).integers(0, 4, 60) for name in ("x", "z")}).with_columns(
        bought=pl.Series(np.random.default_rng(2).integers(0, 2, 60))
    )
    ours, theirs = (operator(fit(graph, events, tmp_path), "Normalize").means["least"] for fit in (by_polars, by_nvtabular))
    assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("filtered", [False, True])
def test_what_comes_behind_folds_is_fitted_on_what_they_make_of_training_rows(
    tmp_path: Path, seed: int | None, filtered: bool
) -> None:
    """More than 256 rows: NVTabular counts the rows of folds without a seed in one byte."""

    def graph(ops: Any, out: str) -> Any:
        rows = ["x", "z", "bought"] >> (ops.Filter(Comparison("bought", ">=", 0)) if filtered else ops.Rename(f=str))
        encoding = ops.TargetEncoding(rows["bought"], kfold=3, fold_seed=seed, p_smooth=2, out_path=out)
        return rows[["x", "z"]] >> encoding >> ops.Normalize()

    random = np.random.default_rng(0)
    events = pl.DataFrame(
        {name: random.integers(low, high, 600) for name, low, high in (("x", 0, 20), ("z", 0, 3), ("bought", -1, 2))}
    )
    ours, theirs = (fit(graph, events, tmp_path) for fit in (by_polars, by_nvtabular))
    for statistic in ("means", "stds"):
        found, expected = (getattr(operator(workflow, "Normalize"), statistic) for workflow in (ours, theirs))
        assert found == pytest.approx(expected, rel=1e-5)  # NVTabular adds up in float32
    served = compile_polars(read_plan(ours), events.lazy()).collect()["TE_x_bought"]
    assert served.std() < 0.95  # the form that is served varies less than what it was fitted on


def test_refuses_a_target_that_is_no_number(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": ["a"], "bought": ["yes"]})
    with pytest.raises(DataError, match="TargetEncoding is fitted on column 'bought', which is string"):
        by_polars(lambda ops, out: ["x"] >> ops.TargetEncoding("bought"), events, tmp_path)


def test_refuses_a_category_that_is_a_list(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": [["a"]], "bought": [1]})
    with pytest.raises(DataError, match=r"column 'x', which is list\[string\]"):
        by_polars(lambda ops, out: ["x"] >> ops.TargetEncoding("bought"), events, tmp_path)
