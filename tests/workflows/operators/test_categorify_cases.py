"""Single cases of ``Categorify``: where NVTabular is wrong, what is refused, and the way back from ids to keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from operator_conformance import by_nvtabular, fitted

from cartwheel.core.errors import NotCompilableError, RunError
from workflows.compiler.file_digests import remember_files
from workflows.compiler.fit.fit import fit_workflow
from workflows.compiler.operators.categorify import Lookup
from workflows.compiler.operators.described import described
from workflows.compiler.operators.keys import Keys
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.read import read_plan
from workflows.compiler.plan.vocabularies import vocabulary
from workflows.compiler.quiet import quiet_nvtabular

Graph = Callable[[Any, str], Any]


def categorify(columns: Any = ("x",), **options: Any) -> Graph:
    return lambda ops, folder: list(columns) >> ops.Categorify(out_path=folder, **options)


def encoded(workflow: Any, raw: pl.DataFrame) -> dict[str, list[Any]]:
    """Encode with the plan in both back ends, which must agree."""
    plan = read_plan(workflow)
    nullable, ragged = list(plan.raw), [name for name, kind in plan.raw.items() if kind.is_list]
    table = compile_polars(plan, raw.lazy()).collect()
    session = open_session(compile_onnx(plan, list(plan), "categorify", nullable=nullable, ragged=ragged))
    assert encode_onnx(session, raw).equals(table)
    return table.to_dict(as_series=False)


def reference(workflow: Any, raw: pl.DataFrame) -> dict[str, list[Any]]:
    return by_nvtabular(workflow, read_plan(workflow), raw).to_dict(as_series=False)


def fails(workflow: Any, raw: pl.DataFrame) -> bool:
    with pytest.raises(RuntimeError, match="Failed to categorical encode"):
        reference(workflow, raw)
    return True


@pytest.mark.parametrize("dtype", [pl.String, pl.Int64, pl.Float32])
def test_a_request_whose_values_are_all_null_is_one_of_nulls(dtype: Any, tmp_path: Path) -> None:
    workflow = fitted(categorify(), pl.DataFrame({"x": [1, 2]}).cast(dtype), tmp_path)
    raw = pl.DataFrame({"x": pl.Series([None, None], dtype=dtype)})
    assert encoded(workflow, raw) == {"x": [1, 1]}
    assert fails(workflow, raw)


def test_lists_without_elements_and_null_elements(tmp_path: Path) -> None:
    workflow = fitted(categorify(), pl.DataFrame({"x": [["a", "b"], ["a"]]}), tmp_path)
    raw = pl.DataFrame({"x": [["a", None, "new"], [], [None], None]}, schema={"x": pl.List(pl.String)})
    assert encoded(workflow, raw) == {"x": [[3, 1, 2], [], [1], []]}
    assert reference(workflow, raw[:3]) == {"x": [[3, 2, 2], [], [2]]}


def test_one_table_keeps_the_ids_of_null_and_of_what_is_unknown(tmp_path: Path) -> None:
    training = pl.DataFrame({"x": ["a", "b", "a"], "y": ["p", "p", "q"]})
    workflow = fitted(categorify(["x", "y"], single_table=True), training, tmp_path)
    raw = pl.DataFrame({"x": ["a", None, "new"], "y": ["q", None, "new"]})
    assert encoded(workflow, raw) == {"x": [3, 1, 2], "y": [6, 1, 2]}
    assert reference(workflow, raw) == {"x": [3, 3, 4], "y": [6, 5, 6]}
    plan = read_plan(workflow)
    assert [plan.steps(name)[0].cardinality for name in plan] == [5, 7]  # type: ignore[attr-defined]


def test_a_given_vocabulary_begins_behind_the_buckets(tmp_path: Path) -> None:
    given = {"x": pd.Series([20, 10])}
    workflow = fitted(categorify(vocabs=given, num_buckets=4), pl.DataFrame({"x": [10, 20]}), tmp_path)
    raw = pl.DataFrame({"x": [77, 10, 20]})
    ids = encoded(workflow, raw)["x"]
    assert ids[1:] == [7, 6]
    assert 2 <= ids[0] < 6
    assert read_plan(workflow).steps("x")[0].cardinality == 8  # type: ignore[attr-defined]
    assert workflow.output_schema["x"].properties["embedding_sizes"]["cardinality"] == 8
    assert reference(workflow, raw)["x"] == [ids[0], 10, 9]


def test_a_value_lies_in_one_bucket_on_every_row(tmp_path: Path) -> None:
    training = pl.DataFrame({"x": [1, 1]})
    workflow = fitted(categorify(num_buckets=1000, freq_threshold=2), training, tmp_path)
    raw = pl.DataFrame({"x": [5, 5, 5, 5]})
    ids, others = encoded(workflow, raw)["x"], reference(workflow, raw)["x"]
    assert len(set(ids)) == 1
    assert others[0] == ids[0]
    assert len(set(others)) == 4


def test_elements_of_lists_are_hashed(tmp_path: Path) -> None:
    columns = [["one", "many"]]
    training = pl.DataFrame({"one": [1, 2], "many": [[1, 2], [2]]})
    workflow = fitted(categorify(columns), training, tmp_path)
    workflow.output_node.op.num_buckets = {"one": 5, "many": 5, "one_many": 5}  # NVTabular cannot fit with it
    raw = pl.DataFrame({"one": [77, 1, 78], "many": [[1, 77], [], [78, 77, 2]]})
    ids = encoded(workflow, raw)
    one, other = ids["one"][0], ids["one"][2]
    assert ids == {"one": [one, 8, other], "many": [[8, one], [], [other, one, 7]]}
    assert fails(workflow, raw)


def test_combinations_are_hashed_whatever_stands_between_their_names(tmp_path: Path) -> None:
    training = pl.DataFrame({"x": [1, 2], "y": [1, 2]})
    plans = []
    for separator in "_&":
        workflow = fitted(categorify([["x", "y"]], encode_type="combo", name_sep=separator), training, tmp_path / separator)
        workflow.output_node.op.num_buckets = 40
        plans.append(encoded(workflow, pl.DataFrame({"x": [9, 1, None], "y": [2, 1, None]})))
    (first,), (second,) = (list(plan.values()) for plan in plans)
    assert first == second
    assert first[1:] == [42, 1]
    assert 2 <= first[0] < 42
    assert fails(workflow, pl.DataFrame({"x": [9], "y": [2]}))


def test_the_numbers_of_a_file_that_is_given_are_an_order(tmp_path: Path) -> None:
    path = tmp_path / "given.parquet"
    pd.DataFrame({"x": ["c", "a", "b"]}, index=[2, 0, 1]).to_parquet(path)
    workflow = fitted(categorify(vocabs={"x": str(path)}), pl.DataFrame({"x": ["a", "b", "c"]}), tmp_path)
    assert encoded(workflow, pl.DataFrame({"x": ["a", "b", "c", "d"]})) == {"x": [3, 4, 5, 2]}


def test_another_folder_of_the_same_relative_path_has_its_own_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, others = [], []
    for name, values in (("first", ["a", "b"]), ("second", ["b", "c"])):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with quiet_nvtabular():
            from merlin.io import Dataset
            from nvtabular import Workflow, ops

            workflow = Workflow(["x"] >> ops.Categorify()).fit(Dataset(pd.DataFrame({"x": values})))
        raw = pl.DataFrame({"x": ["a", "b", "c"]})
        others.append(reference(workflow, raw)["x"])
        answers.append(encoded(workflow, raw)["x"])
    assert answers == others == [[3, 4, 2], [2, 3, 4]]


def test_a_second_fit_in_one_folder_is_read_as_it_is(tmp_path: Path) -> None:
    raw = pl.DataFrame({"x": ["a", "b", "c"]})
    first = fitted(categorify(), pl.DataFrame({"x": ["a", "b"]}), tmp_path)
    assert encoded(first, raw) == reference(first, raw) == {"x": [3, 4, 2]}
    second = fitted(categorify(), pl.DataFrame({"x": ["c", "b", "c"]}), tmp_path)
    assert encoded(second, raw) == {"x": [2, 4, 3]}


def test_ids_lead_back_to_keys(tmp_path: Path) -> None:
    training = pl.DataFrame({"x": ["b", "a", "b"], "y": [7, 7, 8], "z": [None, 5.0, 5.0]})
    plan = read_plan(
        fitted(
            lambda ops, folder: (
                (["x"] >> ops.Categorify(num_buckets=3, max_size=9, out_path=folder))
                + ([["y", "z"]] >> ops.Categorify(encode_type="combo", out_path=folder))
            ),
            training,
            tmp_path,
        )
    )
    (lookup,), (combined,) = plan.steps("x"), plan.steps("y_z")
    assert isinstance(lookup, Lookup)
    assert isinstance(combined, Lookup)
    assert lookup.inverse().to_list() == [None] * 5 + ["b", "a"]
    assert combined.inverse().to_list() == [None] * 3 + [{"y": 7, "z": None}, {"y": 7, "z": 5}, {"y": 8, "z": 5}]
    assert lookup.cardinality == len(lookup.inverse()) == 7
    assert vocabulary(plan, "y_z").decode([5, 1, 3]).to_list() == [{"y": 8, "z": 5}, None, {"y": 7, "z": None}]
    ids = compile_polars(plan, training.lazy(), ["x"]).collect()["x"]
    assert lookup.inverse().gather(ids).to_list() == training["x"].to_list()


def test_a_vocabulary_of_nothing_leads_back_nowhere(tmp_path: Path) -> None:
    plan = read_plan(fitted(categorify(freq_threshold=9), pl.DataFrame({"x": ["a"]}), tmp_path))
    assert vocabulary(plan, "x").keys.to_list() == [None, None, None]


def test_strings_in_buckets_are_for_tables_alone(tmp_path: Path) -> None:
    plan = read_plan(fitted(categorify(num_buckets=3, max_size=9), pl.DataFrame({"x": ["a"]}), tmp_path))
    with pytest.raises(NotCompilableError, match=r"'x': The vocabulary 'x' hashes unknown strings .* Leave num_buckets out"):
        compile_onnx(plan, ["x"], "g")


TABLE = pl.DataFrame(
    {"x": ["a", "b"], "y": [1, 2], "x_y": ["c", "d"], "real": [0.5, 1.0], "many": [[1], [2]], "big": [1, 2**63]}
).with_columns(pl.col("big").cast(pl.UInt64))


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (categorify(["real"]), "floats that are no whole numbers"),
        (categorify(["big"]), "int64 does not hold"),
        (categorify(dtype="float16"), "encodes to float16"),
        (categorify(dtype="bool"), "encodes to bool"),
    ],
)
def test_what_has_no_exact_form_is_refused(graph: Graph, words: str, tmp_path: Path) -> None:
    with quiet_nvtabular():
        from merlin.io import Dataset
        from nvtabular import Workflow, ops

        workflow = Workflow(graph(ops, str(tmp_path))).fit(Dataset(TABLE.to_pandas()))
    with pytest.raises(NotCompilableError) as caught:
        read_plan(workflow)
    assert words in str(caught.value)
    assert "Feature column" in str(caught.value)
    assert caught.value.fix


def test_two_vocabularies_under_one_name_are_refused(tmp_path: Path) -> None:
    """NVTabular writes one over the other, and with pyarrow 18 cannot encode with what is left."""
    with quiet_nvtabular():
        from nvtabular import Workflow, ops

        graph = Workflow(categorify(["x_y", ["x", "y"]], encode_type="combo")(ops, str(tmp_path / "caller")))
    workflow = fit_workflow(graph, TABLE, tmp_path / "fits")
    with pytest.raises(NotCompilableError, match="two vocabularies under the name 'x_y'"):
        read_plan(workflow)


@pytest.mark.parametrize(
    ("values", "index", "words"),
    [
        (["a", "b", "a"], None, "The key 'a' stands twice"),
        ([1, 2], None, "Strings are looked up among integers"),
        (["a", "b"], [3, 5], "leaves numbers out or has some twice"),
        (["a", "b"], [3, 3], "leaves numbers out or has some twice"),
        (["a", "b"], ["one", "two"], "is no number"),
    ],
)
def test_a_vocabulary_that_numbers_nothing_is_refused(values: list[Any], index: Any, words: str, tmp_path: Path) -> None:
    workflow = fitted(categorify(), pl.DataFrame({"x": ["a"]}), tmp_path)
    pd.DataFrame({"x": values}, index=index).to_parquet(workflow.output_node.op.categories["x"])
    remember_files(workflow.output_node.op)  # so that what the file holds is looked at, and not that it was changed
    with pytest.raises(NotCompilableError) as caught:
        read_plan(workflow)
    assert words in str(caught.value)
    assert "Feature column 'x'" in str(caught.value)


def test_ids_that_a_type_cannot_hold_are_refused(tmp_path: Path) -> None:
    training = pl.DataFrame({"x": list(range(125))})
    held = encoded(fitted(categorify(dtype="int8"), training, tmp_path), training)["x"]
    assert sorted(held) == list(range(3, 128))  # which value has which id depends on how the processor sorts: all are as frequent
    with pytest.raises(NotCompilableError, match="has ids up to 128, which int8 cannot hold"):
        read_plan(fitted(categorify(dtype=np.int8), pl.DataFrame({"x": list(range(126))}), tmp_path))


def test_more_buckets_for_a_column_than_for_its_vocabulary_are_refused(tmp_path: Path) -> None:
    workflow = fitted(categorify([["y", "z"]]), pl.DataFrame({"y": [1], "z": [2]}), tmp_path)
    workflow.output_node.op.num_buckets = {"y": 3, "z": 4, "y_z": 3}
    with pytest.raises(NotCompilableError, match="hashes into 4 buckets, and its vocabulary 'y_z' leaves room for 3"):
        read_plan(workflow)


def test_a_vocabulary_that_is_gone_or_damaged_is_named(tmp_path: Path) -> None:
    workflow = fitted(categorify(), pl.DataFrame({"x": ["a"]}), tmp_path)
    path = Path(workflow.output_node.op.categories["x"])
    path.write_bytes(b"no table")
    with pytest.raises(RunError, match=r"'x': its vocabulary .* cannot be read"):
        read_plan(workflow)
    path.unlink()
    with pytest.raises(RunError, match="cannot be read"):
        read_plan(workflow)
    path.mkdir()
    remember_files(workflow.output_node.op)
    with pytest.raises(RunError, match="without Parquet files"):
        read_plan(workflow)


def test_steps_of_unequal_vocabularies_are_unequal() -> None:
    keys = Keys((pl.Series(["a", "b"]),))
    step = Lookup("x", ("x",), keys)
    assert step == Lookup("x", ("x",), Keys((pl.Series("other", ["a", "b"]),)))
    assert step != Lookup("x", ("x",), Keys((pl.Series(["b", "a"]),)))
    text = f"Lookup(domain='x', columns=('x'), keys={described(keys)}, first=3, buckets=1, dtype='int64', blank_pads=False)"
    assert described(step) == text
    assert "buckets=4, dtype='int8'" in described(Lookup("x", ("x",), keys, 6, 4, "int8"))
