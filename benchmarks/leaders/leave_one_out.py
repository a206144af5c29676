"""Leave-one-out as a split in time: a clock on which the last interaction of every user falls into the test period.

The literature on sequences judges so (as Kang and McAuley, ICDM 2018, https://arxiv.org/abs/1808.09781): the last interaction of a user
tests, the one before validates, the rest trains, and what the user has seen is no candidate. Cartwheel splits at instants. So the true
times, where a log has any, are replaced: the k-th interaction from the end of every user happens at the k-th tick from the end of
one clock. Then the split by time is leave-one-out, and whatever is learnt or counted before the split is learnt from what trains and
validates. That the run came out so is checked, not believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import polars as pl

from cartwheel.core.errors import DataError, RunError
from cartwheel.core.files import atomic_path
from cartwheel.core.frames import read_frame
from cartwheel.core.tables import read_json
from workflows.events.schema import RATING

LAST: Final = datetime(2024, 1, 4, tzinfo=timezone.utc)
"""When every last interaction happens: a midnight, at which item statistics have just been refreshed."""
TICK: Final = timedelta(days=7)
"""Between two interactions of a user: whole weeks, so that hour and weekday are the same all along and tell nothing."""
FEWEST: Final = 3
"""Interactions of a user who is asked: one to look back on, one that validates, one that tests."""
_HELD: Final = {"test": 0, "valid": 1}
"""Split -> ticks from the end."""
_CHECKED: Final = ["user_key", "anchor", "recent_items", "target_items", "left_out"]
_COLUMNS: Final = ("user_id", "item_id", "timestamp", "event_type", "category", "brand")


@dataclass(frozen=True)
class Clocked:
    """A log on the clock.

    Attributes:
        events: ``user_id``, ``item_id``, ``timestamp``, ``event_type``, ``category`` and ``brand``, by time; of equal times in the order
            in which they came.
        asked: users with a test and a validation interaction.
        too_few: users of fewer than ``FEWEST`` interactions, who only train.
    """

    events: pl.DataFrame
    asked: int
    too_few: int

    @property
    def users(self) -> int:
        """All users."""
        return self.asked + self.too_few

    def write(self, path: Path) -> None:
        """Write ``events``, unless the file holds the same already: a stage that read it counts as done while it is unchanged."""
        if path.is_file() and pl.read_parquet(path).equals(self.events):
            return
        with atomic_path(path) as aside:
            self.events.write_parquet(aside)

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return the settings under which a run on ``events`` is leave-one-out, by section.

        The split instants lie where half of the events of the last tick, and half of those of the tick before it, come later: well
        inside of both, whatever rounding does.
        """
        share = self.asked / len(self.events)
        days = TICK / timedelta(days=1)
        return {
            "source": {"kind": "table"},
            "prepare": {
                "valid_share": share,
                "test_share": share / 2,
                "session_gap_minutes": round(2 * TICK / timedelta(minutes=1)),  # all that a user did is one session
                "popularity_days": 3 * days,
                "horizon_days": days / 7,
                "max_eval_anchors": self.asked,
            },
            "evaluate": {"max_two_stage_anchors": self.asked},
        }


def on_clock(interactions: pl.DataFrame) -> Clocked:
    """Put a log on the clock.

    Args:
        interactions: ``user_id`` and ``item_id``, of each user in the order in which they happened; ``category`` and ``brand`` where
            they are known.

    Raises:
        DataError: if a user has an item twice, which leave-one-out of unseen items cannot ask for, or nobody could be asked.
    """
    again = interactions.filter(interactions.select("user_id", "item_id").is_duplicated())
    if not again.is_empty():
        user, item = again.select("user_id", "item_id").row(0)
        raise DataError(
            f"User {user} has the item {item} more than once, and {len(again) - 1} more rows are such.",
            "Leave-one-out asks for items that a user has not seen: keep one interaction of each user with each item.",
        )
    count = pl.len().over("user_id")
    from_end = count - 1 - pl.int_range(pl.len()).over("user_id")
    asked = count >= FEWEST
    place = pl.when(asked).then(from_end).otherwise(from_end + len(_HELD))
    events = interactions.with_columns(
        (pl.lit(LAST) - place * pl.lit(TICK)).cast(pl.Datetime("us", "UTC")).alias("timestamp"),
        pl.lit(RATING).alias("event_type"),
        *(pl.lit(None, pl.String).alias(name) for name in ("category", "brand") if name not in interactions.columns),
    )
    sizes = interactions.group_by("user_id").len()["len"]
    clocked = Clocked(
        events.select(_COLUMNS).sort("timestamp", maintain_order=True),
        asked=int((sizes >= FEWEST).sum()),
        too_few=int((sizes < FEWEST).sum()),
    )
    if not clocked.asked:
        raise DataError(
            f"None of the {len(sizes)} users has {FEWEST} interactions, so nobody can be asked.", "Give a longer log."
        )
    return clocked


def require_leave_one_out(run: Path, clocked: Clocked, most: int) -> None:
    """Check that the examples of a run are leave-one-out of the log: the right users, the one item, the whole history.

    Args:
        run: the run directory after prepare.
        clocked: the log that it was made from.
        most: ``prepare.max_eval_anchors``: where more users could be asked, so many of them are.

    Raises:
        RunError: it says what differs.
    """
    told = read_json(run / "examples" / "report.json")
    length = int(read_json(run / "snapshot" / "state.json")["recent_items"])
    for split, ticks in _HELD.items():
        begins = datetime.fromisoformat(str(told[f"t_{split}"]))
        if begins != LAST - ticks * TICK:
            raise _not_so(run, f"{split} begins at {begins.isoformat()}, not at {(LAST - ticks * TICK).isoformat()}")
        asked = read_frame(run / "examples" / split / "recommend.parquet", _CHECKED)
        if len(asked) != min(clocked.asked, most) or asked["user_key"].n_unique() != len(asked):
            users = asked["user_key"].n_unique()
            raise _not_so(
                run, f"{split} asks {len(asked)} times for {users} users, not once for each of {min(clocked.asked, most)}"
            )
        wrong = _plain(asked).join(_plain(_expected(clocked, ticks, length)), on=_CHECKED, how="anti")
        if not wrong.is_empty():
            user, anchor = wrong.select("user_key", "anchor").row(0)
            raise _not_so(
                run,
                f"{split} asks {len(wrong)} users otherwise than for the next item after all before, which are left out, user {user} at "
                f"{anchor}",
            )


def _expected(clocked: Clocked, ticks: int, length: int) -> pl.DataFrame:
    """Return whom to ask, when, after which last items, for which, and what is left out, as the columns that are checked.

    Args:
        clocked: the log.
        ticks: from the end of the clock.
        length: how many items a query looks back on.
    """
    instant = LAST - ticks * TICK
    earlier = clocked.events.filter(pl.col("timestamp") < instant)
    item = pl.col("item_id").cast(pl.String)
    history = earlier.group_by("user_id", maintain_order=True).agg(
        item.tail(length).alias("recent_items"), item.sort().alias("left_out")
    )
    held = clocked.events.filter(pl.col("timestamp") == instant)
    return held.join(history, on="user_id").select(
        pl.col("user_id").cast(pl.String).alias("user_key"),
        pl.col("timestamp").alias("anchor"),
        "recent_items",
        pl.concat_list(item).alias("target_items"),
        "left_out",
    )


def _plain(asked: pl.DataFrame) -> pl.DataFrame:
    """Write the lists of ids as text, by which tables can be joined."""
    return asked.with_columns(pl.col(_CHECKED[2:]).list.join("\n"))


def _not_so(run: Path, found: str) -> RunError:
    return RunError(
        f"{run} is not leave-one-out: {found}.",
        "Remove that folder, and leave the settings of `prepare` that make the split alone.",
    )
