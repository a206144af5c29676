"""The state of the shop at the end of the log: what the server starts from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cartwheel.core.errors import RunError
from cartwheel.core.files import write_json
from cartwheel.core.run_layout import EventsLayout, SnapshotLayout
from workflows.events.asof import Bools, Ints
from workflows.events.event_log import DAY_US, MINUTE_US, EventLog, codes_in, float32, instants
from workflows.features.columns import FORMS
from workflows.features.item import ItemHistory
from workflows.features.own_days import OwnDays
from workflows.features.requests import Requests, request_kinds, request_queries
from workflows.features.shopper import ShopperFeatures
from workflows.settings import PrepareSettings
from workflows.tasks.catalogue import catalogue_frame
from workflows.tasks.leave_out import LeftOut, left_out_codes, left_out_lists
from workflows.tasks.split import iso

PARITY_USERS = 512
PARITY_LONGEST = 16
"""Of these, so many are the users of the longest histories."""
PARITY_REQUESTS = 24
"""Requests of each form that serving is compared with."""
REQUESTS = "requests"
_LATEST_REQUEST = 3 * DAY_US
_MOST_LINES = 4


def snapshot_instant(last: int, state_minutes: int) -> int:
    """Return the first refresh after the last event: ``ceil(last + 1 us, state_minutes)``, microseconds."""
    step = state_minutes * MINUTE_US
    return -(-(last + 1) // step) * step


def write_snapshot(
    folder: Path,
    log: EventLog,
    history: ShopperFeatures,
    items: ItemHistory,
    settings: PrepareSettings,
    rng: np.random.Generator,
    state: dict[str, Any],
    left_out: LeftOut,
) -> dict[str, int]:
    """Write ``items.parquet``, ``users.parquet``, ``queries.parquet``, ``requests.parquet``, ``state.json``, and ``days.parquet`` if any.

    Args:
        folder: an existing folder.
        log: the coded events.
        history: their interactions.
        items: the item statistics.
        settings: how features were computed.
        rng: samples the parity queries.
        state: what else ``state.json`` says (``id_types``, ``has_cart``, ``no_cart``).
        left_out: what must not be recommended to whom.

    Returns:
        Rows of each table.
    """
    as_of = snapshot_instant(log.last, settings.state_minutes)
    users, queries = users_frame(log, history, as_of), parity_queries(log, history, as_of, rng)
    tables = {
        "items": catalogue_frame(items, as_of),
        "users": users.hstack(left_out_columns(log, history, users, as_of, left_out)),
        "queries": queries.hstack([left_out_lists(log.items, *_hidden(log, history, queries, as_of, left_out), len(queries))]),
        REQUESTS: parity_requests(log, history, items, as_of, settings, rng),
    }
    if history.days is not None:
        tables["days"] = days_frame(history.days, as_of)
    for name, table in tables.items():
        table.write_parquet(SnapshotLayout(folder).table(name))
    facts = {
        "as_of": iso(as_of),
        "as_of_us": as_of,
        "last_event_us": log.last,
        "session_gap_us": settings.session_gap_minutes * MINUTE_US,
        "recent_items": settings.recent_items,
        "leave_out": left_out.rule,
        "interaction_types": list(settings.interaction_types),
        "request_kinds": request_kinds(log),
    }
    write_json(SnapshotLayout(folder).state, facts | state)
    return {name: len(table) for name, table in tables.items()}


def users_frame(log: EventLog, history: ShopperFeatures, as_of: int) -> pl.DataFrame:
    """Describe every identified user with an interaction, and every one whom the shop's table of users lists, sorted by ``user_id``.

    Returns:
        ``user_id``, ``user_events`` to ``user_purchases`` (Float32), ``user_mean_price`` (Float32, null = unknown),
        ``priced_events`` (Float32, how many events that is the mean of), ``last_seen`` and ``session_start`` (UTC instants),
        ``session_events`` (Int64, of the last running session, whenever it was), the recent items, categories and brands, most recent
        LAST, and the shop's own columns. Of one without an interaction the instants are null.
    """
    keys = _identified(log, history, as_of)
    at = np.full(len(keys), as_of, dtype=np.int64)
    queries = history.queries(keys, at)
    start, stop = history.bounds(keys, at)
    seen, last = stop > start, np.maximum(stop - 1, 0)
    began = history.runs.starts[last]
    own = {} if history.own is None else history.own.frame(keys, at).to_dict()
    counts = ("user_events", "user_views", "user_carts", "user_purchases", "user_mean_price")
    return pl.DataFrame(
        {
            "user_id": log.users.gather(keys),
            **{name: float32(queries.continuous[name]) for name in counts},
            "priced_events": float32(history.priced(keys, at)),
            "last_seen": _where(instants(history.time[last]), seen),
            "session_start": _where(instants(history.time[began]), seen),
            "session_events": pl.Series(values=np.where(seen, last - began + 1, 0), dtype=pl.Int64),
            **history.list_columns(queries.recent),
            **own,
        }
    )


def days_frame(own: OwnDays, as_of: int) -> pl.DataFrame:
    """Describe the days of the shop's calendar, and that of ``as_of``, as they were known then.

    Returns:
        ``day`` (Int64, since 1970 UTC; the first is -1, of which nothing is known) and the shop's own columns.
    """
    days = np.append(-1, np.union1d(own.days(), [as_of // DAY_US]))
    return pl.DataFrame({"day": days, **own.frame(days, np.full(len(days), as_of, dtype=np.int64)).to_dict()})


def _where(values: pl.Series, held: Bools) -> pl.Series:
    """Return values [N], null where they are not held."""
    return values.set(pl.Series(~held), None)


def left_out_columns(
    log: EventLog, history: ShopperFeatures, users: pl.DataFrame, as_of: int, left_out: LeftOut
) -> list[pl.Series]:
    """What is left out for each user of a ``users_frame``, and where a refund can undo it, how many it takes.

    The recent items, which are there already, are not told again.
    """
    if left_out.rule == "recent":
        none = np.empty(0, dtype=np.int64)
        return [left_out_codes(none, none, len(users))]
    query, item = _hidden(log, history, users, as_of, left_out)
    listed = left_out_codes(query, item, len(users))
    if left_out.rule != "purchased":
        return [listed]
    times = left_out.times(_keys(log, users)[query], np.full(len(query), as_of, dtype=np.int64), item)
    return [listed, left_out_codes(query, times, len(users)).alias("left_out_times")]


def _hidden(log: EventLog, history: ShopperFeatures, users: pl.DataFrame, as_of: int, left_out: LeftOut) -> tuple[Ints, Ints]:
    keys = _keys(log, users)
    at = np.full(len(keys), as_of, dtype=np.int64)
    return left_out.pairs(keys, at, history.recent(*history.bounds(keys, at)))


def _keys(log: EventLog, users: pl.DataFrame) -> Ints:
    known = (log.users != "").to_numpy()
    keys: Ints = np.append(np.flatnonzero(known), -1)[codes_in(log.users.filter(pl.Series(known)), users["user_id"]).to_numpy()]
    return keys


def parity_queries(log: EventLog, history: ShopperFeatures, as_of: int, rng: np.random.Generator) -> pl.DataFrame:
    """Compute the query features of some users and of a stranger at ``as_of``, by the code that made the training examples.

    Returns:
        ``FeatureSet.query``; at most ``PARITY_USERS`` users, those of the longest histories and some without one among them, sorted by
        ``user_id``, then a stranger, whose id is "".
    """
    keys = _identified(log, history, as_of)
    start, stop = history.bounds(keys, np.full(len(keys), as_of, dtype=np.int64))
    by_length = np.argsort(start - stop, kind="stable")
    others = rng.permutation(by_length[PARITY_LONGEST:])[: PARITY_USERS - PARITY_LONGEST]
    chosen = np.concatenate([by_length[:PARITY_LONGEST], others])
    new = np.flatnonzero(start == stop)[:PARITY_LONGEST]
    chosen = np.union1d(chosen[: PARITY_USERS - len(new)], new)
    keys = np.append(np.sort(keys[chosen]), -1)
    return history.frame(history.queries(keys, np.full(len(keys), as_of, dtype=np.int64)), lists=True)


def parity_requests(
    log: EventLog, history: ShopperFeatures, items: ItemHistory, as_of: int, settings: PrepareSettings, rng: np.random.Generator
) -> pl.DataFrame:
    """Draw requests of each form at and after ``as_of``, and compute their query features by the code that made the training examples.

    Items are drawn with repetition, so that requests tell of an item twice and of items that are stored; the first requests of each form
    have no lines, one, and several.

    Returns:
        ``form``, ``timestamp`` (Int64, microseconds), ``given_items`` and ``cart_items`` (as told of), ``FeatureSet.query``.
    """
    forms = np.repeat(np.arange(len(FORMS)), PARITY_REQUESTS)
    users = _identified(log, history, as_of)
    forms = forms[(forms < 2) | (len(users) > 0)]
    count = len(forms)
    key = np.where(forms >= 2, users[rng.integers(0, max(len(users), 1), count)] if len(users) else -1, -1)
    key = _some_new(history, key, users, as_of)
    anchor = as_of + rng.integers(0, _LATEST_REQUEST, count)
    sizes = np.where(forms % 2 == 1, rng.integers(1, settings.recent_items + 3, count), 0)
    lines = rng.integers(0, _MOST_LINES + 1, count)
    for place, certain in enumerate((0, 1, _MOST_LINES)):
        lines[np.arange(count) % PARITY_REQUESTS == place] = certain
    asked = [[rng.integers(0, len(log.items), size) for size in part] for part in (sizes, lines)]
    number, item, line = [], [], []
    for row in range(count):
        for part, told in enumerate(asked):
            distinct = list(dict.fromkeys(told[row][::-1].tolist()))[::-1]
            item += distinct
            number += [row] * len(distinct)
            line += [part == 1] * len(distinct)
    stored = np.full(count, as_of, dtype=np.int64)
    requests = Requests(
        key, stored, anchor, np.array(number, dtype=np.int64), np.array(item, dtype=np.int64), np.array(line, dtype=bool)
    )
    longer, queries = request_queries(log, history, items, requests, settings.state_minutes)
    names = log.items.to_list()
    head = pl.DataFrame(
        {
            "form": pl.Series([FORMS[form] for form in forms], dtype=pl.String),
            "timestamp": pl.Series(values=anchor, dtype=pl.Int64),
            **{
                column: pl.Series([[names[code] for code in codes] for codes in told], dtype=pl.List(pl.String))
                for column, told in zip(("given_items", "cart_items"), asked, strict=True)
            },
        }
    )
    return head.hstack(longer.frame(queries, lists=True))


def _some_new(history: ShopperFeatures, key: Ints, users: Ints, as_of: int) -> Ints:
    """Replace every fourth of the known users by one who is listed and has no history, where there are such."""
    start, stop = history.bounds(users, np.full(len(users), as_of, dtype=np.int64))
    new = users[start == stop]
    if not len(new):
        return key
    place = np.arange(len(key))
    return np.where((key >= 0) & (place % 4 == 0), new[place % len(new)], key)


def _identified(log: EventLog, history: ShopperFeatures, as_of: int) -> Ints:
    """Codes of the users that have an id and at least one interaction, or that the shop's table of users lists, in order."""
    every = np.arange(len(log.keys), dtype=np.int64)
    known: Ints = every[history.is_known(every, np.full(len(every), as_of, dtype=np.int64))]
    return known


def read_id_types(events: Path) -> dict[str, str]:
    """Read which ids were integers in the source from the ``summary.json`` beside the events; strings where it is absent.

    Raises:
        RunError: the summary is not JSON, or does not say.
    """
    summary = EventsLayout(events.parent).summary
    if not summary.exists():
        return {"user_id": "string", "item_id": "string"}
    try:
        types: dict[str, str] = json.loads(summary.read_text(encoding="utf-8"))["id_types"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{summary} has no readable id_types ({error}).", "Run the prepare stage again from its start.") from error
    return types
