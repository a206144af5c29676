"""Why a log has no cart examples, and which cart window or split would give some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cartwheel.core.errors import DataError
from workflows.events.event_log import HOUR_US, EventLog
from workflows.settings import PrepareSettings
from workflows.tasks.cart import CartLog
from workflows.tasks.split import SPLITS, Split, SplitName, split_log

_WINDOWS: Final = (168.0, 72.0, 48.0, 24.0, 12.0, 6.0, 3.0, 2.0, 1.0, 0.5)
"""Windows that are tried in place of a longer one, hours."""
_SHARES: Final = (0.15, 0.2, 0.25, 0.3)
"""Shares of validation and of test that are tried in place of smaller ones."""
_CARTS_TRIED: Final = 20_000


@dataclass(frozen=True)
class _Found:
    """The carts of one split under some settings.

    Attributes:
        name: the split.
        carts: all of them.
        whole: those whose label window ends within the split.
        bought: whole carts' lines that are bought.
        unbought: whole carts' lines that are not.
    """

    name: SplitName
    carts: int
    whole: int
    bought: int
    unbought: int

    @property
    def usable(self) -> bool:
        """Whether there is something to tell apart."""
        return self.bought > 0 and self.unbought > 0


def why_no_carts(log: EventLog, split: Split, settings: PrepareSettings) -> str:
    """Return why the cart task has no examples, and what to change, in one sentence; empty where it has them.

    Args:
        log: the coded events.
        split: how the log is split.
        settings: the cart window and the split.
    """
    head = "The cart task is left out: "
    if not log.is_kind("cart").any():
        return f"{head}the log has no cart events."
    lacking = _lacking(log, split, settings.cart_window_hours)
    if lacking is None:
        return ""
    return f"{head}{_cause(lacking, split, settings)}; {_remedy(log, split, settings)}."


def _cause(lacking: _Found, split: Split, settings: PrepareSettings) -> str:
    where = f"the {lacking.name} split"
    if not lacking.carts:
        return f"{where} has no cart events"
    if not lacking.whole:
        if lacking.name == "train":
            span = "before validation begins"
        else:
            span = f"within the {(split.end_of(lacking.name) - split.start_of(lacking.name)) / HOUR_US:,.1f} hours of the split"
        return (
            f"none of the {lacking.carts:,} carts of {where} can be labelled, for prepare.cart_window_hours is "
            f"{settings.cart_window_hours:g} and none of their windows ends {span}"
        )
    which = "no line is bought" if not lacking.bought else "every line is bought"
    return (
        f"of the {lacking.whole:,} carts of {where} whose window of {settings.cart_window_hours:g} hours ends within it {which}"
    )


def _remedy(log: EventLog, split: Split, settings: PrepareSettings) -> str:
    """Return a setting under which every split has both labels, or that there is none."""
    for hours in _WINDOWS:
        if hours < settings.cart_window_hours and _lacking(log, split, hours) is None:
            return f"prepare.cart_window_hours = {hours:g} would work"
    for share in _SHARES:
        if share <= max(settings.valid_share, settings.test_share):
            continue
        shares = {"valid_share": share, "test_share": share, "valid_from": None, "test_from": None}
        try:
            other = split_log(log.time, settings.model_copy(update=shares))
        except DataError:
            continue
        if _lacking(log, other, settings.cart_window_hours) is None:
            return f"prepare.valid_share = {share:g} with prepare.test_share = {share:g} would work"
    return "neither a shorter window nor larger shares of validation and test would do, so a longer log is needed"


def _lacking(log: EventLog, split: Split, hours: float) -> _Found | None:
    """Return the first split that has nothing to tell apart, or None where each has."""
    carts = CartLog(log, hours)
    key, anchor = carts.anchors()
    for name in SPLITS:
        inside = split.mask(name, anchor)
        whole = inside & (anchor + carts.window_us < split.end_of(name))
        tried = slice(-_CARTS_TRIED, None)
        bought = carts.carts(key[whole][tried], anchor[whole][tried]).bought
        found = _Found(name, int(inside.sum()), int(whole.sum()), int(bought.sum()), int((~bought).sum()))
        if not found.usable:
            return found
    return None
