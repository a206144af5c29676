"""The items that a foreign model chooses from: vectors of a file, what an item tower makes of raw items, or a vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import CartwheelError, DataError, RunError, UsageError
from serving.foreign.top_items import TopItems
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.vocabularies import Vocabulary, vocabulary

if TYPE_CHECKING:
    from models.foreign.interface import ForeignModel
    from workflows.compiler.plan.graph import Plan

_BATCH: Final = 1024


@dataclass(frozen=True)
class TopK:
    """What ``--top-k`` asks for.

    Attributes:
        items: a Parquet file, or the encoded column whose vocabulary the model scores.
        k: how many items are answered.
        item_model: the item tower, which makes vectors of the raw items of the file; None where the file holds vectors.
        item_id: the encoded column of item ids; "" for the one whose name the file has.
    """

    items: str
    k: int = 10
    item_model: Path | None = None
    item_id: str = ""


def read_top_items(asked: TopK, plan: Plan, model: ForeignModel) -> TopItems:
    """Return the items.

    Raises:
        UsageError: if the column has no vocabulary, or the model's answer has another width than there are ids or than the vectors have.
        RunError: if the file or the item tower cannot be read.
        DataError: if the file has no column of ids, an id twice or one that no item has, or no vectors.
    """
    if len(model.outputs) != 1:
        raise UsageError(
            f"The model {model.path} gives {', '.join(each.name for each in model.outputs)}; the best items are chosen by one answer.",
            "Give a query tower, or a model of one output.",
        )
    [output] = model.outputs
    if asked.items in plan and not Path(asked.items).exists():
        return _of_vocabulary(vocabulary(plan, asked.items), asked, output.name, output.width, model)
    table = _read(Path(asked.items))
    column = asked.item_id or _id_column(plan, table, asked.items)
    if asked.item_model is not None:
        vectors = _by_tower(asked.item_model, plan, table)
        ids = _raw_ids(plan, table, column)
    else:
        ids, vectors = _vectors(plan, table, column, asked.items)
    if output.width and output.width != vectors.shape[1]:
        raise UsageError(
            f"The items of {asked.items} have vectors of {vectors.shape[1]} numbers, and the model {model.path} gives {output.width}.",
            "Give both towers of one model.",
        )
    if len(set(ids.tolist())) != len(ids):
        raise DataError(f"{asked.items} has an item of {column!r} twice.", "Keep each item once.")
    return TopItems(output.name, ids, min(asked.k, len(ids)), vectors)


def _of_vocabulary(known: Vocabulary, asked: TopK, output: str, width: int, model: ForeignModel) -> TopItems:
    if width and width != len(known):
        raise UsageError(
            f"The model {model.path} scores {width} ids, and the workflow makes {len(known)} of {asked.items!r}.",
            "Give the workflow that the model was trained with.",
        )
    there = known.keys.is_not_null().to_numpy()
    return TopItems(output, _shop_ids(known.keys), min(asked.k, int(there.sum())), barred=~there)


def _shop_ids(keys: pl.Series) -> Any:
    if keys.dtype == pl.String:
        return np.array([*keys.fill_null("").to_list(), None], dtype=object)[:-1]
    if not keys.dtype.is_integer():
        raise UsageError(f"The ids are {keys.dtype}; only texts and whole numbers can be answered.", "Use a column of one key.")
    return keys.fill_null(0).cast(pl.Int64).to_numpy()


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path / "*.parquet" if path.is_dir() else path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(
            f"{path} is neither a column that the workflow makes nor a Parquet file that can be read ({error}).",
            "Give --top-k a Parquet file of items, or the encoded column of the item ids.",
        ) from error


def _id_column(plan: Plan, table: pl.DataFrame, path: str) -> str:
    known = [name for name in table.columns if name in plan and _has_vocabulary(plan, name)]
    if len(known) != 1:
        raise DataError(
            f"{path} has {len(known)} columns of ids that the workflow makes ({', '.join(known) or ', '.join(table.columns)}).",
            "Name the one of the items with --item-id.",
        )
    return known[0]


def _has_vocabulary(plan: Plan, name: str) -> bool:
    try:
        vocabulary(plan, name)
    except CartwheelError:
        return False
    return True


def _raw_ids(plan: Plan, table: pl.DataFrame, column: str) -> Any:
    [source] = plan.sources(column) if column in plan else (column,)
    if source not in table.columns:
        raise DataError(f"The items have no column {source!r}, of the raw ids.", "Give the raw columns of each item.")
    return _shop_ids(table[source])


def _vectors(plan: Plan, table: pl.DataFrame, column: str, path: str) -> tuple[Any, Any]:
    """Return ids and vectors of a file as Merlin writes it: ids that the workflow made, and a column a number, or one of lists."""
    lists = [name for name, kind in table.schema.items() if isinstance(kind, (pl.List, pl.Array))]
    numbers = [name for name, kind in table.schema.items() if kind.is_float()]
    if len(lists) == 1:
        vectors = np.array(table[lists[0]].to_list(), dtype=np.float32)
    elif numbers and not lists:
        vectors = table.select(numbers).to_numpy().astype(np.float32)
    else:
        raise DataError(
            f"{path} holds no vectors: it has {len(numbers)} columns of floats and {len(lists)} of lists.",
            "Give what `candidate_embeddings(...)` wrote, or raw items and their tower with --item-model.",
        )
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise DataError(f"{path} has vectors of different lengths, or that are no numbers.", "Write them again.")
    if column not in table.columns:
        raise DataError(f"{path} has no column {column!r}.", f"It has {', '.join(table.columns)}.")
    known = vocabulary(plan, column)
    keys = known.decode(table[column].cast(pl.Int64))
    if keys.null_count():
        row = int(np.flatnonzero(keys.is_null().to_numpy())[0])
        raise DataError(f"{path}, row {row}: {column} is {table[column][row]}, an id without an item.", "Leave that row out.")
    return _shop_ids(keys), vectors


def _by_tower(path: Path, plan: Plan, table: pl.DataFrame) -> Any:
    """Return the vectors that an item tower makes of raw items, by its own library."""
    from cartwheel.pipeline.foreign.checking import expected_answers
    from cartwheel.pipeline.foreign.matching import match
    from models.foreign.read import read_model

    tower = read_model(path)
    match(plan, {}, tower)
    if len(tower.outputs) != 1:
        raise UsageError(f"The item tower {path} gives {len(tower.outputs)} answers.", "Give one that gives a vector.")
    encoded = compile_polars(plan, table.lazy(), [each.name for each in tower.inputs]).collect()
    parts = [expected_answers(tower, encoded.slice(start, _BATCH)) for start in range(0, encoded.height, _BATCH)]
    return np.concatenate([part[tower.outputs[0].name] for part in parts]).astype(np.float32)
