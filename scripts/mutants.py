"""Plant mutants with cosmic-ray in the rooms that decide what is trained, told and served, and count those that the tests kill.

`mutants.py [ROOM ...] [--sample N] [--seed N] [--keep FOLDER]`: each mutant changes one operator, number or branch of one file, in a
copy of the checkout, and the tests of its room run against it. A survivor is printed as a diff: a test is missing, or the
mutant is equivalent. With `--keep`, a run goes on where the last one was broken off; one that follows a finished run plants again what
survived it, as long as the files are as they were: for writing the tests that are missing. What was found last, and why the survivors
are, `docs/mutants.md` tells.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import fcntl
import hashlib
import importlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Room:
    """Files to mutate and the tests that must notice.

    Attributes:
        files: relative to the checkout.
        tests: files of tests, likewise, the quickest first.
        only: names of functions and methods that are mutated; empty for all.
    """

    files: tuple[str, ...]
    tests: tuple[str, ...]
    only: tuple[str, ...] = ()


ROOMS: Final = {
    "stages": Room(("cartwheel/pipeline/stages.py", "cartwheel/pipeline/reads.py"), ("tests/cartwheel/test_stages.py",)),
    "runs": Room(
        ("cartwheel/pipeline/run_directory.py", "cartwheel/core/files.py"),
        ("tests/cartwheel/test_files.py", "tests/cartwheel/test_run_directory.py"),
    ),
    "fusion": Room(
        ("models/retrieval/fusion.py", "models/training/calibration.py"),
        ("tests/models/training/test_calibration.py", "tests/models/training/test_fusion.py"),
    ),
    "labels": Room(
        ("workflows/tasks/cart.py", "workflows/tasks/recommend.py", "workflows/events/sessions.py", "workflows/tasks/split.py"),
        (
            "tests/workflows/test_bounds.py",
            "tests/workflows/test_sessions.py",
            "tests/workflows/test_split.py",
            "tests/workflows/test_cart_examples.py",
            "tests/workflows/test_recommend_examples.py",
        ),
    ),
    "serving": Room(
        ("serving/server/runner.py", "serving/contract/programs.py"),
        ("tests/serving/repository/test_runner.py", "tests/serving/repository/test_repository.py"),
    ),
}
_PRELOADED: Final = (
    "hypothesis.strategies",
    "numpy",
    "onnxruntime",
    "polars",
    "pyarrow.parquet",
    "pydantic",
    "rich.console",
    "tritonclient.grpc",
    "typer",
)
"""What is imported once for all mutants: half the time of a test run goes to it."""
_LONGEST: Final = 1800
_SLOWER: Final = 6.0
"""A mutant that takes so many times as long as the tests without one, and a minute, counts as killed: it loops."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Mutate rooms; return 1 where fewer than 90 % of the mutants of one were killed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("rooms", nargs="*", choices=[*ROOMS], metavar="ROOM", help=f"of {', '.join(ROOMS)} [default: all]")
    parser.add_argument("--sample", type=int, default=60, help="mutants of a room, drawn with the seed [default: 60]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="where the outcome of each mutant is kept for a second run")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        shelf = given.keep.resolve() if given.keep else Path(folder)
        shelf.mkdir(parents=True, exist_ok=True)
        lock = (shelf / ".lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs in one copy would plant over each other
        copy = shelf / "checkout"
        _copy(copy)
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        for name in _PRELOADED:
            importlib.import_module(name)
        shares = [_mutate(name, ROOMS[name], copy, given) for name in given.rooms or ROOMS]
    return int(min(shares) < 0.9)


def _mutate(name: str, room: Room, copy: Path, given: argparse.Namespace) -> float:
    """Mutate one room and print what survived; return the share that was killed."""
    session = _session(name, room, given) or copy.parent / f"{name}.sqlite"
    begun, allowed = session.is_file() and _forget_survivors(session), _LONGEST
    if not begun:
        began = time.monotonic()
        if _tested(room, _LONGEST):
            raise SystemExit(f"{name}: the tests fail without any mutant")
        allowed = 60 + round(_SLOWER * (time.monotonic() - began))
    sys.dont_write_bytecode = True  # what is compiled of a mutant must not outlive it
    if not session.is_file():
        config = copy.parent / f"{name}.toml"
        config.write_text(_config(room), encoding="utf-8")
        subprocess.run([sys.executable, "-m", "cosmic_ray.cli", "init", str(config), str(session)], check=True)
        _draw(session, copy, room, given.sample, given.seed)
    _plant(session, room, allowed)
    return _report(name, session)


def _tested(room: Room, seconds: int) -> int:
    """Run the tests of a room in a process of their own that has its libraries already; return the exit status, 0 if all passed."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        signal.alarm(seconds)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        os._exit(int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *room.tests])))
    return os.waitpid(child, 0)[1]


def _plant(session: Path, room: Room, seconds: int) -> None:
    """Run the tests of a room against each mutant that has no outcome yet."""
    from cosmic_ray.mutating import use_mutation
    from cosmic_ray.plugins import get_operator
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

    with use_db(session, mode=WorkDB.Mode.open) as database:
        for item in list(database.pending_work_items):
            (mutation,) = item.mutations
            operator = get_operator(mutation.operator_name)(**mutation.operator_args)
            with use_mutation(mutation.module_path, operator, mutation.occurrence) as (original, mutated):
                outcome = TestOutcome.KILLED if _tested(room, seconds) else TestOutcome.SURVIVED
            lines = difflib.unified_diff(original.splitlines(), mutated.splitlines(), lineterm="", n=0)
            database.set_result(
                item.job_id, WorkResult(worker_outcome=WorkerOutcome.NORMAL, test_outcome=outcome, diff="\n".join(lines))
            )


def _session(name: str, room: Room, given: argparse.Namespace) -> Path | None:
    """Return where the outcomes are kept, by what was mutated and how it was drawn; None if they are not."""
    if given.keep is None:
        return None
    content = [(ROOT / file).read_bytes() for file in room.files]
    digest = hashlib.sha256(repr([room.files, content, given.sample, given.seed]).encode()).hexdigest()[:12]
    kept: Path = given.keep.resolve() / f"{name}-{digest}.sqlite"
    return kept


def _forget_survivors(session: Path) -> bool:
    """Make survivors of a finished run pending again; return whether the run had been broken off instead."""
    with contextlib.closing(sqlite3.connect(session)) as database, database:
        (pending,) = database.execute("SELECT (SELECT count(*) FROM work_items) - (SELECT count(*) FROM work_results)").fetchone()
        if not pending:
            database.execute("DELETE FROM work_results WHERE test_outcome = 'SURVIVED'")
    return bool(pending)


def _copy(target: Path) -> None:
    """Copy what git knows of the checkout, or would add, with the times of change: a mutant is later than what was compiled."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"],  # noqa: S607 - git is looked up as any user would
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source, copied = ROOT / name, target / name
        if source.is_file() and not (copied.is_file() and copied.stat().st_mtime_ns == source.stat().st_mtime_ns):
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copied)


def _config(room: Room) -> str:
    files = ", ".join(f'"{file}"' for file in room.files)
    of_file = [f"module-path = [{files}]", "timeout = 60.0", "excluded-modules = []", 'test-command = "false"']
    return "\n".join(["[cosmic-ray]", *of_file, "[cosmic-ray.distributor]", 'name = "local"', ""])


def _draw(session: Path, copy: Path, room: Room, sample: int, seed: int) -> None:
    """Leave a sample of the mutants to be run and mark the others as skipped.

    What stands in an annotation is never run, so no mutant of it counts.
    """
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import WorkerOutcome, WorkResult

    spans = {file: list(_annotations(ast.parse((copy / file).read_text(encoding="utf-8")))) for file in room.files}

    def counts(item: Any) -> bool:
        (mutation,) = item.mutations
        where = (mutation.start_pos, mutation.end_pos)
        inside = any(start <= where[0] and where[1] <= end for start, end in spans[str(mutation.module_path)])
        return not inside and (not room.only or (mutation.definition_name or "").rpartition(".")[2] in room.only)

    with use_db(session, mode=WorkDB.Mode.open) as database:
        items = sorted(database.work_items, key=lambda item: (str(item.mutations[0].module_path), repr(item.mutations[0])))
        good = [item for item in items if counts(item)]
        chosen = {item.job_id for item in random.Random(seed).sample(good, min(sample, len(good)))}  # noqa: S311 - no secret
        others = [item.job_id for item in items if item.job_id not in chosen]
        database.set_multiple_results(others, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
        print(f"{', '.join(room.files)}: {len(chosen)} of {len(good)} mutants are planted", flush=True)


def _annotations(tree: ast.AST) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield where annotations begin and end, as (line, column)."""
    for node in ast.walk(tree):
        found = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        for part in found:
            if part is not None:
                yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)


def _report(name: str, session: Path) -> float:
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome

    with use_db(session, mode=WorkDB.Mode.open) as database:
        results = [
            (item, result) for item, result in database.completed_work_items if result.worker_outcome != WorkerOutcome.SKIPPED
        ]
    survived = [(item, result) for item, result in results if result.test_outcome == TestOutcome.SURVIVED]
    killed = len(results) - len(survived)
    share = killed / len(results) if results else 1.0
    lines = [f"{name}: {killed} of {len(results)} killed ({share:.0%})"]
    for item, result in survived:
        (mutation,) = item.mutations
        lines.append(f"survived: {mutation.module_path}:{mutation.start_pos[0]} {mutation.operator_name.rpartition('/')[2]}")
        lines += [line for line in (result.diff or "").splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    print("\n".join(lines), flush=True)
    return share


if __name__ == "__main__":
    raise SystemExit(main())
