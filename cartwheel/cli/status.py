"""``cartwheel status``: a running server in the terminal."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from cartwheel.core.errors import ServerError

_LINE: Final = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SERVING: Final = "serving"
_SECONDS: Final = 5.0
_WARN, _ALARM = 0.1, 0.25
"""Population stability index from which inputs count as moved, and as another population."""
Samples = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
Before = Mapping[str, Any] | None


def status(
    run: Annotated[Path, typer.Argument(help="The served run directory or repository.")],
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between updates.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print once and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print once, as JSON.")] = False,
) -> None:
    """Show a running server: versions, answers and latencies by ensemble, fallbacks, rejections, events, and drift from the export."""
    endpoint = _endpoint(run)
    state = look(*endpoint)
    if as_json:
        print(json.dumps(state, indent=2))
        return
    console = Console()
    if once:
        console.print(_shown(state, None))
        return
    with Live(_shown(state, None), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(every)
            before, state = state, look(*_endpoint(run))
            live.update(_shown(state, before), refresh=True)


def look(metrics: str, health: str) -> dict[str, Any]:
    """Return the state of a server as JSON values.

    Args:
        metrics: ``host:port`` of its metrics.
        health: ``host:port`` of its health.

    Raises:
        ServerError: if it does not answer.
    """
    samples = parse(_get(metrics, "/metrics"))
    ready = json.loads(_get(health, "/health/ready", or_503=True))
    seconds = samples.get("cartwheel_request_seconds_bucket", ())
    names = sorted({labels["ensemble"] for labels, _ in seconds})
    return {
        "at": time.time(),
        "ready": ready.get("state") == _SERVING,
        "state": ready.get("state", ""),
        "versions": {labels["version"]: value for labels, value in samples.get("cartwheel_version_share", ())},
        "ensembles": {name: _latency(seconds, name) for name in names},
        "rungs": _sums(samples.get("cartwheel_rungs_total", ()), "rung"),
        "rejections": _sums(samples.get("cartwheel_rejections_total", ()), "reason"),
        "under_way": _one(samples, "cartwheel_under_way"),
        "waiting": _one(samples, "cartwheel_waiting"),
        "tracked": _sums(samples.get("cartwheel_tracked_total", ()), "outcome"),
        "track_waiting": _one(samples, "cartwheel_track_waiting"),
        "unknown_ids": _sums(samples.get("cartwheel_unknown_ids_total", ()), "kind"),
        "nulls": _sums(samples.get("cartwheel_nulls_total", ()), "input"),
        "observed": _one(samples, "cartwheel_observed_total"),
        "drift": {labels["input"]: None if value != value else value for labels, value in samples.get("cartwheel_drift_psi", ())},
    }


def parse(text: str) -> Samples:
    """Return the samples of Prometheus' text format: name -> its labels and values."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
    for line in text.splitlines():
        if match := _LINE.match(line):
            found[match["name"]].append((dict(_LABEL.findall(match["labels"] or "")), float(match["value"])))
    return found


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """Return a quantile of a histogram of cumulative counts, as Prometheus reckons it; None where it is empty or beyond the last bucket.

    >>> quantile([(0.1, 50.0), (0.2, 100.0), (float("inf"), 100.0)], 0.75)
    0.15000000000000002
    """
    total = buckets[-1][1] if buckets else 0.0
    low, below = 0.0, 0.0
    for high, count in buckets:
        if total and count >= share * total:
            return low + (high - low) * (share * total - below) / (count - below) if high != float("inf") else None
        low, below = high, count
    return None


def _latency(seconds: Sequence[tuple[Mapping[str, str], float]], ensemble: str) -> dict[str, float | None]:
    sums: dict[float, float] = defaultdict(float)
    for labels, count in seconds:
        if labels["ensemble"] == ensemble:
            sums[float(labels["le"])] += count
    buckets = sorted(sums.items())
    shares = {f"p{share:g}_ms": quantile(buckets, share / 100) for share in (50, 95, 99)}
    return {
        "answers": buckets[-1][1],
        **{name: None if value is None else round(value * 1e3, 3) for name, value in shares.items()},
    }


def _sums(samples: Sequence[tuple[Mapping[str, str], float]], label: str) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for labels, value in samples:
        found[labels[label]] += value
    return dict(found)


def _one(samples: Samples, name: str) -> float:
    return sum(value for _, value in samples.get(name, ()))


def _endpoint(run: Path) -> tuple[str, str]:
    from cartwheel.cli.serve import repository_of
    from serving.server.endpoint import ENDPOINT, Endpoint
    from serving.server.state_folder import home_of, state_folder

    folder = state_folder(home_of(repository_of(run)))
    endpoint = Endpoint.read(folder / ENDPOINT, run)
    return endpoint.metrics, endpoint.health


def _get(address: str, path: str, *, or_503: bool = False) -> str:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=_SECONDS) as answer:
            content: bytes = answer.read()
    except urllib.error.HTTPError as error:
        if not or_503:
            raise ServerError(f"{address}{path} answers {error.code}.", "See the gateway's log.") from error
        content = error.read()
    except OSError as error:
        raise ServerError(f"{address}{path} does not answer ({error}).", "Start it with `cartwheel serve`.") from error
    return content.decode()


def _shown(state: Mapping[str, Any], before: Before) -> Group:
    versions = ", ".join(f"{name} ({share:.0%})" for name, share in state["versions"].items())
    head = f"{state['state'] or 'not ready'}: {versions}; {state['under_way']:.0f} under way, {state['waiting']:.0f} waiting"
    table = Table("ensemble", "answers", "a second", "p50 ms", "p95 ms", "p99 ms")
    for name, one in state["ensembles"].items():
        cells = ("-" if one[share] is None else f"{one[share]:.1f}" for share in ("p50_ms", "p95_ms", "p99_ms"))
        table.add_row(name, f"{one['answers']:,.0f}", _rate(state, before, name), *cells)
    rest = Table.grid(padding=(0, 2))
    for title in ("rungs", "rejections", "tracked", "unknown_ids", "nulls"):
        rest.add_row(title.replace("_", " "), ", ".join(f"{name} {value:,.0f}" for name, value in state[title].items()) or "none")
    rest.add_row("events waiting", f"{state['track_waiting']:,.0f}")
    rest.add_row("drift (PSI)", ", ".join(f"{name} {_drift(value)}" for name, value in state["drift"].items()) or "not yet")
    return Group(head, table, rest)


def _rate(state: Mapping[str, Any], before: Before, name: str) -> str:
    if before is None or name not in before["ensembles"]:
        return "-"
    more = state["ensembles"][name]["answers"] - before["ensembles"][name]["answers"]
    return f"{max(more, 0.0) / max(state['at'] - before['at'], 1e-9):,.1f}"


def _drift(value: float | None) -> str:
    if value is None:
        return "on few"
    colour = "red" if value >= _ALARM else "yellow" if value >= _WARN else "green"
    return f"[{colour}]{value:.3f}[/{colour}]"
