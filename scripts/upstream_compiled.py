r"""Run NVTabular's own tests of operators and workflows, and compile every workflow that they transform: equal, refused or different?

Each table that a test gives to ``Workflow.transform`` is given to NVTabular's transform and to the compiled plan, column by column. Where
NVTabular is known to be wrong (docs/deviations.md), its answer is taken as a request would have it: row by row where it hashes, and by the
statistics of all folds, and rows with missing values are left out where ``Categorify`` has a single table. Where a workflow groups, a group
is a request. For some Python functions (``EXPRESSIONS``) an expression is given, as ``cartwheel compile --lambda`` takes it and holds it
against the function. A test counts as different if any column of it differs, else as refused if any column is refused, else as equal; tests
that transform nothing are not counted.

    git clone --branch v23.08.00 https://github.com/NVIDIA-Merlin/NVTabular
    python scripts/upstream_compiled.py NVTabular [FILE ...] [--path extras] [--limit 900]

The tests import asvdb, which the packages do not require: see scripts/upstream_tests.py. The exit status is 1 where a test is different.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
_PARTS: Final = ("tests/unit/ops", "tests/unit/workflow")
_RECORDS: Final = "CARTWHEEL_UPSTREAM_RECORDS"
_ROWS: Final = 200
"""Of each table so many rows are compared."""
_GEO: Final = {"geo_state": "SUBSTR(geo, 1, 5)", "geo_country": "SUBSTR(geo, 1, 2)"}
EXPRESSIONS: Final[dict[str, dict[str, str]]] = {
    "test_chaining_2": {f"{name}_isnull": f"{name} IS NULL" for name in "ABC"},
    "test_fit_simple": {"x": "x * x", "y": "y * y"},
    "test_lambdaop_misalign": {"c": "CASE WHEN c = 4 THEN 0 ELSE 1 END"},
    "test_nested_workflow_node": {"geo_country": "SUBSTR(geo, 1, 2)"},
    "test_workflow_generate_columns": {"geo_location_country": "SUBSTR(geo_location, 1, 2)"},
    "test_workflow_move_saved": _GEO,
    "test_workflow_node_select": {"a": "SQRT(a)", "b": "b + 1", "c": "SQRT(c)"},
    "test_workflow_saved_schema": _GEO,
}
"""Test -> encoded column -> SQL for the Python function behind it."""
_BOOT: Final = "import sys; sys.path.insert(0, sys.argv.pop(1)); import upstream_compiled; sys.exit(upstream_compiled.inside())"


def main() -> int:
    """Run the files one process each, and print the counts and what is refused and different."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument(
        "files", nargs="*", help="files of tests, relative to the checkout; all of operators and workflows by default"
    )
    parser.add_argument("--path", type=Path, action="append", default=[], help="a folder for the path of Python")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds for each file")
    given = parser.parse_args()
    found = [each for part in _PARTS for each in sorted((given.checkout / part).glob("test_*.py"))]
    files = given.files or [str(each.relative_to(given.checkout)) for each in found]
    tests: dict[str, list[dict[str, str]]] = {}
    for file in files:
        for record in _run(given.checkout.resolve(), file, given.path, given.limit):
            tests.setdefault(record["test"], []).append(record)
        counted = Counter(_outcome(records)[0] for test, records in tests.items() if test.startswith(file))
        print(
            f"{file}: {', '.join(f'{count} {outcome}' for outcome, count in counted.items()) or 'nothing transforms'}", flush=True
        )
    outcomes = {test: _outcome(records) for test, records in tests.items()}
    counts = Counter(outcome for outcome, _ in outcomes.values())
    print(f"\n{len(tests)} tests: {counts['equal']} equal, {counts['refused']} refused, {counts['different']} different")
    written = sum(outcome == "equal" and bool(_expressions(test)) for test, (outcome, _) in outcomes.items())
    print(f"{written} of the equal have a Python function for which an expression was given.")
    for wanted in ("refused", "different"):
        reasons = Counter(why for outcome, why in outcomes.values() if outcome == wanted)
        for why, count in reasons.most_common():
            print(f"- {wanted}, {count}: {why}")
    return int(counts["different"] > 0)


def _expressions(test: str) -> dict[str, str]:
    return EXPRESSIONS.get(test.rpartition("::")[2].partition("[")[0], {})


def _outcome(records: list[dict[str, str]]) -> tuple[str, str]:
    for wanted in ("different", "refused"):
        for record in records:
            if record["outcome"] == wanted:
                return wanted, record["why"]
    return "equal", ""


def _run(checkout: Path, file: str, paths: list[Path], limit: float) -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="upstream-") as scratch:
        records = Path(scratch) / "records.jsonl"
        records.touch()
        places = os.pathsep.join(str(path.resolve()) for path in [*paths, ROOT])
        arguments = ["-q", "-p", "no:cacheprovider", "--import-mode=append", f"--rootdir={checkout}", "-c", os.devnull]
        arguments.append(str(checkout / file))
        with (Path(scratch) / "log").open("wb") as log:
            command = [sys.executable, "-c", _BOOT, str(Path(__file__).parent), *arguments]
            variables = {**os.environ, "PYTHONPATH": places, _RECORDS: str(records)}
            try:
                subprocess.run(command, cwd=scratch, env=variables, stdout=log, stderr=log, timeout=limit, check=False)
            except subprocess.TimeoutExpired:
                print(f"{file} was ended after {limit:g} s", flush=True)
        for line in records.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def inside() -> int:
    """Run pytest with ``Workflow.transform`` watched; called in the process of a file."""
    from cartwheel.merlin_compat import prepare

    prepare()
    import nvtabular as nvt
    import pytest

    original = vars(nvt.Workflow)["transform"]  # chosen by the type of the table
    watching = False

    def transform(self: Any, table: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal watching
        made = original.__get__(self, type(self))(table, *arguments, **options)
        if not watching:
            watching = True
            try:
                _record(self, table)
            finally:
                watching = False
        return made

    nvt.Workflow.transform = transform
    return int(pytest.main(sys.argv[1:]))


def _record(workflow: Any, table: Any) -> None:
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    outcome, why = _compared(workflow, table, _expressions(test))
    with Path(os.environ[_RECORDS]).open("a", encoding="utf-8") as records:
        records.write(json.dumps({"test": test, "outcome": outcome, "why": why}) + "\n")


def _compared(workflow: Any, table: Any, expressions: dict[str, str]) -> tuple[str, str]:
    """Return what became of the columns of one table, and of the first that is not equal why."""
    import nvtabular as nvt
    import polars as pl

    from cartwheel.core.errors import CartwheelError
    from cartwheel.pipeline.foreign.checking import by_nvtabular
    from cartwheel.pipeline.foreign.lambdas import read_lambdas
    from workflows.compiler.operators.groupby import group_keys
    from workflows.compiler.plan.compile_polars import compile_polars
    from workflows.compiler.plan.parity import check_parity
    from workflows.compiler.plan.read import read_parts

    frame = table if hasattr(table, "columns") and hasattr(table, "iloc") else table.to_ddf().compute()
    frame = frame.head(_ROWS).reset_index(drop=True)
    try:
        keys = group_keys(workflow)
        given = {name: text for name, text in expressions.items() if name in workflow.output_schema.column_names}
        plan, refused = read_parts(workflow, keep_rows=keys is not None, substitutes=read_lambdas(workflow, given))
    except CartwheelError as error:
        return "refused", error.found
    with tempfile.TemporaryDirectory() as folder:
        workflow.save(folder)
        copied = nvt.Workflow.load(folder)
        columns = list(plan)
        try:
            raw = pl.from_pandas(frame) if keys is None else _grouped(frame, workflow, keys)
            if _single_table(workflow):
                raw = raw.drop_nulls(list(plan.raw))
            answer = compile_polars(plan, raw.lazy(), columns).collect()
            expected = by_nvtabular(copied, plan, raw, columns)
        except CartwheelError as error:
            return "refused", error.found
        except Exception as error:  # noqa: BLE001 - what pandas or Polars cannot hold
            return "refused", f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    try:
        check_parity(plan, raw, expected, _without_nan(answer), ("NVTabular", "the plan"))
    except CartwheelError as error:
        return "different", error.found
    if refused:
        return "refused", next(iter(refused.values())).found
    return "equal", ""


def _single_table(workflow: Any) -> bool:
    """Whether a ``Categorify`` has a single table, where NVTabular gives what is missing the id of a value (docs/deviations.md)."""
    from merlin.dag.node import iter_nodes

    return any(getattr(node.op, "single_table", False) for node in iter_nodes([workflow.output_node]))


def _grouped(frame: Any, workflow: Any, keys: frozenset[str]) -> Any:
    """Return a table as requests have it: a group a row, its events as lists in their order."""
    import polars as pl
    from merlin.dag.node import iter_nodes

    grouping = next(node.op for node in iter_nodes([workflow.output_node]) if hasattr(node.op, "groupby_cols"))
    events = pl.from_pandas(frame)
    if grouping.sort_cols:
        events = events.sort(grouping.sort_cols, descending=not grouping.ascending, maintain_order=True)
    return events.group_by(sorted(keys), maintain_order=True).agg(pl.all())


def _without_nan(frame: Any) -> Any:
    import polars as pl

    return frame.with_columns(pl.selectors.float().fill_nan(None))


if __name__ == "__main__":
    sys.exit(main())
