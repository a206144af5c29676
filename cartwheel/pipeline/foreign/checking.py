"""Compares the answers of a repository with NVTabular's transform and the library that trained the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.errors import DataError, ParityError
from serving.contract.model_form import LENGTHS, MISSING, ModelForm, RawColumn
from serving.foreign.top_items import ITEMS, SCORES
from serving.local import LocalRepository
from workflows.compiler.lists import leaves
from workflows.compiler.operators.groupby import group_keys
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.quiet import quiet_nvtabular

if TYPE_CHECKING:
    from models.foreign.interface import ForeignModel
    from serving.foreign.top_items import TopItems
    from workflows.compiler.plan.graph import Plan

Array = npt.NDArray[Any]
TOLERANCE: Final = 1e-5
"""Largest difference of an answer, absolute or, where it is larger than 1, relative."""
_HASHES: Final = ("HashBucket", "HashedCross")
_REFUSED: Final = "Nothing was written. Report this with the workflow and the model; `--rows FILE` checks on rows of your own."


@dataclass(frozen=True)
class Checked:
    """One comparison that held.

    Attributes:
        what: was compared.
        rows: how many.
        difference: the largest that was found.
    """

    what: str
    rows: int
    difference: float


def request_arrays(columns: Sequence[RawColumn], rows: pl.DataFrame) -> dict[str, Array]:
    """Return the tensors of a request for raw rows."""
    tensors: dict[str, Array] = {}
    for column in columns:
        series = rows[column.name]
        lengths = series.list.len().fill_null(0).to_numpy().astype(np.int64) if column.listed else np.ones(len(series), np.int64)
        elements = leaves(series) if column.listed else series
        missing = elements.is_null().to_numpy()
        blank: Any = "" if column.dtype == "string" else float("nan") if column.is_float else column.dtype != "bool" and 0
        filled = elements.fill_null(blank)
        inside = np.arange(max(1, int(lengths.max(initial=0)))) < lengths[:, None]
        kind: Any = object if column.dtype == "string" else column.dtype
        tensors[column.name] = np.full(inside.shape, "" if kind is object else 0, dtype=kind)
        tensors[column.name][inside] = np.array(filled.to_list(), dtype=kind)
        if column.nullable and not column.is_float:
            tensors[column.name + MISSING] = np.zeros(inside.shape, dtype=bool)
            tensors[column.name + MISSING][inside] = missing
        if column.ragged:
            tensors[column.name + LENGTHS] = lengths.reshape(-1, 1)
    return tensors


def by_nvtabular(workflow: Any, plan: Plan, raw: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Return what NVTabular's own transform makes of complete rows, in the plan's types.

    Row by row where it hashes, for it mixes the row's place in its table into a hash, and by the statistics of all folds. Where it
    groups, a row is a group, whose events it gets in their order.
    """
    from merlin.dag import Graph
    from nvtabular import ops

    with quiet_nvtabular():
        for node in Graph.get_nodes_by_op_type([workflow.output_node], ops.TargetEncoding):
            _by_all_folds(node.op)
        tables = [raw]
        if (keys := group_keys(workflow)) is not None:
            tables = [_events(raw.slice(row, 1), keys) for row in range(raw.height)]
        elif any(step.hashes for name in columns for step in plan.steps(name)):
            tables = [raw.slice(row, 1) for row in range(raw.height)]
        encoded = [workflow.transform(_whole(workflow, table)) for table in tables]
    found = {}
    for name in columns:
        kind = plan.type(name)
        rows = [list(row) if kind.is_list else row for table in encoded for row in table[name].tolist()]
        found[name] = pl.Series(name, rows, dtype=kind.polars, strict=False)
    return pl.DataFrame(found)


def _by_all_folds(operator: Any) -> None:
    """Let ``TargetEncoding`` give what is served, from all folds, and the folds of a table's rows all the same where they are asked for."""
    from nvtabular.ops.target_encoding import _add_fold

    folds, operator.kfold = operator.kfold, 1
    if folds == 1 or operator.drop_folds:
        return
    encode = operator.transform

    def transform(selector: Any, table: Any) -> Any:
        made = encode(selector, table)
        made[operator.fold_name] = _add_fold(table.index, folds, operator.fold_seed)
        return made

    operator.transform = transform


def _events(group: pl.DataFrame, keys: frozenset[str]) -> pl.DataFrame:
    """Return the events of one group."""
    return group.explode([name for name, kind in group.schema.items() if isinstance(kind, pl.List) and name not in keys])


def _whole(workflow: Any, table: pl.DataFrame) -> Any:
    """Return a table for pandas with the raw columns that it lacks, which nothing that is served is made of: NVTabular wants them there."""
    import pandas as pd

    whole = table.to_pandas()
    for name, dtype in table.schema.items():
        if isinstance(dtype, pl.List):  # ListSlice fills up Python's lists, and leaves arrays short
            whole[name] = table[name].to_list()
    for column in workflow.input_schema:
        if column.name not in whole:
            kind = str(column.dtype.without_shape.name)
            number = (
                pd.Timestamp("2020-01-01") if kind.startswith("datetime") else "" if kind in ("str", "object", "string") else 0
            )
            whole[column.name] = number
            if kind.startswith("datetime"):  # in an order, for what is sorted by it
                whole[column.name] += pd.to_timedelta(range(len(whole)), unit="s")
    return whole


def check_model(
    repository: Path,
    workflow: Any,
    plan: Plan,
    model: ForeignModel,
    form: ModelForm,
    complete: pl.DataFrame,
    strange: pl.DataFrame,
    top: TopItems | None = None,
) -> list[Checked]:
    """Compare a repository's answers.

    Args:
        repository: what was written.
        workflow: the fitted NVTabular workflow; its operators are changed to serve.
        plan: of it.
        model: the model, which answers in its own library.
        form: of the ensemble.
        complete: raw rows without missing values, which NVTabular encodes; may be empty.
        strange: raw rows with missing and unseen values, which the plan's tables encode.
        top: the items that are chosen from, where that is what is answered.

    Raises:
        ParityError: naming the answer, the row and both values.
        DataError: if NVTabular cannot encode the rows.
    """
    served = LocalRepository(repository)
    columns = [each.name for each in model.inputs]
    checked = []
    for what, raw in (("NVTabular", complete), ("the plan's tables", strange)):
        if raw.is_empty():
            continue
        if what == "NVTabular":
            try:
                encoded = by_nvtabular(workflow, plan, raw, columns)
            except Exception as error:  # whatever pandas meets
                raise DataError(
                    f"NVTabular cannot encode the rows to check on ({type(error).__name__}: {next(iter(str(error).splitlines()), '')}).",
                    "Give rows of your own with `--rows FILE`, a Parquet file of raw rows without missing values.",
                ) from error
        else:
            encoded = compile_polars(plan, raw.lazy(), columns).collect()
            complete_rows = _is_complete(encoded, model)
            raw, encoded = raw.filter(complete_rows), encoded.filter(complete_rows)
            if raw.is_empty():
                continue
        expected = expected_answers(model, encoded)
        found = served.ask(form.name, **request_arrays(form.columns, raw))
        if top is not None:
            [answer] = expected.values()
            items, scores, certain = top.expected(answer.reshape(raw.height, -1), TOLERANCE)
            expected = {SCORES: scores, ITEMS: np.where(certain, items, found[ITEMS])}
        checked += _compare(f"{what} and {model.kind}", expected, found, raw.height)
    return checked


def _is_complete(encoded: pl.DataFrame, model: ForeignModel) -> pl.Series:
    """Return whether each encoded row [N] has all floats that a model reads, and an element in each of its lists.

    What a model makes of a missing number, or of the mean of no elements, is not defined: TensorFlow's ReLU of NaN is NaN on one processor
    and 0 on another.
    """
    complete = np.ones(encoded.height, bool)
    for each in model.inputs:
        column = encoded[each.name]
        if isinstance(column.dtype, pl.List):
            complete &= column.list.len().fill_null(0).to_numpy() > 0
        if each.dtype.startswith("float"):
            there = _filled(column)
            whole = (
                there.list.eval(pl.element().is_not_nan()).list.all() if isinstance(there.dtype, pl.List) else there.is_not_nan()
            )
            complete &= whole.fill_null(value=False).to_numpy()
    return pl.Series(complete)


def expected_answers(model: ForeignModel, encoded: pl.DataFrame) -> dict[str, Array]:
    """Return a model's own answers for encoded rows."""
    feeds: dict[str, Array] = {}
    for each in model.inputs:
        column = encoded[each.name]
        if each.dtype.startswith("float"):
            column = _filled(column)
        feeds.update(each.feeds(column.to_list()))
    return model.answer(feeds)


def _filled(column: pl.Series) -> pl.Series:
    """Return floats with NaN for what is missing."""
    if isinstance(column.dtype, pl.List):
        return column.list.eval(pl.element().cast(pl.Float64).fill_null(float("nan")))
    return column.cast(pl.Float64).fill_null(float("nan"))


def _compare(what: str, expected: Mapping[str, Array], found: Mapping[str, Array], rows: int) -> list[Checked]:
    checked = []
    for name, answer in found.items():
        if name not in expected:
            continue
        wanted = expected[name].reshape(rows, -1)
        if wanted.shape != answer.shape:
            raise ParityError(f"{name!r}: served {list(answer.shape)}, {what} give {list(wanted.shape)}.", _REFUSED)
        differ = difference(wanted, answer)
        row = int(np.argmax(differ.max(axis=1))) if differ.size else 0
        if differ.size and differ.max() > TOLERANCE:
            raise ParityError(
                f"The answer {name!r} of row {row} is {answer[row].tolist()[:5]} served, and {wanted[row].tolist()[:5]} by {what}.",
                _REFUSED,
            )
        checked.append(Checked(f"{name}: {what}", rows, float(differ.max(initial=0.0))))
    return checked


def difference(wanted: Array, answer: Array) -> npt.NDArray[np.float64]:
    """Return how far answers are apart, relative where they are larger than 1; infinitely far where one is no number but the expected.

    Where NaN is expected, as of a model that is given a missing number, nothing is compared.
    """
    if wanted.dtype == object or answer.dtype == object or wanted.dtype.kind in "US":
        texts = np.array([each.decode() if isinstance(each, bytes) else str(each) for each in wanted.ravel()], dtype=object)
        return np.where(texts.reshape(wanted.shape) == answer, 0.0, np.inf)
    left, right = wanted.astype(np.float64), answer.astype(np.float64)
    right = np.where(
        np.isnan(left), left, right
    )  # a model makes of a missing number what it likes: ONNX Runtime's GRU makes a number
    with np.errstate(invalid="ignore"):
        apart = np.abs(left - right) / np.maximum(1.0, np.abs(left))
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    return np.where(same, 0.0, np.nan_to_num(apart, nan=np.inf, posinf=np.inf))
