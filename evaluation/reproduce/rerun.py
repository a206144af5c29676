"""Reruns a published table on the user's data and compares the results with the published ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import DataError, UsageError
from evaluation.figures import fingerprint
from evaluation.protocols.judge import judge
from evaluation.protocols.protocol import Protocol
from evaluation.protocols.splits import Fold
from evaluation.reproduce.table import Figure, Ordering, Row, Setting, Shape, Table
from models.metrics.intervals import UserBootstrap
from models.metrics.ranked_lists import Judged
from models.metrics.ranking import Floats

_RESAMPLES: Final = 500


@dataclass(frozen=True)
class Outcome:
    """Ours beside theirs.

    Attributes:
        setting: its title.
        protocol: how the figure came about, the fingerprint of the data included.
        what: the model, or for an ordering ``one above another``.
        metric: for example ``ndcg@10``.
        ours: the figure, a mean over questions; of an ordering the lead.
        low: 2.5% point of ours over resampled users (or sessions, where these are asked); None where there is no interval.
        high: 97.5% point.
        published: theirs, None where there is none.
        tolerance: by how much they may differ, None where they are not evaluated.
        passed: None where it is not evaluated.
        note: how ours differs from what was published.
    """

    setting: str
    protocol: Protocol
    what: str
    metric: str
    ours: float
    low: float | None
    high: float | None
    published: float | None
    tolerance: float | None
    passed: bool | None
    note: str = ""

    @property
    def difference(self) -> float | None:
        """Ours less theirs."""
        return None if self.published is None else self.ours - self.published

    @property
    def warning(self) -> str | None:
        """What a reader of the figure should know, or None."""
        return self.protocol.warning

    @property
    def told(self) -> dict[str, Any]:
        """Everything as JSON values: the protocol whole, so that ``protocol.differences`` can spell out how two outcomes differ."""
        return {**asdict(self), "difference": self.difference, "hash": self.protocol.hash, "warning": self.warning}


def rerun(table: Table, path: Path, only: Sequence[str] = ()) -> Iterator[Outcome]:
    """Read the data, then fit and judge one model after the other.

    Args:
        table: what was published.
        path: the data.
        only: names of models; none for all. Orderings need both of their models.

    Yields:
        Outcomes, model by model, each as soon as it is known.

    Raises:
        DataError: if the data cannot be read or is other data.
        UsageError: if a name of ``only`` is not in the table.
    """
    for name in only:
        if name not in table.models:
            raise UsageError(f"The table {table.name} has no model {name!r}.", f"It has {', '.join(table.models)}.")
    events = table.read(path)
    _require_shape(events, table.shape, path)
    data = fingerprint(np.array(events.columns), *(events[name].to_numpy() for name in events.columns))
    for setting in table.settings:
        rows = [row for row in setting.rows if not only or row.model in only]
        if rows:
            known = replace(setting, protocol=replace(setting.protocol, data=data))
            yield from _run(known, rows, known.fold(events, known.protocol))


def _require_shape(events: pl.DataFrame, shape: Shape | None, path: Path) -> None:
    found = Shape(events.height, events["user_id"].n_unique(), events["item_id"].n_unique())
    if shape is not None and found != shape:
        raise DataError(
            f"{path} holds {found}; the table was made with {shape}.", "Give the publisher's file, whole and unchanged."
        )


def _run(setting: Setting, rows: list[Row], fold: Fold) -> Iterator[Outcome]:
    bootstrap = UserBootstrap(fold.test.users, _RESAMPLES, setting.protocol.seed)
    judged: dict[str, Judged] = {}
    for row in rows:
        model = row.make()
        model.fit(fold.train)
        depth = max(figure.k for figure in row.figures)
        judged[row.model] = judge(model, fold.test, fold.train, setting.protocol, depth)
        for figure in row.figures:
            values = figure.measure(judged[row.model].placement)
            passed = None
            if figure.published is not None and figure.tolerance is not None:
                passed = bool(abs(values.mean() - figure.published) <= figure.tolerance)
            yield _outcome(setting, row.model, figure, values, bootstrap, passed, row.note)
    for ordering in setting.orderings:
        if {ordering.higher, ordering.lower} <= judged.keys():
            yield _ordered(setting, ordering, judged, bootstrap)


def _ordered(setting: Setting, ordering: Ordering, judged: dict[str, Judged], bootstrap: UserBootstrap) -> Outcome:
    """Judge a lead: the lower end of its interval, over the same questions, must be above 0."""
    higher, lower = (ordering.figure.measure(judged[name].placement) for name in (ordering.higher, ordering.lower))
    what = f"{ordering.higher} above {ordering.lower}"
    shown = _outcome(setting, what, ordering.figure, higher - lower, bootstrap, None, "")
    passed = shown.low is not None and shown.low > 0
    return _outcome(
        setting, what, ordering.figure, higher - lower, bootstrap, passed, "the lead, whose interval must lie above 0"
    )


def _outcome(
    setting: Setting, what: str, figure: Figure, values: Floats, bootstrap: UserBootstrap, passed: bool | None, note: str
) -> Outcome:
    interval = bootstrap.percentile(bootstrap.means(values[:, None])[:, 0])
    return Outcome(
        setting.title,
        setting.protocol,
        what,
        figure.name,
        float(np.mean(values)),
        interval.low,
        interval.high,
        figure.published,
        figure.tolerance,
        passed,
        note,
    )
