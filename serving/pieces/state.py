"""The state that a repository keeps of the shop, as plain arrays: what the pieces are built from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from workflows.features.columns import COUNTED_KINDS
from workflows.features.feature_set import BUILT_IN, FeatureSet

SHOPPER_NUMBERS: Final = ("user_events", *COUNTED_KINDS, "user_mean_price", "priced_events", "session_events")
"""Columns of ``Shoppers.numbers``."""


@dataclass(frozen=True)
class State:
    """``snapshot/state.json``.

    Attributes:
        as_of_us: instant of the snapshot, Unix microseconds.
        as_of: the same, ISO 8601.
        session_gap_us: a longer pause ends a session, microseconds.
        recent_items: how many recent items a query looks back on (L).
        leave_out: what is left out of recommendations: ``recent`` items, ``purchased`` or ``interacted`` ones, or ``nothing``.
        id_types: ``user_id`` and ``item_id`` -> ``string`` or ``int64``.
        has_cart: whether the log has carts.
        no_cart: why there is no cart model, in a sentence; empty where there is one.
        request_kinds: ``recent_items`` and ``cart_items`` -> the type of event that one of them in a request is.
        interaction_types: the types of events that are history; those that count otherwise are none.
        last_event_us: instant of the last event that the snapshot knows, Unix microseconds.
    """

    as_of_us: int
    as_of: str
    session_gap_us: int
    recent_items: int
    leave_out: str
    id_types: dict[str, str]
    has_cart: bool
    no_cart: str
    request_kinds: dict[str, str]
    interaction_types: list[str]
    last_event_us: int


@dataclass(frozen=True)
class Catalogue:
    """The items; row number = catalogue index. Tables of N + 1 rows end with the unknown item.

    Attributes:
        ids: item ids, sorted [N].
        categories: category of each code; code 0 is "".
        brands: brand of each code; code 0 is "".
        category_codes: int64 [N + 1].
        brand_codes: int64 [N + 1].
        prices: last known price, float32 [N + 1], NaN where unknown.
        popularity: recent events, float32 [N + 1].
        categorical: encoded columns of ids, int64 [N + 1, columns], in the order of ``features.item_categorical``.
        continuous: encoded columns of numbers, float32 [N + 1, columns], in the order of ``features.item_continuous``.
        vectors: item vectors of the retrieval model, of any length, float32 [N, D].
        features: the columns of the run.
        given_usual: mean price of the category of each item, float32 [N + 1], NaN where unknown; None where nothing tells it.
    """

    ids: list[str]
    categories: list[str]
    brands: list[str]
    category_codes: npt.NDArray[np.int64]
    brand_codes: npt.NDArray[np.int64]
    prices: npt.NDArray[np.float32]
    popularity: npt.NDArray[np.float32]
    categorical: npt.NDArray[np.int64]
    continuous: npt.NDArray[np.float32]
    vectors: npt.NDArray[np.float32]
    features: FeatureSet = BUILT_IN
    given_usual: npt.NDArray[np.float32] | None = None

    @property
    def usual_prices(self) -> npt.NDArray[np.float32]:
        """Mean price of the category of each item, float32 [N + 1], NaN where unknown."""
        return np.full(len(self.prices), np.nan, np.float32) if self.given_usual is None else self.given_usual

    @cached_property
    def directions(self) -> npt.NDArray[np.float32]:
        """Item vectors of length 1, float32 [N + 1, D]; the unknown item's is zero."""
        lengths = np.linalg.norm(self.vectors.astype(np.float64), axis=1, keepdims=True)
        unit = self.vectors / np.maximum(lengths, 1e-12)
        directions: npt.NDArray[np.float32] = np.concatenate([unit, np.zeros((1, unit.shape[1]))]).astype(np.float32)
        return directions


@dataclass(frozen=True)
class OwnValues:
    """The shop's own columns of shoppers or of days, raw; row 0 is a stranger, or a day of which nothing is known.

    Attributes:
        ids: names of the columns of ids.
        codes: int64 [rows, columns of ids], places in ``texts``.
        texts: the texts of each column of ids.
        figures: names of the columns of numbers.
        numbers: float32 [rows, columns of numbers], NaN where unknown.
    """

    ids: tuple[str, ...]

    codes: npt.NDArray[np.int64]
    texts: tuple[list[str], ...]
    figures: tuple[str, ...]
    numbers: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shoppers:
    """What is stored of each identified or listed user; row 0 of the tables is the stranger.

    Attributes:
        ids: user ids [U].
        numbers: SHOPPER_NUMBERS, float32 [U + 1, 7].
        times: last seen and start of the last session, Unix microseconds, int64 [U + 1, 2]; 0 where never.
        recents: catalogue indices, category codes and brand codes of the recent items, int32 [U + 1, 3 L]; -1, 0, 0 pad.
        left_out: catalogue indices of what must not be recommended beside the recent items, one list after the other, int32 [P].
        left_out_starts: where each list begins in ``left_out``, int64 [U + 2]; that of the stranger is empty.
        own: the shop's own columns; None where it has none.
        left_out_times: int32 [P], how many purchases of each there are that no refund has undone; None where the rule does not count them.
    """

    ids: list[str]
    numbers: npt.NDArray[np.float32]
    times: npt.NDArray[np.int64]
    recents: npt.NDArray[np.int32]
    left_out: npt.NDArray[np.int32]
    left_out_starts: npt.NDArray[np.int64]
    own: OwnValues | None = None
    left_out_times: npt.NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Days:
    """What the shop's calendar says of days.

    Attributes:
        days: days since 1970 UTC, int64 [D].
        own: the shop's own columns [D + 1].
    """

    days: npt.NDArray[np.int64]
    own: OwnValues


@dataclass(frozen=True)
class Snapshot:
    """All that serving keeps of the log, and of the shop's calendar where it has one."""

    state: State
    catalogue: Catalogue
    shoppers: Shoppers
    days: Days | None = None


@dataclass(frozen=True)
class NeighbourTable:
    """What the recent items of a query add to retrieval scores: over their places, n steps from the end, share(n) * addition.

    Attributes:
        columns: int64 [N + 1, K], catalogue indices; N where there is no neighbour. The last row is the unknown item's.
        additions: float32 [N + 1, K], above 0; 0 where there is no neighbour.
        shares: float32 [L], share(n).
    """

    columns: npt.NDArray[np.int64]
    additions: npt.NDArray[np.float32]
    shares: npt.NDArray[np.float32]
