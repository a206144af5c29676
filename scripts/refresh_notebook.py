"""Run notebooks on a run directory and keep their outputs, without paths, times and progress: `refresh_notebook.py RUN [NAME ...]`."""

from __future__ import annotations

import base64
import io
import os
import sys
from pathlib import Path
from typing import Any, Final

NOTEBOOKS: Final = Path(__file__).resolve().parents[1] / "notebooks"
_COLOURS: Final = 48
"""Colours kept of each picture: plots have few, and a third of the bytes is enough for them."""


def executed(path: Path, run: Path) -> Any:
    """Return a notebook (``nbformat.NotebookNode``) with its outputs on ``run``."""
    import nbformat
    from nbclient import NotebookClient

    os.environ["CARTWHEEL_RUN"] = str(run.resolve())
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=1800, record_timing=False, resources={"metadata": {"path": str(path.parent)}}).execute()
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
    """Write each notebook back with its outputs; those named, or all."""
    import nbformat

    from cartwheel.core.files import write_text

    if len(sys.argv) < 2:
        sys.exit("usage: python scripts/refresh_notebook.py RUN [NAME ...]")
    wanted = [NOTEBOOKS / f"{name}.ipynb" for name in sys.argv[2:]] or sorted(NOTEBOOKS.glob("*.ipynb"))
    for path in wanted:
        print(path.stem)
        notebook = executed(path, Path(sys.argv[1]))
        strip(notebook)
        write_text(path, nbformat.writes(notebook) + "\n")


if __name__ == "__main__":
    main()
