"""Vocabularies and statistics that have seen more than the training examples are caught before the workflow is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cartwheel.core.errors import LeakageError
from workflows.audit.fitted import check_fitted
from workflows.compiler.plan.read import read_plan
from workflows.compiler.quiet import quiet_nvtabular
from workflows.encoding.encode import load_workflow
from workflows.prepare import features
from workflows.prepare.features import FeatureReport, fit_features
from workflows.settings import FeatureSettings

with quiet_nvtabular():
    from workflows.encoding import feature_graph

SETTINGS = FeatureSettings()


def leak(run: Path) -> LeakageError:
    """The refusal of a run whose fit was led astray; the workflow that was there stays."""
    before = {path: path.read_bytes() for path in (run / "workflow").rglob("*") if path.is_file()}
    with pytest.raises(LeakageError) as caught:
        fit_features(run, SETTINGS)
    assert {path: path.read_bytes() for path in (run / "workflow").rglob("*") if path.is_file()} == before
    assert "Fit features on examples/train alone" in caught.value.fix
    return caught.value


def read(run: Path, split: str, table: str) -> pl.DataFrame:
    return pl.read_parquet(run / "examples" / split / f"{table}.parquet")


def test_a_clean_run_says_what_was_found_again(fitted: tuple[Path, FeatureReport]) -> None:
    run, report = fitted
    assert report.audit["statistics_recomputed"] == 2 * (8 + 6 + 3 + 2) + 3
    train = read(run, "train", "recommend")
    assert report.audit["vocabulary_keys_checked"] >= train["item_id"].n_unique() + train["hour"].n_unique()
    assert report.audit["keys_of_an_earlier_run"] == 0
    assert report.warnings == ()
    assert '"statistics_recomputed"' in (run / "features" / "report.json").read_text()


@pytest.mark.parametrize("engine", ["polars", "nvtabular"])
def test_constant_and_unknown_numbers_pass_with_every_engine(write_run: Callable[..., Path], tmp_path: Path, engine: Any) -> None:
    run = write_run(tmp_path, prices=False, carts=False)
    assert fit_features(run, FeatureSettings(engine=engine)).audit["statistics_recomputed"] > 30


def test_a_vocabulary_of_training_and_validation_is_caught(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newcomer = read(copied, "valid", "recommend").with_columns(user_id=pl.lit("newcomer"))
    newcomer.write_parquet(copied / "examples/valid/recommend.parquet")
    honest = features.choose_vocabularies

    def careless(examples: pl.DataFrame, *rest: Any) -> dict[str, list[str]]:
        return honest(pl.concat([examples, read(copied, "valid", "recommend").select(examples.columns)]), *rest)

    monkeypatch.setattr(features, "choose_vocabularies", careless)
    error = str(leak(copied))
    assert "vocabulary user_id: key" in error
    assert (
        "is 'newcomer', which is in no row of examples/train/recommend.parquet, but is in examples/valid/recommend.parquet"
        in error
    )


def test_ids_in_another_order_than_training_gives_are_caught(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = features.choose_vocabularies
    monkeypatch.setattr(
        features, "choose_vocabularies", lambda *given: {domain: keys[::-1] for domain, keys in honest(*given).items()}
    )
    assert "vocabulary user_id: it has" in str(leak(copied))


def test_ids_that_training_counts_do_not_earn_are_caught(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = features.choose_vocabularies

    def fewer(*given: Any) -> dict[str, list[str]]:
        return {domain: keys[:-1] if domain == "item_id" else keys for domain, keys in honest(*given).items()}

    monkeypatch.setattr(features, "choose_vocabularies", fewer)
    error = str(leak(copied))
    items = len(honest(read(copied, "train", "recommend"), SETTINGS)["item_id"])
    assert f"vocabulary item_id: it has {items - 1} keys, number {items} is None" in error
    assert f"give {items} keys and there" in error


def test_a_calendar_beyond_training_is_caught(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = feature_graph.fit_calendar
    night = pl.DataFrame({"hour": [23], "weekday": [1]}, schema_overrides={"hour": pl.Int64, "weekday": pl.Int64})
    monkeypatch.setattr(feature_graph, "fit_calendar", lambda table, fitting: honest(pl.concat([table, night]), fitting))
    assert "vocabulary hour: key" in (error := str(leak(copied)))
    assert "is 23, which is in no row of examples/train/recommend.parquet, and is in no other split either" in error


@pytest.mark.parametrize("column", ["user_events", "item_age_days", "price_gap", "cart_value"])
def test_a_mean_of_training_and_validation_is_caught(copied: Path, monkeypatch: pytest.MonkeyPatch, column: str) -> None:
    honest = feature_graph.fit_numbers
    name = {"price_gap": "ranking", "cart_value": "cart"}.get(column, "recommend")

    def careless(table: pl.DataFrame, *how: Any) -> Any:
        if column in table.columns:
            held_out = read(copied, "valid", name)[column]
            table = table.with_columns(pl.concat([table[column][held_out.len() :], held_out]))
        return honest(table, *how)

    monkeypatch.setattr(feature_graph, "fit_numbers", careless)
    error = str(leak(copied))
    assert f"workflow/{name}, column {column}: it was fitted to the mean" in error
    assert f"rows of examples/train/{name}.parquet have" in error


def test_a_median_that_training_does_not_have_is_caught(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = feature_graph.fit_numbers

    def careless(table: pl.DataFrame, *how: Any) -> Any:
        if "item_price" in table.columns:
            table = table.with_columns(pl.when(pl.col("item_price") > 40).then("item_price"))
        return honest(table, *how)

    monkeypatch.setattr(feature_graph, "fit_numbers", careless)
    assert "workflow/recommend, column item_price: it was fitted to the median" in str(leak(copied))


def test_ids_kept_of_an_earlier_run_pass_and_are_told(copied: Path, write_run: Callable[..., Path], tmp_path: Path) -> None:
    earlier = write_run(tmp_path / "earlier")
    newcomer = read(copied, "valid", "recommend").with_columns(user_id=pl.lit("newcomer"))
    for path in (earlier / "examples/train/recommend.parquet", copied / "examples/valid/recommend.parquet"):
        newcomer.write_parquet(path)
    fit_features(earlier, SETTINGS)
    report = fit_features(copied, FeatureSettings(keep_ids_of=earlier))
    assert report.audit["keys_of_an_earlier_run"] == 1
    (warning,) = report.warnings
    assert warning.startswith(
        "Of the ids that keep_ids_of brought, 1 of user_id are in no training example and are met in validation"
    )


def test_workflows_with_vocabularies_of_their_own_are_caught(
    fitted: tuple[Path, FeatureReport], write_run: Callable[..., Path], tmp_path: Path
) -> None:
    other = write_run(tmp_path / "other", seed=4)
    fit_features(other, SETTINGS)
    plans = {name: read_plan(load_workflow(fitted[0] / "workflow" / name)) for name in ("recommend", "ranking")}
    plans["ranking"] = read_plan(load_workflow(other / "workflow" / "ranking"))
    with pytest.raises(LeakageError, match="workflow/ranking, vocabulary user_id"):
        check_fitted(fitted[0], plans, (), SETTINGS)
