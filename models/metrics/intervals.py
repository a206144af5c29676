"""Confidence intervals of metrics, by resampling users.

Rows of one user are not independent, so users are resampled, not rows (cluster bootstrap: Field and Welsh, 2007,
https://doi.org/10.1111/j.1467-9868.2007.00593.x). All models of a task are resampled with the same users, so the interval of
a difference is that of the paired difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEVEL: Final = 0.95
_NORMAL_QUANTILE = 1.959963984540054
_GROUPS = 20
"""Groups of users that are left out in turn."""
_BLOCK = 250
"""Resamples that are summed at a time, so that their counts as floats take little memory however many there are."""
_MIN_USABLE = 0.5
"""Share of resamples that must give a figure at all (an area needs both classes, precision a row that is said yes to)."""


@dataclass(frozen=True)
class Interval:
    """A 95% interval, or the reason why there is none."""

    low: float | None
    high: float | None
    reason: str | None = None


class UserBootstrap:
    """Resamples of the users of a table, the same ones for every figure computed with it.

    Args:
        users: [n] the user of each row, any sortable values.
        resamples: how many.
        seed: fixes them; the first of many are those of few.
    """

    def __init__(self, users: npt.NDArray[np.generic], resamples: int, seed: int) -> None:
        distinct, codes = np.unique(users, return_inverse=True)
        self.codes: Ints = codes.astype(np.int64)
        """[n] the user number of each row."""
        self.users = len(distinct)
        """Number of distinct users."""
        generator = np.random.default_rng(seed)
        self._counts = np.zeros((resamples, self.users), np.uint16)
        for row in self._counts:
            row += np.bincount(generator.integers(self.users, size=self.users), minlength=self.users).astype(np.uint16)

    def sums(self, values: Floats) -> Floats:
        """Return [resamples, M] the column sums of ``values`` ([n, M]) in each resample."""
        by_user = np.zeros((self.users, values.shape[1]))
        np.add.at(by_user, self.codes, values)
        blocks = [self._counts[start : start + _BLOCK] for start in range(0, len(self._counts), _BLOCK)]
        return np.concatenate([block.astype(np.float64) @ by_user for block in blocks])

    def means(self, values: Floats) -> Floats:
        """Return [resamples, M] the column means over rows of ``values`` ([n, M]) in each resample."""
        sums = self.sums(np.column_stack([values, np.ones(len(values))]))
        return np.asarray(sums[:, :-1] / sums[:, -1:])

    def known_means(self, values: Floats) -> Floats:
        """Like ``means``, over the rows of each column that are not NaN; NaN where a resample has none."""
        known = ~np.isnan(values)
        sums, counts = self.sums(np.where(known, values, 0.0)), self.sums(known.astype(np.float64))
        return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)

    @property
    def counts(self) -> npt.NDArray[np.uint16]:
        """[resamples, users] how often each user is in each resample."""
        return self._counts

    def weights(self) -> Iterator[Floats]:
        """Yield, for each resample, [n] how often each row is in it."""
        for counts in self._counts:
            yield counts[self.codes].astype(np.float64)

    def draws(self, figures: Callable[[Floats], Sequence[float]]) -> Floats:
        """Return [resamples, M] some figures of the weighted rows, NaN where they are not defined."""
        return np.array([figures(weight) for weight in self.weights()])

    def percentile(self, draws: Floats) -> Interval:
        """Return the interval between the 2.5% and the 97.5% point of ``draws`` (Efron, 1979).

        >>> interval = UserBootstrap(np.arange(9), 100, 0).percentile(np.arange(101.0))
        >>> round(interval.low, 6), round(interval.high, 6)
        (2.5, 97.5)
        """
        reason = self._unusable(draws)
        if reason:
            return Interval(None, None, reason)
        low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(float(low), float(high))

    def basic(self, value: float, draws: Floats) -> Interval:
        """Return the percentile interval mirrored at ``value`` and cut at 0, for figures that resampling biases upwards.

        A sum of absolute deviations, such as a calibration error, grows with the noise that resampling adds (Davison and
        Hinkley, 1997, chapter 5).

        >>> interval = UserBootstrap(np.arange(9), 100, 0).basic(10.0, np.arange(101.0) / 4)
        >>> round(interval.low, 6), round(interval.high, 6)
        (0.0, 19.375)
        """
        plain = self.percentile(draws)
        if plain.low is None or plain.high is None:
            return plain
        return Interval(max(0.0, 2 * value - plain.high), max(0.0, 2 * value - plain.low))

    def _unusable(self, draws: Floats) -> str | None:
        if self.users < 2:
            return "no interval: all rows belong to one user"
        usable = float(np.mean(~np.isnan(draws)))
        if usable < _MIN_USABLE:
            return f"no interval: only {usable:.0%} of the resamples define the figure"
        return None


def coverage_interval(top: Ints, users: Ints, items: int, k: int, value: float) -> Interval:
    """Return the jackknife interval of coverage@k over users.

    Resampling with replacement loses a third of the users, and with them the items that only they were shown, so a bootstrap
    of coverage lies below the figure. Leaving users out one at a time does not: with d_u the share of the catalogue that only
    user u was shown, the variance is (U - 1) / U * sum of (d_u - mean d)^2 (Efron and Stein, 1981,
    https://doi.org/10.1214/aos/1176345462), and the interval is normal, cut at 0 and 1.

    Args:
        top: [A, K] columns of the shown items, best first; -1 where a list is shorter.
        users: [A] the user number of each list.
        items: size of the catalogue.
        k: how many of the K are shown.
        value: the coverage.
    """
    number = int(users.max(initial=-1)) + 1
    if number < 2:
        return Interval(None, None, "no interval: all rows belong to one user")
    shown = top[:, :k]
    user, item = np.divmod(np.unique((users[:, None] * items + shown)[shown >= 0]), items)
    shown_to = np.bincount(item, minlength=items)
    lost = np.bincount(user[shown_to[item] == 1], minlength=number) / items
    spread = float(np.sqrt((number - 1) / number * np.sum((lost - lost.mean()) ** 2)))
    return Interval(max(0.0, value - _NORMAL_QUANTILE * spread), min(1.0, value + _NORMAL_QUANTILE * spread))


def group_jackknife_interval(value: float, users: Ints, figure: Callable[[npt.NDArray[np.bool_]], float]) -> Interval:
    """Return the interval of a figure of all rows together, from leaving out groups of users one at a time.

    With g_j the figure without group j of G, the variance is (G - 1) / G * sum of (g_j - mean g)^2 (Shao and Wu, 1989,
    https://doi.org/10.1214/aos/1176347263), and the interval is normal.

    Args:
        value: the figure of all rows.
        users: [A] the user number of each row.
        figure: gives the figure of the rows that a mask [A] keeps.
    """
    groups = min(_GROUPS, int(users.max(initial=-1)) + 1)
    if groups < 2:
        return Interval(None, None, "no interval: all rows belong to one user")
    without = np.array([figure(users % groups != group) for group in range(groups)])
    spread = float(np.sqrt((groups - 1) / groups * np.sum((without - without.mean()) ** 2)))
    return Interval(value - _NORMAL_QUANTILE * spread, value + _NORMAL_QUANTILE * spread)


def more_than_an_error(ahead: Floats, users: npt.NDArray[np.generic]) -> bool:
    """Return whether questions that are ``ahead`` [A] are so, on average, by more than one standard error over shoppers.

    By the rule of one standard error (Breiman et al., Classification and Regression Trees, 1984), the simpler of two is kept otherwise.
    """
    mean = float(ahead.mean())
    code = np.unique(users, return_inverse=True)[1]
    of_users = np.bincount(code, ahead - mean)
    return mean > float(np.sqrt(of_users @ of_users)) / len(ahead)
