"""The hash of ``HashBucket`` and ``HashedCross``: 64 bits of a value, as pandas 1.5 hashes them.

NVTabular hashes a pandas column with ``pandas.util.hash_pandas_object``, which mixes the row's place in its table into the hash, so that
a value lies in another bucket on every row. Here every row is hashed as the first, or only, row of a table is: what NVTabular answers
for a request of one row.

Numbers are their bits, read as an unsigned integer of their own width; strings are SipHash 2-4 of their UTF-8 under pandas' fixed key.
Both are then mixed as in SplitMix64 (Steele, Lea & Flood 2014, Fast Splittable Pseudorandom Number Generators, OOPSLA). What is missing
hashes as pandas hashes a missing string, all bits set before the row's place is mixed in; in floats it hashes as the quiet NaN.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.float_bits import float_bits, float_bits_onnx
from workflows.compiler.operators.step import INT64, Value
from workflows.compiler.plan.types import ColumnType

_UINT64: Final = ColumnType("uint64").onnx
_BITS: Final = 64

_ROUNDS: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
"""Shift and multiplier of each round of SplitMix64."""

_MISSING: Final = 2**64 - 1
_SEED: Final = 0x345678
_FACTOR: Final = 1_000_003 * (1_000_003 + 82_520 + 4) % 2**64
_LAST: Final = 97_531
"""How pandas combines a hash h with that of the row's place, which is 0 for the place 0: (h xor seed) * factor + last."""


def hash_onnx(builder: GraphBuilder, value: Value) -> str:
    """Add the nodes that hash a column of numbers or booleans.

    ONNX has no exclusive or before opset 18. Bit by bit it is the sum modulo 2, in a tensor of one more axis of 64 bits; sums and
    products wrap in int64 as they do in uint64.

    Args:
        builder: the graph.
        value: the column.

    Returns:
        The name of a uint64 tensor of the column's shape.

    Raises:
        NotCompilableError: if the column holds strings, whose SipHash ONNX cannot say.
    """
    if value.type.is_string:
        raise NotCompilableError(
            "The hash of a string has no ONNX form.", "Use Categorify, which looks strings up, or hash a column of integers."
        )
    bits = _bits_onnx(builder, value)
    for shift, factor in _ROUNDS:
        shifted = builder.add("BitShift", bits, builder.constant(shift, np.uint64), direction="RIGHT")
        bits = xor_onnx(builder, bits, shifted)
        if factor != 1:
            bits = _wrapped(builder, "Mul", bits, factor)
    if value.missing is not None:
        bits = builder.where(value.missing, builder.constant(_MISSING, np.uint64), bits, "uint64")
    bits = xor_onnx(builder, bits, builder.constant(_SEED, np.uint64))
    return _wrapped(builder, "Add", _wrapped(builder, "Mul", bits, _FACTOR), _LAST)


def hash_polars(element: pl.Expr, kind: ColumnType) -> pl.Expr:
    """Return the hash of scalars or of a list's elements.

    Args:
        element: the values, under the conventions of ``Step.polars``.
        kind: their type; that it is a list does not matter here.

    Returns:
        A UInt64 expression that is never null.
    """
    if kind.is_string:
        bits = element.map_batches(_hash_strings, return_dtype=pl.UInt64(), is_elementwise=True)
    else:
        bits = _bits_polars(element, kind)
        for shift, factor in _ROUNDS:
            bits = bits ^ (bits // _unsigned(2**shift))
            bits = bits * _unsigned(factor) if factor != 1 else bits
    return (bits.fill_null(_unsigned(_MISSING)) ^ _unsigned(_SEED)) * _unsigned(_FACTOR) + _unsigned(_LAST)


def xor_onnx(builder: GraphBuilder, *values: str) -> str:
    """Add the exclusive or of uint64 tensors whose shapes broadcast, and return its name."""
    places = builder.constant(np.arange(_BITS), np.uint64)
    two = builder.constant(2, np.uint64)
    total = ""
    for value in values:
        last = builder.add("Unsqueeze", value, builder.constant([-1], np.int64))
        bits = builder.add("Cast", builder.add("Mod", builder.add("BitShift", last, places, direction="RIGHT"), two), to=INT64)
        total = builder.add("Add", total, bits) if total else bits
    odd = builder.add("Mod", total, builder.constant(2, np.int64))
    weights = (np.uint64(1) << np.arange(_BITS, dtype=np.uint64)).view(np.int64)
    summed = builder.add("MatMul", odd, builder.constant(weights))  # ONNX Runtime's ReduceSum rounds int64 beyond 53 bits
    return builder.add("Cast", summed, to=_UINT64)


def _wrapped(builder: GraphBuilder, operator: str, value: str, constant: int) -> str:
    """Add ``Add`` or ``Mul`` of a uint64 tensor and a constant modulo 2**64; ONNX Runtime has them for int64 only."""
    signed = builder.constant(np.array(constant, dtype=np.uint64).view(np.int64))
    return builder.add("Cast", builder.add(operator, builder.add("Cast", value, to=INT64), signed), to=_UINT64)


def _bits_onnx(builder: GraphBuilder, value: Value) -> str:
    """Return the bits of numbers as uint64; a negative integer of 32 bits, say, is one below 2**32."""
    if value.type.is_float:
        return float_bits_onnx(builder, value)
    name = value.name
    if value.type.dtype.startswith("int"):
        name = builder.add("Cast", name, to=ColumnType("u" + value.type.dtype).onnx)
    return name if value.type.dtype in ("uint64", "int64") else builder.add("Cast", name, to=_UINT64)


def _bits_polars(element: pl.Expr, kind: ColumnType) -> pl.Expr:
    """Return the bits of numbers as UInt64."""
    if kind.is_float:
        return element.map_batches(float_bits, return_dtype=pl.UInt64(), is_elementwise=True)
    if kind.dtype.startswith("int"):
        element = element.cast(ColumnType("u" + kind.dtype).polars_element, wrap_numerical=True)
    return element.cast(pl.UInt64)


def _unsigned(number: int) -> pl.Expr:
    return pl.lit(number, pl.UInt64)


def _hash_strings(values: pl.Series) -> pl.Series:
    """Return pandas' hash of strings, null where they are."""
    import pandas as pd

    known = values.drop_nulls().unique()
    hashes: npt.NDArray[Any] = pd.util.hash_array(np.array(known.to_list(), dtype=object), categorize=False)
    return values.replace_strict(known, pl.Series(hashes, dtype=pl.UInt64), default=None, return_dtype=pl.UInt64)
