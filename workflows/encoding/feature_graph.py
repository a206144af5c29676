"""The feature graph: which NVTabular operators make each encoded column. Imports NVTabular, so import it only where it is used.

A *chain* is some columns and the operators applied to them in turn; a *block* is the chains of one family of columns. A block is fitted
once, on one table, and its fitted operators go into every workflow that has the columns, so that a user, item or price is encoded
alike in all of them: QUERY and ITEM are fitted on the training recommendations, CROSS on the training pairs, CART on the training
cart lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from workflows.features.columns import CALENDAR, QUERY_LISTS, SHARED_VOCABULARY, STRINGS

COUNT: Final = "count"
AMOUNT: Final = "amount"
RATIO: Final = "ratio"
PLAIN: Final = "plain"

RECIPES: Final[Mapping[str, str]] = {
    "user_recency_hours": AMOUNT,
    "user_mean_price": AMOUNT,
    "item_price": AMOUNT,
    "item_price_ratio": RATIO,
    "category_affinity": PLAIN,
    "brand_affinity": PLAIN,
    "price_gap": PLAIN,
}
"""Continuous column -> recipe; every other one is a count."""


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


def _operators(recipe: str) -> tuple[Any, ...]:
    """Return new operators for a recipe.

    Counts, amounts and ratios are held at 0 before the logarithm, so that a clock that runs backwards cannot make a feature NaN.
    """
    logarithm = (ops.Clip(min_value=0), ops.LogOp(), ops.Normalize(out_dtype=np.float32))
    return {
        COUNT: (ops.FillMissing(fill_val=0), *logarithm),
        AMOUNT: (ops.FillMedian(), *logarithm),
        RATIO: (ops.FillMissing(fill_val=1), *logarithm),
        PLAIN: (ops.FillMissing(fill_val=0), ops.Normalize(out_dtype=np.float32)),
    }[recipe]


def fit_numbers(table: pl.DataFrame, fitting: Fitting) -> Block:
    """Fit the continuous columns.

    Args:
        table: numeric columns only, at least one row; float32 with null for what is missing.
        fitting: how to fit.

    Returns:
        The fitted block.
    """
    chains = _continuous_chains(table)
    workflow = _fit(chains, table, fitting)
    _still_constants(chains, workflow, table)
    return chains


def fit_calendar(table: pl.DataFrame, fitting: Fitting) -> Block:
    """Fit ``hour`` and ``weekday``.

    Args:
        table: with those two int64 columns, at least one row.
        fitting: how to fit; ids of an earlier workflow are kept.

    Returns:
        The fitted block.
    """
    chains = (Chain(CALENDAR, (ops.Categorify(out_path=str(fitting.folder)),)),)
    _fit(chains, table, fitting)
    return chains


def categorical_block(vocabularies: Mapping[str, Sequence[str]], out_path: Path) -> Block:
    """Make the block of string columns from given vocabularies; it needs no fitting.

    Args:
        vocabularies: domain -> values in the order of their ids.
        out_path: folder that the vocabularies are written to.

    Returns:
        One chain a domain.
    """
    block = []
    for domain, values in vocabularies.items():
        columns = (domain, *(column for column, shared in SHARED_VOCABULARY.items() if shared == domain))
        block.append(Chain(columns, (SharedCategorify(domain, values, columns, out_path),)))
    return tuple(block)


def compose(chains: Sequence[Chain], columns: Sequence[str]) -> Any:
    """Compose a workflow of fitted chains.

    Args:
        chains: fitted chains, which need not stop at ``columns``.
        columns: raw columns that the workflow encodes.

    Returns:
        An ``nvtabular.Workflow`` with schemas, ready to transform and to save.
    """
    kept = [chain for chain in (chain.restricted(columns) for chain in chains) if chain.columns]
    return _workflow(kept).fit_schema(Schema([_raw_schema(column) for column in columns]))


def _continuous_chains(table: pl.DataFrame) -> Block:
    known = {column: table[column].null_count() < table.height for column in table.columns}
    recipes = {column: RECIPES.get(column, COUNT) for column in table.columns}
    # A median of nothing does not exist: a column that is never known in training is taken as a count, which fills with 0.
    recipes = {column: recipe if known[column] else COUNT for column, recipe in recipes.items()}
    return tuple(
        Chain(tuple(column for column in recipes if recipes[column] == recipe), _operators(recipe))
        for recipe in (COUNT, AMOUNT, RATIO, PLAIN)
        if recipe in recipes.values()
    )


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
    nodes = [reduce(lambda node, operator: node >> operator, chain.operators, list(chain.columns)) for chain in chains]
    return nvtabular.Workflow(reduce(lambda left, right: left + right, nodes))


def _raw_schema(column: str) -> Any:
    if column in QUERY_LISTS:
        return ColumnSchema(column, dtype=md.string, is_list=True, is_ragged=True)
    if column in STRINGS:
        return ColumnSchema(column, dtype=md.string)
    return ColumnSchema(column, dtype=md.int64 if column in CALENDAR else md.float32)
