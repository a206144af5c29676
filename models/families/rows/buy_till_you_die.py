"""Buy till you die: BG/NBD for the number of a user's orders and Gamma-Gamma for their value, as a model of rows.

Users who never ordered get the mean of their like in training. A quantity is expected orders, or expected orders times the expected value
of one, whichever suits the training labels better. Where the training total is within a quarter of it, that is the level, which the
process carries forward by itself; else one factor makes the training total right. A probability follows from
expected orders by a logistic regression on their logarithm: expected orders, and not the probability of being alive, which is 1 for
whoever ordered once. The likelihood counts each training row, so a user who is asked about often counts often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import numpy as np
from onnx import TensorProto
from pydantic import Field

from cartwheel.core.settings import Settings
from models.families.family import BOTH_ANSWERS, Fitted, Floats, Learner, Tags, TrainingData
from models.families.rows.answers import SCORE, log_odds, read_content, write_content
from models.families.rows.design import declare_inputs
from models.families.rows.purchase_process import Process, Values, as_double, fit_process, fit_values
from models.metrics.quantities import poisson_deviance
from models.training.tables import Table
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.features.column import CONTINUOUS, Column
from workflows.features.scale import Scale
from workflows.tasks.task import Answer

_WEEK: Final = 7.0
_HORIZON: Final = 30.0
_SOME: Final = 1e-3
"""Expected orders are taken as no fewer than this before their logarithm."""
_ORDERED: Final = 0.5
_ALIKE: Final = 1.25
"""Totals of which neither is more than so many times the other are of one unit."""


class BuyTillYouDieSettings(Settings):
    """Settings of BG/NBD and Gamma-Gamma."""

    orders: str = "user_orders"
    """Column with the number of orders."""
    since_first: str = "user_days_since_first_purchase"
    """Column of the days since the first order."""
    since_last: str = "user_days_since_purchase"
    """Column of the days since the last order."""
    value: str = "user_mean_order_value"
    """Column of the mean value of an order."""
    rows: Annotated[int, Field(ge=100)] = 20_000
    """Maximum number of training rows for the likelihood, drawn with the seed."""


@dataclass(frozen=True)
class History:
    """What the models read of [n] users: float64, weeks and money."""

    orders: Floats
    repeats: Floats
    last: Floats
    age: Floats
    mean: Floats


@dataclass
class BuyTillYouDie(Fitted):
    """Fitted processes, and how they become a score.

    Attributes:
        columns: of orders, days since the first and the last, and value, in the order of the training data.
        names: the same four in the order of the settings.
        scales: of each name.
        process: of orders.
        values: of what one is worth; None where the score looks at orders alone.
        weeks: that are looked ahead.
        weight: of a quantity the factor of what is expected; of log odds the weight of its logarithm.
        bias: of log odds; 0 of quantities.
        never: score of users without an order.
        quantity: whether the score is a quantity.
        own_level: whether ``weight`` is 1 for the process's own level.
    """

    columns: tuple[Column, ...]
    names: tuple[str, ...]
    scales: tuple[Scale, ...]
    process: Process
    values: Values | None
    weeks: float
    weight: float
    bias: float
    never: float
    quantity: bool
    notes: tuple[str, ...] = ()
    own_level: bool = False

    def scores(self, rows: Table) -> Floats:
        """Return [n] log odds, or expected quantities."""
        past = history([scale.raw(rows[name]) for name, scale in zip(self.names, self.scales, strict=True)])
        return np.where(past.orders > _ORDERED, self._score(self.expected(past)), self.never)

    def expected(self, past: History) -> Floats:
        """Return [n] expected orders, or money where there are values."""
        orders = self.process.expected(past.repeats, past.last, past.age, self.weeks)
        return orders if self.values is None else orders * self.values.expected(past.orders, past.mean)

    def _score(self, expected: Floats) -> Floats:
        return self.weight * expected if self.quantity else self.bias + self.weight * np.log(np.maximum(expected, _SOME))

    def onnx(self) -> Any:
        """Return the graph, computed in float64."""
        graph = GraphBuilder("buy_till_you_die")
        inputs = declare_inputs(graph, self.columns)
        raw = [_add_raw(graph, inputs[name], scale) for name, scale in zip(self.names, self.scales, strict=True)]
        orders, age, last, mean = _add_history(graph, raw)
        one = graph.constant(1.0, np.float64)
        repeats = graph.add("Max", graph.add("Sub", orders, one), graph.constant(0.0, np.float64))
        found = self.process.add(graph, repeats, last, age, self.weeks)
        if self.values is not None:
            found = graph.add("Mul", found, self.values.add(graph, orders, mean))
        if not self.quantity:
            found = graph.add("Log", graph.add("Max", found, graph.constant(_SOME, np.float64)))
        found = graph.add(
            "Add", graph.add("Mul", found, graph.constant(self.weight, np.float64)), graph.constant(self.bias, np.float64)
        )
        there = graph.add("Greater", orders, graph.constant(_ORDERED, np.float64))
        found = graph.add("Where", there, found, graph.constant(self.never, np.float64))
        graph.output(graph.add("Cast", found, to=TensorProto.FLOAT), SCORE, "float32", ["batch", 1])
        return graph.model()

    def save(self, folder: Path) -> None:
        """Write the parameters."""
        kept = ("names", "weeks", "weight", "bias", "never", "quantity", "notes", "own_level")
        content = {name: getattr(self, name) for name in kept} | {
            "columns": [column.to_json() for column in self.columns],
            "scales": [scale.to_json() for scale in self.scales],
            "process": asdict(self.process),
            "values": asdict(self.values) if self.values else None,
        }
        write_content(folder, content)


class BuyTillYouDieLearner(Learner[BuyTillYouDieSettings]):
    """Fits BG/NBD and Gamma-Gamma."""

    name: ClassVar[str] = "buy_till_you_die"
    title: ClassVar[str] = "BG/NBD with Gamma-Gamma"
    complexity: ClassVar[int] = 2
    tags: ClassVar[Tags] = Tags(BOTH_ANSWERS, "rows", CONTINUOUS, random=True)
    settings: ClassVar[type[Settings]] = BuyTillYouDieSettings

    def unsuitable(self, columns: Sequence[Column]) -> str:
        """Return which column of a user's orders it lacks."""
        known = {column.name for column in columns}
        lacking = [name for name in self._names() if name not in known]
        return f"needs a column {lacking[0]!r} of a user's orders" if lacking else ""

    def _names(self) -> tuple[str, ...]:
        return self.config.orders, self.config.since_first, self.config.since_last, self.config.value

    def fit(self, data: TrainingData, seed: int) -> BuyTillYouDie:
        """Fit both processes, then the level; errors as in ``Learner.fit``."""
        self.check(data)
        names = self._names()
        scales = tuple(data.scale(name) for name in names)
        past = history([scale.raw(data.train[name]) for name, scale in zip(names, scales, strict=True)])
        columns = tuple(column for column in data.columns if column.name in names)
        ordered = past.orders > _ORDERED
        drawn = np.sort(np.random.default_rng(seed).permutation(np.flatnonzero(ordered))[: self.config.rows])
        weeks = (data.horizon_days or _HORIZON) / _WEEK
        if not len(drawn):
            drawn = np.arange(len(ordered))
        process, sound = fit_process(past.repeats[drawn], past.last[drawn], past.age[drawn])
        never = _level(data.label[~ordered] if (~ordered).any() else data.label, data)
        model = BuyTillYouDie(columns, names, scales, process, None, weeks, 1.0, 0.0, never, data.answer is Answer.QUANTITY)
        notes: tuple[str, ...] = (
            f"an order rate of {process.r:.3g} / {process.alpha:.3g} weeks, stopping by beta({process.a:.3g}, {process.b:.3g})",
        )
        if not sound:
            notes = (*notes, "the likelihood of BG/NBD did not converge from the best start")
        model = self._in_money(model, data, past, drawn) if model.quantity else _as_log_odds(model, data, past, ordered)
        model.notes = (*notes, *model.notes)
        return model

    def _in_money(self, model: BuyTillYouDie, data: TrainingData, past: History, drawn: Any) -> BuyTillYouDie:
        """Return the model that suits the training labels better: of orders, or of orders times their value."""
        worth = drawn[past.mean[drawn] > 0]
        made = [(model, "it predicts a number of orders")]
        if len(worth):
            values, sound = fit_values(past.orders[worth], past.mean[worth])
            note = "it predicts orders times the value of one" + ("" if sound else "; the likelihood of values did not converge")
            made.append((BuyTillYouDie(**{**vars(model), "values": values}), note))
        ordered = past.orders > _ORDERED
        label, found = data.label[ordered], []
        for each, note in made:
            expected = each.expected(past)[ordered]
            total = float(expected.sum())
            ratio = float(label.sum()) / total if total > 0 else 0.0
            each.own_level = max(ratio, 1.0 / ratio if ratio else np.inf) <= _ALIKE
            each.weight = 1.0 if each.own_level else ratio
            each.notes = (note,)
            found.append((poisson_deviance(label, each.weight * expected), each))
        return min(found, key=lambda each: each[0])[1]

    def load(self, folder: Path) -> BuyTillYouDie:
        """Read what ``BuyTillYouDie.save`` wrote."""
        content = read_content(folder)
        return BuyTillYouDie(
            **{
                **content,
                "columns": tuple(Column.from_json(each) for each in content["columns"]),
                "names": tuple(content["names"]),
                "scales": tuple(Scale.from_json(each) for each in content["scales"]),
                "process": Process(**content["process"]),
                "values": Values(**content["values"]) if content["values"] else None,
                "notes": tuple(content["notes"]),
            }
        )


def history(raw: Sequence[Floats]) -> History:
    """Return what the models read of raw orders, days since the first and the last one, and mean value; [n] each.

    Orders are whole, but for what their encoding has rounded.
    """
    orders, age, since, mean = np.rint(raw[0]), *raw[1:]
    age = np.maximum(age, 0.0) / _WEEK
    last = np.clip(age - since / _WEEK, 0.0, age)
    return History(orders, np.maximum(orders - 1.0, 0.0), last, age, np.maximum(mean, 0.0))


def _add_raw(graph: GraphBuilder, value: str, scale: Scale) -> str:
    """Add ``Scale.raw`` of a float32 input to a graph; float64."""
    spread, mean, one = (graph.constant(number, np.float64) for number in (scale.spread, scale.mean, 1.0))
    found = graph.add("Add", graph.add("Mul", as_double(graph, value), spread), mean)
    return graph.add("Sub", graph.add("Exp", found), one) if scale.log else found


def _add_history(graph: GraphBuilder, raw: Sequence[str]) -> tuple[str, str, str, str]:
    """Add ``history`` to a graph: orders, age, last, mean."""
    orders, first, since, mean = graph.add("Round", raw[0]), *raw[1:]
    zero, week = graph.constant(0.0, np.float64), graph.constant(_WEEK, np.float64)
    age = graph.add("Div", graph.add("Max", first, zero), week)
    last = graph.add("Min", graph.add("Max", graph.add("Sub", age, graph.add("Div", since, week)), zero), age)
    return orders, age, last, graph.add("Max", mean, zero)


def _level(label: Floats, data: TrainingData) -> float:
    return log_odds(label) if data.answer is Answer.PROBABILITY else float(label.mean())


def _as_log_odds(model: BuyTillYouDie, data: TrainingData, past: History, ordered: Any) -> BuyTillYouDie:
    """Set weight and bias of log odds by a logistic regression on the logarithm of expected orders."""
    from sklearn.linear_model import LogisticRegression

    label = data.label[ordered].astype(np.int64)
    if len(np.unique(label)) < 2:
        model.weight, model.bias = 0.0, _level(data.label, data)
        return model
    logs = np.log(np.maximum(model.expected(past)[ordered], _SOME))
    line = LogisticRegression(C=1.0).fit(logs[:, None], label)
    model.weight, model.bias = float(line.coef_[0, 0]), float(line.intercept_[0])
    return model
