"""Arranges an answer: caps, diversity, pinned items and promoted shares, place by place.

At each place stands the pinned item of that place; else, where the promoted items so far are fewer than their share of the places so far,
the best promoted one; else the best of all: by score, or by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998,
https://doi.org/10.1145/290941.291025), with scores brought to 0 .. 1 over the candidates. None but a pinned item is taken where its
category or brand stands in the answer as often as may be. Where candidates run out, more are asked for that still may be taken; so an
answer is shorter only if no further item may stand in it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from serving.rules.expression import Bools

PINNED, PROMOTED = "pinned", "promoted"
MOST_ROUNDS: Final = 24
"""How often one answer may ask for further candidates."""


@dataclass(frozen=True)
class Candidate:
    """An item that may be answered.

    Attributes:
        place: its catalogue index.
        score: what orders it.
        reason: what the ensemble says of it.
        because: the recent item that explains it, UTF-8.
        special: ``pinned``, ``promoted`` or empty.
        retrievers: which retrievers brought it, as bits.
    """

    place: int
    score: float
    reason: int = 0
    because: bytes = b""
    special: str = ""
    retrievers: int = 0


@dataclass(frozen=True)
class Need:
    """What further candidates are wanted.

    Attributes:
        barred: items that are not, bool [N].
        count: how many at least, if there are so many.
    """

    barred: Bools
    count: int


@dataclass(frozen=True)
class Arrangement:
    """How one answer is arranged.

    Attributes:
        k: its length.
        barred: items that must not stand in it, bool [N].
        caps: for each cap the group of each item (int32 [N], 0 is none) and how many of one group there may be.
        pins: place in the answer, from 0 on -> catalogue index.
        promoted: for each promotion the items (bool [N]) and their share.
        variety: weight of diversity, 0 to 1.
        pool: how many candidates are asked for at once; diversity chooses from them.
        directions: catalogue indices -> vectors of length 1 [n, D].
    """

    k: int
    barred: Bools
    caps: Sequence[tuple[npt.NDArray[np.int32], int]] = ()
    pins: Mapping[int, int] = field(default_factory=dict)
    promoted: Sequence[tuple[Bools, float]] = ()
    variety: float = 0.0
    pool: int = 0
    directions: Callable[[Sequence[int]], npt.NDArray[np.float16]] | None = None


Rounds = Generator[Need, Sequence[Candidate], list[Candidate]]


def arranged(plan: Arrangement) -> Rounds:
    """Arrange one answer: yields what candidates it needs, is sent them, the best first, and returns the answer.

    Candidates that are not wanted (barred by the need) must not be sent; fewer than the count are all that there are.
    """
    return _Arranging(plan).run()


class _Arranging:
    def __init__(self, plan: Arrangement) -> None:
        self._plan = plan
        self._chosen: list[Candidate] = []
        self._pinned = frozenset(plan.pins.values())
        self._counts = [Counter(int(groups[place]) for place in self._pinned) for groups, _ in plan.caps]
        self._pools: dict[int, list[Candidate]] = {}
        self._scale: tuple[float, float] | None = None
        self._rounds = 0
        self._exhausted: set[int] = set()
        self._similar: dict[int, float] = {}

    def run(self) -> Rounds:
        pinned = self._plan.pins
        for position in range(self._plan.k):
            if position in pinned:
                self._take(Candidate(pinned[position], 0.0, special=PINNED))
                continue
            taken = None
            for number, (matching, share) in enumerate(self._plan.promoted):
                held = sum(bool(matching[item.place]) for item in self._chosen)
                if held < math.floor(share * (position + 1) + 1e-9):
                    taken = yield from self._best(number)
                    if taken is not None:
                        taken = replace(taken, special=PROMOTED)
                        break
            if taken is None:
                taken = yield from self._best(-1)
            if taken is None:
                rest = [pinned[place] for place in sorted(pinned) if place > position]
                self._chosen += [Candidate(place, 0.0, special=PINNED) for place in rest][: self._plan.k - position]
                break
            self._take(taken)
        return self._chosen

    def _take(self, item: Candidate) -> None:
        self._chosen.append(item)
        if item.special != PINNED:
            for count, (groups, _) in zip(self._counts, self._plan.caps, strict=True):
                count[int(groups[item.place])] += 1
        for pool in self._pools.values():
            pool[:] = [each for each in pool if each.place != item.place]
        if self._plan.variety:
            self._note_similar(item.place)

    def _best(self, number: int) -> Generator[Need, Sequence[Candidate], Candidate | None]:
        """Return the best item of a promotion, or with -1 of all, that may be taken now; None where there is none."""
        while True:
            there = (item for item in self._pools.get(number, ()) if self._may(item.place))
            if self._plan.variety:
                pool = list(there)
                best = self._first(pool) if pool else None
            else:
                best = next(there, None)
            if best is not None:
                return best
            if number in self._exhausted or self._rounds == MOST_ROUNDS:
                return None
            yield from self._fill(number)

    def _fill(self, number: int) -> Generator[Need, Sequence[Candidate], None]:
        plan, barred = self._plan, self._plan.barred.copy()
        if number >= 0:
            barred |= ~plan.promoted[number][0]
        for count, (groups, most) in zip(self._counts, plan.caps, strict=True):
            full = [group for group, times in count.items() if group and times >= most]
            barred |= np.isin(groups, full)
        barred[[item.place for item in self._chosen]] = True
        barred[list(self._pinned)] = True
        wanted = max(plan.k, plan.pool)
        self._rounds += 1
        found = [] if barred.all() else (yield Need(barred, wanted))
        if len(found) < wanted:
            self._exhausted.add(number)
        self._pools[number] = list(found)
        if self._scale is None and found:
            scores = [item.score for item in found]
            self._scale = min(scores), max(max(scores) - min(scores), 1e-12)
        if plan.variety and plan.directions is not None:
            self._similar = {}
            for item in self._chosen:
                self._note_similar(item.place)

    def _may(self, place: int) -> bool:
        for count, (groups, most) in zip(self._counts, self._plan.caps, strict=True):
            group = int(groups[place])
            if group and count[group] >= most:
                return False
        return True

    def _first(self, pool: Sequence[Candidate]) -> Candidate:
        low, width = self._scale or (0.0, 1.0)
        weight = self._plan.variety
        values = [(1 - weight) * (item.score - low) / width - weight * self._similar.get(item.place, 0.0) for item in pool]
        return pool[int(np.argmax(values))]

    def _note_similar(self, place: int) -> None:
        """Raise the similarity of each candidate to what was chosen by that to one more item."""
        others = sorted({item.place for pool in self._pools.values() for item in pool})
        if self._plan.directions is None or not others:
            return
        vectors = self._plan.directions([place, *others]).astype(np.float32)
        for other, cosine in zip(others, (vectors[1:] @ vectors[0]).tolist(), strict=True):
            self._similar[other] = max(self._similar.get(other, -1.0), cosine)


@dataclass(frozen=True)
class Round:
    """What further candidates several answers want at once.

    Attributes:
        barred: of each answer the items that are not wanted, bool [N].
        count: how many each at least, if there are so many.
    """

    barred: Sequence[Bools]
    count: int


Rows = Generator[Round, Sequence[Sequence[Candidate]], list[list[Candidate]]]


def lockstep(plans: Sequence[Arrangement]) -> Rows:
    """Arrange several answers at once: yields what candidates they need, is sent those of each, and returns the answers."""
    runs = [arranged(plan) for plan in plans]
    done: list[list[Candidate]] = [[] for _ in plans]

    def advance(row: int, found: Sequence[Candidate] | None) -> Need | None:
        try:
            return next(runs[row]) if found is None else runs[row].send(found)
        except StopIteration as ended:
            done[row] = ended.value
            return None

    needs = [advance(row, None) for row in range(len(plans))]
    while any(needs):
        count = max(need.count for need in needs if need is not None)
        every = np.ones(len(plans[0].barred), bool)
        found = yield Round([every if need is None else need.barred for need in needs], count)
        needs = [None if need is None else advance(row, found[row][: need.count]) for row, need in enumerate(needs)]
    return done


def advanced(run: Rows, found: Sequence[Sequence[Candidate]] | None) -> tuple[Round | None, list[list[Candidate]]]:
    """Go on with :func:`lockstep`: return what it needs next, or None and the answers."""
    try:
        return (next(run) if found is None else run.send(found)), []
    except StopIteration as ended:
        return None, ended.value
