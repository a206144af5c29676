"""Checks the output of a feature family against its declaration."""

from __future__ import annotations

import polars as pl

from cartwheel.core.errors import CartwheelError, ConfigError
from cartwheel.core.hooks import described
from workflows.events.event_log import EventLog
from workflows.features.family import FeatureFamily, Moments


def compute_family(family: FeatureFamily, log: EventLog, at: Moments, where: str) -> pl.DataFrame:
    """Return the columns of a family.

    Args:
        family: of the shop's own, or a built-in one.
        log: the coded events.
        at: who is asked about and when.
        where: the section of the configuration that names the family, for messages.

    Raises:
        ConfigError: it raises, or gives other columns, types or rows than it declares.
    """
    whose = f"{where}: the feature family {family.name!r}"
    try:
        frame = family.compute(log, at)
    except CartwheelError:
        raise
    except Exception as error:
        raise ConfigError(f"{whose} raised {described(error)}.", "Correct it; nothing was written.") from error
    expected = {column.name: column.raw_type for column in family.columns}
    found = dict(frame.schema) if isinstance(frame, pl.DataFrame) else {}
    rows = len(frame) if isinstance(frame, pl.DataFrame) else 0
    if found != expected or rows != len(at):
        difference = [
            f"{name} ({found.get(name, 'not there')} for {kind})" for name, kind in expected.items() if found.get(name) != kind
        ]
        raise ConfigError(
            f"{whose} gave {rows} rows of {', '.join(found) or type(frame).__name__} where {len(at)} rows of its columns were "
            f"expected{': ' + ', '.join(difference) if difference else ''}.",
            "Return one row a moment with the declared columns and types.",
        )
    return frame
