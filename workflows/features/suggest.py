"""Looks at the shop's columns and proposes which of them to declare as features, and as what; each proposal comes with its reason."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from workflows.events.instants import ISO, parse_instant
from workflows.events.typed_cells import plain_text
from workflows.features.own_feature import BUILT_IN, EVENTS, OWNER_OF
from workflows.features.own_values import NO, YES, Reading, looks_numeric, read_values

SAMPLE: Final = 200_000
"""Rows of a column that are looked at."""
_NEARLY_ALL: Final = 0.95
_ALL_BUT_A_FEW: Final = 0.99
_USUAL: Final = 0.9
"""Share of the events, of those that are not alike anyway, whose value is that of the owner."""
_SKEWED: Final = 20.0
"""From this ratio of the largest to the middle value on numbers are amounts, whose logarithm a model sees."""
_TAGGED: Final = 0.2
_LONG_TEXT: Final = 3.0
_MOST_CODES: Final = 1000


@dataclass(frozen=True)
class Columns:
    """A table whose columns are looked at.

    Attributes:
        table: its name; ``EVENTS`` for the events.
        on: what its key names; empty for the events.
        rows: ``keys`` and the shop's columns.
        keys: names of its columns that are keys.
        always_known: whether its rows have no time.
    """

    table: str
    on: str
    rows: pl.DataFrame
    keys: tuple[str, ...]
    always_known: bool = False


@dataclass(frozen=True)
class Suggestion:
    """What is proposed for one column.

    Attributes:
        name: of the feature.
        origin: ``table.column``.
        owner: whose value it is; empty where the column is left out.
        kind: a ``workflows.settings.OwnKind``; empty where the column is left out.
        reason: what was found, a clause.
        more: further settings.
    """

    name: str
    origin: str
    owner: str
    kind: str
    reason: str
    more: dict[str, Any] = field(default_factory=dict)


def suggest(tables: Iterable[Columns]) -> tuple[Suggestion, ...]:
    """Propose a feature, or say why there is none, for each column of the tables, in their order."""
    found: list[Suggestion] = []
    for table in tables:
        rows = table.rows if table.rows.height <= SAMPLE else table.rows.sample(SAMPLE, seed=0)
        for column in rows.columns:
            if column not in table.keys:
                found.append(_suggestion(table, rows, column, {other.name for other in found}))
    return tuple(found)


def _suggestion(table: Columns, rows: pl.DataFrame, column: str, taken: Collection[str]) -> Suggestion:
    dtype = rows.schema[column]
    cell = rows.select(plain_text(pl.col(column), dtype, keeps_point=False).str.strip_chars().alias("raw"))["raw"]
    raw = cell.drop_nulls()
    kind, reason, more = _kind(rows, column, dtype, raw, table.keys)
    owner = (OWNER_OF[table.on] if table.on else _owner_in_events(rows, column)) if kind else ""
    if kind and not owner:
        kind, reason = (
            "",
            f"{reason}; it changes from event to event: declare it by hand with the owner whose latest value counts",
        )
    missing = cell.null_count() / max(len(cell), 1)
    told = f"{reason}; {raw.n_unique():,} distinct in {len(cell):,} rows, {missing:.0%} missing"
    if kind and table.always_known:
        told += "; taken as always known"
    return Suggestion(_name(column, taken), f"{table.table or 'events'}.{column}", owner, kind, told, more)


def _kind(
    rows: pl.DataFrame, column: str, dtype: pl.DataType, raw: pl.Series, keys: Sequence[str]
) -> tuple[str, str, dict[str, Any]]:
    """Return a kind, or an empty string, with the reason and further settings."""
    if raw.is_empty():
        return "", "it has no value", {}
    if raw.n_unique() == 1 and len(raw) == rows.height:
        return "", f"it is {raw[0]!r} in every row", {}
    for key in keys:
        same = (
            rows.select((pl.col(column).cast(pl.String, strict=False) == pl.col(key)).mean()).item()
            if not dtype.is_nested()
            else 0
        )
        if (same or 0) >= _ALL_BUT_A_FEW:
            return "", f"it equals {key}", {}
    distinct = raw.unique()
    if dtype == pl.Boolean or set(distinct.str.to_lowercase()) <= {*YES, *NO}:
        return "boolean", "yes or no", {}
    if dtype.is_nested() or distinct.str.starts_with("[").mean() == 1.0:
        return _list_kind(distinct)
    if dtype.is_temporal() or _is_date(distinct):
        return "date", "dates", {}
    if looks_numeric(distinct):
        return _number_kind(column, raw)
    return _text_kind(raw, distinct)


def _list_kind(distinct: pl.Series) -> tuple[str, str, dict[str, Any]]:
    vectors = read_values(distinct, Reading("vector"))
    lengths = vectors.list.len().drop_nulls()
    if not vectors.is_null().any() and lengths.n_unique() == 1 and int(lengths[0]) > 1:
        return "vector", f"vectors of {lengths[0]} numbers", {"width": min(int(lengths[0]), 16)}
    longest = int(read_values(distinct, Reading("tags", width=512)).list.len().max() or 1)  # type: ignore[arg-type]
    return "tags", f"lists of at most {longest}", {"width": min(max(longest, 1), 16)}


def _is_date(distinct: pl.Series) -> bool:
    parsed = distinct.to_frame("raw").select(parse_instant(pl.col("raw"), (ISO,)).count() >= _ALL_BUT_A_FEW * pl.len()).item()
    return bool(parsed)


def _number_kind(column: str, raw: pl.Series) -> tuple[str, str, dict[str, Any]]:
    values = raw.cast(pl.Float64, strict=False).drop_nulls()
    whole = bool((values == values.round()).all())
    named_id = re.search(r"(^|_)(id|code|nr|no|number|sku|ean|gtin|zip|plz)$", column.lower()) is not None
    if whole and values.n_unique() >= _NEARLY_ALL * len(values) and len(values) > 2 and (named_id or values.abs().min() >= 100):  # type: ignore[operator]
        return "", "whole numbers of which nearly every row has another: an id", {}
    if whole and named_id:
        if values.n_unique() <= _MOST_CODES:
            return "category", "codes by their name", {}
        return "", "too many codes to learn", {}
    least, middle, largest = (float(values.quantile(share) or 0.0) for share in (0.0, 0.5, 1.0))
    if least >= 0 and largest > _SKEWED * max(middle, 1e-12):
        return "amount", f"numbers from {least:g} to {largest:g}, half of them below {middle:g}", {}
    return "number", f"numbers from {least:g} to {largest:g}", {}


def _text_kind(raw: pl.Series, distinct: pl.Series) -> tuple[str, str, dict[str, Any]]:
    if not read_values(distinct.head(1000), Reading("vector")).is_null().any():
        lengths = read_values(distinct, Reading("vector")).list.len().drop_nulls()
        if lengths.n_unique() == 1 and int(lengths[0]) > 1:
            return "vector", f"vectors of {lengths[0]} numbers", {"width": min(int(lengths[0]), 16)}
    for separator in ("|", ";", ","):
        if tags := _tags(raw, separator):
            return tags
    words = float(distinct.str.count_matches(r"\S+").mean() or 0)  # type: ignore[arg-type]
    unique = len(distinct) / len(raw)
    if words >= _LONG_TEXT and (unique > 0.5 or len(distinct) > _MOST_CODES):
        return "text", f"texts of {words:.1f} words", {}
    if unique >= _NEARLY_ALL and len(raw) > 2:
        if words >= 2:
            return "text", f"texts of {words:.1f} words, nearly each another", {}
        return "", "nearly every row has another value: an id", {}
    return "category", "names that come again", {}


def _tags(raw: pl.Series, separator: str) -> tuple[str, str, dict[str, Any]] | None:
    if raw.str.contains(separator, literal=True).mean() < _TAGGED:  # type: ignore[operator]
        return None
    pieces = raw.str.split(separator)
    single = pl.Series([piece.strip() for row in pieces for piece in row])
    words = float(single.str.count_matches(r"\S+").mean() or 0)  # type: ignore[arg-type]
    if words > _LONG_TEXT or single.n_unique() > 0.5 * len(single):
        return None
    longest = int(pieces.list.len().max() or 1)  # type: ignore[arg-type]
    more: dict[str, Any] = {"width": min(longest, 16)} | ({} if separator == "|" else {"separator": separator})
    return "tags", f"lists of at most {longest} of {single.n_unique():,} names, parted by {separator!r}", more


def _owner_in_events(rows: pl.DataFrame, column: str) -> str:
    """Return the owner whose events nearly all bring the owner's usual value, the item first; empty where there is none.

    What all events have in common is allowed for: of a column that is "no" in 97% of the rows every owner has one usual value.
    """
    for owner, key in (("item", "item_id"), ("user", "user_id"), ("session", "session_id")):
        values = rows.filter(pl.col(column).is_not_null() & pl.col(key).is_not_null() & (pl.len().over(key) > 1))
        if values.is_empty():
            continue
        by_value = values.group_by(key, column).len().group_by(key).agg(pl.col("len").max())
        usual = int(by_value["len"].sum()) / values.height
        common = int(values[column].value_counts()["count"].max()) / values.height  # type: ignore[arg-type]
        if common < 1.0 and (usual - common) / (1.0 - common) >= _USUAL:
            return owner
    return ""


def _name(column: str, taken: Collection[str]) -> str:
    """Return a name of letters, digits and underscores that is neither taken nor that of a built-in feature."""
    bare = re.sub(r"[^A-Za-z0-9]+", "_", column.replace("ß", "ss").translate(_UMLAUTS)).strip("_") or "column"
    bare = bare if bare[0].isalpha() else f"own_{bare}"
    name, number = (f"own_{bare}" if bare in BUILT_IN else bare), 2
    while name in taken:
        name, number = f"{bare}_{number}", number + 1
    return name


_UMLAUTS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "é": "e", "è": "e"})


def as_toml(suggestions: Sequence[Suggestion], declared: Collection[str] = ()) -> str:
    """Return the sections of the configuration, a comment with the reason above each; those left out are comments alone.

    Args:
        suggestions: what is proposed.
        declared: features, by name or by where their values come from, that the configuration has already.
    """
    new = [found for found in suggestions if found.name not in declared and found.origin not in declared]
    if declared and not any(found.kind for found in new):
        return ""
    parts = []
    for found in new:
        if not found.kind:
            parts.append(f"# {found.origin} is left out: {found.reason}.")
            continue
        lines = [
            f"# {found.origin}: {found.reason}.",
            f"[features.own.{found.name}]",
            f'owner = "{found.owner}"',
            f'kind = "{found.kind}"',
        ]
        lines.append(f'from = "{found.origin}"')
        lines += [f"{key} = {_toml(value)}" for key, value in found.more.items()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n" if parts else ""


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


__all__ = ["EVENTS", "Columns", "Suggestion", "as_toml", "suggest"]
