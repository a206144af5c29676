"""The candidate ranker of a run, over the catalogue that is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cartwheel.core.run_layout import RunLayout
from models.retrieval.fusion import Fusion
from models.retrieval.ranker.columns import RANKER, RankerColumns, read_ranker_tables
from models.retrieval.ranker.features import DECAYS, NAMED, spread_column, table_column
from serving.export.neighbours import served_table
from serving.export.onnx_files import read_onnx
from serving.pieces.rank_lists import Ranker, RankerTable
from workflows.features.feature_set import read_feature_set


def read_ranker(run: Path, fusion: Fusion, items: int, recents: int) -> Ranker | None:
    """Read the ranker of a run; None where it does not count.

    Args:
        run: run directory.
        fusion: how the scores are joined.
        items: N, size of the served catalogue.
        recents: L, most recent items of a query.

    Raises:
        RunError: if a file is missing, corrupt or of another catalogue.
    """
    if not fusion.lists:
        return None
    columns = RankerColumns.of(read_feature_set(RunLayout(run)), read_ranker_tables(run))
    return Ranker(
        trees=read_onnx(RunLayout(run).model(RANKER).scores),
        weight=fusion.list_weight,
        tables=tuple(_table(run, name, items, recents) for name in columns.tables),
        named=NAMED,
        counted=tuple(table_column(name, DECAYS[0]) for name in columns.tables),
        spreads={spread_column(name): name for name in columns.items},
    )


def _table(run: Path, name: str, items: int, recents: int) -> RankerTable:
    columns, additions = served_table(run, name, items)
    shares = {table_column(name, decay): np.power(np.float32(decay), np.arange(recents, dtype=np.float32)) for decay in DECAYS}
    return RankerTable(columns, additions, shares)
