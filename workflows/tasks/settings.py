"""``[tasks.<name>]``: a question of the shop's own, declared in the configuration."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from cartwheel.core.errors import ConfigError
from cartwheel.core.hooks import called, load_hook
from cartwheel.core.settings import Settings
from workflows.features.column import Kind
from workflows.settings import Instant, PrepareSettings
from workflows.tasks.anchor_rules import AfterEvents, EveryDays
from workflows.tasks.future_events import FutureEvents
from workflows.tasks.predict_settings import Days, Names, PredictSettings
from workflows.tasks.registry import DECLARATIONS, RESERVED, declaration
from workflows.tasks.task import DECLARED_ANSWERS, AnchorRule, Entity, RowTable, Task, TaskSplit

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "user": ("user_activity",),
    "item": ("item_activity", "calendar"),
    "session": ("session_activity", "session_items", "user_activity", "calendar"),
    "row": (),
}
"""The feature families of a task that names none."""
AHEAD: Final = "windows_ahead"
"""The feature family of a task that predicts several windows."""
_BESIDE_PYTHON: Final[Mapping[str, str]] = {
    "title": "title",
    "features": "families",
    "learners": "learners",
    "metrics": "metrics",
    "cost_of_false_positive": "cost_of_false_positive",
    "cost_of_false_negative": "cost_of_false_negative",
    "max_examples": "max_examples",
}
"""Key that may stand beside ``python`` -> what it replaces of the ``Task``."""
_TREATMENT_KEYS: Final = ("treated", "control", "cost_of_treatment", "value_of_outcome")
_ROW_KEYS: Final = ("table", "label", "time", "shuffled", "positive", "leave_out", "kinds", "treatment", *_TREATMENT_KEYS)
_EVENT_KEYS: Final = ("predict", "features")
_GRID_KEYS: Final = ("every_days", "active_within_days", "active_events", "test_at")


Cost = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class TaskSettings(Settings):
    """A declared task: its entities, anchors, label and learners."""

    use: str = ""
    """Name of a declaration to start from, such as ``churn``, ``spend`` or ``risk`` (docs/answers.md has them all); keys given here
    override it."""
    python: str = ""
    """``module:name`` of a ``Task`` in a Python file of the shop, or of a function that returns one. ``title``, ``features``, ``learners``,
    ``metrics``, costs and ``max_examples`` override the task's own, ``parameters`` and ``select`` are read, and other keys are rejected."""
    title: str = ""
    """One-line title for the report; by default it is derived from the other keys."""
    for_each: Literal["user", "item", "session", "row"] = "user"
    """The entity; ``row``: the rows of ``table``, which contain the label."""
    every_days: Days = 7.0
    """Users and items: days between two anchors."""
    active_within_days: Days | None = None
    """Users and items: included if they had an event in this many days before the anchor; None means at any time."""
    active_events: Names = ()
    """Users and items: the event types that count as active; empty for all of ``prepare.interaction_types``."""
    after_events: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)] = (1, 3, 5)
    """Sessions: numbers of interactions after which a prediction is made."""
    predict: PredictSettings | None = None
    """What counts as true, such as ``{ event = "purchase", within_days = 30, as = "none" }``."""
    table: str = ""
    """Rows: a file, a folder or a glob (Parquet, CSV, JSON lines); relative paths are resolved against the folder of the configuration
    file."""
    label: str = ""
    """Rows: the column to predict: booleans, 0 and 1, or two words (see ``positive``) for a probability, numbers for a quantity."""
    time: str = ""
    """Rows: the time column for the split; by default the order of the table is used, with a warning."""
    shuffled: bool = False
    """Rows without ``time``: whether they are assigned to the splits at random, with the seed, for a table whose order is meaningless.
    Equal rows stay in one split."""
    positive: str = ""
    """Rows: the positive value of a label of two words; by default ``true``, ``yes``, ``y`` or ``1``."""
    leave_out: Names = ()
    """Rows: columns that are not features, such as an id or a value known only afterwards."""
    kinds: dict[str, Literal["category", "number", "count", "amount", "ratio"]] = Field(default_factory=dict)
    """Rows: column -> its kind, if its type does not show it, such as a category written in digits."""
    treatment: str = ""
    """Rows: the column with the randomly assigned treatment, such as which mail was sent. The task then predicts its effect: the difference
    of the label with and without it."""
    treated: str = ""
    """Rows with a ``treatment``: its value for treated rows; by default ``true``, ``yes``, ``y`` or ``1``."""
    control: str = ""
    """Rows with a ``treatment``: its value for control rows, which excludes rows with any third value; by default any other value."""
    cost_of_treatment: Cost = 0.0
    """Rows with a ``treatment``: cost of one treatment."""
    value_of_outcome: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1.0
    """Rows with a ``treatment``: value of one unit of the label, in the unit of the cost. Treat if the effect times this value exceeds the
    cost."""
    features: Names | None = None
    """The feature families of the task, by name or as ``module:name``; by default those that suit ``for_each``."""
    learners: Names = ()
    """The learners to try, by name or as ``module:Class``; by default all that support the answer except those that docs/learners.md lists
    as on request. Validation decides which of them is served."""
    metrics: Names = ()
    """Metrics in addition to those of the kind of answer: ``recall_at_false_alarms`` of probabilities, ``top_decile_share``,
    ``total_error`` and ``rmsse`` of quantities, or the shop's own as ``module:name``; computed on the test split for every learner and
    simple rule, with intervals. They do not affect which learner is served."""
    parameters: dict[str, dict[str, bool | int | float | str | list[int]]] = Field(default_factory=dict)
    """``[tasks.<name>.parameters.<learner>]``: non-default settings of a learner, such as those found by `cartwheel tune`."""
    cost_of_false_positive: Cost = 1.0
    """Cost of a false positive; with the cost of a false negative it determines the decision threshold. For a quantity, the cost of one too
    many; it determines the order quantity."""
    cost_of_false_negative: Cost = 1.0
    """Cost of a false negative, in the same unit; for a quantity, the cost of one too few."""
    interval: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.8
    """Quantities: target coverage of the prediction interval."""
    select: Literal["none", "l1", "mutual_information", "permutation"] = "none"
    """Feature selection before the learners are fitted: none; by an L1 penalty; by mutual information with the label, compared with
    shuffled columns; or by permutation importance on validation rows."""
    max_examples: Annotated[int, Field(gt=0)] = 200_000
    """Maximum number of examples per split; larger splits are sampled with the seed."""
    valid_from: Instant | None = None
    """Start of validation, if it differs from the split of ``[prepare]``; see there. Needs ``test_from`` or ``test_at``."""
    test_from: Instant | None = None
    """Start of test, likewise; without ``valid_from`` the time before it is divided between training and validation."""
    test_at: Instant | None = None
    """Users and items: the single anchor of the test split; training and validation lie before it."""

    @model_validator(mode="before")
    @classmethod
    def _start_from_a_declaration(cls, content: Any) -> Any:
        name = content.get("use") if isinstance(content, Mapping) else None
        if not name:
            return content
        if name not in DECLARATIONS:
            close = difflib.get_close_matches(str(name), DECLARATIONS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(DECLARATIONS)}"
            raise ValueError(f"use = {name!r} is not a built-in declaration; {hint}")
        start = declaration(name)
        filled = {**start, **content}
        predict = content.get("predict", {})
        if "predict" in start and isinstance(
            predict, Mapping
        ):  # a dump, which a manifest holds, has the field's name for the key's
            given = {"as" if key == "as_" else key: value for key, value in predict.items()}
            filled["predict"] = {**start["predict"], **given}
        if "parameters" not in content:
            tried = filled.get("learners", ())
            filled["parameters"] = {name: each for name, each in start.get("parameters", {}).items() if name in tried}
        return filled

    @model_validator(mode="after")
    def _keys_belong_together(self) -> Self:
        if self.python:
            for key in type(self).model_fields:
                if key not in (*_BESIDE_PYTHON, "python", "parameters", "select", "interval") and self._is_given(key):
                    raise ValueError(f"{key} is not read where python builds the task; leave it out, or set it there")
            return self
        rows = self.for_each == "row"
        strange = [
            *(() if rows else _ROW_KEYS),
            *(_EVENT_KEYS if rows else ()),
            *(_GRID_KEYS if self.for_each in ("row", "session") else ()),
        ]
        for key in strange:
            if self._is_given(key):
                owners = "row" if key in _ROW_KEYS else "user"
                raise ValueError(
                    f'{key} is not read where for_each = "{self.for_each}"; leave it out, or write for_each = "{owners}"'
                )
        if rows:
            self._check_row_keys()
        elif self.predict is None:
            raise ValueError('predict is missing; write predict = { event = "purchase", within_days = 30, as = "any" }, say')
        elif self.predict.within_days is None and self.for_each != "session":
            raise ValueError(
                f"predict.within_days is missing, which a task about a {self.for_each} needs; write within_days = 30, say"
            )
        elif self.predict.windows > 1 and self.for_each == "session":
            raise ValueError('predict.windows is not read where for_each = "session"; leave it out, or write for_each = "user"')
        self._check_instants()
        return self

    def _is_given(self, key: str) -> bool:
        """Whether a key has another value than its default: a manifest holds every key, so that all of them are set in a run's own."""
        default: object = type(self).model_fields[key].get_default(call_default_factory=True)
        return bool(getattr(self, key) != default)

    def _check_row_keys(self) -> None:
        if not self.table:
            raise ValueError('for_each = "row" needs a table; write table = "sessions.csv" and label = "bought", say')
        if not self.label:
            raise ValueError('for_each = "row" needs the column that is predicted; write label = "bought", say')
        if self.time and self.shuffled:
            raise ValueError("time and shuffled are both given, and rows with a time are split by it; leave shuffled out")
        for key in _TREATMENT_KEYS:
            if self._is_given(key) and not self.treatment:
                raise ValueError(f'{key} is not read without a treatment; leave it out, or write treatment = "mail", say')
        if self.treatment and self.treatment in (self.label, self.time, *self.leave_out):
            raise ValueError(
                f"treatment = {self.treatment!r} is also the label, the time or left out; give it a column of its own"
            )
        if self.label in self.leave_out:
            raise ValueError(f"leave_out names the label {self.label!r}, which is no feature anyway; take it out of the list")

    def _check_instants(self) -> None:
        test = self.test_at or self.test_from
        if self.test_at is not None and self.test_from is not None:
            raise ValueError("test_at and test_from are both given; leave test_from out to test at one instant")
        if self.valid_from is not None and test is None:
            raise ValueError(
                "valid_from is given without test_from; give both, such as valid_from = 2024-03-01 and test_from = 2024-04-01"
            )
        if self.valid_from is not None and test is not None and self.valid_from >= test:
            raise ValueError(
                f"valid_from is {self.valid_from.isoformat()}, which is not before test; give an instant before {test.isoformat()}"
            )


def declared(name: str, settings: TaskSettings, prepare: PrepareSettings, folder: Path | None = None) -> Task:
    """Return the task of ``[tasks.<name>]``.

    Args:
        name: of the section, the files and the served ensemble.
        settings: the section.
        prepare: for the session gap.
        folder: of the configuration file, where the shop's modules and tables lie.

    Raises:
        ConfigError: the name cannot be one, or the shop's own Python is missing, raises, gives something else, or a task that asks for
            another answer than declared tasks can.
    """
    _check_name(name)
    if settings.python:
        where = f"tasks.{name}.python"
        task = called(load_hook(settings.python, where, folder), where, Task)
        _check_answer(task, where)
        if task.table is not None and folder is not None:
            task = dataclasses.replace(task, table=dataclasses.replace(task.table, path=str(folder / task.table.path)))
        fields = TaskSettings.model_fields
        given = {key: getattr(settings, key) for key in _BESIDE_PYTHON if getattr(settings, key) != fields[key].default}
        return dataclasses.replace(task, name=name, **{_BESIDE_PYTHON[key]: value for key, value in given.items()})
    split = TaskSplit(_micro(settings.valid_from), _micro(settings.test_from), _micro(settings.test_at))
    common = Task(
        name=name,
        title=settings.title,
        entity=Entity(settings.for_each),
        anchors=None,
        label=None,
        answer=None,
        families=_FAMILIES[settings.for_each] if settings.features is None else settings.features,
        learners=settings.learners,
        metrics=settings.metrics,
        cost_of_false_positive=settings.cost_of_false_positive,
        cost_of_false_negative=settings.cost_of_false_negative,
        split=split,
        max_examples=settings.max_examples,
    )
    if settings.predict is None:
        kinds = {column: Kind(kind) for column, kind in settings.kinds.items()}
        path = str(folder / settings.table) if folder else settings.table
        treatment = settings.treatment, settings.treated, settings.control
        about = settings.label, settings.time, settings.positive, settings.leave_out, kinds, settings.shuffled
        title = f"Effect of {settings.treatment} on {settings.label}" if settings.treatment else settings.label
        return dataclasses.replace(
            common,
            table=RowTable(path, *about, *treatment),
            title=settings.title or f"{title} of {Path(settings.table).name}",
            cost_of_treatment=settings.cost_of_treatment,
            value_of_outcome=settings.value_of_outcome,
        )
    predict = settings.predict
    predicted = predict.event, predict.as_, predict.within_days, predict.column, prepare.session_gap_minutes, predict.windows
    label = FutureEvents(common.entity, *predicted)
    if predict.windows > 1 and AHEAD not in common.families:
        common = dataclasses.replace(common, families=(*common.families, AHEAD))
    title = settings.title or _title(settings, predict)
    return dataclasses.replace(common, title=title, anchors=_rule(settings, predict), label=label, answer=label.answer)


def _check_answer(task: Task, where: str) -> None:
    for answer in (task.answer, None if task.label is None else task.label.answer):
        if answer is not None and answer not in DECLARED_ANSWERS:
            allowed = " or ".join(each.value for each in DECLARED_ANSWERS)
            raise ConfigError(
                f"{where}: the task answers with a {answer.value}, where a {allowed} is expected.", "Declare one of these."
            )


def declared_tasks(
    sections: Mapping[str, TaskSettings], prepare: PrepareSettings, folder: Path | None = None
) -> tuple[Task, ...]:
    """Return the tasks of all sections, in their order.

    Raises:
        ConfigError: as ``declared``.
    """
    return tuple(declared(name, settings, prepare, folder) for name, settings in sections.items())


def check_names(names: Iterable[str]) -> None:
    """Refuse a name that is taken: each task is served as an ensemble of its name.

    Raises:
        ConfigError: naming it.
    """
    seen: set[str] = set()
    for name in names:
        _check_name(name)
        if name in seen:
            raise ConfigError(
                f"Two tasks are called {name!r}, and each is served under its name.", "Give one of them another name."
            )
        seen.add(name)


def _check_name(name: str) -> None:
    if name in RESERVED:
        raise ConfigError(
            f"[tasks.{name}]: {name!r} is served by Cartwheel itself ({', '.join(RESERVED)} are).",
            f"Call the task my_{name}, say.",
        )
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"[tasks.{name}]: a task is served under its name, which has small letters, digits and underscores and begins with a letter.",
            'Call it "churn_30_days", say.',
        )


def _rule(settings: TaskSettings, predict: PredictSettings) -> AnchorRule:
    if settings.for_each == "session":
        return AfterEvents(settings.after_events)
    events = settings.active_events or (predict.event if settings.for_each == "item" else ())
    return EveryDays(Entity(settings.for_each), settings.every_days, settings.active_within_days, events, predict.windows)


def _title(settings: TaskSettings, predict: PredictSettings) -> str:
    """Put what is predicted in a line.

    >>> _title(TaskSettings(use="churn", title=""), PredictSettings(event="purchase", within_days=30, as_="none"))
    'No purchase of a user within 30 days'
    """
    events = " or ".join(predict.event)
    what = {
        "any": f"Any {events}",
        "none": f"No {events}",
        "count": f"Number of {events} events",
        "sum": f"Sum of {predict.column} over {events} events",
        "distinct": f"Distinct values of {predict.column} over {events} events",
        "value": f"{predict.column.capitalize()} of the next {events}",
    }[predict.as_]
    when = "in the rest of the session" if predict.within_days is None else f"within {predict.within_days:g} days"
    whose = {"user": " of a user", "item": " of an item", "session": ""}[settings.for_each]
    return f"{what}{whose} {when}"


def _micro(instant: datetime | None) -> int | None:
    return None if instant is None else (instant - _EPOCH) // timedelta(microseconds=1)
