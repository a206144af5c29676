"""The side tables and own features of a run: checked against the log, and read by what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from cartwheel.core.files import atomic_path, write_json
from cartwheel.core.run_layout import RunLayout, TablesLayout
from workflows.events.asof import Ints
from workflows.events.side_tables import TableSummary, check_table
from workflows.features.own_build import Known, build_own
from workflows.settings import IDENTITY, OwnFeatureSettings, PrepareSettings, TableSettings
from workflows.tasks.split import split_log


def build_tables(
    run: Path,
    tables: Mapping[str, TableSettings],
    own: Mapping[str, OwnFeatureSettings],
    prepare: PrepareSettings,
    seed: int,
) -> list[str]:
    """Check the side tables of a run, and make the declared own features of them and of the events.

    Replaces the folder ``tables`` of the run as a whole; equal input, settings and seed give equal bytes.

    Args:
        run: the run directory, with its checked events.
        tables: ``[tables.<name>]``.
        own: ``[features.own.<name>]``.
        prepare: where training ends, and how long a pause starts a session; other fields are not read.
        seed: fixes how texts and vectors are reduced.

    Returns:
        Warnings, a sentence each.

    Raises:
        ConfigError, DataError: as ``check_table`` and ``build_own``.
    """
    events = RunLayout(run).events
    with atomic_path(RunLayout(run).tables_folder) as folder:
        folder.mkdir()
        target = TablesLayout(folder)
        checked: dict[str, TableSummary] = {}
        for name, settings in tables.items():
            if name != IDENTITY:
                checked[name] = check_table(name, settings, events, target)
        warnings = [warning for found in checked.values() for warning in found.warnings]
        if own:
            known = Known(split_log(_times(events), prepare).t_valid, prepare.session_gap_minutes, seed)
            warnings += build_own(run, own, tables, checked, known, target)
        write_json(target.summary, {name: found.as_json() for name, found in checked.items()})
    return warnings


def _times(events: Path) -> Ints:
    times = pl.read_parquet(events, columns=["timestamp"])["timestamp"]
    return times.dt.epoch("us").to_numpy().astype(np.int64)
