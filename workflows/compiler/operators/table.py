"""Every operator that the plan can read, by the class that NVTabular stores.

The names are whole and exact. A subclass that is not listed counts as the operator that it extends where it changes nothing of what that
makes of values, and is another operator otherwise. Adding one: write its file with a frozen step and
its reader, list it here, and give it a conformance test in ``tests/workflows/operators``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from workflows.compiler.operators.arithmetic import read_arithmetic
from workflows.compiler.operators.bucketize import read_bucketize
from workflows.compiler.operators.categorify import read_categorify, read_shared_categorify
from workflows.compiler.operators.clip import read_clip
from workflows.compiler.operators.column_similarity import read_column_similarity
from workflows.compiler.operators.difference_lag import read_difference_lag
from workflows.compiler.operators.dropna import read_dropna
from workflows.compiler.operators.fill import read_fill_median, read_fill_missing
from workflows.compiler.operators.filter import read_filter
from workflows.compiler.operators.hash_bucket import read_hash_bucket
from workflows.compiler.operators.hashed_cross import read_hashed_cross
from workflows.compiler.operators.join_external import read_inner_join, read_join_external
from workflows.compiler.operators.join_groupby import read_join_groupby
from workflows.compiler.operators.list_slice import read_list_slice
from workflows.compiler.operators.log import read_log
from workflows.compiler.operators.normalize import read_normalize
from workflows.compiler.operators.normalize_min_max import read_normalize_min_max
from workflows.compiler.operators.reduce_dtype_size import read_reduce_dtype_size
from workflows.compiler.operators.step import Applied, Made, Reader, RowReader, RowStep, one
from workflows.compiler.operators.target_encoding import read_target_encoding


def _nothing(applied: Applied) -> Made:
    """Read an operator that names, groups or tags columns and leaves their values alone."""
    return one(applied)


READERS: Final[Mapping[str, Reader]] = MappingProxyType(
    {
        "merlin.dag.ops.add_metadata.AddMetadata": _nothing,
        "merlin.dag.ops.add_metadata.AddProperties": _nothing,
        "merlin.dag.ops.add_metadata.AddTags": _nothing,
        "merlin.dag.ops.add_metadata.TagAsItemFeatures": _nothing,
        "merlin.dag.ops.add_metadata.TagAsItemID": _nothing,
        "merlin.dag.ops.add_metadata.TagAsUserFeatures": _nothing,
        "merlin.dag.ops.add_metadata.TagAsUserID": _nothing,
        "merlin.dag.ops.concat_columns.ConcatColumns": _nothing,
        "merlin.dag.ops.grouping.GroupingOp": _nothing,
        "merlin.dag.ops.rename.Rename": _nothing,
        "merlin.dag.ops.selection.SelectionOp": _nothing,
        "merlin.dag.ops.subset_columns.SubsetColumns": _nothing,
        "merlin.dag.ops.subtraction.SubtractionOp": _nothing,
        "nvtabular.ops.add_metadata.AddMetadata": _nothing,
        "nvtabular.ops.add_metadata.AddProperties": _nothing,
        "nvtabular.ops.add_metadata.AddTags": _nothing,
        "nvtabular.ops.add_metadata.TagAsItemFeatures": _nothing,
        "nvtabular.ops.add_metadata.TagAsItemID": _nothing,
        "nvtabular.ops.add_metadata.TagAsUserFeatures": _nothing,
        "nvtabular.ops.add_metadata.TagAsUserID": _nothing,
        "nvtabular.ops.bucketize.Bucketize": read_bucketize,
        "nvtabular.ops.categorify.Categorify": read_categorify,
        "nvtabular.ops.clip.Clip": read_clip,
        "nvtabular.ops.column_similarity.ColumnSimilarity": read_column_similarity,
        "nvtabular.ops.data_stats.DataStats": _nothing,
        "nvtabular.ops.difference_lag.DifferenceLag": read_difference_lag,
        "nvtabular.ops.drop_low_cardinality.DropLowCardinality": _nothing,
        "nvtabular.ops.fill.FillMedian": read_fill_median,
        "nvtabular.ops.fill.FillMissing": read_fill_missing,
        "nvtabular.ops.hash_bucket.HashBucket": read_hash_bucket,
        "nvtabular.ops.hashed_cross.HashedCross": read_hashed_cross,
        "nvtabular.ops.join_external.JoinExternal": read_join_external,
        "nvtabular.ops.join_groupby.JoinGroupby": read_join_groupby,
        "nvtabular.ops.list_slice.ListSlice": read_list_slice,
        "nvtabular.ops.logop.LogOp": read_log,
        "nvtabular.ops.normalize.Normalize": read_normalize,
        "nvtabular.ops.normalize.NormalizeMinMax": read_normalize_min_max,
        "nvtabular.ops.reduce_dtype_size.ReduceDtypeSize": read_reduce_dtype_size,
        "nvtabular.ops.rename.Rename": _nothing,
        "nvtabular.ops.target_encoding.TargetEncoding": read_target_encoding,
        "nvtabular.ops.value_counts.ValueCount": _nothing,
        "workflows.compiler.column_arithmetic.Arithmetic": read_arithmetic,
        "workflows.compiler.shared_categorify.SharedCategorify": read_shared_categorify,
    }
)

_INSTEAD: Final = {
    "LambdaOp": "give a Polars or SQL expression for it (`--lambda COLUMN=SQL` of `cartwheel compile` and `serve-model`), use "
    "workflows.compiler.column_arithmetic.Arithmetic for arithmetic, or compute the column when the examples are made and give the "
    "workflow the result",
    "Groupby": "group the table before it is given to the workflow: a request gives each list by itself; save the part of the workflow "
    "behind it as one of its own",
}


ROW_READERS: Final[Mapping[str, RowReader]] = MappingProxyType(
    {
        "nvtabular.ops.dropna.Dropna": read_dropna,
        "nvtabular.ops.filter.Filter": read_filter,
        "nvtabular.ops.join_external.JoinExternal": read_inner_join,
    }
)
"""Operators that drop rows."""

_FITS_TO_DEPENDENCIES: Final = frozenset(
    {"nvtabular.ops.join_groupby.JoinGroupby", "nvtabular.ops.target_encoding.TargetEncoding"}
)
"""Operators whose dependencies, for example a label, are read when they are fitted and never again."""


_OWN: Final = frozenset(
    {
        "clear",
        "fit",
        "fit_finalize",
        "label",
        "output_properties",
        "output_tags",
        "set_storage_path",
        "_compute_properties",
        "_compute_tags",
    }
)
"""What a subclass may define anew without another value in any column: how it is fitted, described and named."""


def _name(operator: object) -> str:
    """Return the name of an operator's class, or of the listed one that it extends without changing what that makes."""
    kind = type(operator)
    listed = {*READERS, *ROW_READERS}
    changed: set[str] = set()
    for base in kind.__mro__:
        name = f"{base.__module__}.{base.__qualname__}"
        if name in listed:
            different = {each for each in changed if hasattr(base, each)} - _OWN
            return f"{kind.__module__}.{kind.__qualname__}" if different else name
        changed |= {each for each in vars(base) if not each.startswith("__")}
    return f"{kind.__module__}.{kind.__qualname__}"


def read_rows(operator: object) -> RowStep | None:
    """Read an operator that drops rows; None where the operator is none of those."""
    reader = ROW_READERS.get(_name(operator))
    return None if reader is None else reader(operator)


def drops_rows(operator: object) -> bool:
    """Whether an operator may drop rows."""
    return _name(operator) in ROW_READERS


def makes_columns(operator: object) -> bool:
    """Whether an operator that drops rows makes columns as well, of the rows that are left."""
    return _name(operator) in READERS


def fits_to_dependencies(operator: object) -> bool:
    """Whether what an operator makes does not depend on its dependencies once it is fitted."""
    return _name(operator) in _FITS_TO_DEPENDENCIES


def read_column(applied: Applied) -> Made:
    """Read how a fitted operator makes one column.

    Args:
        applied: the operator and its column.

    Returns:
        The steps in order; none where the operator leaves values alone.

    Raises:
        NotCompilableError: if the operator is not listed, or is used in a way that has no exact compiled form; names the operator, its
            column and what to use instead.
    """
    if applied.operator is None:
        return one(applied)
    reader = READERS.get(_name(applied.operator))
    if reader is None:
        values = sorted({name.rsplit(".", 1)[-1] for name, known in READERS.items() if known is not _nothing})
        instead = _INSTEAD.get(applied.kind, f"use one of {', '.join(values)}")
        raise applied.refuse(
            f"(of column{'s' if len(applied.sources) > 1 else ''} {', '.join(applied.sources)}) has no compiled form",
            f"Instead, {instead}; or list the operator in workflows/compiler/operators/table.py.",
        )
    try:
        return reader(applied)
    except (
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
    ) as error:  # parameters that do not fit the column
        found = f"(of column {', '.join(applied.sources)}) has parameters that cannot be read ({type(error).__name__}: {error})"
        raise applied.refuse(found, "Give each of them a value that fits the column, under the column's name.") from error
