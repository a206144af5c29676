"""``Categorify`` with all its options against NVTabular's own transform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from hypothesis import strategies as st
from operator_conformance import INT64, TEXT, WORDS, OperatorConformance, nothing_missing

ENDS = [3, 0, -(2**63), 2**63 - 1, 2**53 + 1]


def tables(columns: dict[str, st.SearchStrategy[Any]], schema: Any) -> st.SearchStrategy[pl.DataFrame]:
    """Tables whose columns hold values of their own strategies."""
    row = st.tuples(*[columns[name] for name in schema])
    return st.lists(row, max_size=8).map(lambda rows: pl.DataFrame(rows, schema=schema, orient="row", strict=False))


def known_or_first(raw: pl.DataFrame, vocabularies: dict[tuple[str, ...], list[Any]]) -> bool:
    """Whether NVTabular's hash answers rightly: with a value out of vocabulary in the first row alone.

    Its hash mixes the place of a row into that of the value.
    """
    rest = raw[1:]
    return nothing_missing(raw) and all(
        set(rest.select(columns).rows()) <= set(vocabulary) for columns, vocabulary in vocabularies.items()
    )


class Strings(OperatorConformance):
    """Columns of strings, in which NVTabular bears nulls, but no column of nulls alone."""

    values = st.one_of(TEXT, st.none())

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return raw.height > 0 and all(series.null_count() < raw.height for series in raw.get_columns())


class TestOfStrings(Strings):
    training = pl.DataFrame({"x": [*WORDS, None], "y": [None, *WORDS[::-1]]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.Categorify(out_path=folder)


class TestWithAThreshold(Strings):
    training = pl.DataFrame({"x": ["a", "b", "a", "c", "b", "a", None], "y": ["a", "b", "c", "d", "e", "e", "e"]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.Categorify(freq_threshold={"x": 2, "y": 3}, out_path=folder)


class TestWithASize(Strings):
    training = pl.DataFrame({"x": ["a", "b", "a", "c", "b", "a"], "y": ["a", "b", "c", "d", "e", "e"]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.Categorify(max_size={"x": 5, "y": 4}, cat_cache="disk", out_path=folder)


class TestOfNothing(Strings):
    training = pl.DataFrame({"x": ["a", "b"]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Categorify(freq_threshold=9, out_path=folder)


class TestOfIntegersAtTheEnds(OperatorConformance):
    training = pl.DataFrame({"x": [3, *ENDS]})
    values = st.one_of(st.sampled_from(ENDS), INT64, st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Categorify(out_path=folder)


class TestOfOtherTypes(OperatorConformance):
    training = pl.DataFrame(
        {"tiny": [1, -128, 127], "unsigned": [7, 8, 2**63 - 1], "flag": [True, False, True], "whole": [None, 2.0, -3.0]},
        schema={"tiny": pl.Int8, "unsigned": pl.UInt64, "flag": pl.Boolean, "whole": pl.Float64},
    )

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["tiny", "unsigned", "flag", "whole"] >> ops.Categorify(out_path=folder)

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        return tables(
            {
                "tiny": st.one_of(st.integers(-128, 127), st.none()),
                "unsigned": st.one_of(st.sampled_from([7, 8, 9]), st.integers(0, 2**64 - 1), st.none()),
                "flag": st.one_of(st.booleans(), st.none()),
                "whole": st.one_of(st.sampled_from([2.0, -3.0, 2.5, float("nan"), float("inf")]), st.none()),
            },
            self.training.schema,
        )

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return nothing_missing(raw) and raw["whole"].drop_nans().drop_nulls().len() > 0


class TestToOtherTypes(OperatorConformance):
    training = pl.DataFrame({"x": [3, 4, 5, 3], "many": [[4], [5, 6], [], [4, 4]]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        narrow = ["x", "many"] >> ops.Categorify(dtype="int32", out_path=folder)
        real = ["x"] >> ops.Categorify(dtype=np.float32, out_path=folder) >> ops.Rename(postfix="_real")
        return narrow + real

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        some = st.integers(2, 7)
        return tables({"x": st.one_of(some, st.none()), "many": st.lists(some, max_size=3)}, self.training.schema)

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return nothing_missing(raw) and raw["many"].list.len().sum() > 0


class Lists(OperatorConformance):
    """Lists, of which NVTabular needs one with an element and none with a null."""

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        lists = [series for series in raw.get_columns() if isinstance(series.dtype, pl.List)]
        return nothing_missing(raw) and all(
            series.list.len().sum() and not series.list.eval(pl.element().is_null()).list.any().any() for series in lists
        )


class TestOfListsOfStrings(Lists):
    training = pl.DataFrame({"x": [["a", "b"], [], ["日本", "", "a"]]})
    values = st.one_of(TEXT, st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Categorify(out_path=folder)


class TestOfListsOfIntegers(Lists):
    training = pl.DataFrame({"far": [ENDS, [], [3, 3]], "close": [[1, 2], [3], [1]]})
    values = st.one_of(st.sampled_from(ENDS), st.integers(0, 4), st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["far", "close"] >> ops.Categorify(out_path=folder)


SHARED = pl.DataFrame({"one": ["a", "", "d"], "many": [["a", "b"], [], ["c", "", "a"]]})


class TestOfASharedVocabulary(Lists):
    training = SHARED
    values = TEXT

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        from workflows.compiler.shared_categorify import SharedCategorify

        return ["one", "many"] >> SharedCategorify("one", ["b", "a", "", "ä"], ["one", "many"], Path(folder))


class TestOfJointColumns(Lists):
    training = SHARED
    values = TEXT

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return [["one", "many"]] >> ops.Categorify(name_sep="&", out_path=folder)


COMBINED = pl.DataFrame(
    {"x": ["a", "a", "日本", None, None, "", "b"], "y": [1.0, 2.0, None, 1.0, None, 5.0, 7.0], "z": [1, 1, 2, 2, 1, 3, 3]}
)


class TestOfCombinations(OperatorConformance):
    training = COMBINED

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return [["x", "y"], ["z", "y", "x"], "x", ["z", "x"]] >> ops.Categorify(encode_type="combo", out_path=folder)

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        columns = {
            "x": st.sampled_from(["a", "日本", "", "new", None]),
            "y": st.sampled_from([1.0, 2.0, 5.0, 0.5, None]),
            "z": st.sampled_from([1, 2, 3, 2**60, None]),
        }
        return tables(columns, self.training.schema)

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return raw.height > 0 and not raw["z"].null_count() and all(raw[name].null_count() < raw.height for name in "xy")


class TestOfCombinationsUnderAnotherSeparator(OperatorConformance):
    training = pl.DataFrame({"x": ENDS, "y": ENDS[::-1]})
    values = st.one_of(st.sampled_from(ENDS), st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return [["x", "y"]] >> ops.Categorify(encode_type="combo", name_sep="&", dtype="int16", out_path=folder)


class TestOfCombinationsAboveAThreshold(OperatorConformance):
    training = pl.DataFrame({"x": ["a", "a", "b", "b"], "y": ["c", "c", "c", "d"]})
    values = st.sampled_from(["a", "b", "c", "d"])

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return [["x", "y"]] >> ops.Categorify(encode_type="combo", freq_threshold=2, out_path=folder)


class TestWithBuckets(OperatorConformance):
    training = pl.DataFrame({"x": [5, 3, 4, 3, 4], "y": [7, 8, 9, 8, 9], "z": [1, 1, 1, 2, 2]})
    values = st.one_of(st.sampled_from([3, 4, 8, 9, 1, 2]), INT64, st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        buckets = {"x": 3, "y": 1000, "z": 0}
        return ["x", "y", "z"] >> ops.Categorify(num_buckets=buckets, freq_threshold=2, dtype="int32", out_path=folder)

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return known_or_first(raw, {("x",): [(3,), (4,)], ("y",): [(8,), (9,)]})


class TestWithBucketsAndASize(OperatorConformance):
    training = pl.DataFrame({"x": [5, 3, 4, 3, 4]})
    values = st.one_of(st.sampled_from([3, 4]), st.integers(-100, 100))

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Categorify(num_buckets=4, max_size=8, out_path=folder)

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return known_or_first(raw, {("x",): [(3,), (4,)]})


class TestOfStringsWithBuckets(OperatorConformance):
    training = pl.DataFrame({"x": ["c", "a", "b", "a", "b"]})
    values = st.one_of(st.sampled_from(["a", "b"]), TEXT, st.none())
    requests = False

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.Categorify(num_buckets=5, freq_threshold=2, out_path=folder)

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return known_or_first(raw, {("x",): [("a",), ("b",)]})


class TestOfCombinationsWithBuckets(OperatorConformance):
    training = pl.DataFrame({"x": [9, 1, 1], "y": [1, 2, 2]})
    values = st.one_of(st.sampled_from([1, 2, 9]), st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return [["x", "y"]] >> ops.Categorify(
            encode_type="combo", num_buckets={"x": 60, "x_y": 50}, freq_threshold=2, out_path=folder
        )

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return known_or_first(raw, {("x", "y"): [(1, 2)]})


class TestOfJointColumnsWithBuckets(OperatorConformance):
    """NVTabular hashes joint columns where the buckets are given by name, and leaves the room unused where one number is given."""

    training = pl.DataFrame({"x": [1, 2], "y": [2, 3], "p": [10, 11], "q": [11, 11]})
    values = st.one_of(st.sampled_from([1, 2, 3, 10, 11]), INT64, st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        hashed = [["x", "y"]] >> ops.Categorify(num_buckets={"x": 4, "y": 3, "x_y": 4}, out_path=folder)
        return hashed + ([["p", "q"]] >> ops.Categorify(num_buckets=6, out_path=folder))

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return known_or_first(raw, {("x",): [(1,), (2,), (3,)], ("y",): [(1,), (2,), (3,)]})


class TestOfListsWithBuckets(OperatorConformance):
    """NVTabular cannot hash lists; their known elements it encodes in columns that are joint under one number of buckets."""

    training = pl.DataFrame({"one": [1, 2], "many": [[2, 3], [1]]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return [["one", "many"]] >> ops.Categorify(num_buckets=6, out_path=folder)

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        some = st.integers(0, 4)
        return tables({"one": some, "many": st.lists(some, min_size=1, max_size=3)}, self.training.schema)


class TestOfGivenVocabularies(Strings):
    training = pl.DataFrame({"x": ["a", "b", "c"], "y": ["a", "b", "c"], "z": ["a", "b", "c"]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        given = {"x": pd.Series(["b", None, "", "a"]), "z": pd.Series(["c"])}
        path = Path(folder) / "mine.parquet"
        pd.DataFrame({"y": ["c", "日本", "a"]}).to_parquet(path)
        numbered = Path(folder) / "numbered.parquet"
        pd.DataFrame({"z": ["a", None, "c"]}, index=[7, 8, 9]).to_parquet(numbered)
        of_series = ["x"] >> ops.Categorify(vocabs=given, out_path=folder)
        of_files = ["y", "z"] >> ops.Categorify(vocabs={"y": str(path), "z": str(numbered)}, out_path=folder)
        return of_series + of_files


class TestOfAVocabularyInSeveralFiles(Strings):
    training = pl.DataFrame({"x": [f"v{place}" for place in range(24)]})
    values = st.one_of(st.integers(0, 30).map(lambda place: f"v{place}"), st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        path = Path(folder) / "parts"
        path.mkdir()
        for part in range(12):  # part.10 sorts before part.2
            values = [f"v{part * 2}", f"v{part * 2 + 1}"]
            pd.DataFrame({"x": values}, index=pd.RangeIndex(3 + part * 2, 5 + part * 2)).to_parquet(path / f"part.{part}.parquet")
        return ["x"] >> ops.Categorify(vocabs={"x": str(path)}, split_out=12, out_path=folder)


class TestOfOneTable(OperatorConformance):
    training = pl.DataFrame({"x": ["a", "b", "a"], "y": ["p", "a", "q"], "z": ["z", "z", "y"]})
    values = st.sampled_from(["a", "b", "p", "q", "y", "z", None])

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y", "z"] >> ops.Categorify(single_table=True, out_path=folder)

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        """Whether every value is known: NVTabular gives what is null or unknown the numbers of the first two known values."""
        known = {"x": ["a", "b"], "y": ["a", "p", "q"], "z": ["y", "z"]}
        return nothing_missing(raw) and all(raw[name].is_in(values).all() for name, values in known.items())
