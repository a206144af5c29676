"""The operators of the feature graph against NVTabular's own transform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st
from operator_conformance import INT64, TEXT, WORDS, OperatorConformance

NUMBERS = pl.DataFrame(
    {"x": [0.1, None, 3.5, 1e4, 0.1, 7.0], "y": [1.0, 2.0, 2.0, None, None, 9.0]}, schema={"x": pl.Float32, "y": pl.Float32}
)
WHOLE = pl.DataFrame({"x": [3, -1, 3, 2**40, 5], "y": [0, 0, 1, 1, 1]})


class TestLogOp(OperatorConformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.LogOp()


class TestFillMissing(OperatorConformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return (["x"] >> ops.FillMissing()) + (["y"] >> ops.FillMissing(fill_val=-0.1))


class TestFillMedian(OperatorConformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.FillMedian()


class TestClip(OperatorConformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return (["x"] >> ops.Clip(min_value=0, max_value=10.5)) + (["y"] >> ops.Clip(max_value=2))


class TestClipOfIntegers(OperatorConformance):
    training = WHOLE
    values = st.one_of(INT64, st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.Clip(min_value=0, max_value=4)


class TestNormalize(OperatorConformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.Normalize(out_dtype=np.float32)


class TestNormalizeOfIntegers(OperatorConformance):
    training = WHOLE
    values = st.one_of(INT64, st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.Normalize()


class TestNormalizeWhereNothingVaries(OperatorConformance):
    training = pl.DataFrame({"x": [2.0, 2.0, 2.0]}, schema={"x": pl.Float32})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Normalize(out_dtype=np.float32)


class TestNormalizeOfOneRow(OperatorConformance):
    training = pl.DataFrame({"x": [2.0]}, schema={"x": pl.Float32})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Normalize(out_dtype=np.float32)


class TestChain(OperatorConformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.FillMedian() >> ops.Clip(min_value=0) >> ops.LogOp() >> ops.Normalize(out_dtype=np.float32)


class TestRenamedTaggedAndSubset(OperatorConformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        both = ["x", "y"] >> ops.FillMissing() >> ops.Rename(postfix="_log") >> ops.LogOp() >> ops.AddTags(["logged"])
        return both[["y_log"]] + (["x"] >> ops.FillMissing(fill_val=3))


class TestTwoMakersOfOneColumn(OperatorConformance):
    training = NUMBERS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return (["x", "y"] >> ops.FillMissing(fill_val=1)) + (["x"] >> ops.FillMissing(fill_val=2))


class TestCategorifyOfStrings(OperatorConformance):
    training = pl.DataFrame({"x": WORDS, "y": WORDS[::-1]})
    values = st.one_of(TEXT, st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.Categorify(out_path=folder)


class TestCategorifyWithAThreshold(OperatorConformance):
    training = pl.DataFrame({"x": ["a", "b", "a", "c", "b", "a"]})
    values = st.one_of(TEXT, st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Categorify(freq_threshold=2, out_path=folder)


class TestCategorifyOfIntegers(OperatorConformance):
    training = pl.DataFrame({"x": [3, 3, 0, -(2**63), 2**63 - 1]})
    values = st.one_of(st.sampled_from([3, 0, -(2**63), 2**63 - 1]), INT64)

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Categorify(out_path=folder)


LISTS = pl.DataFrame({"one": ["a", "", "d"], "many": [["a", "b"], [], ["c", "", "a"]]})


class TestSharedCategorify(OperatorConformance):
    training = LISTS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        from workflows.shared_categorify import SharedCategorify

        return ["one", "many"] >> SharedCategorify("one", ["b", "a", "", "ä"], ["one", "many"], Path(folder))

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        row = st.tuples(TEXT, st.lists(TEXT, max_size=5))
        return st.lists(row, min_size=1, max_size=6).map(lambda rows: pl.DataFrame(rows, schema=LISTS.schema, orient="row"))


class TestJointCategorify(OperatorConformance):
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


class TestCategorifyOfNothing(OperatorConformance):
    training = pl.DataFrame({"x": ["a", "b"]})
    values = st.one_of(TEXT, st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Categorify(freq_threshold=9, out_path=folder)
