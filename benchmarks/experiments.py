"""Are previews and experiments right as often as they claim? See README.md."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Optional

ROOT: Final = Path(__file__).resolve().parents[1]
# The folder of a script is searched first; this puts the rooms before it.
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.experimenting import open_bandit  # noqa: E402
from benchmarks.experimenting.simulated import Population, logged, population  # noqa: E402
from benchmarks.machine import machine  # noqa: E402
from cartwheel.core.files import write_json  # noqa: E402
from evaluation.experiments.sequential import replay  # noqa: E402
from evaluation.off_policy.preview import Preview, preview  # noqa: E402
from serving.experiments.exploration import Exploration  # noqa: E402

TRUTH: Final = 0.0042
"""Click rate of the Open Bandit sample under Thompson sampling."""
COVERED: Final = (0.93, 0.97)
ALARMS: Final = 0.05
EXPLORATION: Final = Exploration(0.5, 20)
_RATES: Final = (0.02, 0.1)
_QUANTILE: Final = 1.959963984540054

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    repeats: Annotated[int, typer.Option(min=10, help="Logs that are drawn of the simulated shop, and A/A experiments.")] = 200,
    shoppers: Annotated[int, typer.Option(min=50, help="Shoppers of each log.")] = 800,
    visitors: Annotated[int, typer.Option(min=500, help="Shoppers of each A/A experiment.")] = 10_000,
    data: Annotated[Optional[Path], typer.Option(help="Folder of the Open Bandit sample; left out where there is none.")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option(help="Fixes all draws.")] = 1,
    json: Annotated[Optional[Path], typer.Option(help="Write the figures to this file too.")] = None,  # noqa: UP045
) -> None:
    """Preview policies whose worth is known, and test arms that do not differ."""
    console = Console(width=max(110, Console().width))
    console.print(machine(["numpy", "polars"]), highlight=False)
    figures: dict[str, Any] = {}
    if data is not None:
        figures["open_bandit"] = _open_bandit(data, console)
    with tempfile.TemporaryDirectory(prefix="experiments-benchmark-") as folder:
        shop = population(Path(folder), shoppers, EXPLORATION.pool, seed)
    figures["covered"] = covered(shop, repeats, shoppers, seed)
    worth = f"A is worth {shop.worth(shop.first):.4f} clicks a place, B {shop.worth(shop.second):.4f}"
    console.print(
        f"95 % intervals that hold the truth, of {repeats} logs of {shoppers} shoppers of a simulated shop; {worth}",
        highlight=False,
    )
    console.print(_table(figures["covered"]), highlight=False)
    figures["alarms"] = {str(rate): alarms(rate, repeats, visitors, seed) for rate in _RATES}
    for rate, (ours, naive) in figures["alarms"].items():
        console.print(
            f"A/A at a rate of {rate}, looked at 100 times: alarms {ours:.1%} ({_met(ours <= ALARMS)}), "
            f"of a test of fixed size {naive:.1%}",
            highlight=False,
        )
    if json:
        write_json(json, figures)


def covered(shop: Population, repeats: int, shoppers: int, seed: int) -> dict[str, dict[str, float]]:
    """Return how often intervals hold the truth: what is estimated -> estimator -> share of the repeats."""
    first, second = shop.worth(shop.first), shop.worth(shop.second)
    truths = {"A": first, "B": second, "B less A": second - first}
    held: dict[tuple[str, str], list[bool]] = {}
    for repeat in range(repeats):
        found = preview(*logged(shop, EXPLORATION, shoppers, seed * 1_000_000 + repeat))
        sides = {"A": found.first.estimates, "B": found.second.estimates, "B less A": found.differences}
        for what, estimates in sides.items():
            for name, estimate in estimates.items():
                held.setdefault((what, name), []).append(estimate.low <= truths[what] <= estimate.high)
    names = dict.fromkeys(name for _, name in held)
    return {what: {name: float(np.mean(held[what, name])) for name in names} for what in truths}


def alarms(rate: float, repeats: int, shoppers: int, seed: int) -> tuple[float, float]:
    """Return how often an A/A experiment that is looked at 100 times finds a difference: by the sequential test, and one of fixed size."""
    rng, found, naive = np.random.default_rng(seed), [], []
    for _ in range(repeats):
        arms = rng.integers(0, 2, shoppers)
        values = (rng.random(shoppers) < rate).astype(np.float64)
        every = shoppers // 100
        found.append(any(look.is_decided for look in replay(arms, values, every, planned=shoppers)))
        naive.append(any(abs(score) > _QUANTILE for score in _scores(arms, values, every)))
    return float(np.mean(found)), float(np.mean(naive))


def _scores(arms: np.ndarray[Any, Any], values: np.ndarray[Any, Any], every: int) -> Iterator[float]:
    for last in range(every, len(arms) + 1, every):
        ones, zeros = values[:last][arms[:last] == 1], values[:last][arms[:last] == 0]
        if min(len(ones), len(zeros)) > 1 and (spread := math.sqrt(ones.var() / len(ones) + zeros.var() / len(zeros))):
            yield (ones.mean() - zeros.mean()) / spread


def _open_bandit(data: Path, console: Console) -> dict[str, Any]:
    first, second, rate = open_bandit.logged(data)
    found = preview(first, second)
    console.print(
        f"Open Bandit: Thompson sampling from a random log; its own log tells a click rate of {rate:.4f}", highlight=False
    )
    for name, estimate in found.second.estimates.items():
        holds = _met(estimate.low <= TRUTH <= estimate.high)
        console.print(
            f"  {name:5} {estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}] covers: {holds}", highlight=False
        )
    console.print(
        f"  effective sample size {found.effective:,.0f}, {found.needed:,.0f} needed; refused: {_met(found.verdict == 'refused')}",
        highlight=False,
    )
    return told(found)


def told(found: Preview) -> dict[str, Any]:
    """Return a preview as JSON values."""
    estimates = {name: [one.value, one.low, one.high] for name, one in found.second.estimates.items()}
    return {"estimates": estimates, "effective": found.effective, "needed": found.needed, "verdict": found.verdict}


def _table(found: Mapping[str, Mapping[str, float]]) -> Table:
    names = list(next(iter(found.values())))
    table = Table("estimated", *names)
    for what, shares in found.items():
        table.add_row(what, *(f"{shares[name]:.1%} {_met(COVERED[0] <= shares[name] <= COVERED[1])}" for name in names))
    return table


def _met(met: bool) -> str:
    return "met" if met else "MISSED"


if __name__ == "__main__":
    app()
