"""From bytes to rows: finds tables (Parquet, CSV, JSON; a file, a folder or a glob) and opens them without loading them.

Every cell of a text file stays the text that it was. What cannot be told is a ``DataError``; a record that is merely broken (a quotation
mark that is not closed, too many fields, an empty line, a last line cut off in the middle) is marked in the column ``FLAW`` and left to
the validator, and costs no other record.
"""

from __future__ import annotations

from workflows.events.reading.csv_file import CUT_OFF, EMPTY_ROW, NOT_UTF_8, NUL_BYTES, TOO_MANY_FIELDS, UNBALANCED
from workflows.events.reading.dialect import Detected, Dialect, Layout
from workflows.events.reading.failures import POLARS_FAILURES, collect, unreadable
from workflows.events.reading.files import TableFile, did_you_mean, discover, require
from workflows.events.reading.tables import (
    DIFFERS_FROM_FOLDER,
    FILE_NAME,
    INDEX,
    MARKS,
    Opened,
    open_file,
    open_files,
    open_frame,
    refuse_data_as_header,
    scan,
)

__all__ = [
    "CUT_OFF",
    "DIFFERS_FROM_FOLDER",
    "EMPTY_ROW",
    "FILE_NAME",
    "INDEX",
    "MARKS",
    "NOT_UTF_8",
    "NUL_BYTES",
    "POLARS_FAILURES",
    "TOO_MANY_FIELDS",
    "UNBALANCED",
    "Detected",
    "Dialect",
    "Layout",
    "Opened",
    "TableFile",
    "collect",
    "did_you_mean",
    "discover",
    "open_file",
    "open_files",
    "open_frame",
    "refuse_data_as_header",
    "require",
    "scan",
    "unreadable",
]
