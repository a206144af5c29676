"""Rules in the gateway: finds the items that may be answered before anything is searched, and arranges what comes back.

Triton gets the items that must not be answered with the question (the tensor ``barred``), so that its search answers ``k`` of the others
where there are so many. A question to which no rule applies is not touched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferResult, service_pb2

from cartwheel.core.errors import UsageError
from serving.contract.items import FILE, VECTORS, ItemTable, read_directions
from serving.contract.tensors import BARRED, DEFAULT_K
from serving.gateway.refusal import Code, RefusedError, invalid
from serving.gateway.tensor_values import add_tensor, read_ints, read_texts
from serving.gateway.visit import Visit
from serving.rules.arrange import PINNED, PROMOTED, Arrangement, Candidate, Need, Rounds, arranged
from serving.rules.assortment import BRAND, CATEGORY, Assortment
from serving.rules.expression import Bools
from serving.rules.packed import packed, rows
from serving.rules.rules import Rules, ShopRules

ENSEMBLES: Final = ("recommend", "cart")
"""What rules apply to."""
_SPECIAL: Final = {PINNED: 3, PROMOTED: 4}
_POOL: Final = 50
"""Least number of candidates that diversity chooses from, and four times what is asked."""
_OUTPUTS: Final = ("items", "scores", "reason", "reason_item")
Ask = Callable[[bytes], Awaitable[bytes]]


class Rulebook:
    """The rules of a shop over the items of one export.

    Args:
        repository: the export.
        shop: the rules of every answer.
        max_k: the most items of an answer of Triton's.

    Raises:
        UsageError: if a rule of the shop does not fit the items.
        RunError: if a file of the export cannot be read.
    """

    def __init__(self, repository: Path, shop: ShopRules, max_k: int) -> None:
        self.assortment = Assortment(ItemTable.read(repository / FILE))
        self._vectors_file, self._max_k = repository / VECTORS, max_k
        self._directions: npt.NDArray[np.float16] | None = None
        self.assortment.check(shop)
        self._shop = shop
        self._default = Rules().within(shop)

    @classmethod
    def of(cls, repository: Path, shop: ShopRules, max_k: int) -> Rulebook | None:
        """Return the rulebook of an export; None of one that has no items, as those of declared tasks alone."""
        return cls(repository, shop, max_k) if (repository / FILE).is_file() else None

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
        try:
            passing = self.assortment.passing(rules)
            if passing.all() and not rules.arranges and not rules.cart_items and not any(carts):
                return None
            return self._planned(rules, passing, request, carts)
        except UsageError as error:
            raise invalid(str(error)) from error

    def effective(self, rules: Rules | None) -> Rules:
        """Return the rules of a request together with those of the shop."""
        return self._default if rules is None else rules.within(self._shop)

    def directions(self, places: Sequence[int]) -> npt.NDArray[np.float16]:
        """Return vectors of items, of length 1 [n, D]."""
        if self._directions is None:
            self._directions = read_directions(self._vectors_file, self.assortment.count)
        found: npt.NDArray[np.float16] = self._directions[np.asarray(places)]
        return found

    def _planned(self, rules: Rules, passing: Bools, request: bytes, carts: Sequence[Sequence[str]]) -> Plan:
        asked = service_pb2.ModelInferRequest.FromString(request)
        count = max((tensor.shape[0] for tensor in asked.inputs if len(tensor.shape) == 2), default=1)
        k = next(iter(read_ints(asked, "k") or ()), DEFAULT_K)
        masks = []
        excluded = read_texts(asked, "exclude") or [[] for _ in range(count)]
        if len(excluded) != count:
            excluded = [[] for _ in range(count)]
        for row in range(count):
            held = [*rules.cart_items, *(carts[row] if row < len(carts) else ())]
            barred = ~passing
            barred[[place for item in held if (place := self.assortment.place(item)) is not None]] = True
            masks.append(barred)
        if not rules.arranges or not 1 <= k <= self._max_k:  # of a wrong k Triton says what is wrong
            return Plan(request, asked, masks, k, self, ())
        return Plan(
            request,
            asked,
            masks,
            k,
            self,
            [self._arrangement(rules, mask, k, out) for mask, out in zip(masks, excluded, strict=True)],
        )

    def _arrangement(self, rules: Rules, barred: Bools, k: int, excluded: Sequence[str]) -> Arrangement:
        shelf = self.assortment
        caps = [(CATEGORY, rules.max_per_category), (BRAND, rules.max_per_brand)]
        out = {shelf.place(item) for item in excluded}
        pins = {pin.position - 1: place for pin in rules.pinned if (place := self._place(pin.item_id)) is not None}
        return Arrangement(
            k=k,
            barred=barred,
            caps=[(shelf.groups(name), most) for name, most in caps if most],
            pins={at: place for at, place in pins.items() if at < k and not barred[place] and place not in out},
            promoted=[(shelf.matching(each.where), each.share) for each in rules.promoted],
            variety=rules.variety,
            pool=min(self._max_k, max(_POOL, 4 * k)) if rules.variety else 0,
            directions=self.directions if rules.variety else None,
        )

    def _place(self, item: str) -> int | None:
        place = self.assortment.place(item)
        if place is None:
            raise UsageError(
                f"rules.pinned names the item {item!r}, which the catalogue does not have.", "Pin an item of the catalogue."
            )
        return place


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
        base, first, runs = self._base(), None, [arranged(each) for each in self.arrangements]
        done: list[list[Candidate] | None] = [None] * len(runs)
        needs = {row: _advance(run, None, row, done) for row, run in enumerate(runs)}
        while open_rows := {row: need for row, need in needs.items() if need is not None}:
            wanted = max(need.count for need in open_rows.values())
            everything = np.ones(self.book.assortment.count, bool)
            masks = [open_rows[row].barred if row in open_rows else everything for row in range(len(runs))]
            found = InferResult(service_pb2.ModelInferResponse.FromString(await ask(base(masks, wanted))))
            first = first or found
            for row, need in open_rows.items():
                needs[row] = _advance(runs[row], self._candidates(found, row)[: need.count], row, done)
        if first is None:  # nothing could be asked: every item is barred
            first = InferResult(service_pb2.ModelInferResponse.FromString(await ask(base(self.masks, self.k))))
        answer = self._response(first, [row or [] for row in done])
        self._note_fewer(visit, answer)
        return answer

    def _base(self) -> Callable[[Sequence[Bools], int], bytes]:
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

    def _candidates(self, found: InferResult, row: int) -> list[Candidate]:
        outputs = {name: found.as_numpy(name) for name in _OUTPUTS}
        items, scores = outputs["items"][row].tolist(), outputs["scores"][row].tolist()
        reasons = outputs["reason"][row].tolist() if outputs["reason"] is not None else [0] * len(items)
        because = outputs["reason_item"][row].tolist() if outputs["reason_item"] is not None else [b""] * len(items)
        place_of = self.book.assortment.place
        return [
            Candidate(place, score, reason, text)
            for item, score, reason, text in zip(items, scores, reasons, because, strict=True)
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
        answered, passing = int(sum(bool(item) for item in items[0])), int((~self.masks[0]).sum())
        if answered >= self.k:
            return
        why = f"only {passing} of {self.book.assortment.count} items pass the rules"
        if passing > answered:
            why = f"{passing} items pass the rules, and the others are excluded, left out for this shopper, or beyond a cap"
        visit.fewer = f"{answered} of {self.k} items are answered: {why}."


def _advance(run: Rounds, found: Sequence[Candidate] | None, row: int, done: list[list[Candidate] | None]) -> Need | None:
    """Go on with a row: return what it needs next, or note its answer."""
    try:
        return next(run) if found is None else run.send(found)
    except StopIteration as ended:
        done[row] = ended.value
        return None


def _barred(masks: Sequence[Bools], *, raw: bool) -> bytes:
    more = service_pb2.ModelInferRequest()
    add_tensor(more, BARRED.name, "INT32", rows([packed(mask) for mask in masks]), raw=raw)
    return bytes(more.SerializeToString())


def refused_barred() -> RefusedError:
    """Return the refusal of a question that gives the gateway's own tensor."""
    return RefusedError(Code.INVALID_ARGUMENT, "The input 'barred' is the gateway's own; give 'rules', or 'exclude'.", "invalid")
