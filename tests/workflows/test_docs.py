"""What the documents say of workflows is so: their tables agree with the code, and their example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workflows.compiler.fit import ENGINES
from workflows.compiler.operators.table import READERS, ROW_READERS

ROOT = Path(__file__).parents[2]
WORKFLOWS = (ROOT / "docs/workflows.md").read_text(encoding="utf-8")
DEVIATIONS = (ROOT / "docs/deviations.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return WORKFLOWS.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without their heads."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [cells for cells in lines if cells[0] not in ("operator", "engine") and set(cells[0]) != {"-"}]


def test_the_table_of_operators_is_that_of_the_plan() -> None:
    text = section("Which operators compile")
    nothing = READERS["nvtabular.ops.rename.Rename"]
    makers = {name.rsplit(".", 1)[-1] for name, reader in READERS.items() if reader is not nothing}
    droppers = {name.rsplit(".", 1)[-1] for name in ROW_READERS} - makers
    told = {cells[0].strip("`"): cells[1] for cells in rows(text)}
    assert told == dict.fromkeys(makers, "yes") | dict.fromkeys(droppers, "tables")
    quiet = re.findall(r"`(\w+)`", text.split("leave values alone", 1)[1])
    assert quiet == sorted({name.rsplit(".", 1)[-1] for name, reader in READERS.items() if reader is nothing})


def test_the_engines_are_those_of_the_code() -> None:
    assert tuple(cells[0].strip("`") for cells in rows(section("Engines"))) == ENGINES


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", WORKFLOWS, re.DOTALL)
    exec(compile(example, "docs/workflows.md", "exec"), {})


def test_every_deviation_names_a_test_that_exists() -> None:
    deviations = rows(DEVIATIONS)
    assert deviations
    for operator, *_, tests in deviations:
        names = re.findall(r"`(\S+?\.py)(?:::(\w+))?(?:::(\w+))?`", tests)
        assert names, f"{operator} names no test"
        for path, *inside in names:
            text = (ROOT / path).read_text(encoding="utf-8")
            assert all(re.search(rf"^\s*(def|class) {name}\b", text, re.MULTILINE) for name in inside if name), (
                operator,
                path,
                inside,
            )
