"""Writes what must not be recommended to each shopper as of the export."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from serving.contract.history import Lists
from serving.contract.left_out import FILE, LeftOut
from serving.pieces.state import Snapshot
from workflows.features.live.past import key_of


def write_left_out(root: Path, snapshot: Snapshot) -> None:
    """Write the file into the folder of a repository."""
    state, shoppers, count = snapshot.state, snapshot.shoppers, len(snapshot.catalogue.ids)
    keys = np.array([key_of(user) for user in shoppers.ids], np.uint64)
    order = np.argsort(keys, kind="stable")
    recents = shoppers.recents[1:, : shoppers.recents.shape[1] // 3][order]
    times = shoppers.left_out_times
    whole = np.ones(len(shoppers.left_out), np.int32) if times is None else times
    starts = shoppers.left_out_starts[1:]  # the first list is the stranger's
    spans = [slice(starts[row], starts[row + 1]) for row in order.tolist()]
    lists = Lists.joined([shoppers.left_out[span].tolist() for span in spans])
    counted = np.concatenate([whole[span] for span in spans]) if spans else whole
    kept = np.where(recents > count, count, recents).astype(np.int32)
    LeftOut(state.leave_out, frozenset(state.interaction_types), keys[order], lists, counted.astype(np.int32), kept).write(
        root / FILE
    )
