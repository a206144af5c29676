r"""A DLRM of Merlin Models behind its workflow: by `cartwheel serve-model`, in a Python backend with TensorFlow, and by Merlin Systems.

    python benchmarks/foreign.py --folder build/foreign --seconds 10 [--systems SITE_PACKAGES]

All stand behind the same embedded Triton on this machine, one after the other, and answer the same raw rows, one a request. The Python
backend is written to be as good as the plain way can be: the workflow without its label and the model are loaded once, requests that Triton
hands over together are one transform and one call of the SavedModel's compiled signature. They are held against each other first: unless
scores are within 1e-5, nothing is timed.

With `--systems`, a folder of packages with merlin-systems (`pip install --no-deps --target FOLDER merlin-systems`), its executor is
measured too. What it exports calls a model of Triton's TensorFlow backend, which Triton has dropped, so that its operators run within the
executor here (`benchmarks/peer/systems_model.py` tells how).

Measured: the time from start to the first answer, the memory of Triton and its processes once they answered (proportional, so that what
they share counts once), and at 1, 8 and 64 requests under way the median latency and the answers a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Optional

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.append(str(ROOT / "tests" / "foreign"))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])

import numpy as np  # noqa: E402
import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from tritonclient.grpc import InferInput  # noqa: E402
from tritonclient.grpc import aio as triton  # noqa: E402

from benchmarks.machine import machine  # noqa: E402
from cartwheel.core.errors import ParityError  # noqa: E402
from cartwheel.core.files import write_json  # noqa: E402
from serving.server.server import EmbeddedServer  # noqa: E402
from serving.settings import ServeSettings  # noqa: E402

OURS: Final = "cartwheel"
PEER: Final = "python_backend"
UNDER_WAY: Final = (1, 8, 64)
TOLERANCE: Final = 1e-5
SYSTEMS: Final = "merlin_systems"
_PROGRAMS: Final = {PEER: "foreign_model.py", SYSTEMS: "systems_model.py"}
_TYPES: Final = {"userId": ("INT64", "TYPE_INT64"), "movieId": ("INT64", "TYPE_INT64"), "age": ("FP32", "TYPE_FP32")}
_NUMPY: Final = {"INT64": np.int64, "FP32": np.float32}
_CONFIG: Final = """name: "{model}"
backend: "python"
max_batch_size: 64
dynamic_batching {{ max_queue_delay_microseconds: 0 }}
{inputs}
output [ {{ name: "score" data_type: TYPE_FP32 dims: [ 1 ] }} ]
parameters {{ key: "queue" value: {{ string_value: "unbounded" }} }}
parameters {{ key: "folder" value: {{ string_value: "{folder}" }} }}
parameters {{ key: "model" value: {{ string_value: "{saved}" }} }}
parameters {{ key: "packages" value: {{ string_value: "{packages}" }} }}
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Measured:
    """One system at one number of requests under way.

    Attributes:
        system: ``cartwheel``, ``python_backend`` or ``merlin_systems``.
        under_way: requests at once.
        p50_ms: median latency.
        per_second: answers a second.
        start_seconds: from the start to the first answer.
        megabytes: resident memory of Triton and its processes.
    """

    system: str
    under_way: int
    p50_ms: float
    per_second: float
    start_seconds: float
    megabytes: float


@app.command()
def main(
    folder: Annotated[Path, typer.Option(help="Where the pipeline and both repositories are made.")] = Path("build/foreign"),
    seconds: Annotated[float, typer.Option(help="How long each number of requests under way is measured.")] = 10.0,
    ratings: Annotated[int, typer.Option(help="How many ratings the pipeline is made of.")] = 5000,
    systems: Annotated[Optional[Path], typer.Option(help="A folder of packages that holds merlin-systems.")] = None,  # noqa: UP045
) -> None:
    """Make the pipeline where it is not there, and measure each system."""
    from pipelines import inside, movielens

    import cartwheel

    console = Console()
    described = machine(["nvidia-pytriton", "onnxruntime", "tensorflow", "nvtabular"])
    console.print(described, highlight=False, markup=False, soft_wrap=True)
    folder = folder.resolve()
    if not (folder / "rows.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        made = inside(folder, lambda place: movielens(place, rows=ratings, floats="float32"))
        cartwheel.export_model(made.workflow, made.model, folder / "served", name=OURS)
        write_json(folder / "rows.json", {name: [float(value) for value in values] for name, values in made.rows.items()})
    rows: dict[str, list[float]] = json.loads((folder / "rows.json").read_text())
    found: list[Measured] = []
    answers = {}
    for system in (OURS, PEER, *([SYSTEMS] if systems else [])):
        repository = folder / "served" / "repository" if system == OURS else folder / system
        if system != OURS:
            _write_peer(folder, system, systems)
        with _served(repository, system, rows) as (address, start, megabytes):
            answers[system] = asyncio.run(_answers(address, system, rows))
            if (worst := float(np.abs(answers[OURS] - answers[system]).max())) > TOLERANCE:
                raise ParityError(f"{system} and {OURS} differ by {worst:.3g}.", "Nothing was compared.")
            for under_way in UNDER_WAY:
                p50, rate = asyncio.run(_load(address, system, rows, under_way, seconds))
                found.append(Measured(system, under_way, p50, rate, start, megabytes()))
                console.print(found[-1])
    if systems is None:
        console.print("The executor of Merlin Systems was not measured: --systems names a folder of packages that holds it.")
    write_json(folder / "foreign.json", {"machine": described, "measured": [asdict(each) for each in found]})
    console.print(_table(found))


def _write_peer(folder: Path, system: str, packages: Path | None) -> None:
    version = folder / system / system / "1"
    version.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("peer") / _PROGRAMS[system], version / "model.py")
    inputs = "\n".join(f'input [ {{ name: "{name}" data_type: {kind} dims: [ 1 ] }} ]' for name, (_, kind) in _TYPES.items())
    text = _CONFIG.format(
        model=system, inputs=inputs, folder=folder / "workflow", saved=folder / "dlrm", packages=(packages or folder).resolve()
    )
    (version.parent / "config.pbtxt").write_text(text, encoding="utf-8")


@contextmanager
def _served(repository: Path, system: str, rows: dict[str, list[float]]) -> Iterator[tuple[str, float, Any]]:
    begun = time.monotonic()
    with EmbeddedServer(repository, ServeSettings(start_seconds=300.0, threads=1)) as server:
        asyncio.run(_answers(server.grpc_address, system, {name: values[:1] for name, values in rows.items()}))
        start = time.monotonic() - begun
        yield server.grpc_address, start, _megabytes


def _megabytes() -> float:
    """Return the proportional memory of all that this process has started."""
    parents = {int(each.name): _parent(each) for each in Path("/proc").glob("[0-9]*")}
    family = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    return sum(map(_kilobytes, family - {os.getpid()})) / 1024


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return 0


def _kilobytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


async def _answers(address: str, system: str, rows: dict[str, list[float]]) -> np.ndarray:
    async with triton.InferenceServerClient(address) as client:
        count = len(next(iter(rows.values())))
        return np.concatenate([await _ask(client, system, rows, row) for row in range(count)])


async def _ask(client: Any, system: str, rows: dict[str, list[float]], row: int) -> np.ndarray:
    inputs = []
    for name, (kind, _) in _TYPES.items():
        tensor = InferInput(name, [1, 1], kind)
        tensor.set_data_from_numpy(np.array([[rows[name][row]]], _NUMPY[kind]))
        inputs.append(tensor)
    answer = await client.infer(system, inputs)
    return np.asarray(answer.as_numpy(answer.get_response().outputs[0].name))


async def _load(address: str, system: str, rows: dict[str, list[float]], under_way: int, seconds: float) -> tuple[float, float]:
    """Return the median latency in milliseconds and the answers a second of so many callers, each of whom asks again once answered."""
    taken: list[float] = []
    count = len(next(iter(rows.values())))
    async with triton.InferenceServerClient(address) as client:

        async def caller(first: int, until: float, kept: list[float]) -> None:
            row = first
            while (begun := time.perf_counter()) < until:
                await _ask(client, system, rows, row % count)
                kept.append(time.perf_counter() - begun)
                row += under_way

        await asyncio.gather(*(caller(first, time.perf_counter() + seconds / 5, []) for first in range(under_way)))
        begun = time.perf_counter()
        await asyncio.gather(*(caller(first, begun + seconds, taken) for first in range(under_way)))
        passed = time.perf_counter() - begun
    return float(np.median(taken)) * 1e3, len(taken) / passed


def _table(found: list[Measured]) -> Table:
    table = Table("system", "under way", "p50, ms", "answers/s", "start, s", "memory, MB")
    for each in found:
        table.add_row(
            each.system,
            str(each.under_way),
            f"{each.p50_ms:.1f}",
            f"{each.per_second:.0f}",
            f"{each.start_seconds:.1f}",
            f"{each.megabytes:.0f}",
        )
    return table


if __name__ == "__main__":
    app()
