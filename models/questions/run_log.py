"""The interactions and questions of a run directory, for comparing any recommender with the run's own models."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from cartwheel.core.errors import RunError
from cartwheel.core.frames import read_frame, scan_frame
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json
from models.metrics.ranking import Ints
from models.questions.interactions import Interactions, Queries
from workflows.events.event_log import MINUTE_US, code_events, codes_in, read_events
from workflows.events.sessions import with_sessions

_FACTS = ("item_events", "item_age_days")
_STARTS = {"valid": "t_valid", "test": "t_test"}


def read_interactions(run: Path) -> Interactions:
    """Read the interactions of a run's events; a user is a history key, so each anonymous session is one of its own.

    Raises:
        RunError: if a file of the run is missing or does not say which events are interactions.
        DataError: if the events cannot be read.
    """
    state = read_json(RunLayout(run).state)
    if "interaction_types" not in state:
        raise RunError(f"{run / 'snapshot' / 'state.json'} lacks interaction_types.", "Run `cartwheel prepare` again.")
    events = with_sessions(read_events(RunLayout(run).events, own=()), int(state["session_gap_us"]) // MINUTE_US)
    log = code_events(events, state["interaction_types"], _listed(run))
    session = events["session_id"].rank("dense").fill_null(0).cast(pl.Int64).gather(log.row)
    own = pl.DataFrame({"key": log.key, "session": session}).select(pl.struct("key", "session").rank("dense").cast(pl.Int64) - 1)
    order = np.lexsort((log.time, log.item))
    category = np.zeros(len(log.items), np.int64)
    known = order[log.category[order] > 0]
    category[log.item[known]] = log.category[known]  # the last in time stays
    chosen = log.interaction
    return Interactions(
        user=log.key[chosen],
        item=log.item[chosen],
        time=log.time[chosen],
        session=own.to_series().to_numpy()[chosen],
        weight=np.ones(int(chosen.sum())),
        user_ids=log.keys,
        item_ids=log.items,
        category=category,
    )


def _listed(run: Path) -> list[str]:
    """Return the items of the run's catalogues that no event had named by then: those that the shop lists."""
    paths = [RunLayout(run).examples(split, "catalogue") for split in _STARTS]
    unseen: list[str] = []
    for path in paths:
        if path.is_file() and set(_FACTS) <= set(scan_frame(path).collect_schema()):
            table = read_frame(path, ["item_id", *_FACTS])
            unseen += table.filter(pl.max_horizontal(_FACTS) <= 0)["item_id"].to_list()
    return unseen


def split_start(run: Path, split: str) -> int:
    """Return the instant at which ``valid``, ``test`` or a window begins, microseconds since 1970 UTC.

    Raises:
        RunError: if the run does not tell.
    """
    report = read_json(RunLayout(run).examples_report)
    told = report.get(_STARTS[split]) if split in _STARTS else report.get("windows", {}).get(split)
    if not isinstance(told, str):
        missing = _STARTS.get(split, f"the beginning of {split}")
        raise RunError(f"{run / 'examples' / 'report.json'} lacks {missing}.", "Run `cartwheel prepare` again.")
    return round(datetime.fromisoformat(told).timestamp() * 1_000_000)


def read_questions(run: Path, split: str, log: Interactions) -> Queries:
    """Return all rows of ``examples/<split>/recommend`` as questions, each with its shopper's history strictly before the anchor.

    Raises:
        RunError: if the examples are missing or lack a column.
    """
    rows = read_frame(RunLayout(run).examples(split, "recommend"), ["user_key", "anchor"])
    now = rows["anchor"].dt.epoch("us").to_numpy()
    user = codes_in(log.user_ids, rows["user_key"]).to_numpy()
    begin = log.starts[np.maximum(user, 0)]
    end = np.array([_before(log, key, instant) for key, instant in zip(user, now, strict=True)], np.int64)
    lengths = np.where(user >= 0, end - begin, 0)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = np.repeat(begin - starts[:-1], lengths) + np.arange(starts[-1])
    session = log.session[places]
    last = log.session[np.maximum(end - 1, 0)]
    asker = np.repeat(np.arange(len(rows)), lengths)
    running = np.bincount(asker[session == last[asker]], minlength=len(rows)).astype(np.int64)
    return Queries(user.astype(np.int64), now, starts, log.item[places], log.time[places], running)


def _before(log: Interactions, user: int, instant: int) -> int:
    """Return one past the last interaction of ``user`` strictly before ``instant``."""
    if user < 0:
        return 0
    begin, end = log.starts[user], log.starts[user + 1]
    return int(begin + np.searchsorted(log.time[begin:end], instant, side="left"))


def catalogue_codes(path: Path, log: Interactions) -> Ints:
    """Return the code in ``log`` of each item of a catalogue, in its order.

    Raises:
        RunError: if the catalogue is missing, or holds an item that the log does not.
    """
    catalogue = read_frame(path, ["item_id"])["item_id"]
    codes: Ints = codes_in(log.item_ids, catalogue).to_numpy()
    if (codes < 0).any():
        stranger = catalogue[int(np.argmin(codes))]
        raise RunError(
            f"{path} holds the item {stranger!r}, which is not in the run's events.",
            "Run `cartwheel prepare` again; catalogue and events are from different runs.",
        )
    return codes
