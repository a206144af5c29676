"""The notebooks, run from start to end on a small run; and what the repository keeps of a real one."""

import base64
import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image
from shop_runs import ROOT

NOTEBOOKS = ROOT / "notebooks"
DRAWS = re.compile(r"^(plt\.show\(\)|leaderboard\(.*\))$", re.MULTILINE)
LARGEST = 250_000

STORIES = {
    "data": (6, ["Half of all interactions are with", "Audited:", "view → cart"]),
    "features": (5, ["NVTabular and ONNX", "Standardize(", "Fastest for one row", "grown: ~ vocabulary item_id"]),
    "training": (5, ["pairs of one visit", "nearest items", "it leans most on", "was the best"]),
    "offline_evaluation": (
        8,
        [
            "from most popular to the oracle",
            "Protocol (",
            "item knn",
            "two_tower+dlrm: |two_tower+item_to_item: |two_tower: ",
            "gini|diversity@10",
        ],
    ),
    "cart_prediction": (5, ["It leans most on", "not bought", "cart_line|cart line:", "the model saves most"]),
    "from_merlin": (
        0,
        [
            "LambdaOp",
            "NVTabular and SavedModel: 64 rows, within 1e-5: True",
            "20 answers over gRPC equal Merlin's within 1e-5: True",
            "answered too: True",
            "expected a whole number",
        ],
    ),
    "serving": (3, ["nobody has seen", "INVALID_ARGUMENT", "UNAVAILABLE", "16 of 16 answers", "live False"]),
}
"""Notebook -> how many pictures it draws, and what it says (patterns) on any run of the small shop."""

NAMES = sorted(STORIES)
ON_A_RUN = [name for name in NAMES if name != "from_merlin"]
"""Those that show a run; the others make what they show."""


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelManager]:
    """One kernel for all, which imports everything once; each notebook begins with nothing defined."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(NOTEBOOKS))
    yield manager
    manager.shutdown_kernel(now=True)


def execute(name: str, run: Path, kernel: KernelManager) -> Any:
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    fresh = f"%reset -f\n%env CARTWHEEL_RUN={run}"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(fresh))
    client = NotebookClient(notebook, km=kernel, timeout=300)
    with contextlib.suppress(CellExecutionError):  # what is wrong is in the outputs
        client.execute()
    client.kc.stop_channels()
    del notebook.cells[0]
    return notebook


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(cell: Any) -> list[Any]:
    encoded = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each))).convert("L")) for each in encoded]


def has_content(picture: Any) -> bool:
    """Whether something is drawn: empty axes are a few thin lines, one part in a thousand or so."""
    return float((picture < 250).mean()) > 0.01


def errors(notebook: Any) -> list[Any]:
    return [output for cell in code_cells(notebook) for output in cell.outputs if output.output_type == "error"]


def seen(cell: Any) -> str:
    """Return all that a cell shows but its pictures."""
    kept = [
        {**each, "data": {k: v for k, v in each.get("data", {}).items() if not k.startswith("image/")}} for each in cell.outputs
    ]
    return json.dumps(kept, ensure_ascii=False)


def check_drawn(notebook: Any, count: int) -> None:
    """Check that each cell that draws shows one picture with something in it, and no other cell shows one."""
    assert sum(bool(DRAWS.search(cell.source)) for cell in code_cells(notebook)) == count
    for cell in code_cells(notebook):
        shown = pictures(cell)
        assert len(shown) == bool(DRAWS.search(cell.source)), cell.source
        assert all(has_content(picture) for picture in shown), cell.source


def test_every_notebook_has_its_story() -> None:
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_tells_its_story_on_a_small_run(name: str, run: Path, kernel: KernelManager) -> None:
    count, phrases = STORIES[name]
    notebook = execute(name, run, kernel)
    assert [error.evalue for error in errors(notebook)] == []
    assert all(cell.execution_count is not None for cell in code_cells(notebook))
    check_drawn(notebook, count)
    text = " ".join(seen(cell) for cell in code_cells(notebook))
    for phrase in phrases:
        assert any(part in text for part in phrase.split("|")), phrase


@pytest.mark.parametrize("name", ON_A_RUN)
def test_a_missing_run_is_told_in_one_sentence(name: str, tmp_path: Path, kernel: KernelManager) -> None:
    (error,) = errors(execute(name, tmp_path / "nowhere", kernel))
    assert error.ename == "RunError"
    (line,) = error.traceback
    assert str(tmp_path / "nowhere") in line
    assert "CARTWHEEL_RUN" in line


@pytest.mark.parametrize("name", NAMES)
def test_the_kept_outputs_are_whole_and_of_no_machine(name: str) -> None:
    path = NOTEBOOKS / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert errors(notebook) == []
    check_drawn(notebook, STORIES[name][0])
    for cell in code_cells(notebook):
        assert cell.execution_count is not None
        assert all(output.get("name") != "stderr" for output in cell.outputs)
        assert not cell.metadata
        assert not re.search(r"(?<![\w.<])/\w+/\w|[A-Z]:\\\\", seen(cell))
    assert path.stat().st_size < LARGEST


def test_an_empty_picture_is_told_from_a_drawn_one() -> None:
    empty = np.full((100, 100), 255)
    empty[:, 5] = 0  # an axis is not yet a picture: half of one in a hundred
    empty[::2, 5] = 255
    assert not has_content(empty)
    empty[40:50, 40:60] = 100
    assert has_content(empty)
