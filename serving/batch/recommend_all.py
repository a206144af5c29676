"""Recommendations for every user of an export, written to one Parquet file.

The very steps that are served answer, for blocks of users: so many that the search is one product of matrices, and so few that its scores
fit into memory. Parts are written aside as they are done; where they are killed and started again, only what is missing is computed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.cores import cores
from cartwheel.core.errors import RunError, UsageError
from cartwheel.core.files import atomic_path, write_json
from cartwheel.core.progress import progress
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_table
from serving.client.answers import Reason
from serving.contract.items import FILE as ITEMS
from serving.contract.version import version_of
from serving.local import LocalRepository
from serving.rules.arrange import Candidate, advanced, lockstep
from serving.rules.book import Book
from serving.rules.expression import Bools
from serving.rules.packed import packed, rows
from serving.rules.rules import Rules, ShopRules

if TYPE_CHECKING:
    import pyarrow as pa

_SCORES: Final = 1 << 24
"""Scores of one block: 64 MB, of which the search holds a few copies."""
_MOST_USERS: Final = 1_024
_BLOCKS_OF_A_PART: Final = 16
_PLAN: Final = "plan.json"
_SPECIAL: Final = {"pinned": Reason.PINNED, "promoted": Reason.PROMOTED}
Outputs = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Wanted:
    """What is wanted of every user.

    Attributes:
        k: how many items, at most ``export.max_k``.
        rules: of this file, beside those of the shop.
        shop: the rules of the shop.
        reasons: whether the file says why each item is there.
    """

    k: int = 10
    rules: Rules | None = None
    shop: ShopRules = field(default_factory=ShopRules)
    reasons: bool = False


@dataclass(frozen=True)
class Done:
    """What was written.

    Attributes:
        users: how many.
        rows: how many items of all of them.
        short: users of fewer than ``k`` items.
        resumed: users that an earlier start had done.
    """

    users: int
    rows: int
    short: int
    resumed: int


def recommend_all(run: Path, out: Path, wanted: Wanted, threads: int | None = None) -> Done:
    """Write the recommendations of every user of a run's snapshot, as of its instant.

    The file has ``user_id`` and ``item_id`` as the shop writes them, ``rank`` (1 is the best), ``score``, and where wanted ``reason`` and
    ``because_of``; users in the order of the snapshot. A user of whom nothing may be answered has no row.

    Args:
        run: run directory after ``export``.
        out: the file; replaced where it is there.
        wanted: what is wanted.
        threads: of ONNX Runtime; left out, as many as there are cores.

    Raises:
        UsageError: if ``k`` or a rule cannot be honoured.
        RunError: if the run has no repository of a recommender.
    """
    if out.is_dir():
        raise UsageError(f"{out} is a folder.", "Give --out the name of a Parquet file.")
    layout = RunLayout(run)
    repository = LocalRepository(layout.repository, threads or cores())
    if "recommend" not in {ensemble.name for ensemble in repository.contract.ensembles}:
        raise RunError(f"{layout.repository} has no recommender.", "Run `cartwheel export` on a run with a recommender.")
    max_k = int(repository.metadata["max_k"])
    if not 1 <= wanted.k <= max_k:
        raise UsageError(
            f"-k is {wanted.k}; this repository answers 1 to {max_k} items.", "A larger export.max_k needs a new export."
        )
    answering = _Answering(repository, wanted, max_k)
    users = [text or "" for text in read_table(layout.snapshot("users"))["user_id"].to_pylist()]
    parts = _Parts(out, _fingerprint(layout.repository, wanted, users))
    size = max(1, min(_MOST_USERS, _SCORES // max(1, answering.items)))
    resumed = 0
    with progress("recommend to users", len(users)) as advance:
        for number, start in enumerate(range(0, len(users), size * _BLOCKS_OF_A_PART)):
            ours = users[start : start + size * _BLOCKS_OF_A_PART]
            if parts.has(number):
                resumed += len(ours)
            else:
                blocks = (ours[at : at + size] for at in range(0, len(ours), size))
                parts.write(number, answering.table(_advancing(blocks, advance)))
                continue
            advance(len(ours))
    found = parts.join(answering.empty())
    return Done(len(users), found, _short(out, wanted.k, len(users)), resumed)


def _advancing(blocks: Iterator[list[str]], advance: Any) -> Iterator[list[str]]:
    for block in blocks:
        yield block
        advance(len(block))


class _Answering:
    """Answers blocks of users."""

    def __init__(self, repository: LocalRepository, wanted: Wanted, max_k: int) -> None:
        self._repository, self._wanted = repository, wanted
        self._types = repository.metadata["id_types"]
        self.items = int(repository.metadata["catalogue_size"])
        self._book: Book | None = None
        self._rules = (wanted.rules or Rules()).within(wanted.shop)
        if (repository.path / ITEMS).is_file():
            self._book = Book(repository.path, wanted.shop, max_k)
            self._barred = self._book.barred(self._rules, self._book.assortment.passing(self._rules))
        elif self._rules != Rules():
            raise RunError(f"{repository.path} has no items for rules.", "Write it again with `cartwheel export`.")

    def table(self, blocks: Iterator[list[str]]) -> pa.Table:
        """Return the rows of some blocks of users."""
        import pyarrow as pa

        tables = [self._rows(users, self._answers(users)) for users in blocks]
        return pa.concat_tables(tables) if tables else self.empty()

    def empty(self) -> pa.Table:
        """Return the table of no user."""
        numbers, texts = np.zeros((0, 1)), np.zeros((0, 1), object)
        return self._rows([], {"items": texts, "scores": numbers, "reason": numbers, "reason_item": texts})

    def _answers(self, users: Sequence[str]) -> Outputs:
        book, k = self._book, self._wanted.k
        if book is None or not (self._rules.arranges or self._barred.any()):
            return self._asked(users, k, None)
        if not self._rules.arranges:
            return self._asked(users, k, [self._barred])
        plans = [book.arrangement(self._rules, self._barred, k)] * len(users)
        run = lockstep(plans)
        need, done = advanced(run, None)
        while need is not None:
            same = all(mask is need.barred[0] or np.array_equal(mask, need.barred[0]) for mask in need.barred)
            outputs = self._asked(users, need.count, need.barred[:1] if same else need.barred)
            need, done = advanced(run, [_candidates(book, outputs, row) for row in range(len(users))])
        return self._arranged(book, done)

    def _asked(self, users: Sequence[str], k: int, barred: Sequence[Bools] | None) -> Outputs:
        inputs: dict[str, Any] = {"user_id": np.array(users, dtype=object).reshape(-1, 1), "k": [k]}
        if barred is not None:
            numbers = rows([packed(mask) for mask in barred])
            inputs["barred"] = np.broadcast_to(numbers, (len(users), numbers.shape[1]))
        return self._repository.ask("recommend", **inputs)

    def _arranged(self, book: Book, done: Sequence[Sequence[Candidate]]) -> Outputs:
        ids, k = book.assortment.table.ids, self._wanted.k
        padded = [[*row, *[None] * (k - len(row))] for row in done]

        def filled(value: Any, of: Any, dtype: Any) -> npt.NDArray[Any]:
            return np.array([[value if one is None else of(one) for one in row] for row in padded], dtype).reshape(len(padded), k)

        return {
            "items": filled("", lambda one: ids[one.place], object),
            "scores": filled(-np.inf, lambda one: one.score, np.float32),
            "reason": filled(0, lambda one: int(_SPECIAL.get(one.special, one.reason)), np.int32),
            "reason_item": filled("", lambda one: "" if one.special else one.because.decode(), object),
        }

    def _rows(self, users: Sequence[str], outputs: Outputs) -> pa.Table:
        import pyarrow as pa

        items = outputs["items"]
        there = items != ""
        owner, rank = np.nonzero(there)
        kinds = {name: pa.int64() if self._types[name] == "int64" else pa.string() for name in ("user_id", "item_id")}
        columns = {
            "user_id": pa.array(np.array(users, dtype=object)[owner], pa.string()).cast(kinds["user_id"]),
            "rank": pa.array((rank + 1).astype(np.int32)),
            "item_id": pa.array(items[there], pa.string()).cast(kinds["item_id"]),
            "score": pa.array(outputs["scores"][there].astype(np.float32)),
        }
        if self._wanted.reasons:
            names = [Reason(int(code)).name.lower() for code in outputs["reason"][there]]
            because = [text or None for text in outputs["reason_item"][there]]
            columns |= {
                "reason": pa.array(names, pa.string()),
                "because_of": pa.array(because, pa.string()).cast(kinds["item_id"]),
            }
        return pa.table(columns)


def _candidates(book: Book, outputs: Outputs, row: int) -> list[Candidate]:
    values = zip(*(outputs[name][row].tolist() for name in ("items", "scores", "reason", "reason_item")), strict=True)
    return [
        Candidate(place, score, reason, because.encode())
        for item, score, reason, because in values
        if item and (place := book.assortment.place(item)) is not None
    ]


class _Parts:
    """The parts of a file, in a folder beside it."""

    def __init__(self, out: Path, fingerprint: str) -> None:
        self._out, self._folder = out, out.with_name(f"{out.name}.parts")
        plan = self._folder / _PLAN
        if not plan.is_file() or json.loads(plan.read_text(encoding="utf-8")).get("of") != fingerprint:
            shutil.rmtree(self._folder, ignore_errors=True)  # of another export, or of other wishes
            try:
                self._folder.mkdir(parents=True)
            except OSError as error:
                raise UsageError(
                    f"{out} cannot be written ({error}).", "Give --out a file in a folder that you may write to."
                ) from None
            write_json(plan, {"of": fingerprint})

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{number:06d}.parquet"

    def has(self, number: int) -> bool:
        """Whether a part is done."""
        return self._path(number).is_file()

    def write(self, number: int, table: pa.Table) -> None:
        """Write a part, whole or not at all."""
        import pyarrow.parquet as pq

        with atomic_path(self._path(number)) as aside:
            pq.write_table(table, aside)

    def join(self, empty: pa.Table) -> int:
        """Write the file from its parts, remove them, and return how many rows there are."""
        import pyarrow.parquet as pq

        count = 0
        with atomic_path(self._out) as aside, pq.ParquetWriter(aside, empty.schema) as writer:
            for path in sorted(self._folder.glob("part-*.parquet")):
                table = pq.read_table(path)
                writer.write_table(table)
                count += len(table)
        shutil.rmtree(self._folder)
        return count


def _short(out: Path, k: int, users: int) -> int:
    """Return how many users have fewer than ``k`` items."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    full = 0
    for batch in pq.ParquetFile(out).iter_batches(columns=["rank"]):
        full += pc.sum(pc.equal(batch["rank"], k)).as_py() or 0
    return users - full


def _fingerprint(repository: Path, wanted: Wanted, users: Sequence[str]) -> str:
    """Return a text that differs where another file would come out."""
    rules = wanted.rules.model_dump_json() if wanted.rules is not None else ""
    told = [version_of(repository), wanted.k, rules, wanted.shop.model_dump_json(), wanted.reasons, len(users)]
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()
