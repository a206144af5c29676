"""Splits interactions into training data and questions by a protocol."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from cartwheel.core.errors import DataError, UsageError
from evaluation.protocols.checks import instant
from evaluation.protocols.protocol import Given, GlobalTemporal, LeaveOneOut, PerUserRatio, Protocol, SessionNextItem
from models.metrics.ranked_lists import pairs_of
from models.questions.interactions import Bools, Interactions, Ints, Queries

_LONGER: Final = "Give a longer log, or a protocol that asks for less."


@dataclass(frozen=True)
class Questions:
    """Questions with their answers; pairs are sorted by question.

    Attributes:
        queries: q questions, each with at least one truth item.
        users: [q] the unit that is resampled: the user, or the session where sessions are asked.
        truth_row: [p] question of each truth item.
        truth_item: [p] its item code.
        hidden_row: [h] question of each item that must not be recommended.
        hidden_item: [h] its item code.
    """

    queries: Queries
    users: Ints
    truth_row: Ints
    truth_item: Ints
    hidden_row: Ints
    hidden_item: Ints

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def n_truth(self) -> Ints:
        """[q] truth items of each question."""
        return np.bincount(self.truth_row, minlength=len(self)).astype(np.int64)

    def take(self, chosen: Ints) -> Questions:
        """Return the questions numbered ``chosen`` (ascending), renumbered from 0."""
        truth_row, truth = pairs_of(self.truth_row, chosen)
        hidden_row, hidden = pairs_of(self.hidden_row, chosen)
        return Questions(
            self.queries.take(chosen),
            self.users[chosen],
            truth_row,
            self.truth_item[truth],
            hidden_row,
            self.hidden_item[hidden],
        )


@dataclass(frozen=True)
class Fold:
    """One split of a log.

    Attributes:
        train: what models learn from.
        valid: what they are tuned on; None where nothing could be asked.
        test: what they are evaluated on, once.
    """

    train: Interactions
    valid: Questions | None
    test: Questions


def folds(interactions: Interactions, protocol: Protocol) -> list[Fold]:
    """Split a log.

    Args:
        interactions: all of it.
        protocol: how.

    Returns:
        One fold, or as many as a global temporal split rolls through, oldest first.

    Raises:
        DataError: if a part would be empty.
        UsageError: if the split is one that is given.
    """
    split = protocol.split
    if isinstance(split, Given):
        raise UsageError(
            f"The split {split.how!r} cannot be made from the protocol alone.", "Call fold_by_marks or fold_by_sessions."
        )
    if isinstance(split, GlobalTemporal):
        return _global_temporal(interactions, split, protocol.excluded == "seen")
    if isinstance(split, SessionNextItem):
        return [_session_next_item(interactions, split, protocol.excluded == "seen")]
    marks = (
        _leave_one_out(interactions) if isinstance(split, LeaveOneOut) else _per_user_ratio(interactions, split, protocol.seed)
    )
    return [fold_by_marks(interactions, marks, protocol)]


def fold_by_marks(interactions: Interactions, marks: Ints, protocol: Protocol) -> Fold:
    """Split a log as it is marked, and ask each user once for all that is held out of the user's interactions.

    Args:
        interactions: n of them.
        marks: [n] 0 for training, 1 for validation, 2 for test.
        protocol: says whether seen items are left out.

    Raises:
        DataError: if nothing would train or nothing would be asked.
    """
    train, valid, test = (np.flatnonzero(marks == part) for part in range(3))
    hides = protocol.excluded == "seen"
    held = Fold(
        _some(interactions.take(train), "training"),
        _asked(interactions, train, valid, hides) if len(valid) else None,
        _asked(interactions, np.sort(np.concatenate([train, valid])), test, hides),
    )
    _require_questions(held.test)
    return held


def fold_by_sessions(interactions: Interactions, tests: Bools, protocol: Protocol) -> Fold:
    """Train on some sessions, and ask in the others, at each event but the first, for the item of that event.

    Args:
        interactions: n of them.
        tests: [n] whether the session that the interaction belongs to tests.
        protocol: says whether the items seen in a session are left out.

    Raises:
        DataError: if nothing would train or nothing would be asked.
    """
    asked = _next_items(interactions, tests, protocol.excluded == "seen")
    return Fold(_some(interactions.take(~tests), "training"), None, _require_questions(asked))


def _global_temporal(log: Interactions, split: GlobalTemporal, hides: bool) -> list[Fold]:
    ordered = np.sort(log.time)
    t_test = _begin("test", split.test, ordered, 0.0)
    later = float(np.mean(log.time >= t_test)) if isinstance(split.test, str) else split.test
    t_valid = _begin("valid", split.valid, ordered, later)
    if not ordered[0] < t_valid < t_test <= ordered[-1]:
        raise DataError(
            f"Validation from {t_valid} and test from {t_test} leave a part of the log ({ordered[0]} to {ordered[-1]}) empty.",
            _LONGER,
        )
    inside = ordered[ordered >= t_test]
    edges = [t_test, *(int(inside[len(inside) * part // split.folds]) for part in range(1, split.folds)), int(ordered[-1]) + 1]
    result = []
    for begin, end in pairwise(edges):
        valid_from = t_valid if begin == t_test else begin - (t_test - t_valid)
        train, seen = log.time < valid_from, log.time < begin
        valid = np.flatnonzero((log.time >= valid_from) & seen)
        test = np.flatnonzero((log.time >= begin) & (log.time < end))
        questions = _asked(log, np.flatnonzero(seen), test, hides)
        _require_questions(questions)
        held = _asked(log, np.flatnonzero(train), valid, hides)
        result.append(Fold(_some(log.take(train), "training"), held if len(held) else None, questions))
    return result


def _begin(name: str, where: float | str, ordered: Ints, later: float) -> int:
    """Return the instant that leaves a share of the interactions to itself (and ``later`` after it), or that of a date."""
    if isinstance(where, str):
        return instant(f"GlobalTemporal.{name}", where)
    return int(ordered[min(int(len(ordered) * (1 - where - later)), len(ordered) - 1)])


def _leave_one_out(log: Interactions) -> Ints:
    """Return [n] 0 for training, 1 for validation, 2 for test; users of fewer than 3 interactions only train."""
    from_end = log.starts[log.user + 1] - np.arange(len(log))
    enough = np.diff(log.starts)[log.user] >= 3
    return np.where(enough & (from_end == 1), 2, np.where(enough & (from_end == 2), 1, 0)).astype(np.int64)


def _per_user_ratio(log: Interactions, split: PerUserRatio, seed: int) -> Ints:
    """Return [n] 0 for training, 2 for test: the rounded share of each user's, leaving at least one to train."""
    count = np.diff(log.starts)
    take = np.minimum(np.rint(count * split.test), count - 1)
    if split.order == "time":
        place = log.starts[log.user + 1] - 1 - np.arange(len(log))
    else:
        drawn = np.lexsort((np.random.default_rng(seed).random(len(log)), log.user))
        place = np.empty(len(log), np.int64)
        place[drawn] = np.arange(len(log)) - log.starts[log.user]
    return np.where(place < take[log.user], 2, 0).astype(np.int64)


def _session_next_item(log: Interactions, split: SessionNextItem, hides: bool) -> Fold:
    sessions = int(log.session.max()) + 1
    begins = np.full(sessions, np.iinfo(np.int64).max)
    np.minimum.at(begins, log.session, log.time)
    order = np.argsort(begins, kind="stable")
    held = max(1, round(sessions * split.test))
    tests = np.zeros(sessions, bool)
    tests[order[-held:]] = True
    valids = np.zeros(sessions, bool)
    valids[order[-2 * held : -held]] = True
    train = ~(tests | valids)[log.session]
    return Fold(
        _some(log.take(train), "training"),
        _next_items(log, valids[log.session], hides) if valids.any() else None,
        _require_questions(_next_items(log, tests[log.session], hides)),
    )


def _next_items(log: Interactions, asked: Bools, hides: bool) -> Questions:
    """Ask, at each event of a session but its first, for the item of that event; the history is the session so far."""
    order = np.lexsort((np.arange(len(log)), log.time, log.session))
    order = order[asked[order]]
    session = log.session[order]
    first = np.flatnonzero(np.append(True, session[1:] != session[:-1])) if len(order) else np.zeros(0, np.int64)
    begin = np.repeat(first, np.diff(np.append(first, len(order))))
    place = np.arange(len(order))
    question = np.flatnonzero(place > begin)
    lengths = place[question] - begin[question]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    source = order[np.repeat(begin[question] - starts[:-1], lengths) + np.arange(starts[-1])]
    queries = Queries(
        log.user[order[question]], log.time[order[question]], starts, log.item[source], log.time[source], lengths.astype(np.int64)
    )
    return _questions(queries, session[question], np.arange(len(question)), log.item[order[question]], log.items, hides)


def _asked(log: Interactions, seen: Ints, asked: Ints, hides: bool) -> Questions:
    """Ask once for each user of ``asked`` what the user turns to there; ``seen`` (ascending places) is the history."""
    users = np.unique(log.user[asked])
    row_of = np.full(log.users, -1, np.int64)
    row_of[users] = np.arange(len(users))
    now = np.full(len(users), np.iinfo(np.int64).max)
    np.minimum.at(now, row_of[log.user[asked]], log.time[asked])
    mine = seen[row_of[log.user[seen]] >= 0]
    lengths = np.bincount(row_of[log.user[mine]], minlength=len(users)).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    queries = Queries(users.astype(np.int64), now, starts, log.item[mine], log.time[mine], _running(log.session[mine], starts))
    return _questions(queries, users, row_of[log.user[asked]], log.item[asked], log.items, hides)


def _running(session: Ints, starts: Ints) -> Ints:
    """Return [q] how many of the last items of each history share the session of its very last."""
    lengths = np.diff(starts)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    last = session[np.maximum(starts[1:] - 1, 0)] if len(session) else np.zeros(len(lengths), np.int64)
    return np.bincount(rows[session == last[rows]], minlength=len(lengths)).astype(np.int64)


def _questions(queries: Queries, users: Ints, truth_row: Ints, truth_item: Ints, items: int, hides: bool) -> Questions:
    truth = np.unique(truth_row * items + truth_item)
    hidden = np.unique(queries.rows * items + queries.history) if hides else np.zeros(0, np.int64)
    truth = np.setdiff1d(truth, hidden, assume_unique=True)
    asked = Questions(queries, users.astype(np.int64), *np.divmod(truth, items), *np.divmod(hidden, items))
    return asked.take(np.unique(asked.truth_row))


def _some(interactions: Interactions, part: str) -> Interactions:
    if not len(interactions):
        raise DataError(f"The split leaves no {part} interactions.", _LONGER)
    return interactions


def _require_questions(questions: Questions) -> Questions:
    if not len(questions):
        raise DataError(
            "The split leaves no test question: no user of the test part turns to an item that is not left out.", _LONGER
        )
    return questions
