"""The feature graph: which NVTabular operators make each encoded column. Imports NVTabular, so import it only where it is used.

A *chain* is some columns and the operators applied to them in turn; a *block* is the chains of one family of columns. A block is fitted
once, on one table, and its fitted operators go into every workflow that has the columns, so that a user, item or price is encoded
alike in all of them: QUERY and ITEM are fitted on the training recommendations, CROSS on the training pairs, CART on the training
cart lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, Final

import merlin.dtypes as md
import numpy as np
import nvtabular
import polars as pl
from merlin.schema import ColumnSchema, Schema
from nvtabular import ops

from workflows.compiler.fit import fit_workflow
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.read import read_plan
from workflows.compiler.shared_categorify import SharedCategorify
from workflows.features.column import Column, Kind
from workflows.features.columns import COLUMNS, SHARED_VOCABULARY
from workflows.features.feature_set import BUILT_IN, FeatureSet
from workflows.features.scale import Scale

NUMBERS: Final = (Kind.COUNT, Kind.AMOUNT, Kind.RATIO, Kind.NUMBER)
"""Kinds of numbers, in the order of their chains."""


@dataclass(frozen=True)
class Chain:
    """Columns and the operators applied to them in turn."""

    columns: tuple[str, ...]
    operators: tuple[Any, ...]

    def restricted(self, columns: Sequence[str]) -> Chain:
        """Return the chain over those of its columns that are among ``columns``."""
        return Chain(tuple(column for column in self.columns if column in columns), self.operators)


Block = tuple[Chain, ...]


@dataclass(frozen=True)
class Fitting:
    """How blocks are fitted.

    Attributes:
        folder: for NVTabular's vocabularies while they are made; saving a workflow copies them.
        engine: one of ``workflows.compiler.fit.ENGINES``.
        previous: the folder of a saved workflow whose ids are kept, or None.
    """

    folder: Path
    engine: str
    previous: Path | None = None


def _operators(column: Column) -> tuple[Any, ...]:
    """Return new operators for columns of a kind.

    Counts, amounts and ratios are held at 0 before the logarithm, so that a clock that runs backwards cannot make a feature NaN.
    """
    value = fill_value(column)
    fill = ops.FillMedian() if value is None else ops.FillMissing(fill_val=value)
    normalize = ops.Normalize(out_dtype=np.float32)
    return (fill, normalize) if column.kind is Kind.NUMBER else (fill, ops.Clip(min_value=0), ops.LogOp(), normalize)


def fill_value(column: Column) -> float | None:
    """Return what stands for a number that is not known; None where it is the median of training."""
    return column.fill if column.fill is not None else {Kind.COUNT: 0, Kind.RATIO: 1}.get(column.kind)


def fit_numbers(table: pl.DataFrame, fitting: Fitting, declared: Sequence[Column] = COLUMNS) -> Block:
    """Fit the continuous columns.

    Args:
        table: numeric columns only, at least one row; float32 with null for what is missing.
        fitting: how to fit.
        declared: the declarations of those columns, and maybe of others.

    Returns:
        The fitted block.
    """
    chains = _continuous_chains(table, {column.name: column for column in declared})
    workflow = _fit(chains, table, fitting)
    _still_constants(chains, workflow, table)
    return chains


def scales_of(chains: Block) -> dict[str, Scale]:
    """Return what fitted chains of ``fit_numbers`` do to each of their columns."""
    found: dict[str, Scale] = {}
    for chain in chains:
        normalize = chain.operators[-1]
        logged = any(isinstance(operator, ops.LogOp) for operator in chain.operators)
        found |= {name: Scale(float(normalize.means[name]), float(normalize.stds[name]), logged) for name in chain.columns}
    return found


def fit_calendar(table: pl.DataFrame, fitting: Fitting) -> Block:
    """Fit columns of the calendar, such as ``hour`` and ``weekday``.

    Args:
        table: with int64 columns alone, at least one row.
        fitting: how to fit; ids of an earlier workflow are kept.

    Returns:
        The fitted block.
    """
    chains = (Chain(tuple(table.columns), (ops.Categorify(out_path=str(fitting.folder)),)),)
    _fit(chains, table, fitting)
    return chains


def categorical_block(
    vocabularies: Mapping[str, Sequence[str]], out_path: Path, shared: Mapping[str, str] = SHARED_VOCABULARY
) -> Block:
    """Make the block of string columns from given vocabularies; it needs no fitting.

    Args:
        vocabularies: domain -> values in the order of their ids.
        out_path: folder that the vocabularies are written to.
        shared: column -> the domain whose vocabulary it shares; every domain is also a column.

    Returns:
        One chain a domain.
    """
    block = []
    for domain, values in vocabularies.items():
        columns = (domain, *(column for column, other in shared.items() if other == domain))
        block.append(Chain(columns, (SharedCategorify(domain, values, columns, out_path),)))
    return tuple(block)


def compose(chains: Sequence[Chain], columns: Sequence[str], features: FeatureSet = BUILT_IN) -> Any:
    """Compose a workflow of fitted chains.

    Args:
        chains: fitted chains, which need not stop at ``columns``.
        columns: raw columns that the workflow encodes.
        features: the columns of the run.

    Returns:
        An ``nvtabular.Workflow`` with schemas, ready to transform and to save.
    """
    kept = [chain for chain in (chain.restricted(columns) for chain in chains) if chain.columns]
    return _workflow(kept).fit_schema(Schema([raw_schema(features[column]) for column in columns]))


def _continuous_chains(table: pl.DataFrame, declared: Mapping[str, Column]) -> Block:
    alike: dict[tuple[int, float | None], list[Column]] = {}
    for name in table.columns:
        column = declared[name]
        if table[name].null_count() == table.height:
            # A median of nothing does not exist: a column that is never known in training is taken as a count, which fills with 0.
            column = replace(column, kind=Kind.COUNT, fill=None)
        alike.setdefault((NUMBERS.index(column.kind), fill_value(column)), []).append(column)
    ordered = sorted(alike.items(), key=lambda one: one[0][0])
    return tuple(Chain(tuple(column.name for column in columns), _operators(columns[0])) for _, columns in ordered)


def _fit(chains: Block, table: pl.DataFrame, fitting: Fitting) -> Any:
    return fit_workflow(_workflow(chains), table, fitting.folder, engine=fitting.engine, previous=fitting.previous)


def _still_constants(chains: Block, workflow: Any, table: pl.DataFrame) -> None:
    """Set the standard deviation of columns that never vary to 0, so that rounding noise is not divided by."""
    encoded = compile_polars(read_plan(workflow), table.lazy()).collect()
    for chain in chains:
        normalize = chain.operators[-1]
        if isinstance(normalize, ops.Normalize):
            for column in chain.columns:
                if encoded[column].min() == encoded[column].max():
                    normalize.stds[column] = 0.0


def _workflow(chains: Sequence[Chain]) -> Any:
    return nvtabular.Workflow(joined([node_of(chain) for chain in chains]))


def node_of(chain: Chain) -> Any:
    """Return the node of NVTabular's that a chain is."""
    return reduce(lambda node, operator: node >> operator, chain.operators, list(chain.columns))


def joined(nodes: Sequence[Any]) -> Any:
    """Return the node of all columns of some nodes."""
    return reduce(lambda left, right: left + right, nodes)


def raw_schema(column: Column) -> Any:
    """Return the schema of a raw column."""
    raw = column.raw_type
    element = raw.inner if isinstance(raw, pl.List) else raw
    dtype = md.string if element == pl.String else md.int64 if element == pl.Int64 else md.float32
    if isinstance(raw, pl.List):
        return ColumnSchema(column.name, dtype=dtype, is_list=True, is_ragged=True)
    return ColumnSchema(column.name, dtype=dtype)
