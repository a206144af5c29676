"""Sessions: when shoppers come, what for, and which items they look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cartwheel.core.progress import progress
from workflows.simulate.choice import FATIGUE, WANDER, Day, catalogue_on, category_probabilities, shopper_weights
from workflows.simulate.settings import SimulateSettings
from workflows.simulate.world import MEMORY, Doubles, Floats, Ints, World

SECOND: Final = 1_000_000
"""Microseconds."""
HOUR: Final = 3600 * SECOND
DAY: Final = 24 * HOUR
MAX_VIEWS: Final = 25
"""Longest session, in views."""

_PAUSE: Final = 3 * HOUR  # no shopper begins a session sooner than this after the last one began
_BATCH_CELLS: Final = 4_000_000
# Share of sessions by local hour and by weekday: quiet nights, a lunch peak, a larger one in the evening; weekends are busier.
_HOUR_WEIGHT: Final = (2, 1, 1, 1, 1, 2, 4, 7, 9, 10, 11, 13, 15, 13, 11, 11, 12, 14, 17, 21, 24, 21, 13, 6)
_WEEKDAY_WEIGHT: Final = (0.95, 0.9, 0.9, 0.95, 1.0, 1.15, 1.25)


@dataclass(frozen=True)
class Sessions:
    """Sessions sorted by their start; row number = session code. All arrays are [S] int64."""

    user: Ints
    """User code."""
    start: Ints
    """Microseconds since the log began."""
    occasion: Ints
    """Occasion code."""
    intent: Ints
    """Category code that the session is about."""
    planned: Ints
    """Views that the shopper has patience for."""

    @property
    def day(self) -> Ints:
        """[S] the day on which the session began."""
        return self.start // DAY

    @property
    def hour(self) -> Ints:
        """[S] the UTC hour at which the session began."""
        return (self.start % DAY) // HOUR


@dataclass(frozen=True)
class Views:
    """Views sorted by session, then by time. All arrays are [V]."""

    session: Ints
    """Session code."""
    item: Ints
    """Item code."""
    price: Doubles
    """Price that day."""
    discount: Doubles
    """Share off the base price that day."""


def make_sessions(settings: SimulateSettings, world: World, rng: np.random.Generator) -> Sessions:
    """Draw who comes when, and what for."""
    users, starts = zip(*(_visits(world, day, rng) for day in range(settings.days)), strict=True)
    user, start = _spread_out(np.concatenate(users), np.concatenate(starts))
    share = np.cumsum(world.users.occasion_share[user].astype(np.float64), axis=1)
    occasion = np.minimum((share < rng.random(len(user))[:, None]).sum(axis=1), share.shape[1] - 1)
    patience = rng.geometric(1.0 / settings.views_per_session, len(user))
    hour = (start % DAY) // HOUR
    intent = np.empty(len(user), dtype=np.int64)
    for part in range(0, len(user), 1 << 16):
        rows = slice(part, part + (1 << 16))
        intent[rows] = _draw(category_probabilities(world, user[rows], hour[rows]), rng)
    return Sessions(user, start, occasion.astype(np.int64), intent, np.minimum(patience, MAX_VIEWS).astype(np.int64))


def _visits(world: World, day: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Who comes on one day and when; who joins comes at least once."""
    users = world.users
    present = np.flatnonzero((users.join_day <= day) & (day < users.churn_day))
    times = rng.poisson(users.sessions_per_day[present] * _WEEKDAY_WEIGHT[day % 7])
    times = np.maximum(times, users.join_day[present] == day)
    user = np.repeat(present, times)
    weight = np.cumsum(_HOUR_WEIGHT) / np.sum(_HOUR_WEIGHT)
    local = np.searchsorted(weight, rng.random(len(user)), side="right") + rng.random(len(user))
    clock = np.mod(local + users.clock_shift[user], 24.0)
    return user, day * DAY + np.minimum((clock * HOUR).astype(np.int64), DAY - 1)


def _spread_out(user: Ints, start: Ints) -> tuple[Ints, Ints]:
    """Drop sessions that begin too soon after the same shopper's last, so that sessions never overlap; sort by start."""
    order = np.lexsort((start, user))
    user, start = user[order], start[order]
    close = np.zeros(len(user), dtype=bool)
    close[1:] = (user[1:] == user[:-1]) & (start[1:] - start[:-1] < _PAUSE)
    user, start = user[~close], start[~close]
    order = np.lexsort((user, start))
    user, start = user[order], start[order]
    return user, start


def _draw(probabilities: Doubles, rng: np.random.Generator) -> Ints:
    """One category for each row of probabilities."""
    cumulated = np.cumsum(probabilities, axis=1)
    drawn = (cumulated < rng.random(len(probabilities))[:, None]).sum(axis=1)
    category: Ints = np.minimum(drawn, probabilities.shape[1] - 1).astype(np.int64)
    return category


def make_views(settings: SimulateSettings, world: World, sessions: Sessions, rng: np.random.Generator) -> Views:
    """Draw which items each session looks at, day by day, because yesterday's views make today's shopper tired of them."""
    chooser = _Chooser(world, rng)
    bounds = np.searchsorted(sessions.day, np.arange(settings.days + 1))
    parts = []
    with progress("simulate", settings.days) as advance:
        for day in range(settings.days):
            parts.append(chooser.views_on(day, sessions, int(bounds[day]), int(bounds[day + 1])))
            advance(1, f"{int(bounds[day + 1])} sessions")
    session, item, price, discount = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Views(session, item, price, discount)


class _Chooser:
    """Draws the views of one day after the other and remembers each shopper's last ones."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self._world = world
        self._rng = rng
        self._members = [np.flatnonzero(world.items.category == c) for c in range(len(world.categories.popularity))]
        self._place = np.empty(len(world.items.category), dtype=np.int64)  # of an item within its category
        for members in self._members:
            self._place[members] = np.arange(len(members))
        self._memory = np.full((len(world.users.join_day), MEMORY), -1, dtype=np.int64)  # a ring for each shopper
        self._written = np.zeros(len(world.users.join_day), dtype=np.int64)

    def views_on(self, day: int, sessions: Sessions, first: int, last: int) -> tuple[Ints, Ints, Doubles, Doubles]:
        """Views of sessions ``first`` to ``last``, all of one day: session, item, price, discount."""
        catalogue = catalogue_on(self._world, day)
        owner = np.repeat(np.arange(first, last), sessions.planned[first:last])
        category = self._categories(sessions, owner)
        # One row for each (category, session); the n-th view of a session in a category takes the n-th best of that row.
        order = np.lexsort((owner, category))
        key = category[order] * (last + 1) + owner[order]
        starts = np.flatnonzero(np.diff(key, prepend=-1))
        depth = np.diff(starts, append=len(key))
        rank = np.arange(len(key)) - np.repeat(starts, depth)
        row = np.repeat(np.arange(len(starts)), depth)
        row_category, row_session = category[order][starts], owner[order][starts]
        item = np.empty(len(key), dtype=np.int64)
        for begin, end in self._batches(row_category):
            best = self._best(catalogue, int(row_category[begin]), sessions, row_session[begin:end], int(depth[begin:end].max()))
            mine = slice(starts[begin], starts[end - 1] + depth[end - 1])
            item[order[mine]] = best[row[mine] - begin, rank[mine]]
        seen = item >= 0  # a category can run out of items for one session
        owner, item = owner[seen], item[seen]
        self._remember(sessions.user[owner], item)
        return owner, item, catalogue.price[item], catalogue.discount[item]

    def _categories(self, sessions: Sessions, owner: Ints) -> Ints:
        """Category of each view: the intent, or a new draw where the shopper wanders."""
        category = sessions.intent[owner]
        wandering = np.flatnonzero(self._rng.random(len(owner)) < WANDER)
        for part in range(0, len(wandering), 1 << 16):
            rows = wandering[part : part + (1 << 16)]
            who = owner[rows]
            hours = (sessions.start[who] % DAY) // HOUR
            category[rows] = _draw(category_probabilities(self._world, sessions.user[who], hours), self._rng)
        return category

    def _batches(self, row_category: Ints) -> list[tuple[int, int]]:
        """Spans of rows of one category each, small enough for memory."""
        edges = np.searchsorted(row_category, np.arange(len(self._members) + 1))
        spans = []
        for c, members in enumerate(self._members):
            step = max(1, _BATCH_CELLS // max(1, len(members)))
            spans += [(b, min(b + step, int(edges[c + 1]))) for b in range(int(edges[c]), int(edges[c + 1]), step)]
        return spans

    def _best(self, catalogue: Day, category: int, sessions: Sessions, rows: Ints, depth: int) -> Ints:
        """The first ``depth`` items that each session would look at in one category, in order; -1 where there are no more."""
        members, users = self._members[category], sessions.user[rows]
        weights = shopper_weights(self._world, users, sessions.occasion[rows])
        # einsum without BLAS sums in one order whatever the number of threads: the same seed gives the same bytes.
        score: Floats = np.einsum("bd,nd->bn", weights, catalogue.features[members], optimize=False)
        score += catalogue.appeal[members]
        remembered = self._memory[users]
        tired, slot = np.nonzero((remembered >= 0) & (self._world.items.category[remembered] == category))
        score[tired, self._place[remembered[tired, slot]]] -= np.float32(FATIGUE)  # once, however often it was seen
        noise = self._rng.standard_exponential(score.shape, dtype=np.float32)
        score -= np.log(np.maximum(noise, np.float32(1e-9)))  # Gumbel; a float32 draw can be 0
        depth = min(depth, len(members))
        top = np.argpartition(-score, depth - 1, axis=1)[:, :depth]
        value = np.take_along_axis(score, top, axis=1)
        order = np.argsort(-value, axis=1, kind="stable")
        best = members[np.take_along_axis(top, order, axis=1)]
        best[np.isneginf(np.take_along_axis(value, order, axis=1))] = -1
        padded = np.full((len(rows), MAX_VIEWS), -1, dtype=np.int64)
        padded[:, :depth] = best
        return padded

    def _remember(self, users: Ints, items: Ints) -> None:
        """Write the day's views, in time order, into the rings of their shoppers."""
        order = np.argsort(users, kind="stable")
        users, items = users[order], items[order]
        starts = np.flatnonzero(np.diff(users, prepend=-1))
        count = np.diff(starts, append=len(users))
        rank = np.arange(len(users)) - np.repeat(starts, count)
        kept = np.repeat(count, count) - rank <= MEMORY
        self._memory[users[kept], (self._written[users] + rank)[kept] % MEMORY] = items[kept]
        self._written[users[starts]] += count
