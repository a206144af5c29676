"""Metrics with their protocol: the records of ``evaluation/metrics.json``."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError
from cartwheel.core.files import write_json
from cartwheel.core.run_layout import RELATIVE
from evaluation.protocols.protocol import digest, require_same
from models.metrics.intervals import Interval
from models.metrics.significance import holm

Role = Literal["model", "baseline", "oracle", "task"]
"""What a metric describes: a trained model, a baseline, the oracle of simulated data, or the task itself."""

METRICS_FILE: Final = RELATIVE.metrics
DIFFERENCE: Final = "_minus_"
"""Joins a metric with a baseline in the name of a paired difference, for example ``recall_minus_most_popular``."""
LOWER_IS_BETTER: Final = frozenset(
    {"log_loss", "brier", "calibration_error", "mae", "rmse", "poisson_deviance", "wape", "rmsse", "total_error"}
)

_UNSAID: Final = ("interval", "remark", "cut", "warning")
_DIGITS = 9
"""Significant digits kept: more would only record the order in which a machine adds."""


@dataclass(frozen=True)
class Protocol:
    """The protocol of a metric; two metrics can be compared only if these fields agree."""

    split: str
    """``valid`` or ``test``."""
    candidate_set: str
    """What competed for the places of a list, or which rows were predicted."""
    tie_rule: str
    """What equal scores mean for the figure."""
    sample_size: dict[str, int]
    """Rows behind the figure, by kind, for example ``{"anchors": 4812, "users": 3201}``."""
    excluded: str
    """What was left out of candidates and truth."""
    interval: str
    """Method and level of the interval."""
    data: str = ""
    """Fingerprint of the rows that were asked for and of their answers."""
    remark: str = ""
    """What else a reader should know of this model's figure."""
    cut: str = ""
    """How the log was split, in words."""
    warning: str = ""
    """What a reader must know before believing the figure, as that its candidates were sampled; "" where there is nothing."""

    @property
    def said(self) -> dict[str, Any]:
        """The fields that must agree for two values of a metric to be comparable: all except ``_UNSAID``.

        What the cut leaves to ask for is in ``data``; whether dates or shares put it there changes no figure. What is warned of follows
        from ``candidate_set``.
        """
        return {name: value for name, value in _shallow(self).items() if name not in _UNSAID}

    @cached_property
    def hash(self) -> str:
        """12 hexadecimal digits over ``said``."""
        return digest(self.said)


@dataclass(frozen=True)
class Record:
    """One metric of one model in one task."""

    task: str
    model: str
    metric: str
    k: int | None
    value: float | None
    low: float | None
    high: float | None
    n: int
    protocol: Protocol
    role: Role = "model"
    reason: str | None = None
    """Why ``value`` or its interval is null."""
    p_value: float | None = None
    """Of a paired difference: how likely one as large is, were the two models alike."""
    p_holm: float | None = None
    """``p_value`` after Holm's correction for all differences of that metric in the task."""

    @property
    def baseline(self) -> str | None:
        """The baseline that was subtracted, where this is a paired difference."""
        return self.metric.partition(DIFFERENCE)[2] or None


@dataclass(frozen=True)
class Evaluation:
    """All records of a run."""

    records: tuple[Record, ...] = field(default=())

    def find(self, task: str, model: str, metric: str, k: int | None = None) -> Record | None:
        """Return the record of that figure, or None."""
        for record in self.records:
            if (record.task, record.model, record.metric, record.k) == (task, model, metric, k):
                return record
        return None

    def cut(self, how: str) -> Evaluation:
        """Return the same records, each told how the log was split."""
        return Evaluation(tuple(replace(each, protocol=replace(each.protocol, cut=how)) for each in self.records))

    def warnings(self, task: str) -> tuple[str, ...]:
        """Return the warnings about a task's metrics, each sentence once."""
        told = (record.protocol.warning for record in self.records if record.task == task)
        return tuple(dict.fromkeys(each for each in told if each))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the order in which they were evaluated."""
        return tuple(dict.fromkeys(record.task for record in self.records))

    def write(self, run: Path) -> None:
        """Write ``evaluation/metrics.json``: a list of records, equal bytes for equal figures."""
        write_json(run / METRICS_FILE, [_told(record) for record in self.records])

    @staticmethod
    def read(run: Path) -> Evaluation:
        """Read ``evaluation/metrics.json``.

        Raises:
            RunError: if it is missing or is not a list of records.
        """
        path = run / METRICS_FILE
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            return Evaluation(tuple(_record(row) for row in rows))
        except FileNotFoundError as error:
            raise RunError(f"{path} is missing.", "Run `cartwheel evaluate` on this run directory first.") from error
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{path} does not contain evaluation records: {error}.", "Run `cartwheel evaluate` again.") from error


def record(
    task: str,
    model: str,
    metric: str,
    value: float,
    interval: Interval,
    protocol: Protocol,
    *,
    n: int,
    role: Role,
    k: int | None = None,
    undefined: str = "",
    p_value: float | None = None,
) -> Record:
    """Return a record whose numbers are finite and rounded to 9 significant digits.

    Args:
        task: name of the task.
        model: name of the model.
        metric: name of the metric.
        value: the metric; NaN where it is not defined.
        interval: its interval.
        protocol: how it came about.
        n: independent rows behind it.
        role: what kind of model it is.
        k: cutoff of the metric, where it has one.
        undefined: why the value is NaN, where it is.
        p_value: of a paired difference.
    """
    if math.isnan(value):
        return Record(task, model, metric, k, None, None, None, n, protocol, role, undefined or "not defined on these rows")
    return Record(
        task,
        model,
        metric,
        k,
        _rounded(value),
        _rounded(interval.low),
        _rounded(interval.high),
        n,
        protocol,
        role,
        interval.reason,
        _rounded(p_value),
    )


def merged(parts: Iterable[Iterable[Record]]) -> Evaluation:
    """Return the evaluation made of the records of all tasks."""
    return Evaluation(tuple(row for part in parts for row in part))


def corrected(records: Sequence[Record]) -> list[Record]:
    """Return the records of one task with Holm's correction: each metric at each cutoff is one table of differences."""
    result = list(records)
    tables: dict[tuple[str, int | None], list[int]] = {}
    for index, each in enumerate(result):
        if each.p_value is not None:
            tables.setdefault((each.metric.partition(DIFFERENCE)[0], each.k), []).append(index)
    for places in tables.values():
        for index, value in zip(places, holm([float(result[index].p_value or 0.0) for index in places]), strict=True):
            result[index] = replace(result[index], p_holm=_rounded(value))
    return result


def difference(first: Record, second: Record) -> float | None:
    """Return the value of ``first`` minus that of ``second``, None where one has none.

    Raises:
        ComparisonError: if they came about under different protocols, or are of different metrics; the message spells out in what.
    """
    names = (f"{first.metric} of {first.model}", f"{second.metric} of {second.model}")
    what = [{"task": each.task, "metric": each.metric, "k": each.k} | each.protocol.said for each in (first, second)]
    require_same(what[0], what[1], names)
    return None if first.value is None or second.value is None else first.value - second.value


def fingerprint(*arrays: npt.NDArray[Any]) -> str:
    """Return 12 hexadecimal digits over arrays: what was asked for, and what the answers were."""
    hashed = hashlib.sha256()
    for array in arrays:
        plain = array.astype("U") if array.dtype == object else array
        hashed.update(f"{plain.dtype.str}{plain.shape}".encode() + np.ascontiguousarray(plain).tobytes())
    return hashed.hexdigest()[:12]


def _told(record: Record) -> dict[str, Any]:
    return _shallow(record) | {"protocol": {**_shallow(record.protocol), "hash": record.protocol.hash}}


def _shallow(told: Record | Protocol) -> dict[str, Any]:
    """Return the fields by name; ``asdict`` would copy all that they hold, for each of some thousand records."""
    return {each.name: getattr(told, each.name) for each in fields(told)}


def _record(row: dict[str, Any]) -> Record:
    told = dict(row["protocol"])
    stored = told.pop("hash")
    protocol = Protocol(**told)
    if protocol.hash != stored:
        raise ValueError(
            f"{row['metric']} of {row['model']} has the protocol hash {stored}, but its protocol has {protocol.hash}"
        )
    return Record(**{**row, "protocol": protocol})


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")
