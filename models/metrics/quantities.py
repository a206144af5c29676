"""Metrics of predicted quantities, such as tomorrow's demand; NaN without rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from models.metrics.classification import Floats, Numbers

_LEAST_EXPECTED = 1e-9


def rmse(actual: Numbers, predicted: Numbers) -> float:
    """Return the root of the mean squared error, sqrt(1/n * sum of (y - p)^2), in the unit of the quantity.

    Hyndman and Koehler, International Journal of Forecasting 2006, https://doi.org/10.1016/j.ijforecast.2006.03.001.

    >>> rmse(np.array([1.0, 3.0]), np.array([1.0, 5.0])).__round__(4)
    1.4142
    """
    return float(np.sqrt(np.mean((predicted - actual) ** 2))) if len(actual) else float("nan")


def mae(actual: Numbers, predicted: Numbers) -> float:
    """Return the mean absolute error, 1/n * sum of |y - p|, in the unit of the quantity.

    Hyndman and Koehler, International Journal of Forecasting 2006, https://doi.org/10.1016/j.ijforecast.2006.03.001.

    >>> mae(np.array([1.0, 3.0]), np.array([1.0, 5.0]))
    1.0
    """
    return float(np.mean(np.abs(predicted - actual))) if len(actual) else float("nan")


def wape(actual: Numbers, predicted: Numbers) -> float:
    """Return the weighted absolute percentage error, sum of |error| / sum of |actual|; NaN where all are 0.

    Kolassa and Schuetz, Foresight 2007.

    >>> wape(np.array([1.0, 3.0]), np.array([1.0, 5.0]))
    0.5
    """
    total = float(np.sum(np.abs(actual)))
    return float(np.sum(np.abs(predicted - actual))) / total if total else float("nan")


def row_poisson_deviance(actual: Numbers, predicted: Numbers) -> Floats:
    """Return [n] the Poisson deviance 2 (y log(y / p) - y + p), with y log y = 0 at y = 0; predictions are kept 1e-9 above 0.

    McCullagh and Nelder, Generalized Linear Models, 1989, section 2.3.

    Args:
        actual: [n] what came, at least 0.
        predicted: [n] expected quantities, at least 0.

    >>> row_poisson_deviance(np.array([1.0, 0.0]), np.array([1.0, 2.0]))
    array([0., 4.])
    """
    y, p = actual.astype(np.float64), np.maximum(predicted.astype(np.float64), _LEAST_EXPECTED)
    return np.asarray(2.0 * (np.where(y > 0, y * np.log(np.where(y > 0, y, 1.0) / p), 0.0) - y + p))


def poisson_deviance(actual: Numbers, predicted: Numbers) -> float:
    """Return the mean of ``row_poisson_deviance``.

    >>> poisson_deviance(np.array([1.0, 0.0]), np.array([1.0, 2.0]))
    2.0
    """
    return float(np.mean(row_poisson_deviance(actual, predicted))) if len(actual) else float("nan")


def row_rmsse(actual: Numbers, predicted: Numbers, series: npt.NDArray[Any], scale: Floats) -> Floats:
    """Return [n] values whose mean is the mean RMSSE of the series.

    The root mean squared scaled error of a series is sqrt(mean of (y - p)^2 / scale), where the scale is the mean squared one-step
    difference of its history (Makridakis, Spiliotis and Assimakopoulos, "The M5 competition", International Journal of Forecasting 2022,
    https://doi.org/10.1016/j.ijforecast.2021.07.007). Each series counts once, however many rows it has.

    Args:
        actual: [n] what came.
        predicted: [n] expected quantities.
        series: [n] whose row each is.
        scale: [n] of the row's series; a series whose scale is not above 0 does not count. All NaN are returned where none does.

    >>> row_rmsse(np.array([1.0, 3.0]), np.array([1.0, 5.0]), np.array([7, 7]), np.array([2.0, 2.0]))
    array([1., 1.])
    """
    _, place = np.unique(series, return_inverse=True)
    counts = scale > 0
    rows = np.bincount(place, minlength=place.max() + 1 if len(place) else 0).astype(np.float64)
    squared = np.zeros(len(scale))
    squared[counts] = (predicted[counts] - actual[counts]) ** 2 / scale[counts]
    found = np.sqrt(np.bincount(place, squared, minlength=len(rows)) / rows)
    known = len(np.unique(place[counts]))
    if not known:
        return np.full(len(scale), np.nan)
    return np.asarray(np.where(counts, found[place] * len(scale) / (known * rows[place]), 0.0), np.float64)


def row_pinball(actual: Numbers, predicted: Numbers, quantile: float) -> Floats:
    """Return [n] the pinball loss of predicted quantiles: q (y - p) where y >= p, and (1 - q) (p - y) elsewhere.

    Koenker and Bassett, Econometrica 1978, https://doi.org/10.2307/1913643.

    Args:
        actual: [n] what came.
        predicted: [n] the predicted ``quantile``.
        quantile: in (0, 1).

    Raises:
        ValueError: if ``quantile`` is not in (0, 1).

    >>> row_pinball(np.array([3.0, 1.0]), np.array([1.0, 3.0]), 0.9).round(4)
    array([1.8, 0.2])
    """
    if not 0.0 < quantile < 1.0:
        raise ValueError(f"pinball loss: quantile is {quantile}, expected a number between 0 and 1")
    error = actual.astype(np.float64) - predicted
    return np.where(error >= 0, quantile * error, (quantile - 1) * error)


def pinball(actual: Numbers, predicted: Numbers, quantile: float) -> float:
    """Return the mean of ``row_pinball``.

    >>> round(pinball(np.array([3.0, 1.0]), np.array([1.0, 3.0]), 0.9), 4)
    1.0
    """
    return float(np.mean(row_pinball(actual, predicted, quantile))) if len(actual) else float("nan")
