"""Rules in the gateway: finds the items that may be answered before anything is searched, and arranges what comes back.

Triton gets the items that must not be answered with the question (the tensor ``barred``), so that its search answers ``k`` of the others
where there are so many. A question to which no rule applies is not touched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferResult, service_pb2

from cartwheel.core.errors import UsageError
from serving.contract.fallback import FILE as FALLBACK
from serving.contract.fallback import FallbackTables
from serving.contract.history import FILE as HISTORY
from serving.contract.history import History
from serving.contract.items import FILE
from serving.contract.left_out import FILE as LEFT_OUT
from serving.contract.left_out import LeftOut
from serving.contract.tensors import BARRED, DEFAULT_K, PRICED, PRICES
from serving.gateway.refusal import Code, RefusedError, invalid
from serving.gateway.tensor_values import add_tensor, read_ints, read_texts
from serving.gateway.visit import Visit
from serving.rules.arrange import PINNED, PROMOTED, Arrangement, Candidate, advanced, lockstep
from serving.rules.book import Book
from serving.rules.expression import Bools
from serving.rules.packed import packed, rows
from serving.rules.rules import Rules, ShopRules
from serving.store.event import Recent

RECOMMEND: Final = "recommend"
SIMILAR: Final = "similar_items"
ENSEMBLES: Final = (RECOMMEND, "cart", SIMILAR)
"""What rules apply to."""
_SPECIAL: Final = {PINNED: 3, PROMOTED: 4}
_MOST_ROWS: Final = 4_096
_OUTPUTS: Final = ("items", "scores", "reason", "reason_item", "retrievers")
Ask = Callable[[bytes], Awaitable[bytes]]


class Past(NamedTuple):
    """Catalogue indices of what a shopper looked at, the latest first, and bought, the most often bought first."""

    viewed: Sequence[int]
    bought: Sequence[int]


class Rulebook(Book):
    """The rules of a shop over the items of one export, as questions are asked under them."""

    @classmethod
    def of(cls, repository: Path, shop: ShopRules, max_k: int) -> Rulebook | None:
        """Return the rulebook of an export; None of one that has no items, as those of declared tasks alone."""
        return cls(repository, shop, max_k) if (repository / FILE).is_file() else None

    def __init__(self, repository: Path, shop: ShopRules, max_k: int) -> None:
        super().__init__(repository, shop, max_k)
        self._history = History.read(repository / HISTORY)
        left_out = repository / LEFT_OUT
        self._left_out = LeftOut.read(left_out) if left_out.is_file() else None  # an export of before does not have it
        self._fallback = FallbackTables.read(repository / FALLBACK)
        self._rise: npt.NDArray[np.float64] | None = None

    def history_of(self, user: str) -> Past:
        """Return what a shopper looked at and bought until the export."""
        row = self._history.row(user)
        return Past((), ()) if row is None else Past(self._history.viewed.of(row), self._history.bought.of(row))

    def left_out(self, user: str, since: Sequence[Recent]) -> list[str]:
        """Return the items that must not be recommended to a shopper now.

        Args:
            user: their id.
            since: what they did since the export, oldest first.
        """
        if self._left_out is None:
            return []
        ids = self.assortment.table.ids
        return [ids[place] for place in sorted(self._left_out.of(user, since, self.assortment.place)) if place < len(ids)]

    def prices(self, request: bytes, most_bytes: int) -> bytes:
        """Return the bytes that, put behind a request, tell what items cost whose price is not that of the export; often none.

        Args:
            request: serialised ``ModelInferRequest``.
            most_bytes: what a whole request may have; prices that do not fit are left out.
        """
        places, prices = self.assortment.set_prices
        if not len(places):
            return b""
        asked = service_pb2.ModelInferRequest.FromString(request)
        if any(tensor.name in (PRICED.name, PRICES.name) for tensor in asked.inputs):
            return b""
        count = max((tensor.shape[0] for tensor in asked.inputs if len(tensor.shape) == 2), default=1)
        if len(request) + 2 * count * places.nbytes > most_bytes:
            return b""
        more, raw = service_pb2.ModelInferRequest(), bool(asked.raw_input_contents)
        add_tensor(more, PRICED.name, "INT32", np.tile(places + 1, (count, 1)), raw=raw)
        add_tensor(more, PRICES.name, "FP32", np.tile(prices, (count, 1)), raw=raw)
        return bytes(more.SerializeToString())

    def goes_with(self, place: int) -> list[tuple[int, float]]:
        """Return what goes with an item, and how much, the strongest first."""
        found = zip(self._fallback.neighbours[place].tolist(), self._fallback.weights[place].tolist(), strict=True)
        return [(other, weight) for other, weight in found if other >= 0]

    def rise(self) -> npt.NDArray[np.float64]:
        """Return by how many events each item was asked for lately beyond its share of all events before, float64 [N]."""
        if self._rise is None:
            recent, every = (self.assortment.columns.get(name) for name in ("recent_events", "events"))
            if not isinstance(recent, np.ndarray) or not isinstance(every, np.ndarray):
                return np.zeros(self.assortment.count)
            recent, every = np.nan_to_num(recent), np.nan_to_num(every)
            self._rise = recent - every * (recent.sum() / max(float(every.sum()), 1.0))
        return self._rise

    def plain(self, request: bytes, carts: Sequence[Sequence[str]], rules: Rules | None) -> Plan:
        """Return how a question is asked under rules, but for their arrangement, whether one applies or not.

        Raises:
            UsageError: if a rule cannot be honoured.
        """
        effective = self.effective(rules)
        return replace(self._planned(effective, self.assortment.passing(effective), request, carts), arrangements=())

    def plan(self, visit: Visit, request: bytes, carts: Sequence[Sequence[str]]) -> Plan | None:
        """Return how a question is asked under its rules; None where none applies to it.

        Args:
            visit: whose ensemble and rules are known.
            request: serialised ``ModelInferRequest``.
            carts: what the store knows of the cart of each row; may be empty.

        Raises:
            RefusedError: if a rule cannot be honoured.
        """
        if visit.ensemble not in ENSEMBLES:
            return None
        rules = self.effective(visit.rules)
        if visit.ensemble != RECOMMEND:  # what is pinned and promoted belongs to what is recommended
            rules = rules.model_copy(update={"pinned": (), "promoted": ()})
        try:
            passing = self.assortment.passing(rules)
            if passing.all() and not rules.arranges and not rules.cart_items and not any(carts):
                return None
            return self._planned(rules, passing, request, carts)
        except UsageError as error:
            raise invalid(str(error)) from error

    def _planned(self, rules: Rules, passing: Bools, request: bytes, carts: Sequence[Sequence[str]]) -> Plan:
        asked = service_pb2.ModelInferRequest.FromString(request)
        count = max((tensor.shape[0] for tensor in asked.inputs if len(tensor.shape) == 2), default=1)
        k = next(iter(read_ints(asked, "k") or ()), DEFAULT_K)
        if count > _MOST_ROWS:
            raise UsageError(f"The request has {count:,} rows; under rules at most {_MOST_ROWS:,} are answered.", "Ask in parts.")
        excluded = read_texts(asked, "exclude") or []
        excluded = excluded if len(excluded) == count else [[] for _ in range(count)]
        masks = [self.barred(rules, passing, carts[row] if row < len(carts) else ()) for row in range(count)]
        if not rules.arranges or not 1 <= k <= self.max_k:  # of a wrong k Triton says what is wrong
            return Plan(request, asked, masks, k, self, ())
        return Plan(
            request,
            asked,
            masks,
            k,
            self,
            [self.arrangement(rules, mask, k, out) for mask, out in zip(masks, excluded, strict=True)],
        )


@dataclass
class Plan:
    """One question under rules."""

    request: bytes
    asked: Any
    masks: list[Bools]
    k: int
    book: Rulebook
    arrangements: Sequence[Arrangement]

    async def answer(self, ask: Ask, visit: Visit) -> bytes:
        """Ask the question, as often as it takes, and return the answer: a serialised ``ModelInferResponse``."""
        if not self.arrangements:
            answer = await ask(self.request + _barred(self.masks, raw=bool(self.asked.raw_input_contents)))
            self._note_fewer(visit, answer)
            return answer
        base, first, run = self.base(), None, lockstep(self.arrangements)
        need, done = advanced(run, None)
        while need is not None:
            found = InferResult(service_pb2.ModelInferResponse.FromString(await ask(base(need.barred, need.count))))
            first = first or found
            need, done = advanced(run, [self.candidates(found, row) for row in range(len(self.arrangements))])
        if first is None:  # nothing could be asked: every item is barred
            first = InferResult(service_pb2.ModelInferResponse.FromString(await ask(base(self.masks, self.k))))
        answer = self._response(first, done)
        self._note_fewer(visit, answer)
        return answer

    def base(self) -> Callable[[Sequence[Bools], int], bytes]:
        """Return what makes the request of one round: all outputs, so many items, without those that are barred."""
        stem = service_pb2.ModelInferRequest()
        stem.CopyFrom(self.asked)
        stem.ClearField("outputs")
        raw = bool(stem.raw_input_contents)
        for place, tensor in enumerate(stem.inputs):
            if tensor.name == "k":
                del stem.inputs[place]
                if raw:
                    del stem.raw_input_contents[place]
                break
        head = stem.SerializeToString()

        def made(masks: Sequence[Bools], wanted: int) -> bytes:
            more = service_pb2.ModelInferRequest()
            add_tensor(more, "k", "INT32", np.array([wanted], np.int32), raw=raw)
            return bytes(head + more.SerializeToString() + _barred(masks, raw=raw))

        return made

    def candidates(self, found: InferResult, row: int) -> list[Candidate]:
        """Return the items of a row of an answer, the best first."""
        outputs = {name: found.as_numpy(name) for name in _OUTPUTS}
        items, scores = outputs["items"][row].tolist(), outputs["scores"][row].tolist()
        reasons = outputs["reason"][row].tolist() if outputs["reason"] is not None else [0] * len(items)
        because = outputs["reason_item"][row].tolist() if outputs["reason_item"] is not None else [b""] * len(items)
        bits = outputs["retrievers"][row].tolist() if outputs["retrievers"] is not None else [0] * len(items)
        place_of = self.book.assortment.place
        return [
            Candidate(place, score, reason, text, retrievers=brought)
            for item, score, reason, text, brought in zip(items, scores, reasons, because, bits, strict=True)
            if item and (place := place_of(item.decode())) is not None
        ]

    def _response(self, first: InferResult, rows_: list[list[Candidate]]) -> bytes:
        """Put the arranged rows in place of those of the first answer, whose other outputs stay."""
        found = first.get_response()
        wanted = {output.name for output in self.asked.outputs} or {output.name for output in found.outputs}
        answer = service_pb2.ModelInferResponse(model_name=found.model_name, model_version=found.model_version, id=self.asked.id)
        ids = self.book.assortment.table.ids
        padded = [[*row, *[None] * (self.k - len(row))] for row in rows_]
        values: dict[str, tuple[str, list[Any], Any]] = {
            "items": ("BYTES", [[b"" if one is None else ids[one.place].encode() for one in row] for row in padded], object),
            "scores": ("FP32", [[-np.inf if one is None else one.score for one in row] for row in padded], np.float32),
            "reason": (
                "INT32",
                [[0 if one is None else _SPECIAL.get(one.special, one.reason) for one in row] for row in padded],
                np.int32,
            ),
            "reason_item": (
                "BYTES",
                [[b"" if one is None or one.special else one.because for one in row] for row in padded],
                object,
            ),
            "retrievers": ("INT32", [[0 if one is None else one.retrievers for one in row] for row in padded], np.int32),
        }
        for output in found.outputs:
            if output.name not in wanted:
                continue
            if output.name in values:
                kind, content, dtype = values[output.name]
                add_tensor(answer, output.name, kind, np.array(content, dtype).reshape(len(rows_), self.k), raw=True)
            else:
                add_tensor(answer, output.name, output.datatype, first.as_numpy(output.name), raw=True)
        return bytes(answer.SerializeToString())

    def _note_fewer(self, visit: Visit, answer: bytes) -> None:
        items = InferResult(service_pb2.ModelInferResponse.FromString(answer)).as_numpy("items")
        if items is None or items.shape[0] != 1:
            return
        answered, passing, wanted = sum(map(bool, items[0])), int((~self.masks[0]).sum()), visit.k or self.k
        if answered >= wanted:
            return
        why = f"only {passing} of {self.book.assortment.count} items pass the rules"
        if passing > answered:
            why = f"{passing} items pass the rules, and the others are excluded, left out for this shopper, or beyond a cap"
        visit.fewer = f"{answered} of {wanted} items are answered: {why}."


def _barred(masks: Sequence[Bools], *, raw: bool) -> bytes:
    more = service_pb2.ModelInferRequest()
    add_tensor(more, BARRED.name, "INT32", rows([packed(mask) for mask in masks]), raw=raw)
    return bytes(more.SerializeToString())


def refused_own(name: str) -> RefusedError:
    """Return the refusal of a question that gives a tensor of the gateway's own."""
    instead = "give 'rules', or 'exclude'" if name == BARRED.name else "set prices by SetItems"
    return RefusedError(Code.INVALID_ARGUMENT, f"The input {name!r} is the gateway's own; {instead}.", "invalid")
