"""The lower rungs of ``recommend``: what is answered, from tables in this process, where Triton is away, late or breaks.

First what goes with the recent items of the request, then what is popular in their categories, then what is popular. The answer names
the highest rung that gave an item of it. There are no scores on these rungs: an item's is minus its place.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from tritonclient.grpc import service_pb2

from serving.contract.fallback import FILE, FallbackTables
from serving.contract.tensors import BARRED, DEFAULT_K
from serving.gateway.refusal import Code, invalid
from serving.gateway.tensor_values import read_ints
from serving.rules.expression import Bools
from serving.rules.packed import unpacked

ENSEMBLE: Final = "recommend"
NEIGHBOURS, CATEGORY, POPULAR = "neighbours", "category", "popular"
RUNGS: Final = (NEIGHBOURS, CATEGORY, POPULAR)
CAUSES: Final = frozenset(
    {
        Code.UNAVAILABLE,
        Code.INTERNAL,
        Code.UNKNOWN,
        Code.DEADLINE_EXCEEDED,
        Code.NOT_FOUND,
        Code.CANCELLED,
        Code.RESOURCE_EXHAUSTED,
    }
)
"""Statuses of Triton's after which a lower rung answers; of its model it is known that it is there, and that others refuse says nothing."""
_POPULAR, _RECENT = 0, 1
_FADING: Final = 0.8
"""How much less each earlier one of the recent items counts."""
_MOST_RECENT: Final = 20
_SIZES: Final = {"INT32": 4}
_BAD: Final = "The input {name!r} cannot be read; give it with shape {shape}."


@dataclass(frozen=True)
class _Item:
    """An item of an answer, its reason and the recent item that explains it."""

    index: int
    rung: str
    because: bytes = b""


class Ladder:
    """Answers ``recommend`` from the tables of an export.

    Args:
        tables: what the export wrote.
    """

    def __init__(self, tables: FallbackTables) -> None:
        self._tables = tables
        self._places = {text: place for place, text in enumerate(tables.ids)}
        self._popular: list[int] = np.argsort(-tables.popularity, kind="stable").tolist()
        self._by_category: dict[int, list[int]] = {}
        for index in self._popular:
            self._by_category.setdefault(int(tables.categories[index]), []).append(index)

    @classmethod
    def of(cls, repository: Path) -> Ladder | None:
        """Return the ladder of a repository; None where it has no tables, as those of declared tasks alone.

        Raises:
            RunError: if they cannot be read.
        """
        path = repository / FILE
        return cls(FallbackTables.read(path)) if path.is_file() else None

    def answer(self, request: bytes) -> tuple[bytes, str]:
        """Answer a serialised ``ModelInferRequest``.

        Returns:
            A serialised ``ModelInferResponse``, and the highest rung that gave an item of it.

        Raises:
            RefusedError: if the request is one that Triton would refuse, as far as it is read here.
        """
        asked = service_pb2.ModelInferRequest.FromString(request)
        tensors = dict(_tensors(asked))
        k = self._k(tensors.get("k"))
        users, done, recents, excluded = (
            _strings(name, tensors) for name in ("user_id", "events_item", "recent_items", "exclude")
        )
        if users is None:
            raise invalid("The input 'user_id' is missing; give it with shape ['B', 1].")
        if any(rows is not None and len(rows) != len(users) for rows in (done, recents, excluded)):
            raise invalid("The inputs differ in their number of rows; give each the same first size.")
        seen = [[item for part in (done, recents) if part for item in part[row]] for row in range(len(users))]
        masks = self._barred(asked, len(users))
        rows = [self.recommend(seen[row], excluded[row] if excluded else (), k, masks[row]) for row in range(len(users))]
        rungs = {item.rung for row in rows for item in row}
        return self._response(asked, rows, k), next((rung for rung in RUNGS if rung in rungs), POPULAR)

    def _barred(self, asked: Any, rows: int) -> list[Bools | None]:
        """Return what rules let nobody be answered, bool [N] a row."""
        numbers = read_ints(asked, BARRED.name)
        if numbers is None or rows == 0 or len(numbers) % rows:
            return [None] * rows
        masks: list[Bools | None] = []
        for row in np.array(numbers, np.int32).reshape(rows, -1):
            mask = np.zeros(len(self._tables.ids), bool)
            places = unpacked(row)
            mask[places[places < len(mask)]] = True
            masks.append(mask)
        return masks

    def recommend(self, recents: Sequence[bytes], exclude: Sequence[bytes], k: int, mask: Bools | None = None) -> list[_Item]:
        """Return at most ``k`` items for one shopper, the best first.

        Args:
            recents: ids of the running visit, the latest last.
            exclude: ids that must not be answered.
            k: how many.
            mask: what rules bar besides, bool [N].
        """
        known = [self._places[text] for text in dict.fromkeys(reversed(recents)) if text in self._places][:_MOST_RECENT]
        barred = {self._places[text] for text in exclude if text in self._places}
        if self._tables.leaves_recents_out:
            barred.update(self._places[text] for text in recents if text in self._places)
        found: list[_Item] = []
        for item in self._in_order(known):
            if len(found) == k:
                break
            if item.index not in barred and (mask is None or not mask[item.index]):
                barred.add(item.index)
                found.append(item)
        return found

    def _in_order(self, known: Sequence[int]) -> Iterator[_Item]:
        """Yield the items of one rung after the other; an item may come again."""
        yield from self._neighbours(known)
        seen: set[int] = set()
        for recent in known:
            category = int(self._tables.categories[recent])
            if category and category not in seen:
                seen.add(category)
                because = self._tables.ids[recent]
                yield from (_Item(index, CATEGORY, because) for index in self._by_category[category])
        yield from (_Item(index, POPULAR) for index in self._popular)

    def _neighbours(self, known: Sequence[int]) -> Iterator[_Item]:
        scores: dict[int, float] = {}
        strongest: dict[int, tuple[float, int]] = {}
        for age, recent in enumerate(known):
            for index, weight in zip(
                self._tables.neighbours[recent].tolist(), self._tables.weights[recent].tolist(), strict=True
            ):
                if index >= 0:
                    part = weight * _FADING**age
                    scores[index] = scores.get(index, 0.0) + part
                    strongest[index] = max(strongest.get(index, (0.0, recent)), (part, recent))
        for index in sorted(scores, key=lambda each: (-scores[each], each)):
            yield _Item(index, NEIGHBOURS, self._tables.ids[strongest[index][1]])

    def _k(self, given: tuple[Any, bytes | None] | None) -> int:
        if given is None:
            return DEFAULT_K
        tensor, raw = given
        if raw is not None:
            if len(raw) != _SIZES["INT32"]:
                raise invalid(_BAD.format(name="k", shape=[1]))
            (k,) = struct.unpack("<i", raw)
        else:
            values = tensor.contents.int_contents
            if len(values) != 1:
                raise invalid(_BAD.format(name="k", shape=[1]))
            k = values[0]
        if not 1 <= k <= self._tables.max_k:
            most = self._tables.max_k
            raise invalid(f"The input 'k' holds {k}; ask for 1 to {most} items (max_k is set when the repository is exported).")
        return int(k)

    def _response(self, asked: Any, rows: Sequence[Sequence[_Item]], k: int) -> bytes:
        answer = service_pb2.ModelInferResponse(model_name=ENSEMBLE, model_version="1", id=asked.id)
        wanted = {output.name for output in asked.outputs}
        padded = [[*row, *[None] * (k - len(row))] for row in rows]
        flat = [item for row in padded for item in row]
        scores = [-float(place + 1) if item else -np.inf for row in padded for place, item in enumerate(row)]
        contents = {
            "items": ("BYTES", _packed(self._tables.ids[item.index] if item else b"" for item in flat)),
            "scores": ("FP32", np.array(scores, "<f4").tobytes()),
            "reason": ("INT32", np.array([_RECENT if item and item.because else _POPULAR for item in flat], "<i4").tobytes()),
            "reason_item": ("BYTES", _packed(item.because if item else b"" for item in flat)),
            "retrievers": ("INT32", np.zeros(len(flat), "<i4").tobytes()),
        }
        for name, (datatype, content) in contents.items():
            if not wanted or name in wanted:
                answer.outputs.add(name=name, datatype=datatype, shape=[len(rows), k])
                answer.raw_output_contents.append(content)
        serialised: bytes = answer.SerializeToString()
        return serialised


def _packed(texts: Iterator[bytes]) -> bytes:
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _tensors(asked: Any) -> Iterator[tuple[str, tuple[Any, bytes | None]]]:
    """Yield name -> the tensor and its raw bytes, None where its values stand in the message."""
    raws = asked.raw_input_contents
    for place, tensor in enumerate(asked.inputs):
        yield tensor.name, (tensor, raws[place] if place < len(raws) else None)


def _strings(name: str, tensors: dict[str, tuple[Any, bytes | None]]) -> list[list[bytes]] | None:
    """Return the rows of an input of strings, "" left out as what pads; None where it is left out."""
    if name not in tensors:
        return None
    tensor, raw = tensors[name]
    shape = list(tensor.shape)
    values = list(tensor.contents.bytes_contents) if raw is None else _unpacked(name, raw)
    if len(shape) != 2 or min(shape) < 0 or shape[0] * shape[1] != len(values):
        raise invalid(_BAD.format(name=name, shape=["B", 1 if name == "user_id" else "N"]))
    if name == "user_id":
        return [[text] for text in values]
    return [[text for text in values[row * shape[1] : (row + 1) * shape[1]] if text] for row in range(shape[0])]


def _unpacked(name: str, raw: bytes) -> list[bytes]:
    texts, place = [], 0
    while place < len(raw):
        length = int.from_bytes(raw[place : place + 4], "little")
        place += 4 + length
        if place > len(raw):
            raise invalid(f"The input {name!r} is cut off within a string.")
        texts.append(raw[place - length : place])
    return texts
