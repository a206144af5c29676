"""The simple rules of forecasting: the mean of the last 28 days, and the last window of the same season.

Both read what the label was before (the feature family ``past_windows``) and fit nothing. The season is a week: of windows of a day what
came on the same weekday last, of windows of a week or more what came last (Hyndman and Athanasopoulos, Forecasting: Principles and
Practice, 2021, 5.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from onnx import TensorProto

from cartwheel.core.settings import Settings
from models.families.family import ALL_KINDS, Fitted, Floats, Learner, Tags, TrainingData
from models.families.rows.answers import SCORE, read_content, write_content
from models.families.rows.design import declare_inputs
from models.families.rows.purchase_process import as_double
from models.training.tables import Table
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.features.column import Column
from workflows.features.scale import Scale
from workflows.tasks.task import Answer

_QUANTITIES: Final = Tags(frozenset({Answer.QUANTITY}), "rows", ALL_KINDS, missing=True)


class RecentMeanSettings(Settings):
    """Which column is the mean."""

    column: str = "past_mean_28d"
    """Column of the mean of what is predicted over recent windows."""


class SeasonalNaiveSettings(Settings):
    """Which columns are the season."""

    last: str = "past_{lag}"
    """Columns of the last windows, ``{lag}`` from 1 for the latest on; as many as there are make a season."""
    ahead: str = "windows_ahead"
    """Column that says which of the windows ahead is asked about, from 1 on; without it, it is the first."""


@dataclass
class LastOfSeason(Fitted):
    """One of several past values as it is, chosen by how far ahead is asked.

    Attributes:
        columns: of the values and of the window, in the order of the training data.
        values: names of the past values, the latest first.
        ahead: name of the column of the window; empty where there is none.
        scales: of the values and then of the window.
    """

    columns: tuple[Column, ...]
    values: tuple[str, ...]
    ahead: str
    scales: tuple[Scale, ...]
    notes: tuple[str, ...] = ()
    own_level: bool = True

    def scores(self, rows: Table) -> Floats:
        """Return [n] past values, at least 0; NaN of what is missing counts 0."""
        found = np.stack([scale.raw(rows[name]) for name, scale in zip(self.values, self.scales, strict=False)], axis=1)
        season = len(self.values)
        first = np.ones(len(rows)) if not self.ahead else np.nan_to_num(self.scales[-1].raw(rows[self.ahead]), nan=1.0)
        place = season - 1 - np.mod(np.rint(first).astype(np.int64) - 1, season)
        return np.maximum(np.nan_to_num(np.take_along_axis(found, place[:, None], axis=1)[:, 0]), 0.0)

    def onnx(self) -> Any:
        """Return the graph, computed in float64."""
        graph = GraphBuilder("last_of_season")
        given = declare_inputs(graph, self.columns)
        zero, one = graph.constant(0.0, np.float64), graph.constant(1, np.int64)
        raw = [_add_raw(graph, given[name], scale) for name, scale in zip(self.values, self.scales, strict=False)]
        found = graph.add("Concat", *raw, axis=1)
        if self.ahead:
            season = graph.constant(len(self.values), np.int64)
            window = _add_known(graph, _add_raw(graph, given[self.ahead], self.scales[-1]), graph.constant(1.0, np.float64))
            window = graph.add("Sub", graph.add("Cast", graph.add("Round", window), to=TensorProto.INT64), one)
            place = graph.add("Sub", graph.add("Sub", season, one), graph.add("Mod", window, season))
            found = graph.add("GatherElements", found, place, axis=1)
        elif len(raw) > 1:
            found = raw[-1]
        found = graph.add("Max", _add_known(graph, found, zero), zero)
        graph.output(graph.add("Cast", found, to=TensorProto.FLOAT), SCORE, "float32", ["batch", 1])
        return graph.model()

    def save(self, folder: Path) -> None:
        """Write which columns are read."""
        content = {"columns": [column.to_json() for column in self.columns], "scales": [scale.to_json() for scale in self.scales]}
        write_content(folder, content | {"values": list(self.values), "ahead": self.ahead})


class _Rule(Learner[Any]):
    complexity: ClassVar[int] = 1
    tags: ClassVar[Tags] = _QUANTITIES

    def fit(self, data: TrainingData, seed: int) -> LastOfSeason:
        """Look which columns there are; errors as in ``Learner.fit``."""
        del seed
        self.check(data)
        values, ahead = self._read(data.columns)
        names = (*values, *([ahead] if ahead else []))
        columns = tuple(column for column in data.columns if column.name in names)
        return LastOfSeason(columns, values, ahead, tuple(data.scale(name) for name in names))

    def unsuitable(self, columns: Sequence[Column]) -> str:
        """Return which column of the label's past it lacks."""
        return "" if self._read(columns)[0] else "needs a column of what is predicted in earlier windows (past_windows)"

    def _read(self, columns: Sequence[Column]) -> tuple[tuple[str, ...], str]:
        """Return the columns of past values, the latest first, and that of the window, or ""."""
        raise NotImplementedError

    def load(self, folder: Path) -> LastOfSeason:
        """Read what ``LastOfSeason.save`` wrote."""
        content = read_content(folder)
        columns = tuple(Column.from_json(each) for each in content["columns"])
        scales = tuple(Scale.from_json(each) for each in content["scales"])
        return LastOfSeason(columns, tuple(content["values"]), content["ahead"], scales)


class RecentMeanLearner(_Rule):
    """Answers with the mean of recent windows."""

    name: ClassVar[str] = "recent_mean"
    title: ClassVar[str] = "mean of the last 28 days"
    settings: ClassVar[type[Settings]] = RecentMeanSettings
    config: RecentMeanSettings

    def _read(self, columns: Sequence[Column]) -> tuple[tuple[str, ...], str]:
        return tuple(column.name for column in columns if column.name == self.config.column), ""


class SeasonalNaiveLearner(_Rule):
    """Answers with what came in the last window of the same place in the week."""

    name: ClassVar[str] = "seasonal_naive"
    title: ClassVar[str] = "seasonal naive"
    settings: ClassVar[type[Settings]] = SeasonalNaiveSettings
    config: SeasonalNaiveSettings

    def _read(self, columns: Sequence[Column]) -> tuple[tuple[str, ...], str]:
        known = {column.name for column in columns}
        lags = range(1, len(known) + 1)
        found = [name for lag in lags if (name := self.config.last.format(lag=lag)) in known]
        return tuple(found), self.config.ahead if self.config.ahead in known and found else ""


def _add_raw(graph: GraphBuilder, value: str, scale: Scale) -> str:
    """Add ``Scale.raw`` of a float32 input to a graph; float64."""
    spread, mean, one = (graph.constant(number, np.float64) for number in (scale.spread, scale.mean, 1.0))
    found = graph.add("Add", graph.add("Mul", as_double(graph, value), spread), mean)
    return graph.add("Sub", graph.add("Exp", found), one) if scale.log else found


def _add_known(graph: GraphBuilder, value: str, otherwise: str) -> str:
    """Add ``otherwise`` in place of NaN."""
    return graph.add("Where", graph.add("IsNaN", value), otherwise, value)
