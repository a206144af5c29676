"""``export_model``: a fitted NVTabular workflow and the model behind it as a Triton repository, checked against both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from cartwheel.core.errors import NotCompilableError, RunError
from cartwheel.core.run_layout import RunLayout
from serving.contract.model_form import Answered, ModelForm, RawColumn
from serving.settings import ExportSettings

if TYPE_CHECKING:
    import onnx

    from cartwheel.pipeline.foreign.checking import Checked
    from cartwheel.pipeline.foreign.items import TopK
    from models.foreign.interface import ForeignModel
    from serving.foreign.top_items import TopItems
    from workflows.compiler.plan.graph import Plan
    from workflows.compiler.plan.types import ColumnType


@dataclass(frozen=True)
class ServedModel:
    """What was written.

    Attributes:
        repository: folder of the Triton repository.
        form: what clients give and get.
        checks: the comparisons that held.
        version: by which `cartwheel versions` knows it.
    """

    repository: Path
    form: ModelForm
    checks: tuple[Checked, ...]
    version: str


def export_model(
    workflow: str | Path,
    model: str | Path,
    out: str | Path,
    *,
    name: str = "",
    rows: pl.DataFrame | str | Path | None = None,
    lambdas: Mapping[str, pl.Expr | str] | None = None,
    top_k: TopK | None = None,
    settings: ExportSettings | None = None,
) -> ServedModel:
    """Write ``<out>/repository``, file it as a version, and change nothing where a check fails.

    Args:
        workflow: folder of a saved NVTabular workflow. It holds a pickle, which can run any code while it is loaded: give only one whose
            writer you trust.
        model: a SavedModel (Keras, Merlin Models), a ``.keras``, ``.h5`` or ``.onnx`` file, trained on what the workflow makes.
        out: folder of the repository and its versions, which `cartwheel serve`, `deploy` and `rollback` take for a run.
        name: of the ensemble that clients ask; the name of the model's folder or file where it is left out.
        rows: raw rows to check on, a table or a Parquet file; drawn from what the workflow was fitted to where they are left out.
        lambdas: as for :func:`cartwheel.compile_workflow`.
        top_k: for a query tower, or a model that scores each item of a vocabulary: which items are chosen from, and how many are
            answered, under their own ids.
        settings: of the export; ``parity_rows`` says on how many rows it is checked.

    Raises:
        RunError: if the workflow or the model cannot be read.
        NotCompilableError: if a column that the model reads has no exact form, or a layer of the model has none.
        UsageError: if the model does not read what the workflow makes, or has fewer embeddings than there are ids.
        ParityError: if a served answer differs by more than 1e-5.
    """
    from cartwheel.pipeline.foreign.items import read_top_items
    from cartwheel.pipeline.foreign.matching import check_names, match
    from models.foreign.read import read_model
    from serving.foreign.graph import joined
    from serving.foreign.repository import write_model_repository
    from serving.foreign.top_items import ITEMS, SCORES, with_top_items
    from workflows.compiler.plan.read import read_parts
    from workflows.compiler.saved import load_saved

    options = settings or ExportSettings()
    fitted = load_saved(Path(workflow))
    substitutes = {}
    if lambdas:
        from cartwheel.pipeline.foreign.lambdas import read_lambdas

        substitutes = read_lambdas(fitted, lambdas)
    plan, refused = read_parts(fitted, substitutes=substitutes, keep_rows=True)
    read = read_model(Path(model))
    handed = match(plan, refused, read)
    features, columns = features_of(plan, [each.column for each in handed])
    graph = joined(features, read.graph, handed, {output.name: output.rank for output in read.outputs})
    answers = tuple(Answered(output.name, _element(output.dtype), output.width) for output in read.outputs)
    top = read_top_items(top_k, plan, read) if top_k is not None else None
    if top is not None:
        graph = with_top_items(graph, top)
        answers = (Answered(ITEMS, _element(top.dtype), top.k), Answered(SCORES, "float32", top.k))
    check_names([column.name for column in columns], [answer.name for answer in answers])
    form = ModelForm(name or Path(model).stem, read.kind, columns, answers)
    checks: list[Checked] = []
    together = not any(each.form == "padded" and not each.width for each in read.inputs)
    repository = write_model_repository(
        RunLayout(Path(out)).repository,
        form,
        graph,
        options,
        _checker(fitted, plan, read, form, rows, options.parity_rows, checks, top),
        together=together,
    )
    from serving.versions.store import VersionStore

    version = VersionStore(Path(out)).add(repository, options.keep_versions)
    return ServedModel(repository, form, tuple(checks), version.name)


def features_of(plan: Plan, columns: list[str]) -> tuple[onnx.ModelProto, tuple[RawColumn, ...]]:
    """Return the graph that encodes what a model reads, and the raw columns that it is asked with.

    A raw column may be missing in a request unless what is made of it would be missing too, which no model takes.

    Raises:
        NotCompilableError: if a column has a form for tables alone.
    """
    from workflows.compiler.plan.compile_onnx import MISSING_SUFFIX, compile_onnx

    raw = plan.raw
    lists = [name for name, kind in raw.items() if kind.is_list]
    nullable = set(raw)
    while True:
        graph = compile_onnx(plan, columns, "features", nullable=nullable, ragged=lists)
        missing = [value.name for value in graph.graph.output if value.name.endswith(MISSING_SUFFIX)]
        sources = {source for name in missing for source in plan.sources(name.removesuffix("__encoded" + MISSING_SUFFIX))}
        if not sources & nullable:
            break
        nullable -= sources
    if missing:
        raise NotCompilableError(
            f"The column {missing[0].removesuffix('__encoded' + MISSING_SUFFIX)!r} may be missing for any input, as a join that finds "
            "no key leaves it, and the model has no value for that.",
            "Put FillMissing behind the join.",
        )
    given = {value.name for value in graph.graph.input}
    return graph, tuple(
        RawColumn(name, _element(kind.dtype), kind.is_list, name in nullable, kind.is_list)
        for name, kind in raw.items()
        if name in given
    )


def _element(dtype: str) -> Any:
    return dtype


def _checker(
    fitted: Any,
    plan: Plan,
    model: ForeignModel,
    form: ModelForm,
    rows: pl.DataFrame | str | Path | None,
    count: int,
    checks: list[Checked],
    top: TopItems | None,
) -> Callable[[Path], None]:
    from cartwheel.pipeline.foreign.checking import check_model
    from cartwheel.pipeline.foreign.rows import drawn_rows, in_order

    wanted = {column.name: plan.raw[column.name] for column in form.columns}
    nullable = {column.name for column in form.columns if column.nullable}
    if rows is not None:
        given = read_rows(rows, list(wanted)).head(count)
        complete, strange = given, given
        if given.null_count().sum_horizontal().sum():
            complete = given.clear()
    else:
        complete = drawn_rows(plan, _drawn_types(fitted, plan), min(count, 64), strange=False)
        strange = drawn_rows(plan, wanted, min(count, 64), strange=True)
        whole = drawn_rows(plan, wanted, min(count, 64), strange=False)
        strange = strange.with_columns(whole[name] for name in wanted if name not in nullable)

    complete = in_order(fitted, complete)

    def check(repository: Path) -> None:
        checks[:] = check_model(repository, fitted, plan, model, form, complete, strange, top)

    return check


def _drawn_types(fitted: Any, plan: Plan) -> dict[str, ColumnType]:
    """Return the raw columns that NVTabular is given, with their types as in the plan, and of labels and the like as it was fitted."""
    from workflows.compiler.plan.read import raw_columns

    types = dict(plan.raw)
    if any(kind.is_list for kind in types.values()):
        return types  # what else there is would be of events, of which a request has lists
    try:
        return {**raw_columns(fitted), **types}
    except NotCompilableError:  # a datetime, say
        return types


def read_rows(rows: pl.DataFrame | str | Path, columns: list[str]) -> pl.DataFrame:
    """Return given rows.

    Raises:
        RunError: if the file cannot be read, or lacks a column.
    """
    if isinstance(rows, pl.DataFrame):
        found = rows
    else:
        try:
            found = pl.read_parquet(rows)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RunError(f"{rows} cannot be read ({error}).", "Give a Parquet file of raw rows.") from error
    if lacking := [name for name in columns if name not in found.columns]:
        raise RunError(f"The rows to check on lack the columns {lacking}.", "Give all raw columns that the model is asked with.")
    return found
