# ruff: noqa: ANN001, ANN201 - as short as a shop would write it
import numpy as np
import polars as pl

from cartwheel import Answer, Column, Entity, FeatureFamily, Kind, Label, Labels, Learner, Metric, Owner, Tags, Task
from cartwheel.core.settings import Settings
from models.families.family import ALL_KINDS
from models.families.rows.design import Design
from models.families.rows.linear import Linear, LogisticRegressionLearner
from workflows.features.timeline import Timeline
from workflows.tasks.anchor_rules import EveryDays

WEEK = 7 * 24 * 3600 * 1_000_000


class CartWeek(FeatureFamily):
    """What a user put into the cart in the last seven days."""

    name, owner = "cart_week", Owner.SHOPPER
    columns = (Column("week_carts", Owner.SHOPPER, Kind.COUNT, "carts of the last 7 days"),)

    def compute(self, log, at):
        carts = Timeline(log, log.key, (log.kind == "cart").to_numpy()).count(at, days=7)
        return pl.DataFrame({"week_carts": carts.astype(np.float32)})

    def recompute(self, past):
        return {"week_carts": sum(event.kind == "cart" and event.time >= past.anchor - WEEK for event in past.events)}


class BuysTwice(Label):
    """Whether a user buys at least twice in the seven days ahead."""

    answer, horizon_us = Answer.PROBABILITY, WEEK

    def of(self, log, at):
        bought, ends = (log.kind == "purchase").to_numpy(), at.anchor + WEEK
        counts = [
            (bought & (log.key == who) & (log.time >= start) & (log.time < start + WEEK)).sum()
            for who, start in zip(at.entity, at.anchor, strict=True)
        ]
        return Labels((np.array(counts) >= 2).astype(float), known_at=ends)

    def recompute(self, future):
        return float(sum(e.kind == "purchase" and e.time < future.anchor + WEEK for e in future.events) >= 2)


def loyal():
    asked = EveryDays(Entity.USER, 2)
    return Task("loyal", "Users who buy twice within a week", Entity.USER, asked, BuysTwice(), Answer.PROBABILITY)


class FisherSettings(Settings):
    """What may be set about the discriminant."""

    ridge: float = 0.1
    """Added to each variance."""


class Fisher(Learner[FisherSettings]):
    """Fisher's linear discriminant: the difference of the two means, seen through what the columns share."""

    name, title, complexity, settings = "fisher", "linear discriminant", 2, FisherSettings
    tags = Tags(frozenset({Answer.PROBABILITY}), "rows", ALL_KINDS)

    def fit(self, data, seed):
        self.check(data)
        design = Design.of(data.columns, data.train, max_levels=20, min_rows=20)
        rows = design.matrix(data.train).astype(np.float64)
        yes, no = (rows[data.label == value].mean(axis=0) for value in (1, 0))
        shared = np.cov(rows.T).reshape(rows.shape[1], -1) + self.config.ridge * np.eye(rows.shape[1])
        weights, rate = np.linalg.solve(shared, yes - no), data.label.mean()
        return Linear(design, weights, float(np.log(rate / (1 - rate)) - weights @ (yes + no) / 2), None)

    def load(self, folder):
        return LogisticRegressionLearner().load(folder)


HALVES = Metric(
    "halves", "Right side", "Fraction of rows on the right side of a half.", "higher", frozenset({Answer.PROBABILITY}),
    rows=lambda outcome: ((outcome.predicted > 0.5) == (outcome.truth > 0.5)).astype(float),
)  # fmt: skip
