"""Features are fitted on the training rows alone, encoded by NVTabular, and equal to the compiled ONNX graphs."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cartwheel.core.errors import RunError, UsageError
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.onnx_frames import encode_onnx, onnx_feeds
from workflows.compiler.plan.parity import check_parity, unpadded
from workflows.compiler.plan.read import read_plan
from workflows.compiler.plan.vocabularies import vocabulary
from workflows.encoding.encode import encode
from workflows.features.columns import CALENDAR, CROSS, ITEM, QUERY, QUERY_LISTS, QUERY_SCALARS, SHARED_VOCABULARY
from workflows.prepare.features import FeatureReport, fit_features, load_schema, load_workflow
from workflows.settings import FeatureSettings

WriteRun = Callable[..., Path]


def tables(run: Path) -> Iterator[tuple[Path, Path]]:
    """Every encoded table's raw file and folder."""
    for folder in sorted(path.parent for path in (run / "features").rglob("schema.pbtxt")):
        where = folder.relative_to(run / "features")
        yield (run if where.parts[0] == "snapshot" else run / "examples") / where.with_suffix(".parquet"), folder


def leaves(lists: pl.Series) -> pl.Series:
    """The elements of all lists."""
    return pl.Series([leaf for row in lists.to_list() for leaf in row])


def pairs_of_ids(run: Path, raw: Path, folder: Path) -> Iterator[tuple[str, str, int]]:
    """(vocabulary, raw value, id) of every string of a table."""
    before, after = pl.read_parquet(raw), pl.read_parquet(folder / "part.0.parquet")
    for column in ("user_id", "item_id", "item_category", "item_brand", *QUERY_LISTS):
        if column in before.columns:
            values, ids = before[column], after[column]
            if isinstance(values.dtype, pl.List):
                values, ids = leaves(values), leaves(ids)
            for value, number in zip(values, ids, strict=True):
                if value or column not in QUERY_LISTS:
                    yield SHARED_VOCABULARY.get(column, column), value, number


def test_every_table_is_encoded_row_for_row_with_its_other_columns(fitted: tuple[Path, FeatureReport]) -> None:
    run, report = fitted
    assert report.workflows == ("recommend", "ranking", "cart")
    assert report.constant == ("cart_lines",)
    found = 0
    for raw, folder in tables(run):
        before, after = pl.read_parquet(raw), pl.read_parquet(folder / "part.0.parquet")
        assert after.height == before.height == report.rows[folder.relative_to(run / "features").as_posix()]
        assert set(before.columns) - {"target_items"} == set(after.columns)
        for column in ("example_id", "anchor", "label", "cart_label", "cart_id", "user_key"):
            if column in before.columns:
                assert after[column].equals(before[column])
        for column in set(after.columns) & {*QUERY, *ITEM, *CROSS}:
            kind = after.schema[column]
            assert kind in (pl.Int64, pl.Float32, pl.List(pl.Int64))
            if kind == pl.Float32:
                assert after[column].is_finite().all()
        found += 1
    assert found == 15


def test_a_value_has_one_id_in_every_table_and_column(fitted: tuple[Path, FeatureReport]) -> None:
    run, report = fitted
    ids: dict[tuple[str, str], set[int]] = {}
    for raw, folder in tables(run):
        for domain, value, number in pairs_of_ids(run, raw, folder):
            ids.setdefault((domain, value), set()).add(number)
    assert all(len(numbers) == 1 for numbers in ids.values())
    for (domain, value), (number,) in ids.items():
        assert 2 <= number < report.cardinalities[domain], (domain, value)
    assert ids["item_id", "never seen"] == {2}
    assert ids["item_category", "new"] == {2}
    assert report.unknown["valid/catalogue"] == pytest.approx(1 / 15)


def test_numbers_are_those_of_the_recipe(fitted: tuple[Path, FeatureReport]) -> None:
    run, _ = fitted
    raw, encoded = (
        pl.read_parquet(run / path) for path in ("examples/train/recommend.parquet", "features/train/recommend/part.0.parquet")
    )
    for column, fill in (("user_views", 0.0), ("item_price", raw["item_price"].median()), ("item_price_ratio", 1.0)):
        logs = np.log1p(raw[column].fill_null(fill).to_numpy().astype(np.float64))
        np.testing.assert_allclose(encoded[column].to_numpy(), (logs - logs.mean()) / logs.std(ddof=1), atol=1e-4)


def test_one_statistic_serves_all_tables(fitted: tuple[Path, FeatureReport]) -> None:
    run, _ = fitted
    plans = {name: read_plan(load_workflow(run / "workflow" / name)) for name in ("recommend", "ranking", "cart")}
    for column in QUERY_SCALARS + ITEM:
        assert plans["recommend"].steps(column) == plans["ranking"].steps(column) == plans["cart"].steps(column)
    for column in CROSS:
        assert plans["ranking"].steps(column) == plans["cart"].steps(column)


def test_nothing_is_learned_from_validation_and_test(
    fitted: tuple[Path, FeatureReport], write_run: WriteRun, tmp_path: Path
) -> None:
    run, report = fitted
    other = write_run(tmp_path / "other", valid_seed=77, valid_rows=31)
    assert fit_features(other, FeatureSettings()).cardinalities == report.cardinalities
    for name in ("recommend", "ranking", "cart"):
        kept = f"features/train/{name}/part.0.parquet"
        assert pl.read_parquet(run / kept).equals(pl.read_parquet(other / kept))
    for file in ("query.onnx", "item.onnx", "cross.onnx", "cart.onnx"):
        assert (run / "workflow" / file).read_bytes() == (other / "workflow" / file).read_bytes()


def test_the_schema_sizes_and_shares_the_vocabularies(fitted: tuple[Path, FeatureReport]) -> None:
    from merlin.schema import Tags

    run, report = fitted
    schema = load_schema(run / "features/train/recommend")
    assert schema.column_names == [*QUERY, *ITEM]
    for column, cardinality in report.cardinalities.items():
        domain = schema[column].properties["domain"]
        assert (domain["min"], domain["max"], domain["name"]) == (0, cardinality - 1, SHARED_VOCABULARY.get(column, column))
    assert schema.select_by_tag(Tags.USER_ID).column_names == ["user_id"]
    assert schema.select_by_tag(Tags.ITEM_ID).column_names == ["item_id"]
    assert set(schema.select_by_tag(Tags.USER).column_names) == set(QUERY)
    assert set(schema.select_by_tag(Tags.ITEM).column_names) == set(ITEM)
    assert set(schema.select_by_tag(Tags.CATEGORICAL).column_names) == set(report.cardinalities)
    assert all(schema[column].is_list and schema[column].is_ragged for column in QUERY_LISTS)
    cart = load_schema(run / "features/test/cart")
    assert set(cart.select_by_tag(Tags.TARGET).column_names) == {"label", "cart_label"}
    assert "cart_value" in cart.select_by_tag(Tags.CONTINUOUS).column_names


def test_merlin_reads_the_tables(fitted: tuple[Path, FeatureReport]) -> None:
    from merlin.io import Dataset

    run, _ = fitted
    folder = run / "features/train/recommend"
    frame = Dataset(str(folder / "part.0.parquet"), schema=load_schema(folder)).to_ddf().compute()
    assert frame["recent_items"].map(list).to_list() == pl.read_parquet(folder / "part.0.parquet")["recent_items"].to_list()


def session(run: Path, name: str) -> Any:
    return onnxruntime.InferenceSession(str(run / f"workflow/{name}.onnx"))


def test_the_graphs_have_the_agreed_inputs_and_outputs(fitted: tuple[Path, FeatureReport]) -> None:
    run, _ = fitted
    model = onnx.load(str(run / "workflow/query.onnx"))
    assert model.ir_version <= 9
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 17, "ai.onnx.ml": 3}
    inputs = {value.name: (value.type, value.shape) for value in session(run, "query").get_inputs()}
    assert list(inputs) == list(QUERY)
    assert inputs["user_id"] == ("tensor(string)", ["B", 1])
    assert inputs["hour"] == ("tensor(int64)", ["B", 1])
    assert inputs["user_mean_price"] == ("tensor(float)", ["B", 1])
    assert inputs["recent_brands"] == ("tensor(string)", ["B", "L_recent_brands"])
    for name, columns in (("query", QUERY), ("item", ITEM), ("cross", CROSS), ("cart", ("cart_lines", "cart_value"))):
        assert [value.name for value in session(run, name).get_outputs()] == [f"{column}__encoded" for column in columns]


@pytest.mark.parametrize(
    ("name", "columns", "table"), [("query", QUERY, "recommend"), ("item", ITEM, "catalogue"), ("cross", CROSS, "ranking")]
)
def test_the_graphs_equal_the_encoded_tables(
    fitted: tuple[Path, FeatureReport], name: str, columns: tuple[str, ...], table: str
) -> None:
    run, _ = fitted
    workflow = "ranking" if name == "cross" else "recommend"
    plan = read_plan(load_workflow(run / "workflow" / workflow))
    raw, encoded = (
        pl.read_parquet(run / f"examples/test/{table}.parquet"),
        pl.read_parquet(run / f"features/test/{table}/part.0.parquet"),
    )
    answer = encode_onnx(session(run, name), raw.select(columns))
    check_parity(plan, raw, encoded, unpadded(answer, encoded), ("Polars", "ONNX"))


@pytest.fixture(scope="module")
def loaded(fitted: tuple[Path, FeatureReport]) -> tuple[Any, Any, list[Any]]:
    """A workflow of its own, its plan, and the graphs of a query and an item."""
    workflow = load_workflow(shutil.copytree(fitted[0] / "workflow/recommend", fitted[0] / "kept/recommend"))
    return workflow, read_plan(workflow), [session(fitted[0], name) for name in ("query", "item")]


TEXT = st.one_of(st.sampled_from(["", "u1", "c1", "b1", "i1", "ärtikel", "商品"]), st.text(max_size=4))
FLOAT = st.floats(width=32)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_request_is_encoded_as_nvtabular_would(
    fitted: tuple[Path, FeatureReport], loaded: tuple[Any, Any, list[Any]], data: st.DataObject
) -> None:
    run, _ = fitted
    whole = st.integers(-(2**63), 2**63 - 1)
    kinds = {name: st.lists(TEXT, max_size=4) if name in QUERY_LISTS else FLOAT for name in QUERY + ITEM}
    kinds |= dict.fromkeys(("user_id", "item_id", "item_category", "item_brand"), TEXT) | {"hour": whole, "weekday": whole}
    schema = pl.read_parquet_schema(run / "examples/test/recommend.parquet")
    rows = data.draw(st.lists(st.tuples(*kinds.values()), min_size=1, max_size=5))
    raw = pl.DataFrame(rows, schema={name: schema[name] for name in kinds}, orient="row")
    workflow, plan, models = loaded
    encoded = encode(workflow, raw)
    check_parity(plan, raw, encoded, compile_polars(plan, raw.lazy()).collect(), ("NVTabular", "Polars"))
    for model in models:
        check_parity(plan, raw, encoded, unpadded(encode_onnx(model, raw), encoded), ("NVTabular", "ONNX"))


def test_blank_list_places_are_padding_everywhere(fitted: tuple[Path, FeatureReport]) -> None:
    run, _ = fitted
    raw, encoded = (
        pl.read_parquet(run / path) for path in ("examples/train/recommend.parquet", "features/train/recommend/part.0.parquet")
    )
    blank, ids = leaves(raw["recent_categories"]) == "", leaves(encoded["recent_categories"])
    assert blank.any()
    assert set(ids.filter(blank)) == {0}
    assert set(ids.filter(~blank)).isdisjoint(range(3))
    feeds = onnx_feeds(session(run, "query"), raw.head(2)) | {"recent_items": np.array([["i1", ""], ["", ""]], dtype=object)}
    (padded,) = session(run, "query").run(["recent_items__encoded"], feeds)
    assert padded[0, 0] >= 3
    assert (padded[0, 1], *padded[1]) == (0, 0, 0)


def test_a_run_may_move(copied: Path, fitted: tuple[Path, FeatureReport]) -> None:
    raw = pl.read_parquet(copied / "examples/test/recommend.parquet")
    workflow = load_workflow(copied / "workflow/recommend")
    for stored in workflow.output_node.parents_with_dependencies:
        for path in getattr(stored.op, "categories", {}).values():
            assert Path(path).is_relative_to(copied)
    assert encode(workflow, raw).equals(encode(load_workflow(fitted[0] / "workflow/recommend"), raw))


def test_fitting_again_in_the_same_place_forgets_the_old_vocabularies(copied: Path, write_run: WriteRun, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", seed=5)
    shutil.rmtree(copied / "examples")
    shutil.copytree(other / "examples", copied / "examples")
    again, fresh = fit_features(copied, FeatureSettings()), fit_features(other, FeatureSettings())
    assert again == fresh
    for _, folder in tables(other):
        same = copied / folder.relative_to(other) / "part.0.parquet"
        assert pl.read_parquet(same).equals(pl.read_parquet(folder / "part.0.parquet"))


def test_a_vocabulary_in_another_order_is_refused_and_read_anew_once_it_is_back(copied: Path) -> None:
    import pyarrow.parquet as pq

    raw = pl.read_parquet(copied / "examples/test/recommend.parquet")
    before = encode(load_workflow(copied / "workflow/recommend"), raw)
    path = copied / "workflow/recommend/categories/unique.item_id.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "item_id", [table["item_id"].to_pylist()[::-1]]), path)
    with pytest.raises(
        RunError, match=r"vocabulary 'item_id' is of another fit: .* does not hold what the workflow was fitted to"
    ):
        load_workflow(copied / "workflow/recommend")
    pq.write_table(table, path)
    assert encode(load_workflow(copied / "workflow/recommend"), raw).equals(before)


def test_ids_of_an_earlier_run_are_kept_and_new_ones_come_behind(
    fitted: tuple[Path, FeatureReport], write_run: WriteRun, tmp_path: Path
) -> None:
    earlier = read_plan(load_workflow(fitted[0] / "workflow/recommend"))
    newer = write_run(tmp_path / "newer", seed=5)
    path = newer / "examples/train/recommend.parquet"
    table = pl.read_parquet(path)
    strangers = table.head(30).with_columns(item_id=pl.lit("brand new"), user_id=pl.lit("newcomer"), hour=pl.lit(23, pl.Int64))
    pl.concat([table.filter(pl.col("item_id") != table["item_id"][0]), strangers]).write_parquet(path)
    report = fit_features(newer, FeatureSettings(keep_ids_of=fitted[0]))
    plan = read_plan(load_workflow(newer / "workflow/recommend"))
    for column in ("user_id", "item_id", "item_category", "item_brand", "hour", "weekday"):
        old, new = inverse(earlier, column), inverse(plan, column)
        assert new[: len(old)] == old
    assert inverse(plan, "item_id")[-1] == "brand new"
    assert report.cardinalities["item_id"] == len(inverse(plan, "item_id")) == len(inverse(earlier, "item_id")) + 1


def test_nvtabular_itself_cannot_keep_ids(fitted: tuple[Path, FeatureReport], copied: Path) -> None:
    before = (copied / "workflow/recommend/workflow.pkl").read_bytes()
    with pytest.raises(UsageError, match="cannot keep the ids"):
        fit_features(copied, FeatureSettings(engine="nvtabular", keep_ids_of=fitted[0]))
    assert (copied / "workflow/recommend/workflow.pkl").read_bytes() == before


def inverse(plan: Any, column: str) -> list[Any]:
    return list(vocabulary(plan, column).keys)


def test_nvtabular_and_polars_fit_and_encode_alike(
    fitted: tuple[Path, FeatureReport], write_run: WriteRun, tmp_path: Path
) -> None:
    other = write_run(tmp_path / "other")
    report = fit_features(other, FeatureSettings(engine="nvtabular"))
    assert report == fitted[1]
    for _, folder in tables(other):
        theirs = pl.read_parquet(folder / "part.0.parquet")
        ours = pl.read_parquet(fitted[0] / folder.relative_to(other) / "part.0.parquet")
        assert theirs.columns == ours.columns
        tied = [
            column for column in CALENDAR if column in ours.columns
        ]  # NVTabular orders equally frequent values as it happens to
        assert_frame_equal(ours.drop(tied), theirs.drop(tied), abs_tol=2e-6)
        for column in tied:
            assert pl.DataFrame([ours[column], theirs[column].alias("theirs")]).unique().height == ours[column].n_unique()


def test_a_log_without_carts_prices_or_validation_rows_is_normal(write_run: WriteRun, tmp_path: Path) -> None:
    run = write_run(tmp_path, carts=False, prices=False, valid_rows=0)
    (run / "features/train/cart").mkdir(parents=True)
    (run / "features/train/cart/part.0.parquet").write_text("of an earlier log that had carts")
    report = fit_features(run, FeatureSettings(min_user_events=10_000, min_item_events=10_000))
    assert report.workflows == ("recommend", "ranking")
    assert not (run / "workflow/cart.onnx").exists()
    assert not (run / "features/train/cart").exists()
    assert {"user_mean_price", "item_price", "item_price_ratio"} <= set(report.constant)
    assert report.rows["valid/recommend"] == 0
    assert pl.read_parquet(run / "features/valid/recommend/part.0.parquet").schema["recent_items"] == pl.List(pl.Int64)
    encoded = pl.read_parquet(run / "features/test/recommend/part.0.parquet")
    assert set(encoded["item_price"]) == {0.0}
    assert report.cardinalities["user_id"] == report.cardinalities["item_id"] == 4  # the most frequent one is kept
