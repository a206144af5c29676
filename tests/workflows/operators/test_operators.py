"""Every operator's ONNX form against NVTabular's own transform: one suite, inherited in a few lines by each operator.

To add an operator: a class with a ``training`` table and a ``graph``; override ``rows`` where its input is special.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workflows.compile import compile_onnx
from workflows.encode import load_workflow
from workflows.feature_parity import check_parity, onnx_feeds
from workflows.plan import read_plan
from workflows.quiet import quiet_nvtabular

INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT32 = st.floats(width=32, allow_nan=True, allow_infinity=True)
WORDS = ["", "a", "b", "ä", "A", " a", "日本", "0", "nan", "None"]
TEXT = st.one_of(st.sampled_from(WORDS), st.text(max_size=6))


def fitted(graph: Callable[[Any, str], Any], training: pl.DataFrame, folder: Path) -> Any:
    """Fit a graph with NVTabular, save it, and load it again."""
    with quiet_nvtabular():
        from merlin.io import Dataset
        from nvtabular import Workflow, ops

        Workflow(graph(ops, str(folder))).fit(Dataset(training.to_pandas())).save(str(folder / "saved"))
    return load_workflow(folder / "saved")


def transform(workflow: Any, raw: pl.DataFrame) -> pl.DataFrame:
    """What NVTabular itself makes of the rows."""
    with quiet_nvtabular():
        encoded = workflow.transform(raw.to_pandas())
    series = []
    for name in encoded.columns:
        if encoded[name].dtype == object:
            series.append(pl.Series(name, [list(map(int, row)) for row in encoded[name]], dtype=pl.List(pl.Int64)))
        else:
            kind = pl.Int64 if encoded[name].dtype.kind == "i" else pl.Float32
            series.append(pl.Series(name, encoded[name].to_numpy(), dtype=kind))
    return pl.DataFrame(series)


class Conformance:
    """What every operator must satisfy."""

    training: ClassVar[pl.DataFrame]
    values: ClassVar[st.SearchStrategy[Any]] = FLOAT32

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def compiled(cls, tmp_path_factory: pytest.TempPathFactory) -> Any:
        workflow = fitted(cls.graph, cls.training, tmp_path_factory.mktemp("operator"))
        plan = read_plan(workflow)
        return workflow, plan, compile_onnx(plan, list(plan), "operator")

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        schema = self.training.schema
        row = st.tuples(*[self.values for _ in schema])
        return st.lists(row, min_size=1, max_size=8).map(lambda rows: pl.DataFrame(rows, schema=schema, orient="row"))

    def test_equals_nvtabular_in_training(self, compiled: Any) -> None:
        workflow, plan, model = compiled
        check_parity(model, plan, self.training, transform(workflow, self.training))

    def test_equals_nvtabular_anywhere(self, compiled: Any) -> None:
        workflow, plan, model = compiled

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(self.rows())
        def law(raw: pl.DataFrame) -> None:
            check_parity(model, plan, raw, transform(workflow, raw))

        law()

    def test_a_row_alone_equals_the_row_among_others(self, compiled: Any) -> None:
        _, _, model = compiled
        session = onnxruntime.InferenceSession(model.SerializeToString())
        feeds = onnx_feeds(self.training, self.training.columns)
        together = session.run(None, feeds)
        for row in range(self.training.height):
            alone = session.run(None, {name: value[row : row + 1] for name, value in feeds.items()})
            for one, all_of_them in zip(alone, together, strict=True):
                np.testing.assert_array_equal(one[0], all_of_them[row])

    def test_types_are_those_of_the_contract(self, compiled: Any) -> None:
        for value in onnxruntime.InferenceSession(compiled[2].SerializeToString()).get_outputs():
            assert value.name.endswith("__encoded")
            assert value.type in ("tensor(int64)", "tensor(float)")


NUMBERS = pl.DataFrame(
    {"x": [0.1, None, 3.5, 1e4, 0.1, 7.0], "y": [1.0, 2.0, 2.0, None, None, 9.0]}, schema={"x": pl.Float32, "y": pl.Float32}
)
WHOLE = pl.DataFrame({"x": [3, -1, 3, 2**40, 5], "y": [0, 0, 1, 1, 1]})


class TestLogOp(Conformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.LogOp()


class TestFillMissing(Conformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return (["x"] >> ops.FillMissing()) + (["y"] >> ops.FillMissing(fill_val=-0.1))


class TestFillMedian(Conformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.FillMedian()


class TestClip(Conformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return (["x"] >> ops.Clip(min_value=0, max_value=10.5)) + (["y"] >> ops.Clip(max_value=2))


class TestClipOfIntegers(Conformance):
    training = WHOLE
    values = INT64

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.Clip(min_value=0, max_value=4)


class TestNormalize(Conformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.Normalize(out_dtype=np.float32)


class TestNormalizeOfIntegers(Conformance):
    training = WHOLE
    values = INT64

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.Normalize()


class TestNormalizeWhereNothingVaries(Conformance):
    training = pl.DataFrame({"x": [2.0, 2.0, 2.0]}, schema={"x": pl.Float32})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Normalize(out_dtype=np.float32)


class TestNormalizeOfOneRow(Conformance):
    training = pl.DataFrame({"x": [2.0]}, schema={"x": pl.Float32})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Normalize(out_dtype=np.float32)


class TestChain(Conformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.FillMedian() >> ops.Clip(min_value=0) >> ops.LogOp() >> ops.Normalize(out_dtype=np.float32)


class TestRenamedTaggedAndSubset(Conformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        both = ["x", "y"] >> ops.FillMissing() >> ops.Rename(postfix="_log") >> ops.LogOp() >> ops.AddTags(["logged"])
        return both[["y_log"]] + (["x"] >> ops.FillMissing(fill_val=3))


class TestTwoMakersOfOneColumn(Conformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return (["x", "y"] >> ops.FillMissing(fill_val=1)) + (["x"] >> ops.FillMissing(fill_val=2))


class TestCategorifyOfStrings(Conformance):
    training = pl.DataFrame({"x": WORDS, "y": WORDS[::-1]})
    values = TEXT

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.Categorify(out_path=folder)


class TestCategorifyWithAThreshold(Conformance):
    training = pl.DataFrame({"x": ["a", "b", "a", "c", "b", "a"]})
    values = TEXT

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Categorify(freq_threshold=2, out_path=folder)


class TestCategorifyOfIntegers(Conformance):
    training = pl.DataFrame({"x": [3, 3, 0, -(2**63), 2**63 - 1]})
    values = st.one_of(st.sampled_from([3, 0, -(2**63), 2**63 - 1]), INT64)

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Categorify(out_path=folder)


LISTS = pl.DataFrame({"one": ["a", "", "d"], "many": [["a", "b"], [], ["c", "", "a"]]})


class TestSharedCategorify(Conformance):
    training = LISTS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        from workflows.shared_categorify import SharedCategorify

        return ["one", "many"] >> SharedCategorify("one", ["b", "a", "", "ä"], ["one", "many"], Path(folder))

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        row = st.tuples(TEXT, st.lists(TEXT, max_size=5))
        return st.lists(row, min_size=1, max_size=6).map(lambda rows: pl.DataFrame(rows, schema=LISTS.schema, orient="row"))


class TestJointCategorify(Conformance):
    training = pl.DataFrame({"one": ["a", "b", "d"], "many": [["a", "b"], ["b", "b"], ["c", "a"]]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return [["one", "many"]] >> ops.Categorify(out_path=folder)

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        # NVTabular's own Categorify has no notion of the "" that fills up a batch of lists: lists of one length.
        row = st.tuples(TEXT, st.lists(TEXT, min_size=2, max_size=2))
        return st.lists(row, min_size=1, max_size=6).map(
            lambda rows: pl.DataFrame(rows, schema=self.training.schema, orient="row")
        )


class TestCategorifyOfNothing(Conformance):
    training = pl.DataFrame({"x": ["a", "b"]})
    values = TEXT

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Categorify(freq_threshold=9, out_path=folder)
