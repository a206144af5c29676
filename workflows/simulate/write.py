"""The log as canonical events, and the truth beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import polars as pl

from cartwheel.core.files import atomic_path, write_json
from workflows.simulate.funnel import Funnel
from workflows.simulate.journeys import Sessions, Views
from workflows.simulate.settings import START, SimulateSettings
from workflows.simulate.world import Ints, World

START_US: Final = int(START.timestamp()) * 1_000_000
"""The first instant of the log, Unix microseconds."""
EVENTS_FILE: Final = "events.parquet"
TRUTH_FOLDER: Final = "truth"
TIMESTAMP: Final = pl.Datetime("us", "UTC")

_TYPES: Final = ("view", "cart", "remove_from_cart", "purchase", "refund")
_CATEGORY_NAMES: Final = (
    *("shoes", "shirts", "trousers", "dresses", "jackets", "bags", "watches", "jewellery", "perfume", "cosmetics"),
    *("phones", "laptops", "cameras", "headphones", "televisions", "games", "consoles", "books", "toys", "puzzles"),
    *("lamps", "sofas", "chairs", "tables", "beds", "carpets", "curtains", "cookware", "knives", "coffee"),
    *("tea", "wine", "chocolate", "bicycles", "tents", "skis", "garden", "tools", "paint", "pets"),
)
_Part = TypeVar("_Part")


def user_ids(count: int) -> list[str]:
    """Ids of the shoppers by user code: ``u00042``."""
    return _ids("u", count, 5)


def item_ids(count: int) -> list[str]:
    """Ids of the items by item code: ``i00017``."""
    return _ids("i", count, 5)


def session_ids(count: int) -> list[str]:
    """Ids of the sessions by session code: ``s0000007``."""
    return _ids("s", count, 7)


def _ids(letter: str, count: int, width: int) -> list[str]:
    width = max(width, len(str(count - 1)))
    return [f"{letter}{code:0{width}d}" for code in range(count)]


def _category_names(count: int) -> list[str]:
    return [_CATEGORY_NAMES[c] if c < len(_CATEGORY_NAMES) else f"category-{c}" for c in range(count)]


def _pick(names: Sequence[str], codes: Ints) -> pl.Series:
    return pl.Series(values=names, dtype=pl.String).gather(codes)


def events_frame(world: World, sessions: Sessions, views: Views, funnel: Funnel) -> pl.DataFrame:
    """All that happened as canonical events, sorted by timestamp (then session, type and item, so that the order is total)."""
    line = funnel.line
    happened = [(np.arange(len(views.session)), funnel.viewed_at, np.full(len(views.session), -1))]
    for instants in (funnel.carted_at, funnel.removed_at, funnel.bought_at, funnel.refunded_at):
        real = np.flatnonzero(instants >= 0)
        happened.append((line[real], instants[real], funnel.quantity[real]))
    kind = np.repeat(np.arange(len(_TYPES)), [len(part[0]) for part in happened])
    view, instant, quantity = (np.concatenate(column) for column in zip(*happened, strict=True))
    session, item = views.session[view], views.item[view]
    order = np.lexsort((item, kind, session, instant))
    kind, view, instant, quantity, session, item = (a[order] for a in (kind, view, instant, quantity, session, item))
    refund = _TYPES.index("refund")
    return pl.DataFrame(
        {
            "user_id": _pick(user_ids(len(world.users.join_day)), sessions.user[session]),
            "item_id": _pick(item_ids(len(world.items.category)), item),
            "event_type": _pick(_TYPES, kind),
            "timestamp": pl.Series(instant + START_US).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "session_id": _pick(session_ids(len(sessions.user)), session),
            "category": _pick(_category_names(len(world.categories.popularity)), world.items.category[item]),
            "brand": _pick([f"brand-{b:03d}" for b in range(int(world.items.brand.max()) + 1)], world.items.brand[item]),
            "price": views.price[view],
            "quantity": quantity,
        }
    ).with_columns(
        # A refund is no part of a visit to the shop, and a view buys no pieces.
        session_id=pl.when(pl.lit(pl.Series(kind != refund))).then("session_id"),
        quantity=pl.when(pl.col("quantity") > 0).then("quantity"),
    )


def _frame(part: Any) -> pl.DataFrame:
    """Columns of a dataclass of arrays; a matrix becomes a column of fixed-size arrays."""
    return pl.DataFrame({field.name: getattr(part, field.name) for field in fields(part)})


def read_part(kind: type[_Part], path: Path) -> _Part:
    """Read a dataclass of arrays that was written as the columns of a Parquet file."""
    frame = pl.read_parquet(path)
    return kind(**{field.name: frame[field.name].to_numpy() for field in fields(kind)})  # type: ignore[arg-type]


def truth_frames(world: World, sessions: Sessions, views: Views, funnel: Funnel) -> dict[str, pl.DataFrame]:
    """The tables of the truth by file stem; the first columns of each are the ids that the events carry."""
    users, items = user_ids(len(world.users.join_day)), item_ids(len(world.items.category))
    visits, names = session_ids(len(sessions.user)), _category_names(len(world.categories.popularity))
    line_session, line_item = views.session[funnel.line], views.item[funnel.line]

    def instant(values: Ints) -> pl.Series:
        return pl.Series(values + START_US).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")

    return {
        "users": _frame(world.users).insert_column(0, pl.Series("user_id", users)),
        "items": _frame(world.items).insert_column(0, pl.Series("item_id", items)),
        "categories": _frame(world.categories).insert_column(0, pl.Series("category", names)),
        "occasions": _frame(world.occasions),
        "promotions": _frame(world.promotions).insert_column(0, _pick(items, world.promotions.item).alias("item_id")),
        "sessions": _frame(sessions).insert_column(0, pl.Series("session_id", visits)),
        "views": pl.DataFrame({"session": views.session, "item": views.item, "instant": funnel.viewed_at}),
        "carts": pl.DataFrame(
            {
                "user_id": _pick(users, sessions.user[line_session]),
                "item_id": _pick(items, line_item),
                "session_id": _pick(visits, line_session),
                "timestamp": instant(funnel.carted_at),
                "probability": funnel.probability,
                "bought": funnel.bought_at >= 0,
            }
        ),
    }


def write_shop(
    folder: Path, settings: SimulateSettings, seed: int, frames: dict[str, pl.DataFrame], events: pl.DataFrame
) -> None:
    """Write ``events.parquet`` and ``truth/`` under ``folder``, each whole or not at all; equal content gives equal bytes."""
    with atomic_path(folder / TRUTH_FOLDER) as aside:
        aside.mkdir()
        for stem, frame in frames.items():
            frame.write_parquet(aside / f"{stem}.parquet", compression="zstd")
        write_json(aside / "settings.json", {"seed": seed, "start": START.isoformat(), "settings": settings.model_dump()})
    with atomic_path(folder / EVENTS_FILE) as aside:
        events.write_parquet(aside, compression="zstd")
