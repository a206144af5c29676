"""``compile_workflow``: a fitted NVTabular workflow as a plan, which answers tables by Polars and requests by ONNX."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from cartwheel.core.errors import CartwheelError, NotCompilableError, UsageError
from cartwheel.core.files import atomic_path, write_json

if TYPE_CHECKING:
    import onnx

    from workflows.compiler.plan.graph import Plan
    from workflows.compiler.plan.types import ColumnType

PICKLE_WARNING = (
    "{folder} is a saved workflow, which is a Python pickle: loading it can run any code that whoever wrote it put in. "
    "Load only what you, or someone whom you trust, saved."
)
GRAPH_NOTE = (
    "{folder} is a saved workflow without a pickle (graph.json): nothing in it is run, and a Python function that it names is imported "
    "only where --lambda gives an expression to hold against it."
)


def said_before(folder: Path) -> str:
    """Return what is said before a saved workflow is loaded."""
    from workflows.compiler.saved import holds_graph

    return (GRAPH_NOTE if holds_graph(folder) else PICKLE_WARNING).format(folder=folder)


@dataclass(frozen=True)
class CompiledWorkflow:
    """A workflow without NVTabular.

    Attributes:
        plan: the typed graph of its columns.
        left_out: columns that it does not make, each with why.
    """

    plan: Plan
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def raw(self) -> dict[str, ColumnType]:
        """The raw columns that it reads, with their types."""
        return self.plan.raw

    @property
    def columns(self) -> dict[str, ColumnType]:
        """The encoded columns that it makes, with their types."""
        return {name: self.plan.type(name) for name in self.plan}

    def transform(self, table: pl.DataFrame | pl.LazyFrame, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Encode a table, as ``Workflow.transform`` does: equal integers and nulls, floats within 1e-6.

        Args:
            table: at least the raw columns that are needed.
            columns: encoded columns wanted; None means all.

        Raises:
            DataError: if a raw column is missing or of another type.
            NotCompilableError: if the workflow makes no such column.
        """
        from workflows.compiler.plan.compile_polars import compile_polars

        return compile_polars(self.plan, table.lazy(), columns).collect()

    def onnx(self, columns: Sequence[str] | None = None) -> onnx.ModelProto:
        """Return the graph that encodes a request; see ``workflows.compiler.plan.compile_onnx`` for its inputs and outputs.

        Raises:
            NotCompilableError: if a column has a form for tables alone.
        """
        from workflows.compiler.plan.compile_onnx import compile_onnx

        lists = [name for name, kind in self.raw.items() if kind.is_list]
        return compile_onnx(self.plan, columns or list(self.plan), "features", nullable=list(self.raw), ragged=lists)

    def on_tables_alone(self) -> dict[str, str]:
        """Return the columns that no request can have, each with why, such as the hash of a string."""
        return {name: why for name in self.plan if (why := self._refusal(name))}

    def _refusal(self, column: str) -> str:
        try:
            self.onnx([column])
        except NotCompilableError as error:
            return error.found
        return ""

    def save(self, folder: Path) -> None:
        """Write ``features.onnx``, of what a request can have, and ``columns.json``, which names and types all columns.

        Raises:
            UsageError: if the folder is there and holds anything.
        """
        import onnx

        from workflows.compiler.plan import show as shown

        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty.", "Give --out a new folder.")
        tables = self.on_tables_alone()
        served = [name for name in self.plan if name not in tables]
        with atomic_path(folder) as aside:
            aside.mkdir()
            if served:
                onnx.save(self.onnx(served), aside / "features.onnx")
            (aside / "plan.json").write_text(shown.as_json(self.plan, None), encoding="utf-8")
            about = {
                "raw": {name: str(kind) for name, kind in self.raw.items()},
                "encoded": {name: str(kind) for name, kind in self.columns.items()},
                "served": served,
                "tables_alone": tables,
                "left_out": dict(self.left_out),
            }
            write_json(aside / "columns.json", about)


def compile_workflow(
    workflow: Any, *, leave_out: Collection[str] = (), lambdas: Mapping[str, pl.Expr | str] | None = None
) -> CompiledWorkflow:
    """Compile a fitted NVTabular workflow.

    Args:
        workflow: the folder that ``Workflow.save`` wrote, or a fitted ``nvtabular.Workflow``. A folder that NVTabular 23.8 wrote holds a
            pickle, which can run any code while it is loaded: give only one whose writer you trust. ``graph.json`` runs nothing.
        leave_out: encoded columns to do without, such as a label that a ``LambdaOp`` makes.
        lambdas: encoded column of a ``LambdaOp`` -> the same as a Polars expression, or as SQL; both are held together on rows.

    Returns:
        The compiled workflow.

    Raises:
        UsageError: if ``leave_out`` or ``lambdas`` names no column of the workflow.
        NotCompilableError: if a column that is not left out has no exact form; names each such column and why.
        ParityError: if an expression gives otherwise than the function that it stands for.
        RunError: if the folder holds no workflow that can be trusted to encode as it did.
    """
    from workflows.compiler.plan.read import read_parts
    from workflows.compiler.saved import load_saved

    fitted = load_saved(Path(workflow)) if isinstance(workflow, (str, Path)) else workflow
    substitutes = {}
    if lambdas:
        from cartwheel.pipeline.foreign.lambdas import read_lambdas

        substitutes = read_lambdas(fitted, lambdas)
    plan, refused = read_parts(fitted, substitutes=substitutes)
    every = list(fitted.output_schema.column_names)
    if unknown := sorted(set(leave_out) - set(every)):
        raise UsageError(f"The workflow makes no columns {unknown}; it makes {every}.", "Leave out columns that it makes.")
    if wrong := {name: error for name, error in refused.items() if name not in leave_out}:
        raise refusal(wrong)
    from dataclasses import replace

    kept = {name: place for name, place in plan.outputs.items() if name not in leave_out}
    if not kept:
        raise UsageError("Every column of the workflow is left out.", "Keep at least one.")
    told = {name: refused[name].found if name in refused else "it was left out" for name in leave_out}
    return CompiledWorkflow(replace(plan, outputs=kept), told)


def refusal(refused: Mapping[str, CartwheelError]) -> NotCompilableError:
    """Return the error that names each column without an exact form, and how to do without them."""
    options = " ".join(f"--except {name}" for name in refused)
    if len(refused) == 1:
        [error] = refused.values()
        return NotCompilableError(error.found, f"{error.fix} Or leave it out: {options}.")
    told = " ".join(error.found for error in refused.values())
    return NotCompilableError(f"{len(refused)} columns cannot be compiled exactly. {told}", f"Leave them out: {options}.")
