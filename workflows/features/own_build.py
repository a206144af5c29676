"""Makes the own features of a run: reads each declared column, by what it means, into values and who had which when."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from cartwheel.core.errors import DataError
from cartwheel.core.files import write_json
from cartwheel.core.run_layout import RunLayout, TablesLayout
from workflows.events.asof import Bools
from workflows.events.event_log import ANONYMOUS_PREFIX, EVENT_COLUMNS
from workflows.events.instants import ISO, UTC
from workflows.events.sessions import with_sessions
from workflows.events.side_tables import DAY, TableSummary
from workflows.events.typed_cells import plain_text
from workflows.features.own_feature import EVENTS, OwnFeature, Place, resolve
from workflows.features.own_history import changes, coded
from workflows.features.own_values import EXPECTED, Reading, looks_numeric, read_values
from workflows.features.own_vectors import embed_texts, reduce_vectors
from workflows.settings import DEFAULT_KEYS, OwnFeatureSettings, TableSettings

MAX_BAD_SHARE: Final = 0.01
"""Share of the rows with a value whose value may be none of its kind; with more the feature is refused."""
SESSION_MARK: Final = "\x1f"
"""Stands between the shopper and the name of a session in the keys of what events say of sessions."""


@dataclasses.dataclass(frozen=True)
class Known:
    """What training may know.

    Attributes:
        until: instant at which validation begins, microseconds.
        session_gap_minutes: a longer pause starts a session where the log names none.
        seed: fixes how texts and vectors are reduced.
    """

    until: int
    session_gap_minutes: int
    seed: int


def build_own(
    run: Path,
    declared: Mapping[str, OwnFeatureSettings],
    tables: Mapping[str, TableSettings],
    checked: Mapping[str, TableSummary],
    known: Known,
    target: TablesLayout,
) -> list[str]:
    """Write the values of every declared feature, and ``own.json``, which lists them.

    Args:
        run: the run, with its checked events.
        declared: ``features.own``.
        tables: ``tables``.
        checked: what was found in each table, whose file lies in ``target``.
        known: what training may know.
        target: the folder of the tables.

    Returns:
        Warnings, a sentence each.

    Raises:
        ConfigError: as ``resolve``.
        DataError: a column has no value, too many that are not of its kind, texts that are numbers, or vectors of several lengths.
    """
    events = RunLayout(run).events
    own = tuple(name for name in pl.read_parquet_schema(events) if name not in EVENT_COLUMNS)
    places = (
        Place(EVENTS, "", own, always_known=False),
        *(Place(name, found.on, found.columns, found.always_known) for name, found in checked.items()),
    )
    features = resolve(declared, places)
    warnings: list[str] = []
    written = []
    for feature in features:
        rows = _table_rows(feature, target) if feature.table else _event_rows(feature, events, known.session_gap_minutes)
        how = _reading(declared[feature.name], tables.get(feature.table))
        feature, remarks = _write(feature, rows, how, declared[feature.name], _known_keys(feature, events, known), known, target)
        written.append(feature)
        warnings += remarks
    for on in sorted({feature.on for feature in features if feature.table and feature.on in ("category", "brand")}):
        _write_bridge(on, events, target)
    write_json(target.own_features, {"features": [feature.to_json() for feature in written]})
    return warnings


def bridge_name(on: str) -> str:
    """Return the name of the history that says which category or brand an item had when."""
    return f"_{on}"


def _write_bridge(on: str, events: Path, target: TablesLayout) -> None:
    rows = (
        pl.scan_parquet(events, glob=False)
        .filter(pl.col(on).is_not_null())
        .select(pl.col("item_id").alias("key"), pl.col("timestamp").dt.epoch("us").alias("time"), pl.col(on).alias("raw"))
        .collect(engine="streaming")
    )
    frame, raw = coded(changes(rows.sort("key", "time", maintain_order=True)))
    _write_parts(target, bridge_name(on), frame, raw, raw)


def _table_rows(feature: OwnFeature, target: TablesLayout) -> pl.DataFrame:
    table = pl.read_parquet(target.table(feature.table), columns=["key", "valid_from", feature.column])
    cell = plain_text(pl.col(feature.column), table.schema[feature.column], keeps_point=False)
    return table.select("key", pl.col("valid_from").dt.epoch("us").alias("time"), cell.alias("raw")).sort(
        "key", "time", maintain_order=True
    )


def _event_rows(feature: OwnFeature, events: Path, gap_minutes: int) -> pl.DataFrame:
    columns = ["user_id", "item_id", "session_id", "timestamp", feature.column]
    table = pl.read_parquet(events, columns=columns)
    shopper = pl.coalesce("user_id", pl.lit(ANONYMOUS_PREFIX) + pl.col("session_id"))
    if feature.on == "session":
        table = with_sessions(table.with_columns(shopper.alias("_shopper")), gap_minutes)
        key = pl.col("_shopper") + SESSION_MARK + pl.col("session_id")
    else:
        key = pl.col("item_id") if feature.on == "item" else shopper
    cell = plain_text(pl.col(feature.column), table.schema[feature.column], keeps_point=False)
    rows = table.select(key.alias("key"), pl.col("timestamp").dt.epoch("us").alias("time"), cell.alias("raw"))
    return changes(rows.filter(pl.col("raw").is_not_null()).sort("key", "time", maintain_order=True))


def _reading(settings: OwnFeatureSettings, table: TableSettings | None) -> Reading:
    return Reading(
        kind=settings.kind,
        separator=settings.separator,
        decimal=table.decimal if table else settings.decimal,
        formats=tuple(form for form in (table.timestamp_format if table else None, ISO) if form),
        zone=(table.timezone if table else None) or UTC,
        width=settings.width,
    )


def _known_keys(feature: OwnFeature, events: Path, known: Known) -> pl.Series | None:
    """Return the keys that an always-known table may be fitted on: those that an event of training has; None where rows have a time."""
    if not feature.always_known:
        return None
    column = pl.col("timestamp").dt.strftime(DAY) if feature.on == "date" else pl.col(DEFAULT_KEYS[feature.on])
    rows = pl.scan_parquet(events, glob=False).filter(pl.col("timestamp").dt.epoch("us") < known.until)
    return rows.select(column.alias("key")).unique().drop_nulls().collect(engine="streaming")["key"]


def _write(
    feature: OwnFeature,
    rows: pl.DataFrame,
    how: Reading,
    settings: OwnFeatureSettings,
    keys: pl.Series | None,
    known: Known,
    target: TablesLayout,
) -> tuple[OwnFeature, list[str]]:
    where = f"features.own.{feature.name}"
    frame, raw = coded(rows)
    if not len(raw):
        raise DataError(
            f"{where}: {feature.place} has no value at all in {rows.height:,} rows.",
            "Leave the feature out, or correct the export.",
        )
    if feature.kind == "text" and looks_numeric(raw):
        raise DataError(
            f"{where}: kind is text, but the values of {feature.place} are numbers, such as {raw[0]!r}.",
            'Set kind = "number", "amount" or, where they are names, "category".',
        )
    values = read_values(raw, how)
    warnings = _refuse_bad(where, feature, frame, raw, values)
    if feature.kind in ("text", "vector"):
        in_training = rows.filter(pl.col("time") < known.until if keys is None else pl.col("key").is_in(keys.implode()))
        is_known = raw.is_in(in_training["raw"].drop_nulls().implode()).to_numpy()
        values = _vectors(where, feature, frame, raw, values, is_known, settings, known.seed)
        columns = tuple(dataclasses.replace(column, width=len(values[0])) for column in feature.columns)
        feature = dataclasses.replace(feature, columns=columns)
    if feature.kind == "tags":
        longest = max(int(values.list.len().max() or 1), 1)  # type: ignore[arg-type]
        if longest == 1 and (parted := raw.filter(raw.str.contains("[,;]"))).len():
            warnings.append(
                f"{where}: no value of {feature.place} has several tags, but {len(parted):,} have a comma or semicolon in them, such as "
                f"{parted[0]!r}; if that parts the tags, set separator."
            )
        columns = tuple(dataclasses.replace(column, width=min(column.width, longest)) for column in feature.columns)
        feature = dataclasses.replace(feature, columns=columns)
    _write_parts(target, feature.name, frame, raw, values)
    return feature, warnings


def _refuse_bad(where: str, feature: OwnFeature, frame: pl.DataFrame, raw: pl.Series, values: pl.Series) -> list[str]:
    bad = values.is_null()
    if not bad.any():
        return []
    held = frame.filter(pl.col("code").is_not_null())
    rows = held.filter(pl.col("code").is_in(bad.arg_true().implode()))
    first = rows.row(0, named=True)
    found = (
        f"{where}: {rows.height:,} of {held.height:,} values of {feature.place} are no {EXPECTED[feature.kind]}; the first is "
        f"{raw[first['code']]!r} of {first['key'].replace(SESSION_MARK, ', session ')!r}"
    )
    if rows.height > MAX_BAD_SHARE * held.height:
        raise DataError(
            f"{found}.", "Correct the export, or set the kind that fits; see also decimal, separator and timestamp_format."
        )
    return [f"{found}. They are taken as missing."]


def _vectors(
    where: str,
    feature: OwnFeature,
    frame: pl.DataFrame,
    raw: pl.Series,
    values: pl.Series,
    is_known: Bools,
    settings: OwnFeatureSettings,
    seed: int,
) -> pl.Series:
    if not (is_known & values.is_not_null().to_numpy()).any():
        raise DataError(
            f"{where}: no value of {feature.place} was known before validation begins, so there is nothing to fit on.",
            "Give a table whose rows are known earlier, or leave the feature out.",
        )
    if feature.kind == "text":
        vectors = embed_texts(where, values, is_known, settings.width, seed, settings.embedding)
    else:
        length = _one_length(where, feature, frame, raw, values)
        filled = np.array([value if value is not None else [0.0] * length for value in values.to_list()], dtype=np.float64)
        vectors = reduce_vectors(filled, is_known & values.is_not_null().to_numpy(), settings.width, seed)
    found = pl.Series("value", vectors.tolist(), dtype=pl.List(pl.Float32))
    return found.to_frame().select(pl.when(values.is_not_null()).then("value").alias("value"))["value"]


def _one_length(where: str, feature: OwnFeature, frame: pl.DataFrame, raw: pl.Series, values: pl.Series) -> int:
    lengths = values.list.len()
    usual = int(lengths.gather(frame["code"].drop_nulls()).drop_nulls().mode().max())  # type: ignore[arg-type]
    other = (lengths != usual).fill_null(value=False)
    if other.any():
        place = int(other.arg_true()[0])
        key = frame.filter(pl.col("code") == place)["key"][0]
        raise DataError(
            f"{where}: the vectors of {feature.place} are of several lengths; that of {key!r} has {lengths[place]} numbers, the usual one "
            f"{usual}.",
            "Export vectors of one length, or leave a vector out where it is not known.",
        )
    del raw
    return usual


def _write_parts(target: TablesLayout, name: str, frame: pl.DataFrame, raw: pl.Series, values: pl.Series) -> None:
    target.history(name).parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(target.history(name))
    pl.DataFrame({"raw": raw, "value": values}).write_parquet(target.values(name))
