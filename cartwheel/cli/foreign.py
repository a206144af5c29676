"""``cartwheel compile``, ``serve-model`` and ``convert-systems``: compile and serve workflows and models from elsewhere."""

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
        typer.Option("--except", metavar="COLUMN", help="An encoded column to leave out, such as a label; may be repeated."),
    ] = None,
    lambdas: Lambdas = None,
) -> None:
    """Compile a fitted NVTabular workflow to ONNX, with the same output as NVTabular.

    A workflow saved by NVTabular 23.8 is a Python pickle, which can run arbitrary code when it is loaded: use only one from a source you
    trust. One saved as graph.json, by NVTabular's main branch, runs no code.

    \b
      cartwheel compile saved/workflow --out compiled --except rating

    A column that cannot be compiled exactly is reported with what to use instead; --except leaves it out and compiles the rest. Columns
    that compile for tables only, such as the hash of a string, are listed in columns.json and left out of features.onnx.
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
        _say(console, f"{name}: {kind}{f' (tables only: {tables[name]})' if name in tables else ''}")
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
        str, typer.Option("--name", help="Model name for clients [default: the name of the model's folder or file].")
    ] = "",
    rows: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--rows",
            help="Parquet file of raw rows for the comparison [default: rows drawn from the data the workflow was fitted on].",
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
    k: Annotated[int, typer.Option("--k", help="Number of items to return.", min=1)] = 10,
    item_model: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--item-model", help="The item tower, which computes vectors for the raw items of --top-k."),
    ] = None,
    item_id: Annotated[str, typer.Option("--item-id", help="The encoded column of item ids, if the file has several.")] = "",
    only_write: Annotated[bool, typer.Option("--only-write", help="Write the repository without serving it.")] = False,
    grpc_port: Annotated[int, typer.Option("--grpc-port", help="gRPC port; 0 picks a free one.", min=0, max=65535)] = 8001,
) -> None:
    """Serve a model with the NVTabular workflow it was trained with, on Triton: raw columns in, the model's outputs out.

    A workflow saved by NVTabular 23.8 is a Python pickle, which can run arbitrary code when it is loaded: use only one from a source you
    trust. One saved as graph.json, by NVTabular's main branch, runs no code.

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
        raise UsageError("--item-model and --item-id need --top-k.", "Give --top-k ITEMS.")
    top = TopK(top_k, k, item_model, item_id) if top_k else None
    written = export_model(workflow, model, out, name=name, rows=rows, lambdas=_lambdas(lambdas), top_k=top)
    for check in written.checks:
        _say(console, f"equal: {check.what}: {check.rows} rows, largest difference {check.difference:.2g}")
    asked = ", ".join(f"{column.name}: {column}" for column in written.form.columns)
    _say(console, f"{written.form.name} takes {asked}.")
    _say(console, f"It returns {', '.join(f'{each.name}: {each.dtype}' for each in written.form.answers)}.")
    _say(console, f"Written to {written.repository}, version {written.version}.")
    if not only_write:
        serve_run(out, {"grpc_port": grpc_port}, console)


def convert_systems(
    ensemble: Annotated[
        Path, typer.Argument(metavar="ENSEMBLE_FOLDER", help="The folder that Merlin Systems exported an ensemble to.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the repository and its versions.")] = Path("served"),
    name: Annotated[str, typer.Option("--name", help="Model name for clients.")] = "ensemble",
    without: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--without", metavar="STEP", help="An unsupported step to leave out; may be repeated."),
    ] = None,
    top_k: Annotated[
        str, typer.Option("--top-k", metavar="ITEMS", help="The items of a Faiss index; see `cartwheel serve-model`.")
    ] = "",
    k: Annotated[int, typer.Option("--k", help="Number of items to return.", min=1)] = 10,
) -> None:
    """Convert an ensemble of Merlin Systems to a repository: its workflow, its TensorFlow model, and exact search for Faiss.

    The workflow in it is a Python pickle, which can run arbitrary code when it is loaded: use only a folder from a source you trust. The
    graph of its steps, also a pickle, is not loaded; its steps are determined from the names in it.

    \b
      cartwheel convert-systems exported/ensemble --without SoftmaxSampling
      cartwheel serve served

    The result of each step is printed. An unsupported step is an error that says what to do instead, unless --without names it.
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
        _say(console, f"{step.name}: {step.becomes or f'not supported: {step.why}'}")
    written = convert(ensemble, out, name=name, without=without or (), top_k=TopK(top_k, k) if top_k else None)
    _say(console, f"Written to {written.repository}, version {written.version}; `cartwheel serve {out}` serves it.")


def _lambdas(given: list[str] | None) -> dict[str, Any]:
    found = {}
    for text in given or []:
        column, equals, expression = text.partition("=")
        if not (column and equals and expression.strip()):
            raise UsageError(
                f"--lambda {text!r} is not COLUMN=SQL.", "Give for example --lambda 'label=CAST(rating > 3 AS BIGINT)'."
            )
        found[column.strip()] = expression.strip()
    return found


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
