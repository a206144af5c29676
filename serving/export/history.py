"""What each shopper looked at and bought, for the lists that the gateway has ready made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_table
from serving.contract.history import FILE, KEPT, History
from serving.ensembles.served import ShopParts
from serving.export.run_files import integers, strings
from workflows.events.kinds import PURCHASE

if TYPE_CHECKING:
    import pyarrow as pa


def write_history(root: Path, run: Path, shop: ShopParts) -> None:
    """Write the file into the folder of a repository."""
    shoppers, ids = shop.snapshot.shoppers, shop.snapshot.catalogue.ids
    width = shoppers.recents.shape[1] // 3
    viewed = [[item for item in row[::-1] if 0 <= item < len(ids)][:KEPT] for row in shoppers.recents[1:, :width].tolist()]
    events = RunLayout(run).events
    bought: list[list[int]] = [[] for _ in shoppers.ids]
    if events.is_file():
        bought = purchases(read_table(events), shoppers.ids, ids)
    History.made(shoppers.ids, viewed, bought).write(root / FILE)


def purchases(events: pa.Table, users: Sequence[str], items: Sequence[str]) -> list[list[int]]:
    """Return catalogue indices of what each user bought, the most often bought first, and of those the latest; at most ``KEPT``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = events.select(["user_id", "item_id", "event_type", "timestamp"])
    table = table.filter(pc.equal(table["event_type"].cast(pa.string()), PURCHASE))
    grouped = table.group_by(["user_id", "item_id"]).aggregate([("timestamp", "count"), ("timestamp", "max")])
    rows, places = ({text: place for place, text in enumerate(texts)} for texts in (users, items))
    owner, item = (
        np.array([known.get(text, -1) for text in strings(grouped[name].cast(pa.string()))], np.int64)
        for name, known in (("user_id", rows), ("item_id", places))
    )
    times, last = integers(grouped["timestamp_count"]), integers(grouped["timestamp_max"].cast("int64"))
    found: list[list[int]] = [[] for _ in users]
    for place in np.lexsort((item, -last, -times, owner)).tolist():
        if owner[place] >= 0 and item[place] >= 0 and len(found[owner[place]]) < KEPT:
            found[owner[place]].append(int(item[place]))
    return found
