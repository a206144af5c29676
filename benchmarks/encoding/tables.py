"""Fitting the benchmark's workflow on a table and encoding the table with it: Cartwheel and NVTabular, each as stages of a child."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.encoding.child import Stages
from benchmarks.encoding.events import feature_graph

PART_SIZE: Final = "128MB"
"""How much of the table NVTabular takes at a time."""
COMPRESSION: Final = "snappy"
"""Of what Cartwheel writes: what NVTabular and pandas write is compressed so unless one asks for something else."""


def cartwheel(events: str, folder: str) -> Stages:
    """Fit with Polars and encode with the plan's Polars back end, streaming.

    Args:
        events: the Parquet file.
        folder: where the vocabularies and ``encoded/0.parquet`` go.
    """
    import polars as pl

    from workflows.compiler.fit import fit_workflow
    from workflows.compiler.plan.compile_polars import compile_polars
    from workflows.compiler.plan.read import read_plan

    workflow = feature_graph(Path(folder) / "categories")
    output = Path(folder) / "encoded" / "0.parquet"
    output.parent.mkdir(parents=True)

    def fit() -> None:
        fit_workflow(workflow, pl.scan_parquet(events), Path(folder) / "categories")

    def transform() -> None:
        compile_polars(read_plan(workflow), pl.scan_parquet(events)).sink_parquet(output, compression=COMPRESSION)

    return [("fit", fit), ("transform", transform)]


def nvtabular(events: str, folder: str) -> Stages:
    """Fit and transform with NVTabular on the processor, a part of the table at a time.

    Args:
        events: the Parquet file.
        folder: where the vocabularies and ``encoded/part_*.parquet`` go.
    """
    from merlin.io import Dataset

    workflow = feature_graph(Path(folder) / "categories")
    dataset: Any = Dataset(events, engine="parquet", part_size=PART_SIZE, cpu=True)

    def fit() -> None:
        workflow.fit(dataset)

    def transform() -> None:
        workflow.transform(dataset).to_parquet(output_path=str(Path(folder) / "encoded"))

    return [("fit", fit), ("transform", transform)]
