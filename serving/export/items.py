"""Item data for rules: every column of the snapshot that a filter can use, and the item vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_table
from serving.contract.items import FILE, VECTORS, ItemTable
from serving.ensembles.served import ShopParts
from serving.export.run_files import flattened, integers, strings
from serving.rules.expression import Column, Names, Texts

if TYPE_CHECKING:
    import pyarrow as pa

_PREFIX: Final = "item_"
_KEY: Final = "item_id"


def write_items(root: Path, run: Path, shop: ShopParts) -> None:
    """Write the files into the folder of a repository."""
    catalogue = shop.snapshot.catalogue
    table = read_table(RunLayout(run).snapshot("items"))
    ItemTable(tuple(catalogue.ids), rule_columns(table)).write(root / FILE)
    np.save(root / VECTORS, catalogue.directions[: len(catalogue.ids)].astype(np.float16))


def rule_columns(table: pa.Table) -> dict[str, Column]:
    """Return the columns of a table of items that rules may name: texts, numbers, what is true or false, and lists of names.

    What Cartwheel computes of items loses its ``item_``: ``price``, ``category``, ``brand``, ``events``, ``recent_events`` and so on.
    A shop's own column keeps its name, and comes first where both would have the same.
    """
    columns: dict[str, Column] = {}
    for name in sorted(table.column_names, key=lambda name: not name.startswith(_PREFIX)):
        column = None if name == _KEY else _column(table[name])
        if column is not None:
            columns[name.removeprefix(_PREFIX)] = column
    return columns


def _column(values: pa.ChunkedArray) -> Column | None:
    import pyarrow as pa

    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _texts(strings(values))
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _numbers(values)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        flat, lengths = flattened(values)
        if pa.types.is_string(flat.type) or pa.types.is_large_string(flat.type):
            names = _texts(strings(flat))
            items = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
            return Names(items, names.codes, names.words, len(lengths))
    return None


def _texts(values: list[str]) -> Texts:
    words = ("", *sorted({*values} - {""}))
    places = {word: place for place, word in enumerate(words)}
    return Texts(np.array([places[value] for value in values], np.int32), words)


def _numbers(values: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Return numbers, NaN for null; one of single precision is the shortest decimal that it stands for, as a person would write it."""
    import pyarrow as pa

    if pa.types.is_boolean(values.type):
        values = values.cast("int8")
    if pa.types.is_integer(values.type):
        known = np.array(values.is_valid().to_pylist(), bool)
        return np.where(known, integers(values).astype(np.float64), np.nan)
    single = pa.types.is_float32(values.type)
    found = [np.nan if value is None else value for value in values.to_pylist()]
    return np.array([float(str(np.float32(value))) for value in found] if single else found, np.float64)
