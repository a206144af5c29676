"""The notebook runs from start to end on a finished run, and what is kept of it belongs to no machine."""

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from shop_runs import ROOT

NOTEBOOK = ROOT / "notebooks" / "offline_evaluation.ipynb"
DRAWS = re.compile(r"plt\.show\(\)|^leaderboard\(", re.MULTILINE)
LARGEST = 200_000


def execute(run: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CARTWHEEL_RUN", str(run))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    try:
        client.execute()
    except CellExecutionError:
        return notebook
    return notebook


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(cell: Any) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def errors(notebook: Any) -> list[Any]:
    return [output for cell in code_cells(notebook) for output in cell.outputs if output.output_type == "error"]


@pytest.mark.slow
def test_the_notebook_tells_its_story_on_a_small_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = execute(run, monkeypatch)
    assert errors(notebook) == []
    drawing = [cell for cell in code_cells(notebook) if DRAWS.search(cell.source)]
    assert len(drawing) == 7
    assert [pictures(cell) for cell in drawing] == [1] * 7
    text = json.dumps([cell.outputs for cell in code_cells(notebook)])
    assert "from most popular to the oracle" in text
    assert text.count("Protocol (") >= 9
    assert "two_tower+dlrm: " in text


def test_a_missing_run_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = execute(tmp_path / "nowhere", monkeypatch)
    (error,) = errors(notebook)
    assert error.ename == "RunError"
    (line,) = error.traceback
    assert str(tmp_path / "nowhere") in line
    assert "CARTWHEEL_RUN" in line


def test_the_kept_outputs_are_whole_and_of_no_machine() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert errors(notebook) == []
    for cell in code_cells(notebook):
        assert cell.execution_count is not None
        assert all(output.get("name") != "stderr" for output in cell.outputs)
        assert not cell.metadata
        assert pictures(cell) == bool(DRAWS.search(cell.source))
        seen = json.dumps([{**output, "data": without_pictures(output)} for output in cell.outputs])
        assert not re.search(r"(?<![\w.<])/\w+/\w|[A-Z]:\\\\", seen)
    assert NOTEBOOK.stat().st_size < LARGEST


def without_pictures(output: Any) -> dict[str, Any]:
    return {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")}
