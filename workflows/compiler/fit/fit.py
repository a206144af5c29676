"""Fits an NVTabular workflow on events that Polars reads."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from cartwheel.core.errors import DataError, MissingDependencyError, UsageError
from cartwheel.core.packages import INSTALL
from cartwheel.core.progress import progress
from workflows.compiler.file_digests import remember_files
from workflows.compiler.fit.categorify import FitCategorify, match_earlier
from workflows.compiler.fit.fitter import Group, Store
from workflows.compiler.fit.operators import fitter
from workflows.compiler.fit.passes import accumulate
from workflows.compiler.quiet import quiet_nvtabular
from workflows.compiler.saved import load_saved

ENGINES: Final = ("polars", "polars-gpu", "nvtabular")
"""What may fit: Polars' streaming engine; the same with vocabularies counted on an NVIDIA GPU; NVTabular itself, on pandas or cuDF."""

Events = pl.LazyFrame | pl.DataFrame | str | Path | Sequence[str | Path]
"""Events: a table, lazy or not, or Parquet files."""

_SAMPLE_ROWS: Final = 16


def fit_workflow(
    workflow: Any, events: Events, folder: Path, *, engine: str = "polars", previous: Any = None, schema: Any = None
) -> Any:
    """Fit a workflow, as ``nvtabular.Workflow.fit`` does, in bounded memory.

    The operators get the statistics that NVTabular would give them, and more exact ones where NVTabular approximates (see
    docs/deviations.md). The events are read once for each vocabulary, and once or a few times for all other statistics together, each
    time only the columns that are needed: give a scan of Parquet files where they do not fit into memory.

    Args:
        workflow: an ``nvtabular.Workflow``; an earlier fit of it is forgotten.
        events: the rows to fit on.
        folder: a folder that gets a new one for this fit, in which vocabularies and tables are written as NVTabular writes them; the
            ``out_path`` of operators is set to it, and nothing is written elsewhere. Saving the workflow copies them.
        engine: one of ``ENGINES``.
        previous: a fitted workflow, or the folder of a saved one, whose vocabularies grow: every value keeps its id, and new ones get
            the ids behind. A value counts in the new events alone.
        schema: a ``merlin.schema.Schema`` whose tags and properties columns of the events get, for ``ColumnSelector(tags=...)`` and for
            the schemas of what is encoded. Types come from the events; a schema that says others is refused. It need not have every
            column.

    Returns:
        The workflow, fitted.

    Raises:
        UsageError: if an option is not known, or ids cannot be kept.
        DataError: if there are no events, a column is missing or of a type that an operator cannot be fitted on, no column has a tag by
            which columns are selected, or the schema is of other columns.
        NotCompilableError: if Polars cannot fit an operator, or compute what it is fitted on.
        MissingDependencyError: if the engine is not installed.
        RunError: if the previous workflow cannot be read.
    """
    if engine not in ENGINES:
        raise UsageError(f"There is no engine {engine!r}.", f"Give one of {', '.join(ENGINES)}.")
    if engine == "nvtabular" and previous is not None:
        raise UsageError("NVTabular cannot keep the ids of an earlier workflow.", 'Fit with engine="polars".')
    if not hasattr(workflow, "output_node"):
        raise UsageError(
            f"{type(workflow).__name__} is not a workflow.",
            "Give nvtabular.Workflow(graph), not the graph.",
        )
    scan = _scan(events)
    with quiet_nvtabular():
        polars_engine = _gpu_engine() if engine == "polars-gpu" else "streaming"
        earlier = load_saved(Path(previous)) if isinstance(previous, (str, Path)) else previous
        folder.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="fit-", dir=folder))
        try:
            if engine == "nvtabular":
                _by_nvtabular(workflow, scan, fresh, schema)
            else:
                _by_polars(workflow, scan, fresh, polars_engine, earlier, schema)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    return workflow


def _by_polars(workflow: Any, events: pl.LazyFrame, fresh: Path, engine: Any, earlier: Any, schema: Any) -> None:
    from workflows.compiler.fit.graph import (
        clear,
        construct,
        construct_again,
        finish_schemas,
        phases,
        raw_schema,
        read_applied,
        stat_trails,
    )

    trails = stat_trails(workflow.output_node)
    root = raw_schema(events, schema)
    construct(workflow, root, events)
    clear(trails)
    vocabularies = _vocabularies(earlier)
    store = Store(fresh)
    with progress("fit") as advance:
        for phase in phases(trails):
            inputs, applied = read_applied(workflow, phase, events, engine)
            fitters = [fitter(one, store, advance) for one in applied]
            match_earlier([fitting for fitting in fitters if isinstance(fitting, FitCategorify)], vocabularies)
            accumulate(inputs, [statistic for fitting in fitters for statistic in fitting.accumulators()], advance)
            for fitting in fitters:
                fitting.finish()
                fitting.applied.operator.fitted = True
                remember_files(fitting.applied.operator)
            construct_again(workflow, root)
    for trail in trails:
        for subgraph in trail[:-1]:
            subgraph.op.fitted = True
    finish_schemas(workflow, root, events.head(_SAMPLE_ROWS).collect())


def _by_nvtabular(workflow: Any, events: pl.LazyFrame, fresh: Path, schema: Any) -> None:
    from merlin.io import Dataset

    from workflows.compiler.fit.graph import cause, construct, described, raw_schema, stat_trails

    root = raw_schema(events, schema)
    construct(workflow, root, events)
    for trail in stat_trails(workflow.output_node):
        if hasattr(trail[-1].op, "out_path"):
            trail[-1].op.out_path = str(fresh)
    table = fresh / "events.parquet"
    try:
        events.select(root.column_names).sink_parquet(table)
        dataset = Dataset(str(table), engine="parquet")
        dataset.schema = described(dataset.schema, schema)
        try:
            workflow.fit(dataset)
        except Exception as error:  # whatever pandas and Dask meet
            raise DataError(
                f"NVTabular cannot fit the workflow on these events ({cause(error)}).",
                'Give each operator columns such as it takes, or fit with engine="polars", which names them.',
            ) from error
    finally:
        table.unlink(missing_ok=True)


def _vocabularies(earlier: Any) -> list[tuple[Any, Sequence[Group]]]:
    """Return the operators of an earlier workflow that hold vocabularies, with what they are applied to."""
    from nvtabular.ops import Categorify

    from workflows.compiler.fit.graph import selection, stat_trails

    if earlier is None:
        return []
    nodes = [trail[-1] for trail in stat_trails(earlier.output_node)]
    return [(node.op, selection(node)) for node in nodes if isinstance(node.op, Categorify)]


def _scan(events: Events) -> pl.LazyFrame:
    """Return events as a lazy table.

    Raises:
        DataError: if there are none.
    """
    if isinstance(events, (pl.LazyFrame, pl.DataFrame)):
        scan, told = events.lazy(), "The events"
    else:
        files = [Path(events)] if isinstance(events, (str, Path)) else [Path(file) for file in events]
        told = f"The events {', '.join(str(file) for file in files)}"
        scan = pl.scan_parquet(files)
    try:
        empty = scan.head(1).collect().is_empty()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{told} cannot be read ({error}).", "Give Parquet files, or a table that Polars can read.") from error
    if empty:
        raise DataError(f"{told} have no rows.", "Give at least one.")
    return scan


def _gpu_engine() -> Any:
    """Return Polars' GPU engine, once it has run a query.

    Raises:
        MissingDependencyError: if it is not installed, or finds no GPU.
    """
    if importlib.util.find_spec("cudf_polars") is None:
        raise MissingDependencyError(
            'The engine "polars-gpu" needs cudf_polars, which is not installed.', INSTALL.format("polars-gpu")
        )
    engine = pl.GPUEngine(raise_on_fail=False)
    try:
        pl.LazyFrame({"value": [1]}).group_by("value").len().collect(engine=pl.GPUEngine(raise_on_fail=True))
    except Exception as error:  # whatever CUDA meets
        raise MissingDependencyError(
            f'The engine "polars-gpu" finds no GPU that it can use ({error}).', 'Fit with engine="polars".'
        ) from error
    return engine
