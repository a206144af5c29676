"""The operators on numbers against NVTabular's own transform, in every element type."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
from hypothesis import strategies as st
from numeric_conformance import FLOATS, INTEGERS, NUMBERS, NumericConformance, between, each, numbers, table
from operator_conformance import TEXT, OperatorConformance, nothing_missing

LISTS = {f"many {dtype}": [[3, 1], [], [7], [0, 2, 2]] for dtype in ("int16", "int64", "uint32", "float32", "float64")}


class TestLogOp(NumericConformance):
    training = numbers([3, 1, 3, 100, 0, 2], (*NUMBERS, "bool"))

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return [*NUMBERS, "bool"] >> ops.LogOp()


class TestLogOpOfLists(NumericConformance):
    training = table(LISTS)

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return list(LISTS) >> ops.LogOp()

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return whole_lists(raw)


class TestNormalize(NumericConformance):
    training = numbers([3, 1, 3, 100, 0, 2], (*NUMBERS, "bool"))

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return [*NUMBERS, "bool"] >> ops.Normalize()


class TestNormalizeToFloat32(NumericConformance):
    training = numbers([3, 1, 3, 100, 0, 2], ("int32", "int64", "uint64", *FLOATS))

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["int32", "int64", "uint64", *FLOATS] >> ops.Normalize(out_dtype=np.float32)


class TestNormalizeWhereNothingVaries(NumericConformance):
    training = numbers([2, 2, 2])

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return list(NUMBERS) >> ops.Normalize()


class TestNormalizeOfOneRow(NumericConformance):
    training = numbers([2])

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return list(NUMBERS) >> ops.Normalize()


class TestNormalizeOfLists(NumericConformance):
    training = table(LISTS)

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return list(LISTS) >> ops.Normalize()

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return whole_lists(raw)


class TestNormalizeMinMax(NumericConformance):
    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return each(list(NUMBERS), ops.NormalizeMinMax)

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return nothing_missing(raw) and between(raw, 0, 127)  # else x - min wraps around in NumPy


class TestNormalizeMinMaxOfFloatsBesideIntegers(NumericConformance):
    training = numbers([3, 1, 3, 100, 9, 2], ("int64", *FLOATS))

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["int64", *FLOATS] >> ops.NormalizeMinMax(out_dtype=np.float32)


class TestNormalizeMinMaxWhereNothingVaries(NumericConformance):
    training = numbers([2, 2, 2])

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return each(list(NUMBERS), ops.NormalizeMinMax)

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return nothing_missing(raw) and between(raw, -60, 60)  # else 2x wraps around in NumPy


class TestClip(NumericConformance):
    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return list(NUMBERS) >> ops.Clip(min_value=1, max_value=100)


class TestClipAtABoundThatNoValueIsBeyond(NumericConformance):
    training = numbers([3, 1, 3, 100, 0, 2], ("int8", "uint8", "uint64"))

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["int8", "uint8", "uint64"] >> ops.Clip(min_value=-128.5, max_value=2**64)


class TestClipAtBoundsThatCross(NumericConformance):
    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return list(NUMBERS) >> ops.Clip(min_value=9.0, max_value=5.0)


class TestClipAtOneBound(NumericConformance):
    training = numbers([3, 1, 3, 100, 0, 2], FLOATS)

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return (["float32"] >> ops.Clip(max_value=10.5)) + (["float64"] >> ops.Clip(min_value=0.1, max_value=float("nan")))


class TestFillMissing(NumericConformance):
    training = table({**{dtype: [3, 1, 100] for dtype in INTEGERS}, **{dtype: [0.5, None, 2.0] for dtype in FLOATS}})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return (list(INTEGERS) >> ops.FillMissing(7)) + (list(FLOATS) >> ops.FillMissing(-0.25))


class TestFillMissingWithFlags(NumericConformance):
    training = TestFillMissing.training

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return list(NUMBERS) >> ops.FillMissing(add_binary_cols=True)


class TestFillMissingWithAWholeNumberOf64Bits(NumericConformance):
    training = table({"int64": [3, 1], "uint64": [2, 2**64 - 1]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return (["int64"] >> ops.FillMissing(2**63 - 1)) + (["uint64"] >> ops.FillMissing(2**64 - 1))


class TestFillMissingOfStrings(OperatorConformance):
    training = pl.DataFrame({"x": ["a", None, ""], "y": ["b", "a", None]})
    values = st.one_of(TEXT, st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x", "y"] >> ops.FillMissing(fill_val="nothing", add_binary_cols=True)

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return raw.height > 0


class TestFillMissingOfBooleans(OperatorConformance):
    training = pl.DataFrame({"x": [True, False, True]})
    values = st.one_of(st.booleans(), st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.FillMissing(fill_val=True, add_binary_cols=True)

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return raw.height > 0


class TestFillMissingOfAColumnNamedLikeAFlag(OperatorConformance):
    training = pl.DataFrame({"x_filled": [0.5, None]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x_filled"] >> ops.FillMissing(3)


class TestFillMissingWithWhatIsMissing(OperatorConformance):
    training = pl.DataFrame({"x": [0.5, None]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.FillMissing(float("nan"), add_binary_cols=True)


class TestFillMedian(NumericConformance):
    training = table({**{dtype: [3, 1, 100] for dtype in INTEGERS}, **{dtype: [0.5, None, 2.0] for dtype in FLOATS}})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return (list(INTEGERS) >> ops.FillMedian()) + (list(FLOATS) >> ops.FillMedian(add_binary_cols=True))


class TestFillMedianOfNothing(OperatorConformance):
    training = pl.DataFrame({"x": [None, None]}, schema={"x": pl.Float32})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["x"] >> ops.FillMedian(add_binary_cols=True)


class TestBucketize(NumericConformance):
    training = numbers([3, 1, 3, 100, 0, 2], (*NUMBERS, "bool"))

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return [*NUMBERS, "bool"] >> ops.Bucketize([-5, 0, 1, 3, 3, 2**60 + 1])


class TestBucketizeAtFractions(NumericConformance):
    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return list(NUMBERS) >> ops.Bucketize({name: [-np.inf, -0.5, 0, 0.1, 2.5, 1e300, np.inf] for name in NUMBERS})


class TestBucketizeDownward(NumericConformance):
    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return list(NUMBERS) >> ops.Bucketize((3, 1.5, 0))


class TestBucketizeAtNothing(NumericConformance):
    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return list(NUMBERS) >> ops.Bucketize([])


class TestReduceDtypeSize(NumericConformance):
    training = numbers([3, 1, 100], (*NUMBERS, "bool"))

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return [*NUMBERS, "bool"] >> ops.ReduceDtypeSize()

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        signed = raw.select(pl.selectors.signed_integer())
        return nothing_missing(raw) and between(signed, -128, 127)  # else NVTabular wraps around


class TestReduceDtypeSizeToWhatHoldsThem(NumericConformance):
    training = pl.DataFrame(
        {"int64": [-(2**15), 2], "near int64": [2**15, 2], "far int64": [2**31, 2], "float32": [1.0, 2.0]}
    ).cast({"float32": pl.Float32})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["int64", "near int64", "far int64", "float32"] >> ops.ReduceDtypeSize(float_dtype=np.float64)

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return (nothing_missing(raw) and between(raw, -(2**15), 2**15 - 1)) or raw.equals(
            TestReduceDtypeSizeToWhatHoldsThem.training
        )


class TestArithmetic(NumericConformance):
    training = table(
        {"float32": [0.5, None, 0.0, 3.0], "float64": [2.0, 1.0, 0.0, None], "int64": [1, 0, -3, 4], "uint64": [1, 0, 3, 4]}
    )
    operations: ClassVar = ("add", "subtract", "multiply", "divide", "minimum", "maximum", "absolute_difference")

    @classmethod
    def graph(cls, ops: Any, folder: str) -> Any:
        from workflows.compiler.column_arithmetic import Arithmetic

        made = []
        for name in cls.operations:
            made += [["float32", "float64"] >> Arithmetic(name, "float32", "float64", f"{name} of floats")]
            made += [["uint64", "int64"] >> Arithmetic(name, "uint64", "int64", f"{name} of integers")]
            made += [["float32"] >> Arithmetic(name, "float32", 2.5, f"{name} of a constant", dtype="float32")]
            made += [["int64"] >> Arithmetic(name, 0, "int64", f"{name} to a constant")]
        return sum(made[1:], made[0])


class TestArithmeticOfOneColumnWithItself(NumericConformance):
    training = numbers([3, 1, 0], (*NUMBERS, "bool"))

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        from workflows.compiler.column_arithmetic import Arithmetic

        made = [[name] >> Arithmetic("divide", name, name, f"{name} by itself") for name in (*NUMBERS, "bool")]
        return sum(made[1:], made[0])


class TestArithmeticOfListsAndConstants(NumericConformance):
    training = table(LISTS)

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        from workflows.compiler.column_arithmetic import Arithmetic

        made = [[name] >> Arithmetic("divide", 6, name, f"six by {name}", dtype="float32") for name in LISTS]
        return sum(made[1:], made[0])

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return whole_lists(raw)


class TestArithmeticAmongOthers(NumericConformance):
    training = table({"float32": [0.5, None, 0.0, 3.0], "int64": [1, 0, -3, 4]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        from workflows.compiler.column_arithmetic import Arithmetic

        filled = ["float32", "int64"] >> ops.FillMissing(2)
        return filled >> Arithmetic("add", "float32", "int64", "sum") >> ops.Clip(min_value=0) >> ops.LogOp()


class TestChain(NumericConformance):
    training = numbers([3, 1, 3, 100, 0, 2], FLOATS)

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return list(FLOATS) >> ops.FillMedian() >> ops.Clip(min_value=0) >> ops.LogOp() >> ops.Normalize(out_dtype=np.float32)


def whole_lists(raw: pl.DataFrame) -> bool:
    """Whether there are elements, and among the integers none that is null: what pandas can hold without changing their type."""
    lists = raw.get_columns()
    return raw.height > 0 and all(
        series.explode().drop_nulls().len() > 0
        and (series.dtype.inner.is_float() or not series.explode().null_count() - (series.list.len() == 0).sum())
        for series in lists
    )
