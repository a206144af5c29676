"""A little shop with tables, for the tests of own features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from workflows.events.event_log import DAY_US, EventLog, code_events, read_events
from workflows.events.sessions import session_rows, with_sessions
from workflows.features.column import Owner
from workflows.features.family import Event, Moments, Past
from workflows.features.own import OwnFamily
from workflows.prepare.tables import build_tables
from workflows.settings import OwnFeatureSettings, PrepareSettings, TableSettings

WORDS = ("red", "blue", "shoe", "boot", "cotton", "shirt", "long", "short")
OWN: dict[str, dict[str, Any]] = {
    "weight": {"kind": "amount"},
    "genres": {"kind": "tags"},
    "description": {"kind": "text", "width": 4},
    "launch": {"kind": "date"},
    "picture": {"kind": "vector", "width": 5},
    "waterproof": {"kind": "boolean"},
    "country": {"kind": "category"},
    "holiday": {"kind": "boolean"},
    "margin": {"kind": "number"},
    "channel": {"kind": "category", "from": "sessions.channel"},
    "rating": {"kind": "number", "owner": "item"},
    "user_colour": {"kind": "category", "owner": "user", "from": "colour"},
    "session_colour": {"kind": "category", "owner": "session", "from": "colour"},
}


def own_settings(own: dict[str, dict[str, Any]]) -> dict[str, OwnFeatureSettings]:
    return {name: OwnFeatureSettings.model_validate(settings) for name, settings in own.items()}


def write_tables(run: Path, seed: int) -> dict[str, TableSettings]:
    """Write the tables of the shop: items in several versions, two of them never seen; users, days, categories and sessions."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "item_id": name,
            "since": f"2023-11-{12 + int(rng.integers(0, 5)) + 5 * version:02d} 0{version}:00:00",
            "weight": f"{rng.random() * 10:.2f}" if rng.random() < 0.8 else "",
            "genres": "a|b|c|d"[: 2 * int(rng.integers(1, 5)) - 1],
            "description": " ".join(rng.choice(WORDS, 4)),
            "launch": f"2023-0{rng.integers(1, 9)}-01",
            "picture": " ".join(f"{number:.3f}" for number in rng.normal(size=9)),
            "waterproof": str(rng.choice(["yes", "no"])),
        }
        for name in [*(f"i{n}" for n in range(60)), "new1", "new2"]
        for version in range(int(rng.integers(1, 4)))
    ]
    tables = {
        "items": rows,
        "users": [{"user_id": f"u{n}", "country": ["de", "fr"][n % 2]} for n in range(30)],
        "calendar": [{"date": f"2023-11-{day}", "holiday": str(day % 7 == 0).lower()} for day in range(10, 31)],
        "makers": [{"category": f"c{n}", "margin": n / 10} for n in range(3)],
        "sessions": [{"session_id": f"s{n}", "channel": ["ad", "mail"][n % 2]} for n in range(400)],
    }
    for name, content in tables.items():
        pl.DataFrame(content).write_csv(run / f"{name}.csv")
    more: dict[str, dict[str, Any]] = {"items": {"valid_from": "since"}, "makers": {"on": "category"}}
    return {name: TableSettings(path=run / f"{name}.csv", **more.get(name, {})) for name in tables}


@dataclass(frozen=True)
class Shop:
    """A run with own features, its log, and its events in plain values."""

    run: Path
    log: EventLog
    events: Sequence[Event]
    warnings: list[str]

    def past(self, owner: Owner, event: Event, anchor: int) -> Past:
        """What ``recompute`` may look at, for the one of whom an event is."""
        entity = {Owner.ITEM: event.item, Owner.SHOPPER: event.user, Owner.SESSION: event.session}.get(owner, "")
        mine = [other for other in self.events if (other.item == event.item if owner is Owner.ITEM else other.user == event.user)]
        return Past(entity, anchor, [other for other in mine if other.time < anchor], lambda _: [])

    def code(self, owner: Owner, event: Event) -> int:
        """The code of the one of whom an event is."""
        if owner is Owner.MOMENT:
            return -1
        place = self.log.items.index_of(event.item) if owner is Owner.ITEM else self.log.keys.index_of(event.user)
        if owner is not Owner.SESSION:
            return -1 if place is None else place
        session = self.log.sessions.index_of(event.session)
        rows = np.flatnonzero((self.log.key == place) & (self.log.session == session))
        return int(session_rows(self.log)[rows[0]])


def write_shop(run: Path, log_maker: Callable[..., pl.DataFrame], *, seed: int = 5, count: int = 900) -> Shop:
    """Write events and tables, and make every kind of own feature of them."""
    (run / "events").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    events = log_maker(count, seed=seed)
    colours = pl.Series("colour", [["red", "green", None][place] for place in rng.integers(0, 3, len(events))], dtype=pl.String)
    events = events.with_columns(pl.Series("rating", rng.integers(1, 6, len(events))).cast(pl.Float64), colours)
    events.write_parquet(run / "events" / "events.parquet")
    warnings = build_tables(run, write_tables(run, seed), own_settings(OWN), PrepareSettings(), seed)
    frame = with_sessions(read_events(run / "events" / "events.parquet"), PrepareSettings().session_gap_minutes)
    plain = [
        Event(
            user=row["user_id"] or f"session:{row['session_id']}",
            item=row["item_id"],
            kind=row["event_type"],
            time=time,
            session=row["session_id"],
            interaction=row["event_type"] == "view",
            price=row["price"],
            quantity=row["quantity"],
            category=row["category"] or "",
            brand=row["brand"] or "",
            own={"rating": row["rating"], "colour": row["colour"]},
        )
        for row, time in zip(frame.to_dicts(), frame["timestamp"].dt.epoch("us"), strict=True)
    ]
    return Shop(run, code_events(frame, ("view",)), plain, warnings)


def look_ahead(monkeypatch: pytest.MonkeyPatch, family: type[OwnFamily]) -> None:
    """Let a family look at four days after each moment."""
    compute = family.compute

    def too_late(self: OwnFamily, log: EventLog, at: Moments) -> pl.DataFrame:
        return compute(self, log, Moments(at.entity, at.anchor + 4 * DAY_US))

    monkeypatch.setattr(family, "compute", too_late)
