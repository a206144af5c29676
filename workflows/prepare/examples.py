"""Builds point-in-time examples and the serving snapshot from validated events: the middle step of prepare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from cartwheel.core.errors import DataError
from cartwheel.core.files import atomic_path, write_json
from cartwheel.core.progress import progress
from cartwheel.core.run_layout import ExamplesLayout, RunLayout
from workflows.audit.examples import audit_examples
from workflows.events.bots import warn_of_bots
from workflows.events.event_log import EventLog, code_events, read_events
from workflows.events.sessions import with_sessions
from workflows.features.column import Owner
from workflows.features.feature_set import FeatureSet
from workflows.features.item import NEVER, ItemHistory
from workflows.features.own_days import OwnDays
from workflows.features.own_items import OwnItems
from workflows.features.own_shoppers import OwnShoppers
from workflows.features.shopper import ShopperFeatures
from workflows.prepare.example_tables import ExampleTables
from workflows.prepare.known_shop import NOTHING_KNOWN, KnownShop
from workflows.prepare.snapshot import read_id_types, snapshot_instant, write_snapshot
from workflows.prepare.windows import Window, cut_windows
from workflows.settings import LEAVE_OUT, LeaveOut, PrepareSettings
from workflows.tasks.cart import CartLog, cart_frame, choose_carts
from workflows.tasks.cart_absence import why_no_carts
from workflows.tasks.cart_requests import CART_REQUESTS, cart_requests
from workflows.tasks.catalogue import catalogue_frame
from workflows.tasks.leave_out import LeftOut
from workflows.tasks.negatives import NegativeSampler
from workflows.tasks.ranking import ranking_frame
from workflows.tasks.recommend import (
    REFIT,
    Anchors,
    choose_anchors,
    examples_to_judge,
    examples_to_learn,
    find_anchors,
    latest_anchors,
    recommend_frame,
)
from workflows.tasks.recommend_requests import RECOMMEND_REQUESTS, recommend_requests
from workflows.tasks.split import SPLITS, Split, SplitName, iso, split_log, told_split

MIN_KEYS = 3
_STREAMS = ("recommend", "ranking", "cart", "snapshot", CART_REQUESTS)
_STEPS = 6
_UNLUCKY_SAMPLE = (
    "The cart task is left out: the carts that were sampled do not have both bought and unbought lines; raise prepare.max_eval_anchors or "
    "prepare.max_train_examples."
)


@dataclass
class PrepareReport:
    """What became of the events; also written as ``examples/report.json``.

    Attributes:
        split: how the log was split, in words.
        t_valid: where validation begins, ISO 8601.
        t_test: where test begins, ISO 8601.
        last: the last event, ISO 8601.
        events: events read.
        users: history keys (users and anonymous sessions) of the events.
        items: items.
        sessions: sessions, the log's own and those found by pauses.
        rows: rows of each table, by split ("train", "valid", "test", "snapshot", and windows) and table.
        windows: where each window begins, ISO 8601, the latest first.
        dropped: what was left out, by split ("all", "train", "valid", "test") and reason.
        audit: how many rows each check of the leakage audit looked at, and how many are simultaneous or of one session.
        warnings: what the reader should know.
        no_cart: why there is no cart task, in a sentence that is also among the warnings; empty where there is one.
    """

    split: str
    t_valid: str
    t_test: str
    last: str
    events: int
    users: int
    items: int
    sessions: int
    rows: dict[str, dict[str, int]] = field(default_factory=dict)
    windows: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    audit: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    no_cart: str = ""


@dataclass(frozen=True)
class _Shop:
    """Everything the steps below share."""

    log: EventLog
    history: ShopperFeatures
    items: ItemHistory
    left_out: LeftOut
    split: Split
    settings: PrepareSettings
    seed: int
    report: PrepareReport
    features: FeatureSet

    def rng(self, stream: str, split: SplitName = "train") -> np.random.Generator:
        """Return the random stream of one table, independent of which other tables are made."""
        return np.random.default_rng([self.seed, _STREAMS.index(stream), SPLITS.index(split)])


def build_examples(
    events: Path,
    target: Path,
    settings: PrepareSettings,
    seed: int,
    leave_out: LeaveOut = LEAVE_OUT,
    known: KnownShop = NOTHING_KNOWN,
) -> PrepareReport:
    """Make the examples of every task and the serving snapshot; equal events, settings and seed give equal bytes.

    Args:
        events: the canonical events file, sorted by time.
        target: the run directory; ``examples/`` and ``snapshot/`` in it are replaced, each as a whole.
        settings: how examples are cut out of the log.
        seed: the only source of randomness.
        leave_out: what is neither asked for nor true.
        known: what the shop brings beside its events.

    Returns:
        Counts, split instants and warnings.

    Raises:
        DataError: the log is too small or too short for the settings; nothing is written.
        LeakageError: the audit of the examples failed; nothing is written.
    """
    with progress("prepare examples", _STEPS) as advance, atomic_path(RunLayout(target).examples_folder) as folder:
        shop = _open_shop(read_events(events), settings, seed, leave_out, known)
        advance(note="events coded")
        anchors, repeats = find_anchors(shop.history, shop.left_out)
        shop.report.dropped["all"] = {"interactions_that_ask_for_nothing_new": repeats}
        tables = ExampleTables(ExamplesLayout(folder))
        _recommend_and_ranking(shop, anchors, tables)
        windows = cut_windows(shop.log, shop.history, shop.items, shop.left_out, anchors, shop.split, settings, seed)
        del anchors
        advance(2, note="recommend and ranking examples")
        _cart_tables(shop, tables)
        advance(note="cart examples")
        audited = audit_examples(
            tables,
            read_events(events),
            shop.split,
            settings,
            seed,
            leave_out,
            (shop.history.own, shop.history.days, shop.items.own),
            [(window.split, window.questions) for window in windows],
        )
        shop.report.audit.update(audited.counts)
        shop.report.warnings.extend(audited.warnings)
        advance(note="leakage audit passed")
        state = {"id_types": read_id_types(events), "has_cart": ("train", "cart") in tables, "no_cart": shop.report.no_cart}
        with atomic_path(RunLayout(target).snapshot_folder) as snapshot:
            snapshot.mkdir()
            rng = shop.rng("snapshot")
            shop.report.rows["snapshot"] = write_snapshot(
                snapshot, shop.log, shop.history, shop.items, settings, rng, state, shop.left_out
            )
        _write_rest(ExamplesLayout(folder), shop, tables, windows)
        advance(note="written")
    return shop.report


def _open_shop(frame: pl.DataFrame, settings: PrepareSettings, seed: int, leave_out: LeaveOut, known: KnownShop) -> _Shop:
    as_of = snapshot_instant(int(frame["timestamp"].dt.epoch("us").max()), settings.state_minutes)  # type: ignore[arg-type]
    log = _coded(frame, settings, known, as_of)
    _check_enough(log, settings)
    split = split_log(log.time, settings)
    sessions = with_sessions(frame, settings.session_gap_minutes)
    whole = _coded(sessions, settings, known, as_of) if known.families else log  # a family may ask for a session of each event
    visits = sessions["session_id"].n_unique()
    del frame, sessions  # as large as all that is made of them below
    shoppers = OwnShoppers(known.families, whole, split.t_valid, known.users) if known.has(Owner.SHOPPER) else None
    days = OwnDays(known.families, whole, split.t_valid) if known.has(Owner.MOMENT) else None
    history = ShopperFeatures(log, settings.session_gap_minutes, settings.recent_items, shoppers, days)
    listed = np.array([known.items.get(item, NEVER) for item in log.items], np.int64) if known.items else None
    own = OwnItems(known.families, whole, split.t_valid) if known.has(Owner.ITEM) else None
    items = ItemHistory(log, settings.popularity_days, own, listed)
    features = FeatureSet(tuple(column for each in (shoppers, days, own) if each is not None for column in each.columns))
    report = PrepareReport(
        warnings=[*warn_of_bots(log), *known.warnings],
        split=told_split(settings),
        t_valid=iso(split.t_valid),
        t_test=iso(split.t_test),
        last=iso(log.last),
        events=len(log.key),
        users=len(np.unique(log.key)),
        items=len(log.items),
        sessions=visits,
    )
    return _Shop(log, history, items, LeftOut(log, history, leave_out), split, settings, seed, report, features)


def _coded(frame: pl.DataFrame, settings: PrepareSettings, known: KnownShop, as_of: int) -> EventLog:
    """Return the events as codes, with the items and users that tables list before an instant among them."""
    items, users = ([each for each, since in listed.items() if since < as_of] for listed in (known.items, known.users))
    return code_events(frame, settings.interaction_types, items, users)


def _check_enough(log: EventLog, settings: PrepareSettings) -> None:
    interacting = len(np.unique(log.key[log.interaction]))
    if interacting < MIN_KEYS:
        raise DataError(
            f"{interacting} users or anonymous sessions of the log have an event of the types "
            f"{', '.join(settings.interaction_types)}; at least {MIN_KEYS} are needed to train and to test.",
            "Give a log of more users, or name the log's own event types in prepare.interaction_types.",
        )


def _recommend_and_ranking(shop: _Shop, anchors: Anchors, tables: ExampleTables) -> None:
    settings, history = shop.settings, shop.history
    sampler = NegativeSampler(shop.items.first_seen, history.item, history.time)
    chosen = {name: _chosen_anchors(shop, anchors, name) for name in SPLITS}
    for name in SPLITS:
        if name == "train":
            examples = examples_to_learn(history, chosen[name])
        else:
            examples = examples_to_judge(history, chosen[name], shop.split, name, settings, shop.left_out)
        tables.add(name, "recommend", recommend_frame(shop.log, history, shop.items, examples, settings))
        if name == "test":
            requests = recommend_requests(shop.log, history, shop.items, examples, settings, shop.left_out)
            tables.add(name, RECOMMEND_REQUESTS, requests)
        rng = shop.rng("ranking", name)
        ranking, unsold = ranking_frame(history, shop.items, sampler, examples, settings, rng, shop.left_out)
        shop.report.dropped[name]["ranking_targets_not_yet_sold"] = unsold
        if ranking.is_empty():
            raise DataError(
                f"None of the {len(chosen[name].key)} {name} examples is about an item that was sold before the last refresh of the item "
                f"statistics (every {settings.state_minutes} minutes), so there is nothing to rank.",
                "Lower prepare.state_minutes, or give a log that covers more days.",
            )
        tables.add(name, "ranking", ranking)
    again = examples_to_learn(history, latest_anchors(anchors, shop.split, "valid", settings))
    tables.add("valid", REFIT, recommend_frame(shop.log, history, shop.items, again, settings))


def _chosen_anchors(shop: _Shop, anchors: Anchors, name: SplitName) -> Anchors:
    chosen = choose_anchors(anchors, shop.split, name, shop.settings, shop.rng("recommend", name))
    available = int(shop.split.mask(name, anchors.anchor).sum())
    shop.report.dropped[name] = {"recommend_beyond_the_cap_or_simultaneous": available - len(chosen.key)}
    if not len(chosen.key):
        raise DataError(
            f"No interaction from {iso(shop.split.t_valid)} (validation) and {iso(shop.split.t_test)} (test) on turns to an item "
            f"that is new to its shopper: the {name} split has no examples."
            if name != "train"
            else f"No interaction before {iso(shop.split.t_valid)} can train: the train split has no examples.",
            "Give a longer log, move the split (prepare.valid_share and test_share, or valid_from and test_from), or set "
            'leave_out = "nothing" under [recommend].',
        )
    return chosen


def _cart_tables(shop: _Shop, tables: ExampleTables) -> None:
    carts = CartLog(shop.log, shop.settings.cart_window_hours)
    key, anchor = carts.anchors()
    if not len(key):
        _without_carts(shop, tables)
        return
    for name in SPLITS:
        rng = shop.rng("cart", name)
        of_split, at, censored = choose_carts(key, anchor, carts.window_us, shop.split, name, shop.settings, rng)
        shop.report.dropped[name]["carts_censored"] = censored
        max_rows = shop.settings.max_train_examples if name == "train" else None
        found = carts.carts(of_split, at)
        table = cart_frame(shop.log, shop.history, shop.items, found, shop.settings, max_rows=max_rows)
        if table["label"].n_unique() < 2:
            _without_carts(shop, tables)
            return
        tables.add(name, "cart", table)
        rng, share = shop.rng(CART_REQUESTS, name), shop.settings.request_share if name == "train" else None
        asked = cart_requests(shop.log, shop.history, shop.items, found, shop.settings, rng, share=share, max_rows=max_rows)
        if len(asked):
            tables.add(name, CART_REQUESTS, asked)


def _without_carts(shop: _Shop, tables: ExampleTables) -> None:
    tables.leave_out("cart", CART_REQUESTS)
    shop.report.no_cart = why_no_carts(shop.log, shop.split, shop.settings) or _UNLUCKY_SAMPLE
    shop.report.warnings.append(shop.report.no_cart)


def _write_rest(layout: ExamplesLayout, shop: _Shop, tables: ExampleTables, windows: Sequence[Window]) -> None:
    for window in windows:
        layout.split(window.name).mkdir(parents=True)
        window.questions.write_parquet(layout.table(window.name, "recommend"))
        window.catalogue.write_parquet(layout.table(window.name, "catalogue"))
        shop.report.rows[window.name] = {"recommend": len(window.questions), "catalogue": len(window.catalogue)}
        shop.report.windows[window.name] = iso(window.split.t_valid)
    for name in SPLITS:
        shop.report.rows[name] = tables.rows(name)
        if name != "train":
            catalogue = catalogue_frame(shop.items, shop.split.start_of(name))
            catalogue.write_parquet(layout.table(name, "catalogue"))
            shop.report.rows[name]["catalogue"] = len(catalogue)
    write_json(layout.report, asdict(shop.report))
    shop.features.write(layout.columns)
