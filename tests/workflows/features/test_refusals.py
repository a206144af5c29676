"""A run that lacks something, or has it damaged, is refused in one sentence that names it."""

from pathlib import Path
from typing import Any

import onnx
import polars as pl
import pytest

from cartwheel.core.errors import CartwheelError, DataError, ParityError, RunError
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.parity import check_parity
from workflows.compiler.plan.read import read_plan
from workflows.encoding.encode import encode
from workflows.prepare.features import FeatureReport, fit_features, load_schema, load_workflow
from workflows.settings import FeatureSettings


def refused(run: Path) -> CartwheelError:
    with pytest.raises(CartwheelError) as caught:
        fit_features(run, FeatureSettings())
    assert caught.value.fix
    return caught.value


def test_a_missing_table_is_named(copied: Path) -> None:
    (copied / "examples/train/ranking.parquet").unlink()
    error = refused(copied)
    assert isinstance(error, RunError)
    assert "examples/train/ranking.parquet is missing" in str(error)


def test_a_damaged_table_is_named_and_the_old_workflow_stays(copied: Path) -> None:
    (copied / "examples/train/recommend.parquet").write_bytes(b"PAR1 no more")
    before = sorted(path.name for path in (copied / "workflow").iterdir())
    error = refused(copied)
    assert isinstance(error, RunError)
    assert "recommend.parquet cannot be read" in str(error)
    assert sorted(path.name for path in (copied / "workflow").iterdir()) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.drop("weekday"), "lacks the columns ['weekday']"),
        (lambda frame: frame.cast({"user_views": pl.Float64}), "column 'user_views' is Float64, expected Float32"),
        (lambda frame: frame.with_columns(user_id=pl.lit(None, pl.String)), "column 'user_id' has 150 nulls"),
        (lambda frame: frame.clear(), "has no rows"),
    ],
)
def test_a_table_of_another_shape_is_refused(copied: Path, change: Any, words: str) -> None:
    path = copied / "examples/train/recommend.parquet"
    change(pl.read_parquet(path)).write_parquet(path)
    error = refused(copied)
    assert isinstance(error, DataError)
    assert words in str(error)
    assert str(path) in str(error)


def test_a_missing_or_damaged_workflow_is_refused(copied: Path) -> None:
    folder = copied / "workflow/recommend"
    with pytest.raises(RunError, match=r"was not fitted on the columns \['price_gap'\]"):
        load_workflow(folder, ["price_gap"])
    kept = load_workflow(folder)
    (folder / "categories/unique.item_id.parquet").unlink()
    with pytest.raises(RunError, match=r"its vocabulary 'item_id', .*unique.item_id.parquet, is missing"):
        load_workflow(folder)
    with pytest.raises(RunError, match=r"vocabulary .*unique.item_id.parquet cannot be read"):
        read_plan(kept)
    with pytest.raises(RunError, match="cannot encode"):
        encode(kept, pl.read_parquet(copied / "examples/test/recommend.parquet"))
    (folder / "workflow.pkl").write_bytes(b"garbage")
    with pytest.raises(RunError, match="cannot be loaded"):
        load_workflow(folder)
    (folder / "workflow.pkl").unlink()
    with pytest.raises(RunError, match="no saved NVTabular workflow"):
        load_workflow(folder)


def test_a_missing_or_damaged_schema_is_refused(copied: Path) -> None:
    path = copied / "features/train/ranking/schema.pbtxt"
    path.write_text("feature { nonsense")
    with pytest.raises(RunError, match="is no Merlin schema"):
        load_schema(path.parent)
    path.unlink()
    with pytest.raises(RunError, match="is missing"):
        load_schema(path.parent)


def test_a_difference_is_named_with_column_row_and_values(fitted: tuple[Path, FeatureReport]) -> None:
    run, _ = fitted
    workflow = load_workflow(run / "workflow/recommend")
    raw = pl.read_parquet(run / "examples/test/recommend.parquet")
    plan, encoded = read_plan(workflow), encode(workflow, raw)
    answer = encode_onnx(open_session(onnx.load(str(run / "workflow/item.onnx"))), raw)
    names = ("NVTabular", "ONNX")
    check_parity(plan, raw, encoded, answer, names)
    with pytest.raises(ParityError, match=r"Encoded column 'item_price', row 0"):
        check_parity(plan, raw, encoded.with_columns(pl.col("item_price") + 1e-4), answer, names)
    with pytest.raises(ParityError, match=r"Encoded column 'item_id', row 0"):
        check_parity(plan, raw, encoded.with_columns(pl.col("item_id") + 1), answer, names)
