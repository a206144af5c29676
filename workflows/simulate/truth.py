"""The oracle: the probabilities that the generator drew from, read off the truth beside a simulated log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cartwheel.core.errors import DataError
from workflows.simulate.choice import FATIGUE, WANDER, Day, catalogue_on, category_probabilities, shopper_weights
from workflows.simulate.journeys import DAY, HOUR, Sessions
from workflows.simulate.world import MEMORY, Categories, Doubles, Floats, Ints, Items, Occasions, Promotions, Users, World
from workflows.simulate.write import START_US, TRUTH_FOLDER, read_part

_CHUNK_CELLS = 2_000_000
_NOBODY = -1


class Truth:
    """What the generator knows; build it with :meth:`load`."""

    def __init__(
        self, world: World, sessions: Sessions, ids: dict[str, list[str]], views: pl.DataFrame, carts: pl.DataFrame
    ) -> None:
        self.world = World(
            world.taste_weight, _with_stranger(world.users), world.items, world.categories, world.occasions, world.promotions
        )
        self.sessions = sessions
        self._codes = {kind: {name: code for code, name in enumerate(names)} for kind, names in ids.items()}
        self._stranger = len(world.users.join_day)
        self._sorted = np.argsort(world.items.category, kind="stable")
        self._category = world.items.category[self._sorted]
        self._place = np.argsort(self._sorted)
        self._edges = np.searchsorted(self._category, np.arange(len(world.categories.popularity)))
        self._read_views(views)
        self._carts = carts

    @classmethod
    def load(cls, folder: Path) -> Truth:
        """Read the truth that ``simulate`` wrote under ``folder``.

        Raises:
            DataError: no truth there, or a file of it is missing.
        """
        truth = folder / TRUTH_FOLDER
        try:
            settings = json.loads((truth / "settings.json").read_text(encoding="utf-8"))["settings"]
            kinds = (Users, Items, Categories, Occasions, Promotions)
            parts = [read_part(kind, truth / f"{kind.__name__.lower()}.parquet") for kind in kinds]
            ids = {
                kind: pl.read_parquet(truth / f"{kind}s.parquet", columns=[f"{kind}_id"])[f"{kind}_id"].to_list()
                for kind in ("user", "item", "session")
            }
            sessions = read_part(Sessions, truth / "sessions.parquet")
            views, carts = pl.read_parquet(truth / "views.parquet"), pl.read_parquet(truth / "carts.parquet")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(
                f"{error.filename or truth}: not found, but the truth of a simulated shop was expected there.",
                "Only a simulated log has a truth; write one with `cartwheel simulate`.",
            ) from error
        except (ValueError, KeyError, pl.exceptions.PolarsError) as error:
            raise DataError(
                f"{truth}: the truth of the simulated shop is damaged ({str(error).splitlines()[0]}).",
                "Write it again with `cartwheel simulate`.",
            ) from error
        return cls(World(float(settings["taste"]), *parts), sessions, ids, views, carts)  # type: ignore[arg-type]

    def scores(
        self,
        user_ids: Sequence[str],
        timestamps_us: Ints,
        session_ids: Sequence[str | None],
        item_ids: Sequence[str],
    ) -> Floats:
        """Log-probability that each item is the next view of each shopper, given all that the generator knows.

        Where the running session is known, so are its intent and occasion, and what it has seen strictly before the instant is
        out (-inf). Where it is None or not in the truth, the score is that of a session about to begin: the mixture over
        intents and occasions. A shopper who is not in the truth is scored as the average one.

        Args:
            user_ids: [B].
            timestamps_us: [B] int64, Unix microseconds.
            session_ids: [B].
            item_ids: [N].

        Returns:
            [B, N] float32; -inf for items not yet launched and for items that the shop does not know.

        Raises:
            DataError: the arguments differ in length.
        """
        instants = np.asarray(timestamps_us, dtype=np.int64) - START_US
        if not len(user_ids) == len(instants) == len(session_ids):
            raise DataError(
                f"The oracle was asked for {len(user_ids)} users, {len(instants)} instants and {len(session_ids)} sessions.",
                "Give one instant and one session (or None) for each user.",
            )
        users = np.array([self._codes["user"].get(user, self._stranger) for user in user_ids], dtype=np.int64)
        sessions = np.array([self._codes["session"].get(s, _NOBODY) if s else _NOBODY for s in session_ids], dtype=np.int64)
        columns = np.array([self._codes["item"].get(item, -1) for item in item_ids], dtype=np.int64)
        out = np.full((len(users), len(columns)), -np.inf, dtype=np.float32)
        known = columns >= 0
        began = np.where(sessions >= 0, _at(self.sessions.start, sessions), instants)
        days = began // DAY
        step = max(1, _CHUNK_CELLS // len(self._sorted))
        for day in np.unique(days):
            catalogue = catalogue_on(self.world, int(day))
            rows = np.flatnonzero(days == day)
            for part in range(0, len(rows), step):
                some = rows[part : part + step]
                table = self._log_probabilities(catalogue, users[some], began[some], sessions[some], instants[some])
                out[np.ix_(some, np.flatnonzero(known))] = table[:, self._place[columns[known]]]
        return out

    def cart_probability(
        self,
        user_ids: Sequence[str],
        item_ids: Sequence[str],
        timestamps_us: Ints,
        session_ids: Sequence[str | None] | None = None,
    ) -> Doubles:
        """True probability that a line just put into the cart is bought in its session.

        Args:
            user_ids: [B].
            item_ids: [B].
            timestamps_us: [B] Unix microseconds of the cart event itself.
            session_ids: [B]; where one is given it must be the line's session.

        Returns:
            [B] float64; NaN where the truth has no such cart event.
        """
        asked = pl.DataFrame(
            {
                "user_id": pl.Series(user_ids, dtype=pl.String),
                "item_id": pl.Series(item_ids, dtype=pl.String),
                "instant": np.asarray(timestamps_us, dtype=np.int64),
                "asked_session": pl.Series(session_ids if session_ids is not None else [None] * len(user_ids), dtype=pl.String),
            }
        )
        known = self._carts.with_columns(instant=pl.col("timestamp").dt.epoch("us"))
        answer = asked.join(known, on=["user_id", "item_id", "instant"], how="left", maintain_order="left")
        fits = pl.col("asked_session").is_null() | (pl.col("asked_session") == pl.col("session_id"))
        answer = answer.select(pl.when(fits).then(pl.col("probability")).otherwise(None).fill_null(float("nan")))
        return answer.to_series().to_numpy().astype(np.float64)

    @property
    def item_ids(self) -> list[str]:
        """Ids of all items, by code."""
        return list(self._codes["item"])

    def item_code(self, item: str) -> int:
        """Code of an item of the shop."""
        return self._codes["item"][item]

    def session_code(self, session: str) -> int:
        """Code of a session of the shop."""
        return self._codes["session"][session]

    def user_ids_of(self, sessions: Ints) -> list[str]:
        """Ids [B] of the shoppers of sessions by their codes."""
        names = list(self._codes["user"])
        return [names[code] for code in self.sessions.user[sessions]]

    def cart_lines(self) -> list[tuple[str, str, float]]:
        """Session, item and true probability of a purchase of each cart line."""
        return list(self._carts.select("session_id", "item_id", "probability").iter_rows())

    def _read_views(self, views: pl.DataFrame) -> None:
        """Keep the views in session order and in (user, day) order; both are time order within a session and a shopper."""
        self._view_session, self._view_item, self._view_instant = (
            views[name].to_numpy().astype(np.int64) for name in ("session", "item", "instant")
        )
        user, day = self.sessions.user[self._view_session], self.sessions.day[self._view_session]
        self._by_user = np.argsort(user, kind="stable")
        self._span = int(day.max(initial=0)) + 2
        self._user_day = user[self._by_user] * self._span + day[self._by_user]

    def _log_probabilities(self, catalogue: Day, users: Ints, began: Ints, sessions: Ints, instants: Ints) -> Floats:
        """[B, I] in category-sorted item order, for sessions that all began on the day of ``catalogue``."""
        running = sessions >= 0
        hours = (began % DAY) // HOUR
        tired = self._tired(int(began[0] // DAY), users)
        gone = self._seen_in(sessions, instants)
        probability = np.zeros((len(users), len(self._sorted)))
        for occasion in range(len(self.world.occasions.price_shift)):
            share = self.world.users.occasion_share[users, occasion].astype(np.float64)
            share[running] = self.sessions.occasion[sessions[running]] == occasion
            rows = np.flatnonzero(share > 0.0)
            if not len(rows):
                continue
            weights = shopper_weights(self.world, users[rows], np.full(len(rows), occasion))
            utility = (weights @ catalogue.features[self._sorted].T).astype(np.float64) + catalogue.appeal[self._sorted]
            utility[tired[rows]] -= FATIGUE
            utility[gone[rows]] = -np.inf
            probability[rows] += share[rows, None] * self._within(utility)
        category = category_probabilities(self.world, users, hours)
        category[running] *= WANDER
        category[running, self.sessions.intent[sessions[running]]] += 1.0 - WANDER
        left = np.add.reduceat(probability, self._edges, axis=1) > 0.0
        category *= left  # a view that would fall into an exhausted category does not happen
        category /= np.maximum(category.sum(axis=1, keepdims=True), 1e-300)
        with np.errstate(divide="ignore"):
            return np.log(probability * category[:, self._category]).astype(np.float32)

    def _within(self, utility: Doubles) -> Doubles:
        """Softmax within each category, in category-sorted item order; 0 where a category has nothing left."""
        top = np.maximum.reduceat(utility, self._edges, axis=1)
        top[np.isneginf(top)] = 0.0
        weight = np.exp(utility - top[:, self._category])
        total = np.add.reduceat(weight, self._edges, axis=1)
        total[total == 0.0] = 1.0
        share: Doubles = weight / total[:, self._category]
        return share

    def _tired(self, day: int, users: Ints) -> NDArray[np.bool_]:
        """[B, I] whether the item is among the last views of the shopper on earlier days."""
        mask = np.zeros((len(users), len(self._sorted)), dtype=bool)
        if day <= 0:
            return mask
        first = np.searchsorted(self._user_day, users * self._span)
        last = np.searchsorted(self._user_day, users * self._span + min(day, self._span - 1))
        for back in range(1, MEMORY + 1):
            rows = np.flatnonzero(last - back >= first)
            mask[rows, self._place[self._view_item[self._by_user[(last - back)[rows]]]]] = True
        return mask

    def _seen_in(self, sessions: Ints, instants: Ints) -> NDArray[np.bool_]:
        """[B, I] whether the running session has seen the item strictly before the instant."""
        mask = np.zeros((len(sessions), len(self._sorted)), dtype=bool)
        first = np.searchsorted(self._view_session, sessions, side="left")
        length = np.where(sessions >= 0, np.searchsorted(self._view_session, sessions, side="right") - first, 0)
        for step in range(int(length.max(initial=0))):
            rows = np.flatnonzero(step < length)
            view = first[rows] + step
            before = self._view_instant[view] < instants[rows]
            mask[rows[before], self._place[self._view_item[view[before]]]] = True
        return mask


def _at(values: Ints, codes: Ints) -> Ints:
    """``values[codes]``, with 0 for the code -1 (nobody); there may be no values at all."""
    return np.append(values, 0)[codes]


def _with_stranger(users: Users) -> Users:
    """Append the average shopper, who stands for everybody that the truth does not know."""

    def extended(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.concatenate([values, np.asarray(values.mean(axis=0, keepdims=True)).astype(values.dtype)])

    extra: dict[str, Any] = {field.name: extended(getattr(users, field.name)) for field in fields(users)}
    return replace(users, **extra)
