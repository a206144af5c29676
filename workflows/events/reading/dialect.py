"""The dialect of a text file: declared and detected properties."""

from __future__ import annotations

import dataclasses
from typing import Final

from workflows.settings import SourceSettings

_SPOKEN: Final = {",": "comma", ".": "point", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blank", "\x01": "\\x01"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """What settings or the publisher lay down about text files; what is None is detected file by file."""

    encoding: str | None = None
    """Name of a codec."""
    separator: str | None = None
    """What stands between fields."""
    quote: str | None = None
    """What fields may stand in; empty where quotation marks are ordinary characters."""
    escape: str | None = None
    """What takes the special meaning from the character after it; empty where there is none."""
    has_header: bool = True
    """Whether the first record names the columns."""
    names: tuple[str, ...] = ()
    """Names of the columns, by position, where there is no header; empty: "1", "2" and so on."""

    @classmethod
    def of(cls, settings: SourceSettings) -> Layout:
        """Return what ``settings`` lay down."""
        names = settings.header if isinstance(settings.header, tuple) else ()
        return cls(
            encoding=settings.encoding,
            separator=settings.separator,
            quote=settings.quote,
            escape=settings.escape,
            has_header=settings.header is True,
            names=names,
        )

    def over(self, publisher: Layout | None) -> Layout:
        """Return this layout where it lays something down, and the publisher's elsewhere."""
        if publisher is None:
            return self
        changes = {
            name: value for name in ("encoding", "separator", "quote", "escape") if (value := getattr(self, name)) is not None
        }
        if not self.has_header:
            changes |= {"has_header": False, "names": self.names or publisher.names}
        return dataclasses.replace(publisher, **changes)


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How the bytes of one file become records."""

    kind: str
    """``CSV``, ``JSON lines``, ``JSON`` or ``Parquet``."""
    encoding: str = "utf-8"
    """Codec that decodes the file."""
    compression: str = ""
    """``gzip``, ``zstd``, ``bzip2`` or ``xz``; empty where it is not compressed."""
    separator: str = ","
    """What stands between fields."""
    quote: str = '"'
    """What fields may stand in; empty where nothing quotes."""
    escape: str = ""
    """What takes the special meaning from the character after it; empty where there is none."""
    has_header: bool = True
    """Whether the names of the columns stand in the file."""
    passed_over: int = 0
    """Lines before the header (or, without one, the first record) that are comments or ``sep=``."""
    escapes_bare: bool = False
    """Whether the escape works outside of quoted fields too."""
    skips_blanks: bool = False
    """Whether blanks after a separator belong to it."""


@dataclasses.dataclass(frozen=True)
class Detected:
    """Everything that was found out about how files are to be read; what the one line at the start tells."""

    dialect: Dialect
    columns: int
    """How many columns the files have."""
    decimal: str = "."
    """The decimal sign of prices and quantities."""
    time_zone: str = "UTC"
    """The zone of times that name none."""
    notes: tuple[str, ...] = ()
    """Anything else worth a word, each a clause."""

    def sentence(self, files: tuple[str, ...]) -> str:
        """Return one line about ``files``, which are read alike."""
        named = files[0] if len(files) == 1 else f"{len(files):,} files ({files[0]} to {files[-1]})"
        return f"reading {named}: {', '.join((*_clauses(self.dialect, self.columns), *self._values(), *self.notes))}"

    def _values(self) -> tuple[str, ...]:
        return (f"decimal sign {_SPOKEN.get(self.decimal, self.decimal)}", f"times without a zone in {self.time_zone}")


def _clauses(dialect: Dialect, columns: int) -> tuple[str, ...]:
    packed = f", {dialect.compression}" if dialect.compression else ""
    if dialect.kind == "Parquet":
        return (f"Parquet of {columns} columns",)
    head = f"{dialect.kind} in {dialect.encoding.upper()}{packed}"
    if dialect.kind != "CSV":
        return (head, f"{columns} columns")
    return (
        head,
        f"separator {_SPOKEN.get(dialect.separator, dialect.separator)}",
        f"quote {dialect.quote}" if dialect.quote else "no quote",
        f"escape {dialect.escape}" if dialect.escape else "no escape",
        f"{'header' if dialect.has_header else 'no header'} of {columns} columns"
        if dialect.has_header
        else f"no header, {columns} columns by position",
    )
