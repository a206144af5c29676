"""What the files of a fitted operator held when it was fitted, so that one which another fit wrote over is noticed.

NVTabular keeps vocabularies and statistics in files that are named for columns alone: of two workflows that are fitted with one
``out_path`` the later writes over the files of the earlier, which then encodes with foreign ids, even where their number is the same. So
each operator takes along, in an attribute of its own that is pickled with it, a digest of what its files hold.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

_ATTRIBUTE: Final = "file_digests"
_WATCHED: Final = ("fit_finalize", "process_vocabs")


def file_digest(path: Path) -> str:
    """Return the digest of the columns of a Parquet file, or of those of a folder in the order of their names; "" if it cannot be read."""
    try:
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        return content_digest([column for file in files for column in pl.read_parquet(file).get_columns()], named=True)
    except (OSError, pl.exceptions.PolarsError):
        return ""


def content_digest(columns: Sequence[pl.Series], *, named: bool = False) -> str:
    """Return the SHA-256 of columns of strings or numbers, the same however they lie in memory or on disk.

    Args:
        columns: in order.
        named: whether the names of the columns count too.
    """
    whole = hashlib.sha256()
    for series in columns:
        whole.update(f"{series.name} ".encode() if named else b"")
        series = series.cast(pl.String) if isinstance(series.dtype, (pl.Categorical, pl.Enum)) else series.to_physical()
        whole.update(f"{series.dtype} {len(series)} ".encode() + np.packbits(series.is_null().to_numpy()).tobytes())
        known = series.drop_nulls()
        if series.dtype == pl.String:
            whole.update(known.str.len_bytes().cast(pl.Int64).to_numpy().tobytes())
            strings = known.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())  # large_string: one buffer of all of them
            bounds = np.frombuffer(strings.buffers()[1], dtype=np.int64)[strings.offset : strings.offset + len(strings) + 1]
            whole.update(memoryview(strings.buffers()[2])[bounds[0] : bounds[-1]] if len(strings) else b"")
        else:
            values = known.to_numpy()
            whole.update(repr(known.to_list()).encode() if values.dtype == object else values.tobytes())
    return whole.hexdigest()


def remember_files(operator: Any) -> None:
    """Keep the digests of the files that an operator has now; a vocabulary that it was given is one from when it was given."""
    known = getattr(operator, _ATTRIBUTE, {})
    given = getattr(operator, "vocabs", {})
    kept = {name: known[name] for name in given if name in known}
    setattr(operator, _ATTRIBUTE, {name: file_digest(path) for name, path in _files(operator)} | kept)


def written_over(operator: Any, name: str, path: Path) -> bool:
    """Whether a file is another one than the operator was fitted with; False where that is not known, or the file is missing."""
    expected = getattr(operator, _ATTRIBUTE, {}).get(name)
    found = file_digest(path) if expected else ""
    return bool(found) and found != expected


def watch_nvtabular() -> None:
    """Have NVTabular's operators remember their files, whoever fits them; once, and only where NVTabular is imported."""
    for module, kind in (("categorify", "Categorify"), ("target_encoding", "TargetEncoding")):
        operator = getattr(sys.modules.get(f"nvtabular.ops.{module}"), kind, None)
        for name in _WATCHED:
            method = getattr(operator, name, None)
            if method is not None and not hasattr(method, _ATTRIBUTE):
                setattr(operator, name, _remembering(method))


def _remembering(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def remembering(operator: Any, *arguments: Any, **options: Any) -> Any:
        made = method(operator, *arguments, **options)
        if made is None:
            remember_files(operator)
        else:  # the files of given vocabularies, which the operator does not hold yet
            digests = {name: file_digest(Path(path)) for name, path in made.items()}
            setattr(operator, _ATTRIBUTE, digests)
        return made

    setattr(remembering, _ATTRIBUTE, True)
    return remembering


def _files(operator: Any) -> Iterator[tuple[str, Path]]:
    for attribute in ("categories", "stats"):
        held = getattr(operator, attribute, None)
        for name, path in (held if isinstance(held, dict) else {}).items():
            if isinstance(path, (str, Path)):
                yield name, Path(path)
