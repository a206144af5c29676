"""MovieLens: ``u.data`` (100K), ``ratings.dat`` (1M, 10M) and ``ratings.csv`` (all later ones), with the films where they lie beside.

https://grouplens.org/datasets/movielens
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

import polars as pl

from workflows.events import reading
from workflows.events.schema import FLAW, RATING
from workflows.events.sources.base import FileSource, Names
from workflows.settings import SourceSettings

_COLUMNS: Final = ("userId", "movieId", "rating", "timestamp")
_FILMS: Final = ("movies.csv", "movies.dat", "u.item")
_NO_GENRES: Final = frozenset({"", "(no genres listed)", "unknown"})
_GENRES_100K: Final = (
    *("unknown", "Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)


class MovieLens(FileSource):
    """Ratings as events; ``category`` is the film's first genre, and ``rating``, ``title`` and ``genres`` are own columns."""

    kind = "movielens"
    required: ClassVar[Names] = {"user_id": ("userId",), "item_id": ("movieId",), "timestamp": ("timestamp",)}
    own: ClassVar[Names] = {"rating": ("rating",)}
    timestamp_formats = ("s",)
    event_files: ClassVar[tuple[str, ...]] = ("ratings.csv", "ratings.csv.gz", "ratings.parquet", "ratings.dat", "u.data")
    extra_suffixes: ClassVar[tuple[str, ...]] = (".dat", ".data")

    def __init__(self, settings: SourceSettings, base_folder: Path) -> None:
        super().__init__(settings, base_folder)
        self._films = self._read_films()

    def layout(self, file: reading.TableFile) -> reading.Layout | None:
        """Return the layout of the two formats without header."""
        if file.path.suffix == ".data":
            return reading.Layout(separator="\t", quote="", has_header=False, names=_COLUMNS)
        if file.path.suffix == ".dat":
            return reading.Layout(separator="::", quote="", has_header=False, names=_COLUMNS)
        return None

    def side_files(self) -> list[Path]:
        """Return the list of films, where it lies beside the ratings."""
        return [path for name in _FILMS if (path := self.folder / name).is_file()][:1]

    def shape(self, events: pl.LazyFrame) -> pl.LazyFrame:
        """Make each row a rating, and look up its film."""
        events = events.with_columns(pl.lit(RATING).alias("event_type"))
        if "rating" in events.collect_schema():
            events = events.with_columns(pl.col("rating").cast(pl.Float64, strict=False))
        if self._films is None:
            return events
        return events.drop("category").join(self._films.lazy(), on="item_id", how="left")

    def _read_films(self) -> pl.DataFrame | None:
        """Return item_id, category, title and genres (parted by ``|``), or None where no list of films lies beside the ratings."""
        for path in self.side_files():
            rows = {".csv": self._read_csv, ".dat": _read_dat, ".item": _read_100k}[path.suffix](path)
            films = {item: (title, genres) for item, title, genres in rows}
            columns = {
                "item_id": list(films),
                "category": [_category(genres) for _, genres in films.values()],
                "title": [title or None for title, _ in films.values()],
                "genres": [genres or None for _, genres in films.values()],
            }
            return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String()))
        return None

    def _read_csv(self, path: Path) -> Iterator[tuple[str, str, str]]:
        opened = self.open_side(path)
        for column in ("movieId", "title", "genres"):
            if column not in opened.columns:
                reading.require(column, (column,), opened.columns, opened.files[0])
        films = reading.collect(opened.table.filter(pl.col(FLAW).is_null()), path)
        yield from films.select(
            self.tidy.of_name(pl.col("movieId")).fill_null(""), pl.col("title", "genres").fill_null("")
        ).iter_rows()


def _category(genres: str) -> str | None:
    first = genres.split("|", 1)[0]
    return None if first in _NO_GENRES else first


def _read_dat(path: Path) -> Iterator[tuple[str, str, str]]:
    for line in _lines(path):
        fields = line.split("::")
        if len(fields) >= 3:
            yield fields[0], "::".join(fields[1:-1]), fields[-1]


def _read_100k(path: Path) -> Iterator[tuple[str, str, str]]:
    for line in _lines(path):
        fields = line.split("|")
        flags = fields[-len(_GENRES_100K) :]
        if len(fields) >= 2 + len(_GENRES_100K):
            yield fields[0], fields[1], "|".join(genre for genre, flag in zip(_GENRES_100K, flags, strict=True) if flag == "1")


def _lines(path: Path) -> list[str]:
    """Return the lines of a file in UTF-8 or, as GroupLens shipped the early sets, Latin-1."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return [line.rstrip("\r\n") for line in io.StringIO(text)]
