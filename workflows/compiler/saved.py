"""Loads a workflow that NVTabular saved, or raises an error that says why it cannot be trusted.

NVTabular warns where it should refuse: a workflow of another release, a vocabulary of another fit. Both would give every shopper and
item a wrong id without a word, so both are refused here, before anything is encoded or written (see ``workflows.compiler.file_digests``).
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cartwheel.core.errors import RunError
from workflows.compiler.file_digests import written_over
from workflows.compiler.graph_json import GRAPH, load_graph
from workflows.compiler.plan.read import raw_columns
from workflows.compiler.plan.types import ColumnType, accepts
from workflows.compiler.quiet import quiet_nvtabular

PICKLE: Final = "workflow.pkl"
METADATA: Final = "metadata.json"
_MOVED: Final = {
    f"workflows.{name}": f"workflows.compiler.{name}" for name in ("column_arithmetic", "comparison", "shared_categorify")
}
"""Modules of our operators as Cartwheel 0.3 and before called them -> their names of today."""
_REFIT: Final = "Fit and save it again; for the workflow of a run, run prepare again."


def load_saved(folder: Path, *, schema: Mapping[str, ColumnType] | None = None) -> Any:
    """Load a saved workflow whose files belong together.

    ``graph.json``, which NVTabular's main branch saves since 2026, is read without running anything that it names. Where it is not there,
    ``workflow.pkl`` is a pickle, which can run any code while it is loaded: load only what you, or someone whom you trust, wrote. Its
    release is checked before it is unpickled. A workflow of another NVTabular release (major.minor) is refused, because the numbering
    of ids is an agreement within one. Another Python or pandas is accepted as long as the pickle loads: what the plan takes from it
    are numbers and Parquet files, which mean the same everywhere.

    Args:
        folder: where ``nvtabular.Workflow.save`` wrote it.
        schema: the raw columns that it will be given: those that it must have been fitted on, no more, no fewer, and of types that it
            takes (see ``workflows.compiler.plan.types.accepts``); None accepts any.

    Returns:
        The fitted ``nvtabular.Workflow``; its vocabularies are read where they lie now, which need not be where it was saved.

    Raises:
        RunError: if it is missing, damaged, not fitted, of another release, fitted on other columns, or has a vocabulary or another
            file of statistics that is missing, damaged or of another fit.
    """
    newer = holds_graph(folder)
    if not newer and not (folder / PICKLE).is_file():
        raise RunError(f"{folder} holds no saved NVTabular workflow.", "Run prepare, which fits and saves it.")
    versions = _versions(folder)
    with quiet_nvtabular():
        _check_release(folder, versions, newer=newer)
        workflow = load_graph(folder) if newer else _unpickle(folder, versions)
        if workflow.input_schema is None or workflow.output_schema is None:
            raise RunError(f"The NVTabular workflow in {folder} was saved before it was fitted.", "Fit it, then save it.")
        for operator, columns in _fitted_operators(workflow):
            _check_vocabularies(operator, columns, folder)
            _check_statistics(operator, folder)
    if schema is not None:
        check_raw_columns(folder, raw_columns(workflow), schema)
    return workflow


def check_raw_columns(folder: Path, fitted: Mapping[str, ColumnType], expected: Mapping[str, ColumnType]) -> None:
    """Check that a workflow was fitted on the columns that it will be given.

    Raises:
        RunError: naming the columns that one side lacks, or the first whose types differ.
    """
    if lacking := sorted(set(expected) - set(fitted)):
        raise RunError(f"The NVTabular workflow in {folder} was not fitted on the columns {lacking}.", _REFIT)
    if further := sorted(set(fitted) - set(expected)):
        raise RunError(
            f"The NVTabular workflow in {folder} was fitted on the columns {further} too, which it will not get.", _REFIT
        )
    for column, kind in expected.items():
        if not accepts(fitted[column], kind.polars):
            raise RunError(
                f"The NVTabular workflow in {folder} was fitted on a column {column!r} of type {fitted[column]}, expected {kind}.",
                _REFIT,
            )


def _versions(folder: Path) -> dict[str, str]:
    path = folder / METADATA
    try:
        versions = json.loads(path.read_bytes())["versions"]
        found = {str(name): str(version) for name, version in versions.items()}
    except OSError as error:
        raise RunError(f"{path}, which says what wrote the workflow, cannot be read ({error.strerror}).", _REFIT) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunError(f"{path} does not say which versions wrote the workflow.", _REFIT) from None
    if "nvtabular" not in found:
        raise RunError(f"{path} does not say which NVTabular wrote the workflow.", _REFIT)
    return found


def holds_graph(folder: Path) -> bool:
    """Whether a saved workflow is a graph in JSON, and no pickle."""
    return (folder / GRAPH).is_file()


def _check_release(folder: Path, versions: Mapping[str, str], *, newer: bool) -> None:
    import nvtabular

    saved = versions["nvtabular"]
    if newer and saved.startswith("0+"):  # a checkout of the main branch without its tags does not know its release
        return
    if _release(saved) != _release(nvtabular.__version__):
        raise RunError(
            f"The workflow in {folder} was saved by NVTabular {saved}, and this is NVTabular {nvtabular.__version__}.",
            "Fit it again with this release, or install the other.",
        )


def _release(version: str) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in version.split(".")[:2]]


def _unpickle(folder: Path, versions: Mapping[str, str]) -> Any:
    from merlin.io.worker import clean_worker_cache
    from nvtabular import Workflow

    clean_worker_cache()  # it remembers vocabularies by path, and an earlier fit may have had this one
    try:
        with _former_names():
            workflow = Workflow.load(str(folder))
    except Exception as error:  # a damaged pickle raises whatever it likes
        raise RunError(
            f"The NVTabular workflow in {folder} cannot be loaded ({type(error).__name__}: {error}){_other_versions(versions)}.",
            _REFIT,
        ) from error
    if not isinstance(workflow, Workflow):
        raise RunError(f"{folder / PICKLE} holds a {type(workflow).__name__}, not an NVTabular workflow.", _REFIT)
    return workflow


@contextmanager
def _former_names() -> Iterator[None]:
    """Let a pickle of Cartwheel 0.3 or before find the operators where it knew them: a pickle names the modules of its classes."""
    added = {old: importlib.import_module(new) for old, new in _MOVED.items()}
    sys.modules.update(added)
    try:
        yield
    finally:
        for old in added:
            del sys.modules[old]


def _other_versions(versions: Mapping[str, str]) -> str:
    """Name the versions that differ from those that wrote the pickle: why it may not load."""
    import pandas as pd

    here = {"python": sys.version, "pandas": pd.__version__}
    other = [
        f"{name} {version.split()[0]}"
        for name, version in versions.items()
        if name != "nvtabular" and version.strip() and _release(version) != _release(here.get(name, ""))
    ]
    return f"; it was saved with {' and '.join(other)}" if other else ""


def _fitted_operators(workflow: Any) -> Iterator[tuple[Any, Iterable[Any]]]:
    """Yield each operator that was fitted, with the schemas of the columns that it makes."""
    from merlin.dag import Graph
    from merlin.dag.ops.stat_operator import StatOperator

    for node in Graph.get_nodes_by_op_type([workflow.output_node], StatOperator):
        yield node.op, node.output_schema


def _check_vocabularies(operator: Any, columns: Iterable[Any], folder: Path) -> None:
    """Compare each vocabulary with what it was when the workflow was fitted.

    That is its digest, which any operator has that was fitted while Cartwheel was imported, and for others the number of its ids alone.
    """
    vocabularies = getattr(operator, "categories", None)
    if not isinstance(vocabularies, dict):
        return
    expected = {domain["name"]: domain["max"] + 1 for column in columns if (domain := column.properties.get("domain"))}
    for name, path in vocabularies.items():
        found = _columns(Path(path), f"vocabulary {name!r}", folder)
        if name in expected:
            _check_size(operator, name, found, expected[name], folder)
        if written_over(operator, name, Path(path)):
            raise _foreign(f"vocabulary {name!r}", folder, f"{path} does not hold what the workflow was fitted to")


def _check_size(operator: Any, name: str, columns: set[str], expected: int, folder: Path) -> None:
    parts = columns - {f"{name}_size", f"{name}{operator.name_sep}size"}  # what Polars fits, and NVTabular
    combined = operator.encode_type == "combo" and all(part in name for part in parts)  # it is named after its columns
    if name not in columns and not combined:
        raise _foreign(f"vocabulary {name!r}", folder, f"its file has the columns {sorted(columns)}")
    cardinality, _ = operator.get_embedding_sizes([name])[name]
    if cardinality != expected:
        raise _foreign(f"vocabulary {name!r}", folder, f"it makes {cardinality} ids, and the workflow was fitted to {expected}")


def _check_statistics(operator: Any, folder: Path) -> None:
    """Check the files of operators that keep statistics of groups, such as TargetEncoding."""
    statistics = getattr(operator, "stats", None)
    for name, path in (statistics if isinstance(statistics, dict) else {}).items():
        if isinstance(path, str):
            _columns(Path(path), f"statistics of {name!r}", folder)
            if written_over(operator, name, Path(path)):
                raise _foreign(f"statistics of {name!r}", folder, f"{path} does not hold what the workflow was fitted to")


def _columns(path: Path, what: str, folder: Path) -> set[str]:
    """Return the columns of a Parquet file, or of a folder of such, after a look at the footer of each."""
    import pyarrow.dataset
    from pyarrow import ArrowException

    try:
        files = pyarrow.dataset.dataset(path, format="parquet")
        for fragment in files.get_fragments():
            fragment.ensure_complete_metadata()  # reads the footer, which is the end of the file
    except (OSError, ArrowException, ValueError) as error:
        state = f"cannot be read ({error})" if path.exists() else "is missing"
        raise RunError(f"The NVTabular workflow in {folder}: its {what}, {path}, {state}.", _REFIT) from error
    return set(files.schema.names)


def _foreign(what: str, folder: Path, why: str) -> RunError:
    verb = "are" if what.startswith("statistics") else "is"
    return RunError(f"The NVTabular workflow in {folder}: its {what} {verb} of another fit: {why}.", _REFIT)
