"""Run the notebook on a run directory and keep its outputs, without paths, times and progress: `refresh_notebook.py RUN`."""

from __future__ import annotations

import base64
import io
import os
import sys
from pathlib import Path
from typing import Any, Final

NOTEBOOK: Final = Path(__file__).resolve().parents[1] / "notebooks" / "offline_evaluation.ipynb"
_COLOURS: Final = 48
"""Colours kept of each picture: plots have few, and a third of the bytes is enough for them."""


def executed(run: Path) -> Any:
    """Return the notebook (``nbformat.NotebookNode``) with its outputs on ``run``."""
    import nbformat
    from nbclient import NotebookClient

    os.environ["CARTWHEEL_RUN"] = str(run.resolve())
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=1800, record_timing=False, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    return notebook


def strip(notebook: Any) -> None:
    """Drop what differs from machine to machine, and make pictures small."""
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {}
        outputs = [each for each in cell.get("outputs", []) if each.get("name") != "stderr"]
        for output in outputs:
            if "image/png" in output.get("data", {}):
                output["data"] = {"image/png": _fewer_colours(output["data"]["image/png"])}
        if cell.cell_type == "code":
            cell.outputs = outputs


def _fewer_colours(encoded: str) -> str:
    from PIL import Image

    small = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode("ascii")


def main() -> None:
    """Write the notebook back with its outputs."""
    import nbformat

    from cartwheel.files import write_text

    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/refresh_notebook.py RUN")
    notebook = executed(Path(sys.argv[1]))
    strip(notebook)
    write_text(NOTEBOOK, nbformat.writes(notebook) + "\n")


if __name__ == "__main__":
    main()
