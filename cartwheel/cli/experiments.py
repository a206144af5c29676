"""``cartwheel preview`` and ``cartwheel experiment``: off-policy estimates of another model, and comparison of two served versions."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Optional

import typer
from rich.console import Console
from rich.table import Table

from cartwheel.core.errors import DataError, UsageError
from serving.rules.rules import ShopRules

if TYPE_CHECKING:
    import polars as pl

    from cartwheel.config import RunSettings
    from evaluation.off_policy.exposures import Exposure
    from evaluation.off_policy.preview import Preview

_JOURNAL: Final = 2_000_000
Served = Annotated[Path, typer.Argument(metavar="A", help="The served run or configuration file, with exposures.")]
Events = Annotated[
    Optional[Path],  # noqa: UP045 - typer on 3.10
    typer.Option(help="Parquet of events, as written by `cartwheel land` [default: events that are not landed yet]."),
]
Hours = Annotated[float, typer.Option(min=0.01, help="Hours after an exposure within which a click counts.")]
Kind = Annotated[str, typer.Option("--event", help="Event type that counts as a click.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]


def preview(
    first: Served,
    second: Annotated[Path, typer.Argument(metavar="B", help="The alternative run, repository or configuration file.")],
    events: Events = None,
    hours: Hours = 24.0,
    kind: Kind = "view",
    least_effect: Annotated[float, typer.Option(help="Relative difference that the log must be able to detect.")] = 0.1,
    min_effective: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Effective sample size below which there is no decision [default: derived from --least-effect]."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate how B would have performed on A's traffic, from the exposures of A with exploration.

    The logged requests are sent to B in this process, with the rules of each request and those of the shop: [serve.rules] of B if
    B is a configuration file, else of A. If the log has too few effective rows to detect the least effect, the verdict
    is "refused", and the command ends with exit code 4.
    """
    from cartwheel.cli.serve import repository_of
    from evaluation.off_policy.exposures import clicked, logged
    from evaluation.off_policy.preview import preview as compare
    from serving.experiments.asked_again import Question, lists_of

    exposures, found = _read(first, events, kind)
    rewards = clicked(exposures, found, hours)
    questions = [Question(exposure.request, exposure.rules, exposure.cart) for exposure in exposures]
    settings = _configured(second) or _configured(first)
    repository = repository_of(second if second.suffix != ".toml" or settings is None else settings.run)
    others = list(lists_of(repository, questions, settings.serve.rules if settings is not None else ShopRules()))
    both = (logged(exposures, rewards, [exposure.model for exposure in exposures]), logged(exposures, rewards, others))
    result = compare(*both, least_effect, min_effective)
    if as_json:
        print(json.dumps(_told(result), indent=2))
    else:
        _show(result)
    if result.verdict == "refused":
        raise DataError(
            f"The log has {result.effective:,.0f} effective rows; {result.needed:,.0f} are needed to decide.",
            "Serve longer, explore more (serve.explore_share), or state a larger --least-effect.",
        )


def experiment(
    run: Served,
    shares: Annotated[list[str], typer.Option("--share", help="VERSION=SHARE as intended, once per version, the old one first.")],
    events: Events = None,
    hours: Hours = 24.0,
    kind: Kind = "view",
    planned: Annotated[int, typer.Option(min=1, help="Number of shoppers at which the interval is narrowest.")] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Compare two versions that were served side by side. It may be run daily and stopped as soon as it is conclusive."""
    from evaluation.experiments.sample_ratio import sample_ratio
    from evaluation.experiments.sequential import replay
    from evaluation.off_policy.exposures import clicked, entered

    arms = _shares(shares)
    exposures, found = _read(run, events, kind)
    exposures = [exposure for exposure in exposures if exposure.version in arms]
    in_it = entered(exposures, clicked(exposures, found, hours), hours, time.time_ns() // 1000)
    counts = Counter(in_it.versions)
    ratio = sample_ratio(counts, arms)
    names = list(arms)
    import numpy as np

    look = replay(np.array([names.index(version) for version in in_it.versions]), in_it.clicked, len(in_it.versions), planned)[-1]
    told = {
        "shoppers": {name: counts.get(name, 0) for name in names},
        "crossed": in_it.crossed,
        "sample_ratio_p": ratio.p_value,
        "difference": look.difference,
        "interval": [look.low, look.high],
        "p_value": look.p_value,
        "decided": look.is_decided and ratio.is_sound,
    }
    if as_json:
        print(json.dumps(told, indent=2))
        return
    console = Console()
    console.print(f"shoppers: {told['shoppers']}, of whom {in_it.crossed} saw both", highlight=False)
    sound = "as meant" if ratio.is_sound else "NOT as meant: find out why before anything is concluded"
    console.print(f"sample ratio: p = {ratio.p_value:.3g}, {sound}", highlight=False)
    console.print(
        f"shoppers who click, {names[1]} less {names[0]}: {look.difference:+.4f} [{look.low:+.4f}, {look.high:+.4f}], "
        f"p = {look.p_value:.3g} (always valid): {'decided' if told['decided'] else 'go on'}",
        highlight=False,
    )


def _configured(path: Path) -> RunSettings | None:
    """Return the settings of a configuration file; None of a run or repository, which has none."""
    if path.suffix != ".toml":
        return None
    from cartwheel.config import load_settings

    return load_settings(path)


def _shares(given: Sequence[str]) -> dict[str, float]:
    try:
        shares = {name: float(share) for name, _, share in (text.partition("=") for text in given)}
    except ValueError:
        shares = {}
    if len(shares) != 2:
        raise UsageError(
            f"--share is {list(given)}.", "Give it twice, as VERSION=SHARE, for example --share 1f3a=0.9 --share 77b0=0.1."
        )
    return shares


def _read(run: Path, events: Path | None, kind: str) -> tuple[list[Exposure], pl.DataFrame]:
    """Return the exposures of a served run and the events that count as clicks."""
    import polars as pl

    from cartwheel.cli.live import _settings
    from evaluation.off_policy.exposures import read_exposures
    from serving.experiments.exposures import EXPOSURES

    settings, folder = _settings(run, None)
    exposures = read_exposures(folder / EXPOSURES)
    if not exposures:
        raise DataError(f"{folder / EXPOSURES} has no list that was ranked for a named user.", "Send requests with user ids.")
    if events is not None:
        files = sorted(events.glob("*.parquet")) if events.is_dir() else [events]
        if not files or not all(path.is_file() for path in files):
            raise DataError(f"There is no Parquet file in {events}.", "Give the folder that `cartwheel land` writes to.")
        found = pl.concat([pl.read_parquet(path, columns=["user_id", "item_id", "event_type", "timestamp"]) for path in files])
    else:
        found = _journal(settings, folder)
    return exposures, found.filter(pl.col("event_type") == kind, pl.col("user_id").is_not_null()).sort("timestamp")


def _journal(settings: Any, folder: Path) -> pl.DataFrame:
    import polars as pl

    from serving.store.opened import open_store

    store = open_store(settings, folder)
    assert store is not None
    with store:
        rows = [(event.user_id, event.item_id, event.event_type, event.time_us) for _, event in store.journal(_JOURNAL)]
    schema = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "timestamp": pl.Int64}
    return pl.DataFrame(rows, schema, orient="row").with_columns(pl.from_epoch("timestamp", "us").dt.replace_time_zone("UTC"))


def _told(result: Preview) -> dict[str, Any]:
    sides = {"A": result.first.estimates, "B": result.second.estimates, "B less A": result.differences}
    figures = {
        what: {name: [one.value, one.low, one.high] for name, one in estimates.items()} for what, estimates in sides.items()
    }
    more = {"rows": result.rows, "shoppers": result.shoppers, "effective": result.effective, "needed": result.needed}
    return {**figures, **more, "mean_weight": result.second.weight, "verdict": result.verdict}


def _show(result: Preview) -> None:
    console = Console()
    table = Table("clicks a shown item", "A", "B", "B less A")
    for name, difference in result.differences.items():
        cells = (result.first.estimates[name], result.second.estimates[name], difference)
        table.add_row(name, *(f"{one.value:.5f} [{one.low:.5f}, {one.high:.5f}]" for one in cells))
    console.print(table)
    console.print(
        f"{result.rows:,} shown items, {result.shoppers:,} shoppers, effective sample size {result.effective:,.0f}, "
        f"{result.needed:,.0f} needed; mean weight of B {result.second.weight:.2f}: {result.verdict}",
        highlight=False,
    )
