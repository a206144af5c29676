"""What every family that learns from rows must satisfy.

Inherit it in a test file and name the family::

    class TestMine(LearnerConformance):
        learner = MyLearner
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import DataError
from cartwheel.core.onnx_model import OnnxModel
from models.families.family import ALL_KINDS, Fitted, Floats, Ints, Learner, TrainingData, tuned
from models.metrics.classification import row_log_loss
from models.metrics.grouped import ListNDCG, Lists
from models.metrics.quantities import row_poisson_deviance
from models.training.tables import FIRST_ID, NULL_ID, OOV_ID, Table
from workflows.features.column import CONTINUOUS, LISTS, Column, Kind, Owner
from workflows.tasks.task import Answer

ROWS: Final = 1500
_WIDTH: Final = 4
_IDS: Final = 12

COLUMNS: Final = (
    Column("age", Owner.SHOPPER, Kind.NUMBER, "a number that tells"),
    Column("visits", Owner.SHOPPER, Kind.COUNT, "a number that tells nothing"),
    Column("visits_filled", Owner.SHOPPER, Kind.NUMBER, "it is not known"),
    Column("spent", Owner.SHOPPER, Kind.AMOUNT, "an amount"),
    Column("share", Owner.SHOPPER, Kind.RATIO, "a ratio"),
    Column("channel", Owner.SHOPPER, Kind.CATEGORY, "a category that tells"),
    Column("who", Owner.SHOPPER, Kind.ID, "an id"),
    Column("weekday", Owner.MOMENT, Kind.CALENDAR, "a weekday"),
    Column("tags", Owner.SHOPPER, Kind.TAGS, "tags", width=_WIDTH),
    Column("recent", Owner.SHOPPER, Kind.ID_LIST, "recent items, of which the first tells", width=_WIDTH),
    Column("vector", Owner.SHOPPER, Kind.VECTOR, "a vector", width=3),
)
"""One column or more of each kind."""


def encoded(columns: Sequence[Column], rows: int, seed: int) -> Table:
    """Return random encoded rows: unknown and null ids, and empty lists among them."""
    rng = np.random.default_rng(seed)
    return Table(Path("synthetic"), {column.name: _values(column, rows, rng) for column in columns})


def lists_of(rows: int) -> Ints:
    """Return the list of each row: lists of 1 to 12 rows, one after the other."""
    sizes = np.random.default_rng(rows).integers(1, 13, rows)
    return np.repeat(np.arange(rows), sizes)[:rows]


def answers(table: Table, answer: Answer, seed: int) -> Floats:
    """Return labels that ``age``, ``channel`` and the first of ``recent`` tell, as far as they are there.

    Of a ranking one row of most of ``lists_of`` is chosen, and none of the others. Of an effect the rows are treated as ``arms_of`` the
    same seed has it, which moves those whose ``age`` is high up and others down.
    """
    rng = np.random.default_rng([seed, 1])
    signal = planted(table)
    if answer is Answer.QUANTITY:
        return rng.poisson(np.exp(np.clip(signal, -3.0, 3.0))).astype(np.float64)
    if answer is Answer.RANKING:
        lists = Lists.of(lists_of(len(table)))
        chosen = np.lexsort((-signal - rng.gumbel(size=len(signal)), lists.number))[lists.starts]
        label = np.zeros(len(signal))
        label[chosen[rng.random(len(lists)) < 0.9]] = 1.0
        return label
    if answer is Answer.EFFECT:
        moved = 1.5 * table["age"] if "age" in table.columns else 0.0
        signal = 0.3 * signal + arms_of(len(table), seed) * moved
    return (rng.random(len(table)) < 1.0 / (1.0 + np.exp(-signal))).astype(np.float64)


def arms_of(rows: int, seed: int) -> Floats:
    """Return whether each row is treated, at random: float64, 1 or 0."""
    return (np.random.default_rng([seed, 2]).random(rows) < 0.5).astype(np.float64)


def planted(table: Table) -> Floats:
    """Return what the labels rest on."""
    signal = np.zeros(len(table))
    if "age" in table.columns:
        signal += 1.2 * table["age"]
    if "channel" in table.columns:
        signal += 1.2 * (table["channel"] % 2) - 0.6
    if "recent" in table.columns:
        signal += 1.6 * (table["recent"][:, 0] % 2) - 0.8
    return signal


def sizes_of(columns: Sequence[Column]) -> dict[str, int]:
    """Return column of ids -> number of ids of ``encoded``."""
    return {column.name: _IDS for column in columns if column.kind not in CONTINUOUS and column.kind is not Kind.VECTOR}


def training_data(columns: Sequence[Column], answer: Answer, rows: int = ROWS, seed: int = 0) -> TrainingData:
    """Return training and validation rows with a planted signal."""
    train, valid = (encoded(columns, rows, seed + part) for part in (0, 100))
    labels = [answers(table, answer, seed + part) for part, table in enumerate((train, valid))]
    groups = lists_of(rows) if answer is Answer.RANKING else None
    arms = [arms_of(rows, seed + part) if answer is Answer.EFFECT else None for part in (0, 1)]
    return TrainingData(
        "synthetic",
        answer,
        tuple(columns),
        sizes_of(columns),
        train,
        labels[0],
        valid,
        labels[1],
        groups,
        groups,
        treated=arms[0],
        valid_treated=arms[1],
    )


class LearnerConformance:
    """Inherit it and set ``learner``.

    ``settings`` where the defaults take long, ``learns`` False where the family learns no signal, ``linear`` True where scores are linear
    in the columns of numbers.
    """

    learner: ClassVar[type[Learner[Any]]]
    settings: ClassVar[Mapping[str, Any]] = {}
    learns: ClassVar[bool] = True
    linear: ClassVar[bool] = False
    _fitted: ClassVar[dict[tuple[type, Answer], Fitted]] = {}

    def make(self) -> Learner[Any]:
        """Return the learner, not yet fitted."""
        return self.learner(self.learner.settings(**self.settings))

    def data(self, answer: Answer) -> TrainingData:
        """Return rows of the kinds that the family reads."""
        return training_data([column for column in COLUMNS if column.kind in self.learner.tags.reads], answer)

    def fitted(self, answer: Answer) -> Fitted:
        """Return the model fitted on ``data``, the same one for all tests."""
        key = (type(self), answer)
        if key not in self._fitted:
            self._fitted[key] = self.make().fit(self.data(answer), 0)
        return self._fitted[key]

    def fresh(self, rows: int = 300, seed: int = 7) -> Table:
        """Return other rows of the same columns."""
        return encoded(self.data(self._answers()[0]).columns, rows, seed)

    def _answers(self) -> list[Answer]:
        return sorted(self.learner.tags.answers, key=lambda each: each.value)

    def test_it_declares_itself(self) -> None:
        """A name, a title, a place among families, and defaults for all settings."""
        made = self.learner()
        assert made.name
        assert made.title
        assert made.complexity >= 0
        assert made.tags.answers
        assert made.tags.reads
        assert type(made.config) is self.learner.settings
        for name, range_ in tuned(self.learner.settings).items():
            value = getattr(made.config, name)
            assert range_.low <= value <= range_.high, f"the default {value} of {name} lies outside of {range_}"
            assert range_.low > 0 or not range_.log

    def test_it_learns_what_is_planted(self) -> None:
        """It beats the base rate on rows that it has not seen by far more than chance."""
        for answer in self._answers():
            if answer is Answer.RANKING:
                continue
            data, fresh = self.data(answer), self.fresh(3000)
            label = answers(fresh, answer, 11)
            score, base = self.fitted(answer).scores(fresh), np.full(len(fresh), data.label.mean())
            if answer is Answer.QUANTITY:
                gain = row_poisson_deviance(label, base) - row_poisson_deviance(label, score)
            elif answer is Answer.EFFECT:
                place = np.searchsorted(np.sort(score), score, side="left") + np.searchsorted(np.sort(score), score, side="right")
                gain = (label - label.mean()) * (4.0 * arms_of(len(fresh), 11) - 2.0) * (place / (2.0 * len(fresh)) - 0.5)
            else:
                truth = label.astype(np.int64)
                gain = row_log_loss(truth, base) - row_log_loss(truth, 1.0 / (1.0 + np.exp(-score)))
            error = gain.std() / np.sqrt(len(gain))
            assert gain.mean() > 4 * error if self.learns else abs(gain.mean()) < 4 * error + 1e-3

    def test_it_finds_a_planted_order(self) -> None:
        """From some 230 lists it goes most of the way from chance to what was planted, on lists that it has not seen."""
        if Answer.RANKING not in self.learner.tags.answers:
            return
        fresh = self.fresh(4000)
        ndcg = ListNDCG(answers(fresh, Answer.RANKING, 11), lists_of(len(fresh)))
        chance, truth = ndcg.mean(np.zeros(len(fresh))), ndcg.mean(planted(fresh))
        found = ndcg.mean(self.fitted(Answer.RANKING).scores(fresh))
        assert found > chance + 0.6 * (truth - chance), (
            f"NDCG {found:.3f}, where chance has {chance:.3f} and the truth {truth:.3f}"
        )

    def test_lists_without_an_order_and_grades_are_learnt_from(self) -> None:
        """Lists of one row or without a positive beside others, and labels above 1."""
        if Answer.RANKING not in self.learner.tags.answers:
            return
        data = self.data(Answer.RANKING)
        lists = Lists.of(lists_of(len(data.label)))
        assert (lists.sizes == 1).any()
        assert not lists.differing(data.label).all()
        graded = replace(data, label=data.label * 3.0 + (planted(data.train) > 1.0))
        assert np.isfinite(self.make().fit(graded, 0).scores(self.fresh())).all()

    def test_what_is_constant_within_a_list_changes_no_order(self) -> None:
        """Of a linear model: a column of the query moves all rows of a list alike."""
        if not self.linear or Answer.RANKING not in self.learner.tags.answers:
            return
        data, groups = self.data(Answer.RANKING), lists_of(ROWS)
        shared = (groups % 7).astype(np.float32)
        train = Table(data.train.folder, {**data.train.columns, "visits": shared})
        fitted, fresh = self.make().fit(replace(data, train=train), 0), self.fresh()
        moved = Table(fresh.folder, {**fresh.columns, "visits": fresh["visits"] + np.float32(5.0)})
        order, again = (np.argsort(-fitted.scores(rows), kind="stable") for rows in (fresh, moved))
        np.testing.assert_array_equal(order, again)

    def test_missing_numbers_are_read_or_refused(self) -> None:
        """A family that reads them scores rows with missing numbers, in ONNX alike, whether or not training missed them there."""
        for answer in self._answers():
            data, fresh = self.data(answer), self.fresh(500)
            holed = replace(data, train=_holed(data.train, ("age", "spent")), valid=_holed(data.valid, ("age", "spent")))
            if not self.learner.tags.missing:
                _refused(self.make(), holed, "does not read missing numbers")
                continue
            fitted = self.make().fit(holed, 0)
            model = OnnxModel(fitted.onnx().SerializeToString())
            for rows in (fresh, _holed(fresh, ("age",)), _holed(fresh, ("age", "spent", "visits", "share"))):
                expected = fitted.scores(rows)
                assert np.isfinite(expected).all()
                np.testing.assert_allclose(model.table(rows.columns, "score")[:, 0], expected, rtol=1e-5, atol=1e-5)
            with tempfile.TemporaryDirectory() as name:
                fitted.save(Path(name))
                found = self.learner().load(Path(name)).scores(_holed(fresh, ("age", "visits")))
            np.testing.assert_array_equal(found, fitted.scores(_holed(fresh, ("age", "visits"))))

    def test_scores_are_finite_and_quantities_at_least_0(self) -> None:
        """Also far outside of what training saw."""
        for answer in self._answers():
            fresh = self.fresh()
            far = {name: values * 50 if values.dtype == np.float32 else values for name, values in fresh.columns.items()}
            for rows in (fresh, Table(fresh.folder, far)):
                found = self.fitted(answer).scores(rows)
                assert found.dtype == np.float64
                assert found.shape == (len(rows),)
                assert np.isfinite(found).all()
                assert answer is not Answer.QUANTITY or (found >= 0).all()

    def test_equal_seeds_give_equal_models(self) -> None:
        """Fitting twice gives the same scores."""
        fresh = self.fresh()
        for answer in {self._answers()[0], self._answers()[-1]}:
            again = self.make().fit(self.data(answer), 0)
            np.testing.assert_array_equal(again.scores(fresh), self.fitted(answer).scores(fresh))
            if not self.learner.tags.random:
                other = self.make().fit(self.data(answer), 1).scores(fresh)
                np.testing.assert_array_equal(other, self.fitted(answer).scores(fresh))

    def test_a_row_alone_scores_as_among_others(self) -> None:
        """So a server may batch as it likes."""
        for answer in self._answers():
            fresh, fitted = self.fresh(40), self.fitted(answer)
            together = fitted.scores(fresh)
            order = np.random.default_rng(1).permutation(len(fresh))
            np.testing.assert_allclose(fitted.scores(fresh.at(order)), together[order], rtol=1e-6, atol=1e-6)
            for row in (0, 17):
                np.testing.assert_allclose(fitted.scores(fresh.at(np.array([row]))), together[[row]], rtol=1e-6, atol=1e-6)
            assert fitted.scores(fresh.at(np.zeros(0, np.int64))).shape == (0,)

    def test_what_is_saved_scores_the_same(self) -> None:
        """Saved and read again, without a pickle."""
        for answer in self._answers():
            fresh, fitted = self.fresh(), self.fitted(answer)
            with tempfile.TemporaryDirectory() as name:
                fitted.save(Path(name))
                assert not list(Path(name).rglob("*.pkl"))
                found = self.learner().load(Path(name))
                assert found.columns == fitted.columns
                np.testing.assert_array_equal(found.scores(fresh), fitted.scores(fresh))

    def test_onnx_scores_the_same(self) -> None:
        """Within 1e-5, on rows with unknown, null and missing values and far ones."""
        for answer in self._answers():
            fitted, fresh = self.fitted(answer), self.fresh(2000)
            model = OnnxModel(fitted.onnx().SerializeToString())
            assert set(model.inputs) == {column.name for column in fitted.columns}
            assert model.outputs == ["score"]
            for table in (fresh, *edges(fresh, fitted.columns), fresh.head(1)):
                expected, found = fitted.scores(table), model.table(table.columns, "score")[:, 0]
                assert np.abs(found - expected).max() <= 1e-5 * np.maximum(1.0, np.abs(expected)).max()

    def test_it_reads_some_of_the_columns_in_their_order(self) -> None:
        """A model may leave columns out, but neither adds nor reorders any."""
        for answer in self._answers():
            names = [column.name for column in self.data(answer).columns]
            read = [column.name for column in self.fitted(answer).columns]
            assert read == [name for name in names if name in read]

    def test_contributions_add_up_to_the_score(self) -> None:
        """Where a family has exact ones, they differ from the score by one constant."""
        for answer in self._answers():
            fresh, fitted = self.fresh(), self.fitted(answer)
            parts = fitted.contributions(fresh)
            if parts is not None:
                rest = fitted.scores(fresh) - parts.sum(axis=1)
                assert parts.shape == (len(fresh), len(fitted.columns))
                np.testing.assert_allclose(rest, np.full(len(fresh), rest[0]), rtol=1e-5, atol=1e-5)

    def test_it_works_without_validation_rows(self) -> None:
        """A short log has none of one class."""
        for answer in {self._answers()[0], self._answers()[-1]}:
            data = self.data(answer)
            empty = replace(
                data, valid=data.valid.at(np.zeros(0, np.int64)), valid_label=np.zeros(0), valid_groups=None, valid_treated=None
            )
            assert np.isfinite(self.make().fit(empty, 0).scores(self.fresh())).all()

    def test_what_cannot_be_learnt_is_refused_in_a_sentence(self) -> None:
        """No row, one class, a negative or missing quantity, an answer or a kind that is not the family's."""
        for answer in self._answers():
            data = self.data(answer)
            none = replace(data, train=data.train.at(np.zeros(0, np.int64)), label=np.zeros(0), groups=None)
            _refused(self.make(), none, "no training row")
            _refused(self.make(), replace(data, label=np.zeros(len(data.label))), "labels are 0")
            _refused(self.make(), replace(data, label=np.where(np.arange(len(data.label)) == 3, np.nan, data.label)), "row 3")
            _refused(self.make(), replace(data, columns=()), "needs a column")
            if answer is Answer.QUANTITY:
                _refused(self.make(), replace(data, label=data.label - 1.0), "at least 0")
            if answer is Answer.RANKING:
                self._refuses_what_is_no_list(data)
        for answer in set(Answer) - self.learner.tags.answers:
            _refused(self.make(), replace(self.data(self._answers()[0]), answer=answer), answer.value)
        for kind in ALL_KINDS - self.learner.tags.reads:
            strange = Column("strange", Owner.SHOPPER, kind, "of a kind that is not read")
            data = self.data(self._answers()[0])
            _refused(self.make(), replace(data, columns=(*data.columns, strange)), f"'strange' of kind {kind.value}")

    def _refuses_what_is_no_list(self, data: TrainingData) -> None:
        groups = lists_of(len(data.label))
        _refused(self.make(), replace(data, groups=None), "the list of each training row is missing")
        _refused(self.make(), replace(data, valid_groups=None), "the list of each validation row is missing")
        _refused(self.make(), replace(data, groups=groups[1:]), f"for {len(groups)} training rows")
        scattered = np.where(np.arange(len(groups)) == len(groups) - 1, 0, groups)
        _refused(self.make(), replace(data, groups=scattered), "rows of list 0 are scattered")
        _refused(self.make(), replace(data, label=data.label + 0.5), "training row 0 is")
        _refused(self.make(), replace(data, label=data.label - 1.0), "a whole number from 0")
        _refused(self.make(), replace(data, label=(groups % 2).astype(np.float64)), "nothing to learn")


def _holed(table: Table, names: Sequence[str]) -> Table:
    changed = dict(table.columns)
    for place, name in enumerate(names):
        if name in changed:
            gone = np.random.default_rng(place).random(len(table)) < 0.3
            changed[name] = np.where(gone, np.float32(np.nan), changed[name])
    return Table(table.folder, changed)


def edges(table: Table, columns: Sequence[Column]) -> list[Table]:
    """Return the rows with all ids unknown, all null, all lists empty, and all numbers 0 or far."""
    made = []
    for number, value in ((0.0, OOV_ID), (-40.0, NULL_ID), (40.0, FIRST_ID)):
        changed = dict(table.columns)
        for column in columns:
            fill = number if table[column.name].dtype == np.float32 else 0 if column.kind in LISTS else value
            changed[column.name] = np.full_like(table[column.name], fill)
        made.append(Table(table.folder, changed))
    return made


def _values(column: Column, rows: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    if column.name.endswith("_filled"):
        return (rng.random(rows) < 0.2).astype(np.float32)
    if column.kind in CONTINUOUS:
        return rng.normal(size=rows).astype(np.float32)
    if column.kind is Kind.VECTOR:
        return rng.normal(size=(rows, column.width)).astype(np.float32)
    if column.kind not in LISTS:
        return rng.integers(NULL_ID, _IDS, rows).astype(np.int32)
    ids, length = rng.integers(OOV_ID, _IDS, (rows, column.width)), rng.integers(0, column.width + 1, rows)
    return np.where(np.arange(column.width) < length[:, None], ids, 0).astype(np.int32)


def _refused(learner: Learner[Any], data: TrainingData, expected: str) -> None:
    found = ""
    try:
        learner.fit(data, 0)
    except DataError as error:
        found = str(error)
    assert found, f"{learner.name} learnt from data that it should refuse ({expected})"
    assert expected in found, f"{found} does not hold {expected!r}"
    assert learner.name in found
