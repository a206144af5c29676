"""Exposures of a served shop and the clicks that followed, as input of the estimators.

A line of the log is one list. A click belongs to the latest exposure of that shopper that held the item, at most some hours before; each
shown item is worth 1 where it was clicked and 0 elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.errors import DataError
from evaluation.off_policy.estimators import Logged
from evaluation.off_policy.rewards import cross_fitted, of_choices

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_NEEDED: Final = ("at_us", "request_id", "version", "user_id", "items", "propensity", "model", "rung")
_HOUR_US: Final = 3_600_000_000
RANKED: Final = "ranked"


@dataclass(frozen=True)
class Exposure:
    """One list that was shown.

    Attributes:
        at_us: when, Unix microseconds.
        request_id: of the request.
        version: the arm that answered.
        user: the user; "" where nobody is named.
        items: what was shown.
        propensities: with which probability each was shown at its place.
        model: what the model would have shown.
        request: serialised, base64.
        rules: of the request, as JSON; empty where it gave none.
        cart: what was known to be in the cart.
    """

    at_us: int
    request_id: str
    version: str
    user: str
    items: tuple[str, ...]
    propensities: tuple[float, ...]
    model: tuple[str, ...]
    request: str
    rules: str = ""
    cart: tuple[str, ...] = ()


def read_exposures(folder: Path) -> list[Exposure]:
    """Read the lists that a model ranked for named users, the oldest first.

    Raises:
        DataError: if there is no log, or a line cannot be read. A last line that is cut off, as a killed server leaves it, is left out.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise DataError(
            f"There are no exposures in {folder}.", 'Set serve.explore_share above 0, or serve.log_exposures = "on", and serve.'
        )
    found = [exposure for path in files for exposure in _read(path)]
    return sorted(found, key=lambda exposure: exposure.at_us)


def _read(path: Path) -> Iterator[Exposure]:
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            told = json.loads(line)
            missing = [name for name in _NEEDED if name not in told]
        except (ValueError, TypeError) as error:
            if number == len(lines):
                return
            raise DataError(f"{path}, line {number}: it is not an exposure ({error}).", "Remove that line.") from None
        if missing or len(told["items"]) != len(told["propensity"]):
            what = f"{missing[0]} is missing" if missing else "items and propensity differ in length"
            raise DataError(f"{path}, line {number}: {what}.", "Remove that line.")
        if told["rung"] == RANKED and told["user_id"] and told["items"]:
            yield _exposure(told)


def _exposure(told: Mapping[str, Any]) -> Exposure:
    lists = (tuple(told["items"]), tuple(told["propensity"]), tuple(told["model"]))
    asked = told.get("request", ""), told.get("rules", ""), tuple(told.get("cart", ()))
    return Exposure(told["at_us"], told["request_id"], told["version"], told["user_id"], *lists, *asked)


def clicked(exposures: Sequence[Exposure], events: pl.DataFrame, hours: float) -> list[Floats]:
    """Return, for each exposure, which of its items were clicked: 1 or 0 each.

    Args:
        exposures: the oldest first.
        events: ``user_id``, ``item_id`` and ``timestamp`` of the events that count as clicks.
        hours: how long after an exposure they still belong to it.
    """
    rewards = [np.zeros(len(exposure.items)) for exposure in exposures]
    of_user: dict[str, list[int]] = {}
    for number, exposure in enumerate(exposures):
        of_user.setdefault(exposure.user, []).append(number)
    times = events["timestamp"].dt.epoch("us").to_list()
    for user, item, at_us in zip(events["user_id"].cast(pl.String), events["item_id"].cast(pl.String), times, strict=True):
        for number in reversed(of_user.get(user, ())):
            exposure = exposures[number]
            if exposure.at_us <= at_us and item in exposure.items:
                if at_us - exposure.at_us <= hours * _HOUR_US:
                    rewards[number][exposure.items.index(item)] = 1.0
                break
    return rewards


def logged(exposures: Sequence[Exposure], rewards: Sequence[Floats], target: Sequence[Sequence[str]]) -> Logged:
    """Return rows, one a shown item, with a policy that would have shown these lists as the target.

    Args:
        exposures: what was shown.
        rewards: of each, what came of its items.
        target: of each, what the target would have shown in its place.
    """
    numbers: dict[str, int] = {}
    for exposure in exposures:
        for item in exposure.items:
            numbers.setdefault(item, len(numbers))
    shown, wanted, places, shoppers = [], [], [], []
    for exposure, other in zip(exposures, target, strict=True):
        for place, item in enumerate(exposure.items):
            shown.append(numbers[item])
            wanted.append(numbers.get(other[place], -1) if place < len(other) else -1)
            places.append(place)
            shoppers.append(exposure.user)
    items, asked, ordered, users = np.array(shown), np.array(wanted), np.array(places), np.array(shoppers)
    of_all = np.concatenate(rewards)
    propensities = np.concatenate([exposure.propensities for exposure in exposures])
    models = cross_fitted(items, ordered, of_all, users, of_choices(asked, ordered))
    return Logged(of_all, propensities, (items == asked).astype(np.float64), users, *models)


@dataclass(frozen=True)
class Entered:
    """Shoppers of an experiment, in the order in which their windows closed.

    Attributes:
        versions: [n] the arm that each saw first.
        clicked: [n] 1 for those who clicked on something that they were shown within the window.
        crossed: how many saw another arm later; they count for the first.
    """

    versions: list[str]
    clicked: Floats
    crossed: int


def entered(exposures: Sequence[Exposure], rewards: Sequence[Floats], hours: float, now_us: int) -> Entered:
    """Return the shoppers whose window is closed; each counts once, for the arm of the first exposure.

    Args:
        exposures: the oldest first.
        rewards: of each.
        hours: how long after the first exposure a shopper is looked at.
        now_us: when it is computed, Unix microseconds.
    """
    first: dict[str, Exposure] = {}
    gained: dict[str, float] = {}
    others: set[str] = set()
    for exposure, reward in zip(exposures, rewards, strict=True):
        begun = first.setdefault(exposure.user, exposure)
        if exposure.at_us - begun.at_us <= hours * _HOUR_US:
            gained[exposure.user] = max(gained.get(exposure.user, 0.0), float(reward.max(initial=0.0)))
        if exposure.version != begun.version:
            others.add(exposure.user)
    done = [user for user, exposure in first.items() if exposure.at_us + 2 * hours * _HOUR_US <= now_us]
    return Entered([first[user].version for user in done], np.array([gained[user] for user in done]), len(others & set(done)))
