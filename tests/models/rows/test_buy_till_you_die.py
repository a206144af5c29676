"""BG/NBD and Gamma-Gamma: published parameters, planted ones, and the laws of learners."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import hyp2f1

from cartwheel.testing import LearnerConformance
from cartwheel.testing.learner import COLUMNS, training_data
from models.families.family import Floats, TrainingData
from models.families.rows.buy_till_you_die import BuyTillYouDieLearner, BuyTillYouDieSettings
from models.families.rows.purchase_process import Process, Values, fit_process, fit_values
from models.metrics.quantities import poisson_deviance
from models.training.tables import Table
from workflows.features.column import CONTINUOUS, Column, Kind, Owner
from workflows.features.scale import Scale
from workflows.tasks.task import Answer

CDNOW = Path(__file__).resolve().parents[4] / "shared" / "data" / "cdnow" / "CDNOW_master.txt"
PLANTED, WORTH = Process(0.5, 4.0, 0.8, 2.5), Values(6.0, 4.0, 15.0)
NAMES = ("user_orders", "user_days_since_first_purchase", "user_days_since_purchase", "user_mean_order_value")
SCALES = {name: Scale(1.5, 0.7, log=True) for name in NAMES}


class TestBuyTillYouDie(LearnerConformance):
    """On columns that mean nothing to it."""

    learner = BuyTillYouDieLearner
    settings = {"orders": "visits", "since_first": "spent", "since_last": "share", "value": "age"}  # noqa: RUF012

    def test_it_learns_what_is_planted(self) -> None:
        """Of customers who buy till they die, those of the suite do not."""
        data, (rows, truth) = data_of(Answer.QUANTITY), rows_of(Answer.QUANTITY, 3, 1500)
        loss = poisson_deviance(truth, BuyTillYouDieLearner().fit(data, 0).scores(rows))
        assert loss < 0.8 * poisson_deviance(truth, np.full(len(truth), data.label.mean()))


def simulated(customers: int, weeks: float, ahead: float, seed: int) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """Draw customers of ``PLANTED`` and ``WORTH``: repeats, last, age, mean value, and orders and money of the weeks ahead."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(customers):
        rate, stop = rng.gamma(PLANTED.r, 1.0 / PLANTED.alpha), rng.beta(PLANTED.a, PLANTED.b)
        spread = WORTH.p / rng.gamma(WORTH.q, 1.0 / WORTH.v)  # the mean is p / nu, with nu of a gamma distribution
        age, time, times = rng.uniform(4.0, weeks), 0.0, [0.0]
        while rng.random() >= stop or len(times) == 1:
            time += rng.exponential(1.0 / max(rate, 1e-9))
            if time > age + ahead:
                break
            times.append(time)
        seen = [each for each in times if each <= age]
        value = rng.gamma(WORTH.p, spread / WORTH.p, len(times))
        later = value[len(seen) :].sum()
        rows.append((len(seen) - 1, seen[-1], age, value[: len(seen)].mean(), len(times) - len(seen), later))
    return tuple(np.array(rows, np.float64).T)  # type: ignore[return-value]


def rows_of(answer: Answer, seed: int, customers: int = 1500) -> tuple[Table, Floats]:
    repeats, last, age, mean, orders, money = simulated(customers, 40.0, 12.0, seed)
    raw = dict(zip(NAMES, (repeats + 1, 7 * age, 7 * (age - last), mean), strict=True))
    encoded = {name: ((np.log1p(each) - 1.5) / 0.7).astype(np.float32) for name, each in raw.items()}
    return Table(Path("simulated"), encoded), money if answer is Answer.QUANTITY else (orders > 0).astype(np.float64)


def data_of(answer: Answer) -> TrainingData:
    (train, label), (valid, valid_label) = rows_of(answer, 1), rows_of(answer, 2, 500)
    columns = tuple(Column(name, Owner.SHOPPER, Kind.AMOUNT, name) for name in NAMES)
    return TrainingData("spend", answer, columns, {}, train, label, valid, valid_label, scales=SCALES, horizon_days=84.0)


def test_expected_purchases_are_the_published_formula() -> None:
    rng = np.random.default_rng(0)
    for process in (Process(0.243, 4.414, 0.793, 2.426), Process(1.2, 8.0, 1.6, 0.3), Process(0.3, 0.9, 0.2, 0.5)):
        x, age = rng.integers(0, 30, 200).astype(float), rng.uniform(2.0, 60.0, 200)
        last = np.where(x > 0, age * rng.random(200), 0.0)
        r, alpha, a, b = vars(process).values()
        z = 12.0 / (alpha + age + 12.0)
        series = hyp2f1(r + x, b + x, a + b + x - 1, z) * (1 - z) ** (r + x)
        gone = np.where(x > 0, a / (b + x - 1) * ((alpha + age) / (alpha + last)) ** (r + x), 0.0)
        expected = (a + b + x - 1) / (a - 1) * (1 - series) / (1 + gone)
        np.testing.assert_allclose(process.expected(x, last, age, 12.0), expected, rtol=1e-6, atol=1e-9)


def test_an_example_of_the_paper() -> None:
    """Customer 1 of the paper's spreadsheet: 2 repeats, the last after 30.43 weeks of 38.86; 1.2260 orders in the next 39 weeks."""
    process = Process(0.242594, 4.413532, 0.792918, 2.425894)
    found = process.expected(np.array([2.0]), np.array([30.428571]), np.array([38.857143]), 39.0)
    assert found[0] == pytest.approx(1.2260, abs=5e-4)


def test_planted_parameters_are_found() -> None:
    repeats, last, age, mean, _, _ = simulated(5000, 40.0, 0.0, 5)
    process, converged = fit_process(repeats, last, age)
    assert converged
    assert process.r / process.alpha == pytest.approx(PLANTED.r / PLANTED.alpha, rel=0.15)
    worth, converged = fit_values(repeats + 1, mean)
    assert converged
    assert worth.p * worth.v / (worth.q - 1) == pytest.approx(WORTH.p * WORTH.v / (WORTH.q - 1), rel=0.05)
    assert process.log_likelihood(repeats, last, age).mean() >= PLANTED.log_likelihood(repeats, last, age).mean()


@pytest.mark.parametrize("answer", [Answer.PROBABILITY, Answer.QUANTITY])
def test_it_predicts_simulated_customers(answer: Answer) -> None:
    fitted = BuyTillYouDieLearner().fit(data_of(answer), 0)
    rows, truth = rows_of(answer, 3, 2500)
    found = fitted.scores(rows)
    if answer is Answer.QUANTITY:
        assert fitted.values is not None
        assert (fitted.own_level, fitted.weight) == (True, 1.0)
        assert found.sum() == pytest.approx(truth.sum(), rel=0.1)
        assert np.corrcoef(found, truth)[0, 1] > 0.5
    else:
        assert (1 / (1 + np.exp(-found))).mean() == pytest.approx(truth.mean(), abs=0.02)
        top = np.argsort(-found)[:250]
        assert truth[top].mean() > 2 * truth.mean()


def test_money_of_another_unit_gets_a_factor() -> None:
    data = data_of(Answer.QUANTITY)
    fitted = BuyTillYouDieLearner().fit(replace(data, label=data.label * 100.0), 0)
    assert not fitted.own_level
    assert fitted.weight == pytest.approx(100.0, rel=0.25)


def test_users_without_an_order_get_the_mean_of_their_like() -> None:
    data = data_of(Answer.QUANTITY)
    never = np.arange(len(data.label)) % 5 == 0
    nothing = np.float32((0.0 - 1.5) / 0.7)
    train = Table(data.train.folder, {**data.train.columns, NAMES[0]: np.where(never, nothing, data.train[NAMES[0]])})
    fitted = BuyTillYouDieLearner().fit(replace(data, train=train), 0)
    np.testing.assert_allclose(fitted.scores(train)[never], data.label[never].mean(), rtol=1e-6)


def test_a_task_without_orders_is_not_its_task() -> None:
    columns = [column for column in COLUMNS if column.kind in CONTINUOUS]
    assert "needs a column 'user_orders'" in BuyTillYouDieLearner().unsuitable(columns)
    assert not BuyTillYouDieLearner(BuyTillYouDieSettings(**TestBuyTillYouDie.settings)).unsuitable(columns)
    assert training_data(columns, Answer.QUANTITY).scale("visits") == Scale()


@pytest.mark.skipif(not CDNOW.is_file(), reason="LOUD: the CDNOW data set is not here")
def test_cdnow_has_the_published_parameters() -> None:
    """Of the paper (a tenth of these customers): r .243, alpha 4.414, a .793, b 2.426, log likelihood -9,582.4 of 2,357 customers."""
    rows = [line.split() for line in CDNOW.read_text().splitlines()]
    frame = pl.DataFrame({"who": [row[0] for row in rows], "day": [row[1] for row in rows]})
    frame = frame.with_columns(pl.col("day").str.to_date("%Y%m%d", strict=False)).drop_nulls().unique()
    end = pl.date(1997, 9, 30)
    frame = (
        frame.filter(pl.col("day") <= end)
        .group_by("who")
        .agg(pl.len() - 1, pl.col("day").min().alias("first"), pl.col("day").max())
    )
    weeks = frame.select(
        pl.col("len"), (pl.col("day") - pl.col("first")).dt.total_days() / 7, (end - pl.col("first")).dt.total_days() / 7
    )
    repeats, last, age = (weeks[name].to_numpy().astype(float) for name in weeks.columns)
    process, converged = fit_process(repeats, last, age)
    assert converged
    assert process.log_likelihood(repeats, last, age).mean() == pytest.approx(-9582.4 / 2357, rel=0.02)
    published = Process(0.243, 4.414, 0.793, 2.426)
    ahead = (process.expected(repeats, last, age, 39.0).mean(), published.expected(repeats, last, age, 39.0).mean())
    assert ahead[0] == pytest.approx(ahead[1], rel=0.05)
