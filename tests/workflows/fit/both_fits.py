"""What the tests of fitting share: one graph fitted by NVTabular and by Polars, and what both encode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from workflows.compiler.fit import fit_workflow
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.graph import Plan
from workflows.compiler.plan.parity import check_parity
from workflows.compiler.plan.read import read_plan
from workflows.compiler.quiet import quiet_nvtabular
from workflows.compiler.saved import load_saved

Graph = Callable[[Any, str], Any]
"""``ops`` and the caller's ``out_path`` -> the graph."""


def make(graph: Graph, out_path: Path) -> Any:
    """Make an unfitted workflow, whose operators have ``out_path`` where the graph gives it to them."""
    with quiet_nvtabular():
        from nvtabular import Workflow, ops

        return Workflow(graph(ops, str(out_path)))


def by_polars(graph: Graph, events: Any, folder: Path, **options: Any) -> Any:
    """Fit by Polars, save, and load again."""
    workflow = fit_workflow(make(graph, folder / "caller"), events, folder / "fits", **options)
    return saved(workflow, folder / "saved")


def by_nvtabular(graph: Graph, events: pl.DataFrame, folder: Path) -> Any:
    """Fit by NVTabular on one partition, save, and load again."""
    workflow = make(graph, folder / "nvtabular")
    with quiet_nvtabular():
        from merlin.io import Dataset

        workflow.fit(Dataset(events.to_pandas(), npartitions=1))
    return saved(workflow, folder / "nvtabular saved")


def saved(workflow: Any, folder: Path) -> Any:
    """Save a workflow and load it again."""
    with quiet_nvtabular():
        workflow.save(str(folder))
    return load_saved(folder)


def transform(workflow: Any, events: pl.DataFrame) -> pd.DataFrame:
    """Encode with NVTabular's own transform."""
    with quiet_nvtabular():
        encoded: pd.DataFrame = workflow.transform(events.to_pandas())
        return encoded


def operators(workflow: Any, kind: str) -> list[Any]:
    """Return the operators of a kind, in the order of the graph."""
    with quiet_nvtabular():
        from merlin.dag.node import postorder_iter_nodes

        return [node.op for node in postorder_iter_nodes(workflow.output_node) if type(node.op).__name__ == kind]


def operator(workflow: Any, kind: str) -> Any:
    """Return the one operator of a kind."""
    (found,) = operators(workflow, kind)
    return found


def vocabulary(workflow: Any, name: str) -> list[Any]:
    """Return the values of a vocabulary in order: of several key columns, tuples."""
    table = read_categories(workflow, name)
    keys = [column for column in table.columns if column != f"{name}_size"]
    rows = [tuple(None if value is None or value != value else value for value in row) for row in table[keys].to_numpy().tolist()]
    return [row[0] if len(row) == 1 else row for row in rows]


def read_categories(workflow: Any, name: str) -> pd.DataFrame:
    """Return the file of a vocabulary as pandas reads it."""
    (found,) = [op.categories[name] for op in operators(workflow, "Categorify") if name in op.categories]
    return pd.read_parquet(found)


def ids(workflow: Any, column: str, values: Sequence[Any], dtype: pl.DataType | None = None) -> list[int]:
    """Return the ids that the plan gives to values of a column; other columns are filled with the same values."""
    plan = read_plan(workflow)
    kind = plan.raw[column].polars
    raw = pl.DataFrame({name: pl.Series(values, dtype=kind) for name in plan.raw})
    return compile_polars(plan, raw.lazy(), [column]).collect()[column].to_list()


@dataclass(frozen=True)
class Both:
    """One graph, fitted by both on the same events."""

    ours: Any
    theirs: Any
    events: pl.DataFrame

    @property
    def plan(self) -> Plan:
        return read_plan(self.ours)

    def check_transforms(self) -> None:
        """Check that NVTabular encodes alike with both, and that the plan of ours encodes as NVTabular does."""
        ours, theirs = transform(self.ours, self.events), transform(self.theirs, self.events)
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-6, atol=1e-6)
        table = compile_polars(self.plan, self.events.lazy()).collect()
        check_parity(self.plan, self.events, _in_plan_types(self.plan, ours), table, ("NVTabular", "Polars"))

    def check_schemas(self) -> None:
        """Check that the schemas say the same, but for where files are."""
        for ours, theirs in zip(self.ours.output_schema, self.theirs.output_schema, strict=True):
            assert (ours.name, ours.dtype, ours.shape, ours.tags) == (theirs.name, theirs.dtype, theirs.shape, theirs.tags)
            assert _without_path(ours.properties) == _without_path(theirs.properties)


def fit_both(graph: Graph, events: pl.DataFrame, folder: Path) -> Both:
    """Fit one graph by Polars and by NVTabular."""
    return Both(by_polars(graph, events, folder), by_nvtabular(graph, events, folder), events)


def _without_path(properties: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if name != "cat_path"}


def _in_plan_types(plan: Plan, encoded: pd.DataFrame) -> pl.DataFrame:
    columns = {}
    for name in plan:
        kind = plan.type(name)
        rows = [list(row) for row in encoded[name]] if kind.is_list else encoded[name].tolist()
        series = pl.Series(name, rows, dtype=kind.polars, strict=False)
        columns[name] = series.fill_nan(None) if kind.is_float and not kind.is_list else series
    return pl.DataFrame(columns)
