"""The operators of the feature graph against NVTabular's own transform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import strategies as st
from operator_conformance import INT64, TEXT, WORDS, OperatorConformance


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
