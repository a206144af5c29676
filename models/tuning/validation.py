"""The data of a trial: a folder with the layout of a run directory, without anything from the start of the test split on.

Trials get the path of this folder and never that of the run, so no code that they call, now or later, can open the test split.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from cartwheel.core.errors import DataError
from cartwheel.core.files import sha256, write_json
from cartwheel.core.frames import read_frame, scan_frame
from cartwheel.core.run_layout import RELATIVE, RunLayout
from cartwheel.core.tables import check_aligned, read_json
from models.metrics.ranking import Placement, ndcg, place
from models.questions.anchors import Anchors, Scorer, allowed, read_anchors, sample
from models.questions.run_log import split_start
from models.training.tables import Table, read_sizes
from models.training.tables import read_table as read_features
from workflows.features.feature_set import read_feature_set

SPLIT: Final = "valid"
K: Final = 10
"""Places of a list that the metric looks at."""
_MOST_ANCHORS: Final = 10_000
"""Validation anchors that are asked for, drawn once: enough to order trials, and quick after each epoch."""
_CELLS: Final = 4_000_000
_COPIED: Final = (RELATIVE.state,)
_LINKED: Final = (RELATIVE.features_split("train"), RELATIVE.features_split(SPLIT), RELATIVE.examples_split(SPLIT))


def lay_out(run: Path, folder: Path, *, events: bool) -> Path:
    """Lay out what trials may read.

    Args:
        run: run directory after prepare.
        folder: where to; replaced if it is there.
        events: whether trials need the log, which is copied up to the instant at which the test split begins.

    Returns:
        ``folder``.

    Raises:
        RunError: if the run lacks a file.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name in _LINKED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(os.path.relpath(run / name, (folder / name).parent), target_is_directory=True)
    for name in _COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_json(folder / name, read_json(run / name))
    own = RunLayout(folder)
    if RunLayout(run).columns.is_file():
        read_feature_set(RunLayout(run)).write(own.columns)
    if events:
        begins = read_json(RunLayout(run).examples_report).get("t_valid")
        split_start(run, SPLIT)  # tells what is wrong where there is none
        write_json(own.examples_report, {"t_valid": begins})
        own.events_folder.mkdir()
        log = scan_frame(RunLayout(run).events)
        earlier = log.filter(pl.col("timestamp").dt.epoch("us") < split_start(run, "test"))
        earlier.collect().write_parquet(own.events)  # not by a sink: equal events give equal bytes
    return folder


def fingerprint(data: Path, *names: Path) -> str:
    """Return a hash of the content of some files and folders of a laid out folder."""
    return "".join(sha256((data / name).resolve())[:16] if (data / name).exists() else "-" for name in names)


class ValidationLists:
    """The validation anchors and NDCG@10 over them, as the evaluation computes it on the test split.

    Args:
        data: a laid out folder.
        seed: draws the anchors where there are very many.

    Raises:
        DataError: if there is no anchor.
        RunError: if a file is missing or lacks a column.
    """

    def __init__(self, data: Path, seed: int) -> None:
        self.data = data
        self.anchors: Anchors = sample(read_anchors(data, SPLIT), _MOST_ANCHORS, seed)
        if not len(self.anchors):
            raise DataError("The validation split has no shopper who turns to a new item.", "Tune on a longer log.")

    def ndcg(self, scorer: Scorer) -> float:
        """Return the mean NDCG@10 of a scorer's lists over the catalogue."""
        step = max(1, _CELLS // max(1, self.anchors.items))
        parts = []
        for start in range(0, len(self.anchors), step):
            part = self.anchors.take(np.arange(start, min(start + step, len(self.anchors))))
            parts.append(place(allowed(scorer(part.row), part), part.truth_row, part.truth_column, part.n_truth))
        return float(ndcg(Placement.join(parts), K).mean())

    def tables(self) -> tuple[Table, Table]:
        """Return the encoded queries of the anchors, row by row, and the encoded catalogue.

        Raises:
            RunError: if features and examples are not row-aligned.
        """
        layout = RunLayout(self.data)
        sizes, features = read_sizes(layout.features("train", "recommend")), read_feature_set(layout)
        queries = read_features(layout.features(SPLIT, "recommend"), features.query, sizes)
        catalogue = read_features(layout.features(SPLIT, "catalogue"), features.item, sizes)
        for table, file, column in (
            (queries, layout.examples(SPLIT, "recommend"), "user_key"),
            (catalogue, layout.examples(SPLIT, "catalogue"), "item_id"),
        ):
            check_aligned(table.folder, len(table), file, len(read_frame(file, [column])))
        return Table(queries.folder, {name: values[self.anchors.row] for name, values in queries.columns.items()}), catalogue
