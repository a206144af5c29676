"""The interface of model families: a learner with typed settings, and a fitted model that scores, exports and explains.

A family that answers rows (``learns_from="rows"``) is one file: a ``Learner`` with its settings, registered by name in
``models.families.registry``. The suite ``cartwheel.testing.LearnerConformance`` holds every family to the same laws.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import DataError
from cartwheel.core.settings import Settings
from models.families.checks import check_arms, check_labels, check_lists, check_missing
from models.training.tables import Table
from workflows.features.column import Column, Kind
from workflows.features.scale import Scale
from workflows.tasks.task import DECLARED_ANSWERS, Answer

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
C = TypeVar("C", bound=Settings)

ALL_KINDS: Final = frozenset(Kind)
BOTH_ANSWERS: Final = frozenset(DECLARED_ANSWERS)
"""What the label of a declared task can be."""
ALL_ANSWERS: Final = BOTH_ANSWERS | {Answer.RANKING}
"""What a label of rows or of lists can be."""


@dataclass(frozen=True)
class Tune:
    """The range of a setting that a study searches: ``field: Annotated[float, Tune(0.001, 0.1, log=True)]``.

    Attributes:
        low: least value.
        high: highest value.
        log: whether steps are even on a logarithmic scale.
    """

    low: float
    high: float
    log: bool = False


def tuned(settings: type[Settings]) -> dict[str, Tune]:
    """Return setting -> the range that a study searches, of those that declare one."""
    fields = settings.model_fields.items()
    return {name: each for name, field in fields for each in field.metadata if isinstance(each, Tune)}


@dataclass(frozen=True)
class Tags:
    """What a family can do.

    Attributes:
        answers: the kinds of answers that it gives.
        learns_from: rows with labels, or the pairs and interactions of a recommender.
        reads: kinds of columns that it reads; others are refused in a sentence.
        random: whether the seed changes what it learns.
        missing: whether it reads missing numbers (NaN); others refuse them in a sentence.
    """

    answers: frozenset[Answer]
    learns_from: Literal["rows", "pairs", "interactions"]
    reads: frozenset[Kind]
    random: bool = False
    missing: bool = False


@dataclass(frozen=True)
class TrainingData:
    """Encoded rows of one task.

    Attributes:
        task: name, for messages.
        answer: what the labels are.
        columns: what the rows hold, in the order of the model's inputs.
        sizes: categorical or list column -> number of ids, the three reserved ones included (0 padding, 1 null, 2 out of vocabulary).
        train: rows to learn from: int32 ids, float32 numbers (NaN where missing), ``[N, width]`` lists and vectors.
        label: [N] float64; of a ranking 0 or 1, or grades, whole numbers from 0 to 31.
        valid: rows to stop and to choose by.
        valid_label: [M] float64.
        groups: [N] int64, the list that each training row is in; the rows of a list follow one another. Of a ranking only.
        valid_groups: [M] int64, the same of validation rows.
        scales: column of numbers -> how its values are read back in their own unit; one that is not there is in it.
        horizon_days: length of the window that the label looks at; 0 where there is none.
        treated: [N] 1 where a training row was treated, else 0. Of an effect only.
        valid_treated: [M] the same of validation rows.
    """

    task: str
    answer: Answer
    columns: tuple[Column, ...]
    sizes: Mapping[str, int]
    train: Table
    label: Floats
    valid: Table
    valid_label: Floats
    groups: Ints | None = None
    valid_groups: Ints | None = None
    scales: Mapping[str, Scale] = field(default_factory=dict)
    horizon_days: float = 0.0
    treated: Floats | None = None
    valid_treated: Floats | None = None

    def scale(self, column: str) -> Scale:
        """Return how the values of a column are read back in their own unit."""
        return self.scales.get(column, Scale())


class Fitted(ABC):
    """A fitted model of rows. A row's score does not depend on the other rows of a call.

    Attributes:
        columns: what it reads, a subset of the training data's in their order.
        notes: what a reader of the report should know.
        own_level: whether its quantities have a level of their own, which is not moved to that of validation rows.
    """

    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()
    own_level: bool = False

    @abstractmethod
    def scores(self, rows: Table) -> Floats:
        """Return [n] float64, finite.

        Log odds of a probability, the expected value of a quantity (at least 0), how much more of the label a treatment brings, or what
        orders the rows of one list, highest first: of a ranking only differences within a list mean something.
        """

    @abstractmethod
    def onnx(self) -> Any:
        """Return the model as an ``onnx.ModelProto``.

        One input a column, by its name: int64 ids and float32 numbers are ``[B, 1]``, lists and vectors ``[B, width]``. One float32
        output ``score`` ``[B, 1]``, within 1e-5 of ``scores``.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what ``Learner.load`` needs into an existing folder; no pickle."""

    def contributions(self, rows: Table) -> Floats | None:
        """Return [n, columns] exact additive contributions to the score, or None where the family has none."""
        del rows
        return None


class Learner(ABC, Generic[C]):
    """Fits one family with given settings.

    ``complexity`` orders families from simple to complex: of learners that validation cannot tell apart, the simplest is served. The
    base rate has 0, a rule of one column 1, linear models 2, trees 3, networks more.

    Args:
        config: the family's settings; its defaults where None.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    complexity: ClassVar[int]
    tags: ClassVar[Tags]
    settings: ClassVar[type[Settings]]
    config: C

    def __init__(self, config: C | None = None) -> None:
        self.config = self.settings() if config is None else config  # type: ignore[assignment]

    @abstractmethod
    def fit(self, data: TrainingData, seed: int) -> Fitted:
        """Fit; equal data and seed give an equal model.

        Raises:
            DataError: if there is nothing to learn: no row, one class only, or a column of a kind that the family does not read.
        """

    @abstractmethod
    def load(self, folder: Path) -> Fitted:
        """Read what ``Fitted.save`` wrote.

        Raises:
            RunError: if a file is missing or cannot be read.
        """

    def unsuitable(self, columns: Sequence[Column]) -> str:
        """Return why columns of kinds that the family reads are not enough for it, in words that follow its name; "" where they are."""
        return "" if columns else "needs a column of a kind that it reads, and there is none"

    def check(self, data: TrainingData) -> None:
        """Refuse data that the family cannot learn from; ``fit`` calls it first.

        Raises:
            DataError: if the task's answer or a column's kind is not the family's, or there is no row, no column, one class only, a
                negative quantity, a missing number where the family reads none, or there are no lists to order.
        """
        where = f"{data.task}: {self.name}"
        if data.answer not in self.tags.answers:
            raise DataError(f"{where} does not answer with a {data.answer.value}.", "Leave it out of the task's learners.")
        strange = [column for column in data.columns if column.kind not in self.tags.reads]
        if strange:
            read = ", ".join(sorted(kind.value for kind in self.tags.reads))
            raise DataError(
                f"{where} does not read the column {strange[0].name!r} of kind {strange[0].kind.value}; it reads {read}.",
                "Leave the column out for it.",
            )
        why = self.unsuitable(data.columns)
        if why:
            raise DataError(f"{where} {why}.", "Leave it out of the task's learners, or give the task such features.")
        check_labels(data.label, data.answer, where)
        if data.answer is Answer.RANKING:
            check_lists(data.label, data.groups, data.valid_label, data.valid_groups, where)
        if data.answer is Answer.EFFECT:
            check_arms(data.treated, data.label, where)
        if not self.tags.missing:
            check_missing(data.columns, data.train, where)
