"""``cartwheel plan``: what a fitted workflow does to its columns, what changed between two fits, and which key an id stands for."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console

from cartwheel.core.errors import RunError, UsageError
from cartwheel.core.run_layout import RunLayout

if TYPE_CHECKING:
    from workflows.compiler.plan.graph import Plan

app = typer.Typer(
    name="plan",
    help="Inspect fitted feature workflows: the steps of each column, changes between two fits, the keys of ids.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_DEFAULT_WORKFLOW = "recommend"
_PATH_HELP = (
    "A run directory, or the folder of a saved NVTabular workflow. Saved workflows are pickles: open only those you trust."
)

Saved = Annotated[Path, typer.Argument(metavar="PATH", help=_PATH_HELP)]
Workflow = Annotated[
    Optional[str],  # noqa: UP045 - typer on 3.10
    typer.Option(help="Workflow of the run directory [default: recommend]."),
]


class Format(str, Enum):
    """In which form a plan is printed."""

    DRAWING = "drawing"
    TEXT = "text"
    JSON = "json"
    MERMAID = "mermaid"
    DOT = "dot"


@app.command()
def show(
    path: Saved,
    workflow: Workflow = None,
    column: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="An encoded column to show with all its inputs; may be repeated."),
    ] = None,
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="drawing: for the terminal; text: one line per node, for diff; json; mermaid: for Markdown; dot: for Graphviz.",
        ),
    ] = Format.DRAWING,
) -> None:
    """Show how each encoded column is computed.

    For example, the price of an item from the raw column to what the models see:

    \b
      cartwheel plan show runs/demo --column item_price
      %78 item_price: float32
      └── %79 Fill(by=20.99)
          └── %80 Bounds(low=0, high=None)
              └── %81 LogPlusOne()
                  └── %82 Standardize(mean=3.1, std=0.5, dtype='float32')  ═▶ item_price: float32

    A vocabulary is told by its size and a digest of its content: equal digests, equal ids.
    """  # noqa: D301 - click's mark of a paragraph that it must not wrap
    from workflows.compiler.plan import show as shown
    from workflows.compiler.plan.drawing import draw

    plan = read_saved(path, workflow)
    if form is Format.DRAWING:
        Console().print(draw(plan, column))
        return
    writers = {Format.TEXT: shown.as_text, Format.JSON: shown.as_json, Format.MERMAID: shown.as_mermaid, Format.DOT: shown.as_dot}
    print(writers[form](plan, column))


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help=_PATH_HELP)],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="The same, of another fit.")],
    workflow: Workflow = None,
) -> None:
    """Show what changed between two fits of a workflow.

    For example, after a week of new events:

    \b
      cartwheel plan diff runs/monday runs/tuesday
      ~ vocabulary item_id: +12 keys, -0 keys; 1204 ids kept, 0 moved
      ~ item_price: Standardize mean 3.1 -> 3.2, std 0.5 -> 0.6

    Ids that moved, or keys that went, make trained embeddings worthless: train again.
    """  # noqa: D301 - click's mark of a paragraph that it must not wrap
    from workflows.compiler.plan.difference import difference

    lines = difference(read_saved(before, workflow), read_saved(after, workflow))
    print("\n".join(lines) if lines else "Nothing changed: the encodings are equal.")


@app.command()
def vocabulary(
    path: Saved,
    column: Annotated[str, typer.Argument(help="An encoded column of ids, for example item_id.")],
    workflow: Workflow = None,
    head: Annotated[Optional[int], typer.Option(help="Number of keys to print [default: all].", min=1)] = None,  # noqa: UP045
) -> None:
    """Print the id of each key, one per line, in the order of ids.

    For example, the items with the lowest ids, which are those seen most often:

    \b
      cartwheel plan vocabulary runs/demo item_id --head 3
    """  # noqa: D301 - click's mark of a paragraph that it must not wrap
    from workflows.compiler.plan.vocabularies import vocabulary as read_vocabulary

    found = read_vocabulary(read_saved(path, workflow), column)
    for number, key in enumerate(found.keys.slice(found.first, head), found.first):
        print(f"{number}\t{_on_one_line(key)}")


def _on_one_line(key: Any) -> str:
    """Return a key as it is, or as JSON where it is a combination or holds a line break."""
    text = str(key)
    return json.dumps(key, ensure_ascii=False) if isinstance(key, dict) or not text.isprintable() else text


def read_saved(path: Path, workflow: str | None) -> Plan:
    """Read the plan of a saved workflow.

    Args:
        path: a run directory, or the folder of the workflow itself.
        workflow: which one of a run directory; None means the recommendations'.

    Raises:
        UsageError: if ``path`` is one workflow already and ``workflow`` is given.
        RunError: if there is none, or it cannot be trusted (see ``workflows.compiler.saved``).
        NotCompilableError: if it has an operator without a compiled form.
        MissingDependencyError: if NVTabular is not installed.
    """
    from cartwheel.pipeline.stages import require_training_packages

    require_training_packages()
    from workflows.compiler.plan.read import read_plan
    from workflows.compiler.saved import PICKLE, load_saved

    if (path / PICKLE).is_file():
        if workflow is not None:
            raise UsageError(f"{path} is a workflow itself, so --workflow {workflow} is not allowed.", "Omit --workflow.")
        return read_plan(load_saved(path))
    name = workflow or _DEFAULT_WORKFLOW
    folder = RunLayout(path).workflow_folder
    if not (folder / name / PICKLE).is_file():
        having = sorted(saved.parent.name for saved in folder.glob(f"*/{PICKLE}"))
        if having:
            raise UsageError(f"{path} has no workflow {name!r}; it has {', '.join(having)}.", f"Give --workflow {having[0]}.")
        raise RunError(
            f"{path} is neither a prepared run directory nor a saved workflow.",
            "Give a run directory after `cartwheel prepare`, or the folder that NVTabular saved a workflow to.",
        )
    return read_plan(load_saved(folder / name))
