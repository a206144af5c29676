"""The files of a repository with item columns and vectors for rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError
from serving.contract.arrays import AGAIN, read_arrays
from serving.rules.expression import Column, Names, Texts

FILE: Final = "items.npz"
VECTORS: Final = "item_directions.npy"


@dataclass(frozen=True)
class ItemTable:
    """The items of one export; row number = catalogue index.

    Attributes:
        ids: item ids.
        columns: what rules may name, beside the state that a shop sets.
    """

    ids: tuple[str, ...]
    columns: Mapping[str, Column]

    def write(self, path: Path) -> None:
        """Write the file; equal tables give equal bytes."""
        arrays: dict[str, npt.NDArray[Any]] = {**_texts("ids", self.ids)}
        for name, column in self.columns.items():
            if isinstance(column, Texts):
                arrays |= {f"text/{name}": column.codes, **_texts(f"words/{name}", column.words)}
            elif isinstance(column, Names):
                arrays |= {f"names/{name}": np.stack([column.items, column.codes]), **_texts(f"words/{name}", column.words)}
            else:
                arrays[f"number/{name}"] = column
        with path.open("wb") as stream:
            np.savez(stream, **arrays)

    @classmethod
    def read(cls, path: Path) -> ItemTable:
        """Read what :meth:`write` wrote.

        Raises:
            RunError: if it is not that.
        """
        with read_arrays(path) as content:
            ids = _read_texts(content, "ids")
            columns: dict[str, Column] = {}
            for key in content.files:
                kind, _, name = key.partition("/")
                if kind == "text":
                    columns[name] = Texts(content[key], _read_texts(content, f"words/{name}"))
                elif kind == "names":
                    items, codes = content[key]
                    columns[name] = Names(items, codes, _read_texts(content, f"words/{name}"), len(ids))
                elif kind == "number":
                    columns[name] = content[key]
            return cls(ids, columns)


def read_directions(path: Path, items: int) -> npt.NDArray[np.float16]:
    """Open item vectors of length 1, float16 [N, D]; they are read from the disk only where they are used.

    Raises:
        RunError: if the file is not that.
    """
    try:
        vectors: npt.NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}).", AGAIN) from error
    if vectors.ndim != 2 or len(vectors) != items:
        raise RunError(f"{path} has the shape {list(vectors.shape)}, and there are {items} items.", AGAIN)
    return vectors


def _texts(name: str, texts: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    encoded = [text.encode() for text in texts]
    lengths = np.array([len(text) for text in encoded], np.int64)
    return {f"{name}.lengths": lengths, f"{name}.bytes": np.frombuffer(b"".join(encoded), np.uint8)}


def _read_texts(content: Mapping[str, npt.NDArray[Any]], name: str) -> tuple[str, ...]:
    data, ends = content[f"{name}.bytes"].tobytes(), np.cumsum(content[f"{name}.lengths"]).tolist()
    return tuple(data[start:end].decode() for start, end in zip([0, *ends], ends, strict=False))
