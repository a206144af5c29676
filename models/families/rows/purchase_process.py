"""The purchase process: BG/NBD and Gamma-Gamma.

P. S. Fader, B. G. S. Hardie and K. L. Lee, "Counting Your Customers the Easy Way", Marketing Science 2005,
https://doi.org/10.1287/mksc.1040.0098; P. S. Fader and B. G. S. Hardie, "The Gamma-Gamma Model of Monetary Value", 2013,
https://www.brucehardie.com/notes/025/. Both are fitted by maximum likelihood from several starts, for one start can end in a corner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from onnx import TensorProto

from models.families.family import Floats
from workflows.compiler.onnx_graph import GraphBuilder

TERMS: Final = 400
"""Of the hypergeometric series; an error below 1e-6 where the horizon is at most nine times the time observed and the process's own."""
_BOUND: Final = 5.0
"""Parameters lie between the exponentials of this and of its negative."""
_MOST: Final = 300.0
_NEAR: Final = 1e-6
_STARTS: Final = ((0.0, 0.0, 0.0, 0.0), (-1.0, 1.5, 0.0, 1.0), (1.0, 3.0, -1.0, 0.0))
_VALUE_STARTS: Final = ((0.0, 0.0, 0.0), (1.5, 1.0, 2.5), (0.0, 1.0, 4.0))


@dataclass(frozen=True)
class Process:
    """BG/NBD: customers buy at rates of a gamma distribution, and stop after each purchase with probabilities of a beta distribution.

    Attributes:
        r: shape of the rates.
        alpha: their scale, weeks.
        a: first parameter of the probability to stop.
        b: second parameter.
    """

    r: float
    alpha: float
    a: float
    b: float

    def log_likelihood(self, repeats: Floats, last: Floats, age: Floats) -> Floats:
        """Return [n] of each customer.

        Args:
            repeats: [n] purchases after the first.
            last: [n] weeks from the first to the last purchase.
            age: [n] weeks from the first purchase to now.
        """
        from scipy.special import gammaln

        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        rate = gammaln(r + repeats) - gammaln(r) + r * np.log(alpha)
        stop = gammaln(a + b) + gammaln(b + repeats) - gammaln(b) - gammaln(a + b + repeats)
        alive = -(r + repeats) * np.log(alpha + age)
        gone = np.log(a) - np.log(np.maximum(b + repeats - 1.0, _NEAR)) - (r + repeats) * np.log(alpha + last)
        return np.asarray(rate + stop + np.where(repeats > 0, np.logaddexp(alive, gone), alive), np.float64)

    def expected(self, repeats: Floats, last: Floats, age: Floats, weeks: float) -> Floats:
        """Return [n] purchases expected within the next weeks (equation 10, its series by Euler's transformation); arguments as above.

        No more than whoever never stops would buy, which also bounds what rounding does at extreme parameters.
        """
        share = weeks / (self.alpha + age + weeks)
        bottom = self._bottom(repeats)
        steps = np.log(np.maximum(np.abs(bottom[:, None] + np.arange(TERMS)), _NEAR))
        falling = np.cumsum(steps, axis=1) - steps
        constant, sign = self._series()
        powers = constant + np.arange(TERMS) * np.log(share)[:, None] - falling + (self.a - 1.0) * np.log1p(-share)[:, None]
        first = np.where(np.arange(TERMS) > 0, np.sign(bottom)[:, None], 1.0)
        series = np.sum(np.exp(np.minimum(powers, _MOST)) * sign * first, axis=1)
        growth = bottom / (self.a - 1.0) * (1.0 - series)
        gone = (
            self.a / np.maximum(self.b + repeats - 1.0, _NEAR) * ((self.alpha + age) / (self.alpha + last)) ** (self.r + repeats)
        )
        never_stopping = (self.r + repeats) / (self.alpha + age) * weeks
        return np.minimum(np.maximum(growth / (1.0 + np.where(repeats > 0, gone, 0.0)), 0.0), never_stopping)

    def add(self, graph: GraphBuilder, repeats: str, last: str, age: str, weeks: float) -> str:
        """Add ``expected`` of float64 ``[B, 1]`` values to a graph."""

        def number(value: Any) -> str:
            return graph.constant(value, np.float64)

        observed = graph.add("Add", age, number(self.alpha))
        share = graph.add("Div", number(weeks), graph.add("Add", observed, number(weeks)))
        bottom = graph.add("Add", repeats, number(self.a + self.b - 1.0))
        places = np.arange(TERMS, dtype=np.float64)[None]
        steps = graph.add("Log", graph.add("Max", graph.add("Abs", graph.add("Add", bottom, number(places))), number(_NEAR)))
        falling = graph.add("CumSum", steps, graph.constant(1, np.int64), exclusive=1)
        constant, sign = self._series()
        powers = graph.add("Add", graph.add("Mul", graph.add("Log", share), number(places)), number(constant[None]))
        left = graph.add("Mul", graph.add("Log", graph.add("Sub", number(1.0), share)), number(self.a - 1.0))
        powers = graph.add("Min", graph.add("Add", graph.add("Sub", powers, falling), left), number(_MOST))
        first = graph.add("Where", graph.constant(places > 0), graph.add("Sign", bottom), number(1.0))
        terms = graph.add("Mul", graph.add("Mul", graph.add("Exp", powers), number(sign[None])), first)
        series = graph.add("ReduceSum", terms, graph.constant([1], np.int64), keepdims=1)
        growth = graph.add("Mul", graph.add("Mul", bottom, number(1.0 / (self.a - 1.0))), graph.add("Sub", number(1.0), series))
        chance = graph.add("Max", graph.add("Add", repeats, number(self.b - 1.0)), number(_NEAR))
        power = graph.add(
            "Pow",
            graph.add("Div", observed, graph.add("Add", last, number(self.alpha))),
            graph.add("Add", repeats, number(self.r)),
        )
        gone = graph.add("Mul", graph.add("Div", number(self.a), chance), power)
        gone = graph.add("Where", graph.add("Greater", repeats, number(0.0)), gone, number(0.0))
        found = graph.add("Max", graph.add("Div", growth, graph.add("Add", gone, number(1.0))), number(0.0))
        rate = graph.add("Div", graph.add("Add", repeats, number(self.r)), observed)
        return graph.add("Min", found, graph.add("Mul", rate, number(weeks)))

    def _bottom(self, repeats: Floats) -> Floats:
        return self.a + self.b - 1.0 + repeats

    def _series(self) -> tuple[Floats, Floats]:
        """Return [terms] the logarithm of what the terms have in common for all customers, and its sign."""
        steps = np.arange(TERMS - 1)
        factor = (self.a + self.b - 1.0 - self.r + steps) * (self.a - 1.0 + steps) / (steps + 1.0)
        size = np.concatenate([[0.0], np.cumsum(np.log(np.maximum(np.abs(factor), 1e-300)))])
        return size, np.concatenate([[1.0], np.cumprod(np.sign(factor))])


@dataclass(frozen=True)
class Values:
    """Gamma-Gamma: what an order is worth varies around a customer's own mean, and that around the shop's.

    Attributes:
        p: shape of orders.
        q: shape of customers, above 1.
        v: scale of customers, money.
    """

    p: float
    q: float
    v: float

    def log_likelihood(self, orders: Floats, mean: Floats) -> Floats:
        """Return [n] of customers with some orders and the mean value of each, above 0."""
        from scipy.special import gammaln

        shape = self.p * orders
        known = (shape - 1.0) * np.log(mean) + shape * np.log(orders) - (shape + self.q) * np.log(self.v + orders * mean)
        return np.asarray(
            gammaln(shape + self.q) - gammaln(shape) - gammaln(self.q) + self.q * np.log(self.v) + known, np.float64
        )

    def expected(self, orders: Floats, mean: Floats) -> Floats:
        """Return [n] what the next order is worth."""
        return np.asarray(self.p * (self.v + orders * mean) / (self.p * orders + self.q - 1.0), np.float64)

    def add(self, graph: GraphBuilder, orders: str, mean: str) -> str:
        """Add ``expected`` of float64 ``[B, 1]`` values to a graph."""
        p, less, v = (graph.constant(value, np.float64) for value in (self.p, self.q - 1.0, self.v))
        above = graph.add("Mul", p, graph.add("Add", v, graph.add("Mul", orders, mean)))
        return graph.add("Div", above, graph.add("Add", graph.add("Mul", p, orders), less))


def fit_process(repeats: Floats, last: Floats, age: Floats) -> tuple[Process, bool]:
    """Fit BG/NBD; arguments as ``Process.log_likelihood``. Return also whether the best start converged."""
    rows, counts = np.unique(np.stack([repeats, last, age], axis=1), axis=0, return_counts=True)
    weights = counts / counts.sum()

    def made(logs: Floats) -> Process:
        r, alpha, a, b = np.exp(logs)
        return Process(float(r), float(alpha), float(a), float(b))

    logs, converged = _best(lambda logs: -float(weights @ made(logs).log_likelihood(*rows.T)), _STARTS)
    found = made(logs)
    if abs(found.a - 1.0) < _NEAR:
        found = Process(found.r, found.alpha, 1.0 + _NEAR, found.b)
    return found, converged


def fit_values(orders: Floats, mean: Floats) -> tuple[Values, bool]:
    """Fit Gamma-Gamma to [n] customers with orders of a mean value above 0. Return also whether the best start converged."""
    rows, counts = np.unique(np.stack([orders, mean], axis=1), axis=0, return_counts=True)
    weights = counts / counts.sum()

    def made(logs: Floats) -> Values:
        p, q, v = np.exp(logs)
        return Values(float(p), 1.0 + float(q), float(v))

    logs, converged = _best(lambda logs: -float(weights @ made(logs).log_likelihood(*rows.T)), _VALUE_STARTS)
    return made(logs), converged


def _best(loss: Callable[[Floats], float], starts: Sequence[Sequence[float]]) -> tuple[Floats, bool]:
    """Return the logarithms of the parameters of the least loss that any start finds, and whether that start converged."""
    from scipy.optimize import minimize

    bounds = [(-_BOUND, _BOUND)] * len(starts[0])
    found = [minimize(loss, start, method="L-BFGS-B", bounds=bounds) for start in starts]
    best = min(found, key=lambda each: float(each.fun))
    return np.asarray(best.x, np.float64), bool(best.success)


def as_double(graph: GraphBuilder, value: str) -> str:
    """Add a cast to float64."""
    return graph.add("Cast", value, to=TensorProto.DOUBLE)
