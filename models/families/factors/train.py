"""Fits a factor model on the interactions of a run, and writes the folder of a retrieval model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cartwheel.core.errors import UsageError
from cartwheel.core.frames import read_frame as read_examples
from cartwheel.core.run_layout import ModelLayout, RunLayout
from cartwheel.core.tables import check_aligned
from models.families.factors.towers import ITEM, RECENT, USER, ALSTowers, BPRTowers, als_towers, bpr_towers
from models.families.registry import ALS, BPR, make_baseline
from models.families.settings import RetrievalSettings
from models.questions.interactions import Interactions, Ints
from models.questions.run_log import catalogue_codes, read_interactions, split_start
from models.training.onnx_export import write_checked
from models.training.store import ModelConfig, write_config
from models.training.tables import FIRST_ID, Array, Table, read_sizes, read_table
from models.training.trained_files import PARITY_ROWS, ModelReport, require_sizes, write_offline_vectors
from workflows.events.event_log import codes_in

_REFERENCE: Final = "the same in NumPy"


@dataclass(frozen=True)
class _Ids:
    """The code in a log's interactions of each encoded id, -1 where it has none."""

    items: Ints
    users: Ints


def unfitted(settings: RetrievalSettings, seed: int) -> ALS | BPR:
    """Make the factor model of a configuration.

    Raises:
        UsageError: if the configuration names none.
        ConfigError: if a parameter is not known or not accepted.
    """
    made = (
        make_baseline(settings.model, seed, settings.parameters, "retrieval.parameters")
        if settings.model != "two_tower"
        else None
    )
    if not isinstance(made, ALS | BPR):
        raise UsageError(f"retrieval.model is {settings.model!r}, which is not a factor model.", 'Give "als" or "bpr".')
    return made


def train_factors(run: Path, settings: RetrievalSettings, seed: int) -> ModelReport:
    """Fit a factor model and write ``models/<its name>``.

    As with the two-tower, what is tested and served has learnt from all that happened before the test split began, and lies in the
    folder; what validation chooses is chosen with the one in its folder ``validation``, which has learnt nothing of that split.

    Args:
        run: the run directory after prepare.
        settings: which model, and its parameters.
        seed: fixes everything random.

    Raises:
        UsageError: if the settings name no factor model.
        ConfigError: if a parameter is not known or not accepted.
        RunError, DataError: if a file of the run is missing or corrupt.
        ParityError: if ONNX and NumPy differ.
    """
    started = time.monotonic()
    layout = RunLayout(run)
    model, source = layout.model(settings.model), layout.features("train", "recommend")
    sizes = read_sizes(source)
    require_sizes(sizes, (USER, ITEM, RECENT), source)
    rows = read_table(source, (USER, RECENT, ITEM), sizes)
    log = read_interactions(run)
    ids, difference, counts = _ids(run, rows, log, sizes), 0.0, {}
    for split, target in (("valid", model.validation), ("test", model)):
        known = log.take(log.time < split_start(run, split))
        towers = _fitted(unfitted(settings, seed), known, ids)
        difference = max(difference, _export(towers, target, rows.head(PARITY_ROWS)))
        counts[split] = len(known)
    write_offline_vectors(towers, layout, model, sizes)
    examples = {"train": counts["valid"], "refit": counts["test"] - counts["valid"]}
    write_config(model.path, ModelConfig(settings.model, settings, dict(sizes), seed, examples))
    return ModelReport(settings.model, counts["test"], 0, {}, time.monotonic() - started, difference, ())


def _fitted(model: ALS | BPR, log: Interactions, ids: _Ids) -> ALSTowers | BPRTowers:
    model.fit(log)
    return als_towers(model, ids.items) if isinstance(model, ALS) else bpr_towers(model, ids.items, ids.users)


def _export(towers: ALSTowers | BPRTowers, model: ModelLayout, rows: Table) -> float:
    """Write both ONNX files and return the largest difference from NumPy's answers on ``rows``."""
    query, item = (
        {name: np.asarray(values, np.int64) for name, values in rows.batch(slice(None), names).items()}
        for names in (towers.columns, (ITEM,))
    )
    return max(
        write_checked(towers.query_model(), query, towers.encode_queries(rows), model.query, _REFERENCE),
        write_checked(towers.item_model(), item, towers.encode_items(rows), model.item, _REFERENCE),
    )


def _ids(run: Path, rows: Table, log: Interactions, sizes: Mapping[str, int]) -> _Ids:
    """Find the items of all ids among the catalogue, and the users of all ids among the training examples."""
    layout = RunLayout(run)
    catalogue, features = layout.snapshot("items"), layout.features("snapshot", "items")
    item, item_code = read_table(features, (ITEM,), sizes)[ITEM], catalogue_codes(catalogue, log)
    check_aligned(features, len(item), catalogue, len(item_code))
    examples = layout.examples("train", "recommend")
    keys = read_examples(examples, ["user_key"])["user_key"]
    check_aligned(rows.folder, len(rows), examples, len(keys))
    user_code: Ints = codes_in(log.user_ids, keys).to_numpy()
    return _Ids(_of_ids(item, item_code, sizes[ITEM]), _of_ids(rows[USER], user_code, sizes[USER]))


def _of_ids(ids: Array, codes: Ints, size: int) -> Ints:
    result = np.full(size, -1, np.int64)
    own = ids >= FIRST_ID
    result[ids[own]] = codes[own]
    return result
