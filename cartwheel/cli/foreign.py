"""``cartwheel compile``, ``serve-model`` and ``convert-systems``: what was fitted, trained or exported elsewhere, compiled and served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console

from cartwheel.core.errors import UsageError

_LAMBDA_HELP = (
    "COLUMN=SQL: what a LambdaOp makes of the columns that reach it, as an SQL expression, such as"
    " --lambda 'rating=CASE WHEN rating > 3 THEN 1 ELSE 0 END'. It is checked against the Python function. May be given again."
)
Lambdas = Annotated[Optional[list[str]], typer.Option("--lambda", metavar="COLUMN=SQL", help=_LAMBDA_HELP)]  # noqa: UP045 - typer on 3.10


def compile_workflow(
    workflow: Annotated[
        Path, typer.Argument(metavar="WORKFLOW_FOLDER", help="The folder that NVTabular saved a fitted workflow to.")
    ],
    out: Annotated[Path, typer.Option("--out", help="New folder to write features.onnx, plan.json and columns.json to.")],
    leave_out: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--except", metavar="COLUMN", help="An encoded column to do without, such as a label. May be given again."),
    ] = None,
    lambdas: Lambdas = None,
) -> None:
    """Compile a fitted NVTabular workflow to ONNX, of which every column equals what NVTabular makes.

    A workflow saved by NVTabular 23.8 is a Python pickle, which can run any code while it is loaded: give only one whose writer you trust.
    One saved as graph.json, by NVTabular's main branch, runs nothing.

    \b
      cartwheel compile saved/workflow --out compiled --except rating

    A column without an exact form is refused by name, with what to use instead; --except leaves it out and compiles the rest. What has a
    form for tables alone, such as the hash of a string, is named in columns.json and left out of features.onnx.
    """  # noqa: D301 - click's mark of a paragraph that it must not wrap
    from cartwheel.pipeline.foreign.compiled import compile_workflow as compiled
    from cartwheel.pipeline.foreign.compiled import said_before
    from cartwheel.pipeline.stages import require_training_packages

    require_training_packages()
    console = Console()
    _say(console, said_before(workflow))
    found = compiled(workflow, leave_out=leave_out or (), lambdas=_lambdas(lambdas))
    found.save(out)
    tables = found.on_tables_alone()
    for name, kind in found.columns.items():
        _say(console, f"{name}: {kind}{f' (on tables alone: {tables[name]})' if name in tables else ''}")
    for name, why in found.left_out.items():
        _say(console, f"left out: {name}: {why}")
    _say(console, f"Written to {out}.")


def serve_model(
    workflow: Annotated[Path, typer.Option("--workflow", help="The folder that NVTabular saved a fitted workflow to.")],
    model: Annotated[
        Path, typer.Option("--model", help="A SavedModel folder (Keras, Merlin Models), a .keras, .h5 or .onnx file.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the repository and its versions.")] = Path("served"),
    name: Annotated[
        str, typer.Option("--name", help="What clients ask for [default: the name of the model's folder or file].")
    ] = "",
    rows: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--rows", help="Parquet file of raw rows to check on [default: rows drawn from what the workflow was fitted to]."
        ),
    ] = None,
    lambdas: Lambdas = None,
    top_k: Annotated[
        str,
        typer.Option(
            "--top-k",
            metavar="ITEMS",
            help="Answer the best items: a Parquet file of item vectors, as Merlin's candidate_embeddings writes it, or of raw items with"
            " --item-model; or the encoded column of item ids whose vocabulary the model scores.",
        ),
    ] = "",
    k: Annotated[int, typer.Option("--k", help="How many items are answered.", min=1)] = 10,
    item_model: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--item-model", help="The item tower, which makes vectors of the raw items of --top-k."),
    ] = None,
    item_id: Annotated[str, typer.Option("--item-id", help="The encoded column of item ids, where the file has several.")] = "",
    only_write: Annotated[
        bool, typer.Option("--only-write", help="Write the repository and end; `cartwheel serve` serves it.")
    ] = False,
    grpc_port: Annotated[int, typer.Option("--grpc-port", help="gRPC port; 0 picks a free one.", min=0, max=65535)] = 8001,
) -> None:
    """Serve a model behind the NVTabular workflow that it was trained behind, on Triton: raw columns in, the model's answers out.

    A workflow saved by NVTabular 23.8 is a Python pickle, which can run any code while it is loaded: give only one whose writer you trust.
    One saved as graph.json, by NVTabular's main branch, runs nothing.

    \b
      cartwheel serve-model --workflow saved/workflow --model saved/dlrm
      python -c 'import cartwheel; print(cartwheel.Client("127.0.0.1:8001").infer("dlrm", userId=[7], movieId=[42]))'

    Nothing is written unless the served answers equal NVTabular's and TensorFlow's within 1e-5.
    """  # noqa: D301
    from cartwheel.cli.serve import serve_run
    from cartwheel.pipeline.foreign.compiled import said_before
    from cartwheel.pipeline.foreign.export_model import export_model
    from cartwheel.pipeline.foreign.items import TopK
    from cartwheel.pipeline.stages import require_training_packages

    require_training_packages()
    console = Console(stderr=True)
    _say(console, said_before(workflow))
    if not top_k and (item_model or item_id):
        raise UsageError("--item-model and --item-id have no meaning without --top-k.", "Give --top-k ITEMS.")
    top = TopK(top_k, k, item_model, item_id) if top_k else None
    written = export_model(workflow, model, out, name=name, rows=rows, lambdas=_lambdas(lambdas), top_k=top)
    for check in written.checks:
        _say(console, f"equal: {check.what}: {check.rows} rows, largest difference {check.difference:.2g}")
    asked = ", ".join(f"{column.name}: {column}" for column in written.form.columns)
    _say(console, f"{written.form.name} is asked with {asked}.")
    _say(console, f"It answers {', '.join(f'{each.name}: {each.dtype}' for each in written.form.answers)}.")
    _say(console, f"Written to {written.repository}, version {written.version}.")
    if not only_write:
        serve_run(out, {"grpc_port": grpc_port}, console)


def convert_systems(
    ensemble: Annotated[
        Path, typer.Argument(metavar="ENSEMBLE_FOLDER", help="The folder that Merlin Systems exported an ensemble to.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the repository and its versions.")] = Path("served"),
    name: Annotated[str, typer.Option("--name", help="What clients ask for.")] = "ensemble",
    without: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--without", metavar="STEP", help="A step without a form here to do without. May be given again."),
    ] = None,
    top_k: Annotated[
        str, typer.Option("--top-k", metavar="ITEMS", help="The items of a Faiss index; see `cartwheel serve-model`.")
    ] = "",
    k: Annotated[int, typer.Option("--k", help="How many items are answered.", min=1)] = 10,
) -> None:
    """Write a repository of ours from an ensemble of Merlin Systems: its workflow, its TensorFlow model, and exact search for Faiss.

    The workflow in it is a Python pickle, which can run any code while it is loaded: give only a folder whose writer you trust. The
    graph of its steps, a pickle too, is not loaded; which steps it has is read from the names in it.

    \b
      cartwheel convert-systems exported/ensemble --without SoftmaxSampling
      cartwheel serve served

    Each step is told with what becomes of it; one without a form is refused with what to do instead, unless --without names it.
    """  # noqa: D301
    from cartwheel.pipeline.foreign.compiled import PICKLE_WARNING
    from cartwheel.pipeline.foreign.items import TopK
    from cartwheel.pipeline.foreign.systems import convert_systems as convert
    from cartwheel.pipeline.foreign.systems import read_steps
    from cartwheel.pipeline.stages import require_training_packages

    require_training_packages()
    console = Console(stderr=True)
    _say(console, PICKLE_WARNING.format(folder=ensemble))
    for step in read_steps(ensemble):
        _say(console, f"{step.name}: {step.becomes or f'no form: {step.why}'}")
    written = convert(ensemble, out, name=name, without=without or (), top_k=TopK(top_k, k) if top_k else None)
    _say(console, f"Written to {written.repository}, version {written.version}; `cartwheel serve {out}` serves it.")


def _lambdas(given: list[str] | None) -> dict[str, Any]:
    found = {}
    for text in given or []:
        column, equals, expression = text.partition("=")
        if not (column and equals and expression.strip()):
            raise UsageError(
                f"--lambda {text!r} is no COLUMN=SQL.", "Give for example --lambda 'label=CAST(rating > 3 AS BIGINT)'."
            )
        found[column.strip()] = expression.strip()
    return found


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
