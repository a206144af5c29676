"""A saved workflow that could give wrong ids is refused in one sentence, whatever is wrong with it."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from cartwheel.errors import RunError
from workflows.plan.types import ColumnType
from workflows.quiet import quiet_nvtabular
from workflows.saved import METADATA, PICKLE, load_saved

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
