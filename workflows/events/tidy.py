"""Tidies the text of cells where that is no guess: null tokens, outer blanks, and whole numbers that went through a float column.

Everything else that might make one id of two, or two of one, is left as it is and reported by ``kept_apart``.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import polars as pl

from workflows.events.blanks import BLANKS
from workflows.events.schema import CANONICAL, FILE, ORIGINAL, ROW
from workflows.settings import NULL_VALUES, SourceSettings

IDS: Final = ("user_id", "item_id", "session_id")
NAMES: Final = (*IDS, "category", "brand")
"""Columns of names, in which ``1288.0`` is the name 1288; in other columns a float is a number."""
_WHOLE_FLOAT: Final = r"^(0|-?[1-9]\d*)\.0+$"
_EXPONENT: Final = r"^[+-]?\d+(?:[.,]\d+)?[eE]\+?\d+$"
_NOBODY: Final = frozenset(
    ("-", "--", "?", "-1", "n.a.", "unknown", "missing", "empty", "anonymous", "guest", "not set", "(not set)")
)
"""What exports write, in any case, where there is nobody; it may be a name all the same."""
_TRUTH: Final = frozenset(("true", "false", "yes", "no"))
_SHOWN_TOKENS: Final = 3


@dataclasses.dataclass(frozen=True)
class Tidy:
    """How cells are tidied."""

    null_values: tuple[str, ...] = NULL_VALUES
    """Cells that mean "missing"."""
    exact_ids: bool = False
    """Whether ids keep their blanks and their ``.0``."""

    @classmethod
    def of(cls, settings: SourceSettings) -> Tidy:
        """Return what ``settings`` lay down."""
        return cls(tuple(value.strip() for value in settings.null_values), settings.exact_ids)

    def apply(self, events: pl.LazyFrame) -> pl.LazyFrame:
        """Tidy the text columns of raw events.

        Args:
            events: the canonical columns as String, own columns of any type, and the columns of the reader.

        Returns:
            ``events``, and ``ORIGINAL``: a struct of one String a column, null where tidying changed nothing. A blank cell and a null
            token are null in every text column. Canonical columns lose outer blanks; ids, categories and brands the ``.0`` of a float.
        """
        schema = events.collect_schema()
        tidied = {name: self._cell(name) for name in schema.names() if name in CANONICAL or _is_own_text(name, schema[name])}
        changed = [pl.when(pl.col(name).ne_missing(cell)).then(pl.col(name)).alias(name) for name, cell in tidied.items()]
        return events.with_columns(pl.struct(changed).alias(ORIGINAL), *(cell.alias(name) for name, cell in tidied.items()))

    def of_name(self, text: pl.Expr) -> pl.Expr:
        """Return ids or names of a side table as they come out of ``apply`` in the events, so that the two can be joined."""
        bare = text.str.strip_chars(BLANKS)
        return pl.when((bare.str.len_bytes() > 0) & ~bare.is_in(list(self.null_values))).then(
            text if self.exact_ids else bare.str.replace(_WHOLE_FLOAT, "$1")
        )

    def _cell(self, name: str) -> pl.Expr:
        bare = pl.col(name).str.strip_chars(BLANKS)
        kept = pl.col(name) if name not in CANONICAL or (self.exact_ids and name in IDS) else bare
        if name in NAMES and not (self.exact_ids and name in IDS):
            kept = kept.str.replace(_WHOLE_FLOAT, "$1")
        return pl.when((bare.str.len_bytes() > 0) & ~bare.is_in(list(self.null_values))).then(kept)

    def report(self, checked: pl.LazyFrame) -> list[str]:
        """Return one sentence for each way in which cells of ``checked`` (which has ``ORIGINAL``, ``FILE`` and ``ROW``) were tidied."""
        struct = checked.collect_schema()[ORIGINAL]
        assert isinstance(struct, pl.Struct)
        names = [field.name for field in struct.fields]
        counted = _collect(checked.select(pl.col(ORIGINAL).struct.field(name).count() for name in names)).row(0, named=True)
        return [line for name in names if counted[name] for line in self._report_column(checked, name)]

    def _report_column(self, checked: pl.LazyFrame, name: str) -> list[str]:
        cell = pl.col("cell")
        bare = cell.str.strip_chars(BLANKS)
        cells = checked.select(pl.col(ORIGINAL).struct.field(name).alias("cell"), FILE, ROW).filter(bare.str.len_bytes() > 0)
        is_null = bare.is_in(list(self.null_values))
        nulls = _collect(cells.filter(is_null).group_by(bare.alias("token")).agg(pl.len().alias("rows")))
        lines = []
        if not nulls.is_empty():
            commonest = nulls.sort(["rows", "token"], descending=[True, False]).head(_SHOWN_TOKENS)
            shown = ", ".join(f"{token!r} in {rows:,} rows" for token, rows in commonest.iter_rows())
            lines.append(f"{name}: {shown} read as missing (source.null_values).")
        ways = {"whole numbers of a float column are read as integers": bare.str.contains(_WHOLE_FLOAT)} if name in NAMES else {}
        ways["outer blanks are trimmed"] = bare != cell
        for told, concerned in ways.items():
            found = cells.filter(~is_null & concerned)
            rows = int(_collect(found.select(pl.len())).item())
            if rows:
                first, file, row = _collect(found.head(1)).row(0)
                lines.append(f"{name}: {told}, in {rows:,} rows, the first {first!r} in {file}, row {row}.")
        return lines


def kept_apart(column: str, ids: pl.Series) -> list[str]:
    """Return one sentence for each way in which distinct ``ids`` differ so little that they may be one; none of them are merged.

    Args:
        column: what the ids are called.
        ids: distinct String ids without nulls.
    """
    text = pl.col("id")
    folds = {
        "in upper and lower case": text.str.to_lowercase(),
        "in leading zeros": text.str.replace(r"^0+(\d)", "$1"),
        "in a plus sign": text.str.replace(r"^\+(\d)", "$1"),
        "in marks around them": text.str.replace_all(r"^=?[\"']+|[\"']+$", ""),
        "in characters that cannot be seen": text.str.replace_all(r"\p{Cf}", ""),
        "in their Unicode form": text.str.normalize("NFKC"),
        "in blanks": text.str.replace_all(r"\s+", ""),
    }
    table = ids.alias("id").to_frame()
    lines = []
    for how, fold in folds.items():
        folded = table.select("id", fold.alias("fold"))
        if folded["fold"].n_unique() == len(table):
            continue
        alike = folded.filter(pl.col("fold").is_duplicated()).sort("fold", "id")
        one, other = alike["id"][:2]
        lines.append(
            f"{column}: {len(alike):,} ids differ from another only {how} ({one!r}, {other!r}); they are kept apart. "
            "If they mean the same, unify them in the export."
        )
    nobody = table.filter(text.str.to_lowercase().is_in(list(_NOBODY)))["id"].sort()
    if not nobody.is_empty():
        lines.append(
            f"{column}: the id {', '.join(map(repr, nobody))} looks like that of nobody; it is kept. "
            "Where it stands for a missing value, add it to source.null_values."
        )
    if len(table) and _are_truths(table["id"]):
        lines.append(
            f"{column}: the ids are {', '.join(map(repr, table['id'].sort()))} alone, which rather answer a question than name something; "
            f"name the right column for {column} in source.columns if they do."
        )
    rounded = table.filter(text.str.contains(_EXPONENT))["id"]
    if not rounded.is_empty():
        lines.append(
            f"{column}: {len(rounded):,} ids look like numbers that a spreadsheet or a float column has rounded ({rounded.min()!r}); "
            "they are kept as they are. Export the column as text if different ids may have become one."
        )
    return lines


def _are_truths(ids: pl.Series) -> bool:
    """Return whether ``ids`` are nothing but words for true and false."""
    return bool(ids.str.to_lowercase().is_in(list(_TRUTH)).all())


def _is_own_text(name: str, dtype: pl.DataType) -> bool:
    return not name.startswith("_") and dtype == pl.String


def _collect(table: pl.LazyFrame) -> pl.DataFrame:
    return table.collect(engine="streaming")
