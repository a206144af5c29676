"""A saved workflow that could give wrong ids is refused in one sentence, whatever is wrong with it."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from cartwheel.core.errors import RunError
from workflows.compiler.fit import fit_workflow
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.read import read_plan
from workflows.compiler.plan.types import ColumnType
from workflows.compiler.plan.vocabularies import vocabulary
from workflows.compiler.quiet import quiet_nvtabular
from workflows.compiler.saved import METADATA, PICKLE, load_saved

TABLE = pl.DataFrame(
    {
        "color": ["red", "blue", "red", "green"],
        "size": ["s", "m", None, "s"],
        "price": [1.0, 2.0, None, 3.0],
        "sold": [1, 0, 1, 0],
    }
)
SCHEMA = {
    "color": ColumnType("string"),
    "size": ColumnType("string"),
    "price": ColumnType("float64"),
    "sold": ColumnType("int64"),
}


def save(folder: Path, *, fit: bool = True) -> Path:
    """Fit every operator that keeps files, with every number of ids, and save the workflow."""
    with quiet_nvtabular():
        from merlin.io import Dataset
        from nvtabular import Workflow, ops

        scratch = str(folder / "scratch")
        graph = [["color", "size"]] >> ops.Categorify(out_path=scratch, encode_type="combo")  # first: it carries its inputs along
        graph += ["color"] >> ops.Categorify(out_path=scratch)
        graph += ["size"] >> ops.Categorify(out_path=scratch, num_buckets=3)
        graph += ["color"] >> ops.TargetEncoding("sold", kfold=1, out_path=scratch)
        graph += ["price"] >> ops.Normalize()
        workflow = Workflow(graph)
        (workflow.fit(Dataset(TABLE.to_pandas())) if fit else workflow).save(str(folder / "saved"))
    shutil.rmtree(folder / "scratch", ignore_errors=True)
    return folder / "saved"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("fitted"))


@pytest.fixture
def saved(kept: Path, tmp_path: Path) -> Path:
    """A saved workflow to damage, in another place than it was saved in."""
    return Path(shutil.copytree(kept, tmp_path / "copied"))


def refused(folder: Path, schema: dict[str, ColumnType] | None = None) -> str:
    with pytest.raises(RunError) as caught:
        load_saved(folder, schema=schema)
    assert caught.value.fix
    assert str(folder) in caught.value.found
    return caught.value.found


def rewrite_versions(folder: Path, change: Callable[[dict[str, str]], Any]) -> None:
    metadata = json.loads((folder / METADATA).read_text())
    change(metadata["versions"])
    (folder / METADATA).write_text(json.dumps(metadata))


def test_a_whole_workflow_is_loaded_wherever_it_lies(saved: Path) -> None:
    workflow = load_saved(saved, schema=SCHEMA)
    assert {"color", "size", "color_size", "TE_color_sold", "price"} == set(workflow.output_schema.column_names)
    assert workflow.transform(TABLE.to_pandas())["size"].tolist() == [5, 6, 1, 5]  # 2 to 4 are buckets


@pytest.mark.parametrize("name", ["nvtabular", "python", "pandas"])
def test_another_patch_release_is_accepted(saved: Path, name: str) -> None:
    rewrite_versions(saved, lambda versions: versions.update({name: ".".join(versions[name].split(".")[:2]) + ".99"}))
    load_saved(saved)


def test_another_nvtabular_is_refused_before_it_is_unpickled(saved: Path) -> None:
    rewrite_versions(saved, lambda versions: versions.update(nvtabular="23.6.0"))
    (saved / PICKLE).write_bytes(b"never read")
    assert "was saved by NVTabular 23.6.0, and this is NVTabular 23.8" in refused(saved).replace("23.08.00", "23.8")


def test_another_python_or_pandas_is_accepted_while_the_pickle_loads(saved: Path) -> None:
    rewrite_versions(saved, lambda versions: versions.update(python="3.7.1 (default)", pandas="0.25.3"))
    load_saved(saved)


def test_a_pickle_that_does_not_load_is_refused_with_the_versions_that_differ(saved: Path) -> None:
    (saved / PICKLE).write_bytes((saved / PICKLE).read_bytes()[:-20])
    message = refused(saved)
    assert "cannot be loaded (" in message
    assert "saved with" not in message
    rewrite_versions(saved, lambda versions: versions.update(python="3.7.1 (default)", cudf="23.12.0"))
    assert refused(saved).endswith("; it was saved with python 3.7.1 and cudf 23.12.0.")


def test_a_pickle_of_something_else_is_refused(saved: Path) -> None:
    (saved / PICKLE).write_bytes(pickle.dumps({"output_node": None}))
    assert "cannot be loaded (" in refused(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"versions": []}', b'{"versions": {"python": "3.11"}}'])
def test_metadata_that_does_not_say_what_wrote_it_is_refused(saved: Path, content: bytes) -> None:
    (saved / METADATA).write_bytes(content)
    assert "does not say which" in refused(saved)


def test_a_missing_file_is_named(saved: Path, tmp_path: Path) -> None:
    assert "holds no saved NVTabular workflow" in refused(tmp_path / "nowhere")
    (saved / METADATA).unlink()
    assert "metadata.json, which says what wrote the workflow, cannot be read" in refused(saved)
    (saved / PICKLE).unlink()
    assert "holds no saved NVTabular workflow" in refused(saved)


def test_an_unfitted_workflow_is_refused(tmp_path: Path) -> None:
    assert "saved before it was fitted" in refused(save(tmp_path, fit=False))


@pytest.mark.parametrize("name", ["color", "size", "color_size"])
def test_a_vocabulary_that_is_missing_cut_off_or_of_another_fit_is_refused(saved: Path, name: str) -> None:
    path = saved / f"categories/unique.{name}.parquet"
    table = pq.read_table(path)
    for rows in (table.slice(1), table.slice(0, 0)):
        pq.write_table(rows, path)
        message = refused(saved)
        assert f"its vocabulary {name!r} is of another fit: it makes" in message
    pq.write_table(table.rename_columns([f"other {column}" for column in table.column_names]), path)
    assert f"its vocabulary {name!r} is of another fit" in refused(saved)
    pq.write_table(table, path)
    load_saved(saved)
    path.write_bytes(path.read_bytes()[:-9])
    assert f"unique.{name}.parquet, cannot be read" in refused(saved)
    path.unlink()
    assert f"unique.{name}.parquet, is missing" in refused(saved)


def in_one_folder(graph: Callable[[Any], Any], tables: list[pl.DataFrame]) -> list[Any]:
    """Fit one graph on several tables by NVTabular itself, each into the folder of the one before."""
    with quiet_nvtabular():
        from merlin.io import Dataset
        from nvtabular import Workflow, ops

        return [Workflow(graph(ops)).fit(Dataset(table.to_pandas())) for table in tables]


@pytest.mark.parametrize("kind", ["column", "combination", "target"])
def test_two_workflows_fitted_in_one_folder_do_not_swap_their_files(tmp_path: Path, kind: str) -> None:
    """As many values in both, so that nothing but what the files hold tells them apart."""

    def graph(ops: Any) -> Any:
        if kind == "target":
            return ["color"] >> ops.TargetEncoding("sold", kfold=1, out_path=str(tmp_path))
        columns = ["color"] if kind == "column" else [["color", "size"]]
        return columns >> ops.Categorify(encode_type="combo" if kind == "combination" else "joint", out_path=str(tmp_path))

    other = TABLE.with_columns(pl.col("color").replace({"red": "pink", "blue": "grey", "green": "black"}))
    first, second = in_one_folder(graph, [TABLE, other])
    for workflow, name in ((first, "first"), (second, "second")):
        with quiet_nvtabular():
            workflow.save(str(tmp_path / name))
    assert "does not hold what the workflow was fitted to" in refused(tmp_path / "first")
    load_saved(tmp_path / "second")
    again, last = in_one_folder(graph, [TABLE, other])
    with pytest.raises(RunError, match="another fit has written over it"):
        read_plan(again)
    read_plan(last)


def test_vocabularies_that_are_given_do_not_swap(tmp_path: Path) -> None:
    """NVTabular writes a given vocabulary when the operator is made, so that the second one is over the first before either is fitted."""
    with quiet_nvtabular():
        import pandas as pd
        from nvtabular import Workflow, ops

        first, second = (
            Workflow(["color"] >> ops.Categorify(vocabs={"color": pd.Series(colors)}, out_path=str(tmp_path)))
            for colors in (["red", "blue"], ["blue", "red"])
        )
    with pytest.raises(RunError, match=r"vocabulary 'color' that Categorify was given is no longer in .* written over it"):
        fit_workflow(first, TABLE, tmp_path / "fits")
    fitted = fit_workflow(second, TABLE, tmp_path / "fits")
    assert vocabulary(read_plan(fitted), "color").decode(pl.Series([3, 4])).to_list() == ["blue", "red"]
    fitted.save(str(tmp_path / "saved"))
    shutil.rmtree(tmp_path / "fits")
    shutil.rmtree(tmp_path / "categories")
    assert vocabulary(read_plan(load_saved(tmp_path / "saved")), "color").decode(pl.Series([3, 4])).to_list() == ["blue", "red"]


def test_shared_vocabularies_of_one_name_lie_beside_each_other(tmp_path: Path) -> None:
    with quiet_nvtabular():
        from nvtabular import Workflow, ops

        from workflows.compiler.shared_categorify import SharedCategorify

        def shared(values: list[str]) -> Any:
            return ["color"] >> SharedCategorify("color", values, ["color"], tmp_path)

        nodes = [shared(values) for values in (["red", "blue"], ["blue", "red"], ["red", "blue"])]
        workflow = Workflow(nodes[0] + (nodes[1] >> ops.Rename(postfix="_other")) + (nodes[2] >> ops.Rename(postfix="_again")))
        fit_workflow(workflow, TABLE, tmp_path / "fits").save(str(tmp_path / "saved"))
        workflow = load_saved(tmp_path / "saved")
        encoded = workflow.transform(TABLE.to_pandas())
    table = compile_polars(read_plan(workflow), TABLE.lazy()).collect()
    expected = {"color": [3, 4, 3, 2], "color_other": [4, 3, 4, 2], "color_again": [3, 4, 3, 2]}
    assert (
        {name: encoded[name].tolist() for name in expected} == table.select(list(expected)).to_dict(as_series=False) == expected
    )
    assert len(list(tmp_path.glob("categories*/unique.color.parquet"))) == 2


def test_an_operator_is_found_where_cartwheel_0_3_kept_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with quiet_nvtabular():
        from nvtabular import Workflow

        from workflows.compiler import shared_categorify

        graph = ["color"] >> shared_categorify.SharedCategorify("color", ["red", "blue"], ["color"], tmp_path)
        fitted = fit_workflow(Workflow(graph), TABLE, tmp_path / "fits")
        former = "workflows.shared_categorify"
        with monkeypatch.context() as at_that_time:
            at_that_time.setitem(sys.modules, former, shared_categorify)
            at_that_time.setattr(shared_categorify.SharedCategorify, "__module__", former)
            fitted.save(str(tmp_path / "saved"))
    assert former.encode() in (tmp_path / "saved" / PICKLE).read_bytes()
    plan = read_plan(load_saved(tmp_path / "saved"))
    assert former not in sys.modules
    assert compile_polars(plan, TABLE.lazy()).collect()["color"].to_list() == [3, 4, 3, 2]


def test_a_vocabulary_that_is_written_anew_with_the_same_values_is_the_same(saved: Path) -> None:
    path = saved / "categories/unique.color.parquet"
    pq.write_table(pq.read_table(path), path, compression="GZIP", use_dictionary=False)
    load_saved(saved)
    table = pl.read_parquet(path)
    pq.write_table(pq.read_table(path).take([1, 0, 2]), path)
    assert "does not hold what the workflow was fitted to" in refused(saved)
    assert pl.read_parquet(path).height == table.height


def test_a_workflow_that_nvtabular_fitted_on_integers_with_nulls_takes_a_table_of_integers(tmp_path: Path) -> None:
    """For pandas such a column is one of floats, and so it is for the workflow."""
    integers = pl.DataFrame({"n": [3, None, 7, 3], "many": [[3, None], [7], [3], [3]]}, schema_overrides={"n": pl.Int64})
    with quiet_nvtabular():
        from merlin.io import Dataset
        from nvtabular import Workflow, ops

        out = str(tmp_path / "scratch")
        graph = (["n"] >> ops.Categorify(out_path=out)) + (["n"] >> ops.Normalize() >> ops.Rename(postfix="_scaled"))
        Workflow(graph).fit(Dataset(integers.select("n").to_pandas())).save(str(tmp_path / "saved"))
    workflow = load_saved(tmp_path / "saved", schema={"n": ColumnType("int64")})
    plan = read_plan(workflow)
    assert plan.raw == {"n": ColumnType("float64")}
    session = open_session(compile_onnx(plan, list(plan), "g"))
    for dtype in (pl.Float64, pl.Int64, pl.Int8, pl.UInt32):
        table = integers.select(pl.col("n").cast(dtype))
        encoded = compile_polars(plan, table.lazy()).collect()
        assert encoded["n"].to_list() == workflow.transform(table.to_pandas())["n"].tolist() == [3, 1, 4, 3]
        assert encode_onnx(session, table).equals(encoded)


def test_statistics_that_are_missing_or_cut_off_are_refused(saved: Path) -> None:
    (part,) = (saved / "categories/cat_stats.color.parquet").iterdir()
    part.write_bytes(part.read_bytes()[:-9])
    assert "its statistics of 'color'" in refused(saved)
    shutil.rmtree(part.parent)
    assert "cat_stats.color.parquet, is missing" in refused(saved)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({**SCHEMA, "brand": ColumnType("string")}, "was not fitted on the columns ['brand']"),
        ({name: kind for name, kind in SCHEMA.items() if name != "size"}, "was fitted on the columns ['size'] too"),
        ({**SCHEMA, "price": ColumnType("float32")}, "a column 'price' of type float64, expected float32"),
        ({**SCHEMA, "sold": ColumnType("int64", is_list=True)}, "a column 'sold' of type int64, expected list[int64]"),
    ],
)
def test_a_workflow_of_another_schema_is_refused(saved: Path, schema: dict[str, ColumnType], words: str) -> None:
    assert words in refused(saved, schema)
