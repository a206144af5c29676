"""Encoded columns of (anchor, item) pairs of a split, as the ranking models read them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.frames import flattened, read_frame
from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json
from models.metrics.ranking import Floats, Ints
from models.questions.anchors import QUESTIONS
from models.retrieval.towers import read_catalogue, read_queries
from workflows.compiler.onnx_graph import ENCODED_SUFFIX
from workflows.features.columns import CROSS, QUERY_LISTS
from workflows.features.pair import MISSING, PADDING, cross_features


class Pairs:
    """The columns of one split's questions, of its catalogue, and of what compares both; read when they are asked for.

    Args:
        run: run directory.
        split: ``valid``, ``test`` or a window.
        table: the table of questions.

    Raises:
        RunError: if a file of the run is missing, corrupt or not row-aligned.
    """

    def __init__(self, run: Path, split: str, table: str = QUESTIONS) -> None:
        self._run, self._split, self._table = run, split, table

    def columns(self, row: Ints, column: Ints, names: Collection[str]) -> dict[str, npt.NDArray[Any]]:
        """Return those of ``names`` that there are, of the anchors in examples row ``row`` [n] with the catalogue items ``column`` [n]."""
        raw = cross_features(
            self._raw.recent_categories[row],
            self._raw.recent_brands[row],
            self._raw.mean_price[row],
            self._raw.category[column],
            self._raw.brand[column],
            self._raw.price[column],
        )
        columns: dict[str, npt.NDArray[Any]] = {
            name: self._cross.batch(raw, name + ENCODED_SUFFIX) for name in CROSS if name in names
        }
        columns |= {name: values[row] for name, values in self._queries.items() if name in names}
        columns |= {name: values[column] for name, values in self._items.items() if name in names}
        return columns

    @cached_property
    def _cross(self) -> OnnxModel:
        return OnnxModel(RunLayout(self._run).graph("cross"))

    @cached_property
    def _queries(self) -> dict[str, npt.NDArray[Any]]:
        length = int(read_json(RunLayout(self._run).state)["recent_items"])
        every = read_queries(self._run, self._split, length, self._table)
        return {name: values for name, values in every.items() if name not in QUERY_LISTS}

    @cached_property
    def _items(self) -> dict[str, npt.NDArray[Any]]:
        return dict(read_catalogue(self._run, self._split))

    @cached_property
    def _raw(self) -> _Raw:
        return _read_raw(self._run, self._split, self._table)


@dataclass(frozen=True)
class _Raw:
    """What the cross features are computed from, categories and brands as integer codes."""

    recent_categories: Ints
    recent_brands: Ints
    mean_price: Floats
    category: Ints
    brand: Ints
    price: Floats


def _read_raw(run: Path, split: str, table: str) -> _Raw:
    layout = RunLayout(run)
    queries = read_frame(layout.examples(split, table), ["recent_categories", "recent_brands", "user_mean_price"])
    items = read_frame(layout.examples(split, "catalogue"), ["item_category", "item_brand", "item_price"])
    recent_categories, category = _codes(queries["recent_categories"], items["item_category"])
    recent_brands, brand = _codes(queries["recent_brands"], items["item_brand"])
    prices = [
        column.cast(pl.Float64).fill_null(float("nan")).to_numpy() for column in (queries["user_mean_price"], items["item_price"])
    ]
    return _Raw(recent_categories, recent_brands, prices[0], category, brand, prices[1])


def _codes(lists: pl.Series, own: pl.Series) -> tuple[Ints, Ints]:
    """Return lists as [A, L] codes and ``own`` as [N] codes of one table, in which the empty string is ``MISSING``."""
    lengths, flat = flattened(lists)
    names = pl.concat([flat, own.fill_null("")]).unique().sort()
    names = names.filter(names != "")
    code = pl.DataFrame({"name": names, "code": np.arange(1, len(names) + 1)})

    def coded(values: pl.Series) -> Ints:
        joined = pl.DataFrame({"name": values}).join(code, on="name", how="left", maintain_order="left")
        return joined["code"].fill_null(MISSING).to_numpy().astype(np.int64)

    table = np.full((len(lists), max(1, int(lengths.max(initial=0)))), PADDING, np.int64)
    table[np.arange(table.shape[1]) < lengths[:, None]] = coded(flat)
    return table, coded(own.fill_null(""))
