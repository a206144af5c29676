"""``recommend`` as Cartwheel serves it, beside the same models behind NVTabular's transform and TensorFlow.

Both stand behind the same embedded Triton on this machine and answer the same questions from the same run directory. They are
held against each other first: unless both answer the same items with the same scores, nothing is timed. See README.md.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Optional

ROOT: Final = Path(__file__).resolve().parents[1]
# The folder of a script is searched first, and this script has the name of a room. The peer's process takes the same rooms.
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])

import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks import open_loop  # noqa: E402
from benchmarks.load import Measured, Request, ask, compare, measure, mixed_requests  # noqa: E402
from benchmarks.machine import machine  # noqa: E402
from benchmarks.peer.repository import ONE_BY_ONE, TOGETHER, write_peer  # noqa: E402
from cartwheel.core.errors import CartwheelError, ParityError, RunError, UsageError  # noqa: E402
from cartwheel.core.files import write_json, write_text  # noqa: E402
from serving.contract.tensors import DEFAULT_K  # noqa: E402
from serving.local import read_metadata  # noqa: E402
from serving.server.front import Front  # noqa: E402
from serving.server.server import EmbeddedServer  # noqa: E402
from serving.settings import ExportSettings, ServeSettings  # noqa: E402

OURS: Final = "recommend"
GATEWAY: Final = "gateway"
"""The same Triton as ``OURS``, asked through the gateway."""
PEERS: Final = {ONE_BY_ONE: "peer, one by one", TOGETHER: "peer, together"}
_NAMES: Final = {OURS: "cartwheel", GATEWAY: "through the gateway", **PEERS}
TOLERANCE: Final = 1e-4
"""Largest difference of two scores at which both systems count as giving the same answer."""
QUESTIONS: Final = 1024
"""Different questions that the load asks in turn."""
SEED: Final = 1
_START_SECONDS: Final = 600.0
_STAGES: Final = ("prepare", "train", "export")
_MAKE: Final = f"""
import sys
from pathlib import Path
from rich.console import Console
from cartwheel.config import load_settings
from cartwheel.core.errors import CartwheelError
from cartwheel.pipeline.stages import run_stages
try:
    run_stages(load_settings(Path(sys.argv[1])), {_STAGES!r}, Console(stderr=True))
except CartwheelError as error:
    sys.exit(f"error: {{error}}")
"""
"""All stages but the evaluation, which takes long and which no figure here needs."""
_AIM_MILLISECONDS: Final = 5.0
_AIM_RATIO: Final = 10.0
_AIM_GATEWAY_MILLISECONDS: Final = 1.0
_AIM_GATEWAY_SHARE: Final = 0.75

_SHOP: Final = """# Written by benchmarks/serving.py.
run = "run"
seed = {seed}

[source]
kind = "simulated"
items = {simulated}
shoppers = {shoppers}
days = 60

[prepare]
max_train_examples = 200000
max_eval_anchors = 1000
negatives = 1

[two_tower]
epochs = 1

[ranker]
trees = 0

[ranking]
epochs = 1

[cart]
epochs = 1

[evaluate]
candidates = 200
max_two_stage_anchors = 200
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Shop:
    """What the benchmark asks about.

    Attributes:
        run: the run directory.
        users: known user ids.
        items: the catalogue.
        as_of: instant of the snapshot, Unix microseconds.
        candidates: how many items are ranked.
    """

    run: Path
    users: list[str]
    items: list[str]
    as_of: int
    candidates: int


@dataclass(frozen=True)
class Rising:
    """What an open loop is asked with.

    Attributes:
        in_time: seconds within which an answer counts.
    """

    in_time: float


@app.command()
def main(
    run: Annotated[Optional[Path], typer.Option(help="Use this run directory, exported before, rather than making one.")] = None,  # noqa: UP045
    items: Annotated[int, typer.Option(min=200, help="Items that the catalogue has at least.")] = 100_000,
    concurrency: Annotated[str, typer.Option(help="Requests under way at once, comma-separated.")] = "1,8,64",
    seconds: Annotated[
        float, typer.Option(min=0.05, help="How long each of them is measured, after a third of it as warm-up.")
    ] = 15.0,
    check: Annotated[
        int, typer.Option(min=50, max=QUESTIONS, help="Questions on which both must agree before anything is timed.")
    ] = 200,
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure for 2 seconds each: to see that all is well, not how fast.")
    ] = False,
    alone: Annotated[bool, typer.Option("--alone", help="Time Cartwheel alone; the peer is asked for equality only.")] = False,
    arriving: Annotated[
        bool,
        typer.Option(
            "--open-loop", help="Let requests arrive at 25 to 200 % of each one's capacity, whether or not it keeps up."
        ),
    ] = False,
    in_time: Annotated[float, typer.Option(min=0.01, help="Seconds within which an answer counts past capacity.")] = 1.0,
    export: Annotated[
        bool, typer.Option("--export", help="Write the repository anew, after a change to the serving code.")
    ] = False,
    work: Annotated[Path, typer.Option(help="Folder where the shop is made, once.", show_default="runs/benchmark_serving")] = ROOT
    / "runs"
    / "benchmark_serving",
) -> None:
    """Measure p50, p95, p99 and throughput of `recommend`, beside a peer, and print the ratios.

    The peer is a model of Triton's Python backend that encodes with NVTabular's Workflow.transform and runs the same two-tower
    and DLRM with TensorFlow, in two ways: one request after the other, as Merlin Systems does, and all waiting requests
    together. The first call simulates a shop, trains on it and exports (some ten minutes); later calls reuse it.

    Figures are worth only what the machine's quiet is worth: the load average is printed beside them. The client runs on the
    same cores; what it takes of one is printed too, and how many requests a server refused because it could not keep up.
    """
    try:
        levels = _levels(concurrency)
        shop = _shop(run.resolve() if run else _made(work.resolve(), items, anew=export))
        rising = Rising(in_time) if arriving else None
        _run(shop, levels, 2.0 if quick else seconds, check, rising, with_peer=not alone)
    except CartwheelError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from None


def _levels(text: str) -> list[int]:
    try:
        levels = [int(part) for part in text.split(",")]
    except ValueError:
        levels = []
    if not levels or min(levels) < 1:
        raise UsageError(f"--concurrency {text!r} is no list of whole numbers above 0.", "Give for example 1,8,64.")
    return levels


def _made(work: Path, items: int, *, anew: bool) -> Path:
    """Make the shop of the benchmark, or what is missing of it, and return its run directory."""
    folder = work / str(items)
    config = folder / "shop.toml"
    # Many items of a simulated shop are never looked at, and only what occurs in the log is in the catalogue.
    write_text(config, _SHOP.format(seed=SEED, simulated=items * 3 // 2, shoppers=max(400, items // 10)))
    # A process of its own: TensorFlow's threads and memory must not stay with the client.
    done = subprocess.run([sys.executable, "-c", _MAKE, str(config)], cwd=ROOT, check=False)
    if done.returncode:
        raise RunError(f"The stages {', '.join(_STAGES)} of {config} failed.", "What went wrong stands above.")
    if anew:
        from serving.export.repository import write_repository

        write_repository(folder / "run", ExportSettings())
    found = int(read_metadata(folder / "run" / "repository")["catalogue_size"])
    if found < items:
        raise RunError(f"The simulated shop has {found} items, not {items}.", "Ask for fewer with --items.")
    return folder / "run"


def _shop(run: Path) -> Shop:
    import pyarrow.parquet as pq

    metadata = read_metadata(run / "repository")
    columns = {name: run / "snapshot" / f"{name}s.parquet" for name in ("user", "item")}
    missing = [path for path in columns.values() if not path.is_file()]
    if missing:
        raise RunError(f"{missing[0]} is missing, which the peer reads.", "Give a whole run directory, not a repository alone.")
    ids = {name: pq.ParquetFile(path).read([f"{name}_id"])[f"{name}_id"].to_pylist() for name, path in columns.items()}
    return Shop(run, ids["user"], ids["item"], int(metadata["as_of_us"]), int(metadata["sizes"]["candidates"]))


def _run(shop: Shop, levels: list[int], seconds: float, check: int, rising: Rising | None, *, with_peer: bool) -> None:
    console = Console(width=max(100, Console().width))
    export = ExportSettings()
    peer = write_peer(
        shop.run,
        shop.run.parent / "peer_repository",
        k=DEFAULT_K,
        candidates=shop.candidates,
        max_batch=export.max_batch,
        queue_microseconds=export.queue_microseconds,
    )
    requests = mixed_requests(shop.users, shop.items, shop.as_of, QUESTIONS, SEED)
    settings = ServeSettings(start_seconds=_START_SECONDS)
    log = shop.run.parent / "peer.log"
    with (
        contextlib.ExitStack() as stack,
        EmbeddedServer(shop.run / "repository", settings) as ours,
        EmbeddedServer(peer, settings, log=log) as theirs,
    ):
        front = stack.enter_context(_gateway(shop, settings, ours))
        addresses = {OURS: ours.grpc_address, GATEWAY: front, **dict.fromkeys(PEERS, theirs.grpc_address)}
        difference = check_answers(addresses, requests[:check])
        console.print(
            f"catalogue {len(shop.items):,} items, {len(shop.users):,} known users, {shop.candidates} candidates ranked, k = {DEFAULT_K}\n"
            f"all gave the same items for {check} questions; largest difference of a score {difference:.1e}\n"
            f"{_machine()}",
            highlight=False,
        )
        if not with_peer:
            addresses = {side: addresses[side] for side in (OURS, GATEWAY)}
        figures = [(level, _figures(addresses, requests, level, seconds)) for level in levels]
        arrived = {} if rising is None else _rising(addresses, requests, seconds, rising)
    console.print(figures_table(figures), verdict(figures), highlight=False)
    if arrived:
        console.print(open_loop.table(arrived), open_loop.verdict(arrived), highlight=False)
    more = {"open_loop": {side: open_loop.plain(one) for side, one in arrived.items()}} if arrived else {}
    write_json(
        shop.run.parent / "serving.json", {"machine": _machine(), "figures": [plain_figures(*row) for row in figures], **more}
    )


@contextlib.contextmanager
def _gateway(shop: Shop, settings: ServeSettings, triton: EmbeddedServer) -> Iterator[str]:
    """Start a gateway before a Triton that can be asked directly, too, and yield its gRPC address."""
    log = shop.run.parent / "gateway.log"
    with Front(shop.run / "repository", settings, log, triton.http_address, triton.grpc_address) as front:
        front.start()
        front.await_ready()
        yield front.endpoint(triton.endpoint).grpc


def check_answers(addresses: dict[str, str], requests: list[Request]) -> float:
    """Ask all the same, the first being Cartwheel, and return the largest difference of a score."""
    answers = {side: ask(address, [one.serialised(_model(side)) for one in requests]) for side, address in addresses.items()}
    largest = 0.0
    for side in (GATEWAY, *PEERS):
        difference, wrong = compare(answers[OURS], answers[side], TOLERANCE)
        if wrong:
            raise ParityError(
                f"Cartwheel and the {_NAMES[side]}, disagree: {wrong} (the first is Cartwheel's).",
                "Nothing was timed; mend what differs first.",
            )
        largest = max(largest, difference)
    return largest


def _figures(addresses: dict[str, str], requests: list[Request], level: int, seconds: float) -> dict[str, Measured]:
    return {
        side: measure(address, [request.serialised(_model(side)) for request in requests], level, seconds, seconds / 3)
        for side, address in addresses.items()
    }


def _rising(addresses: dict[str, str], requests: list[Request], seconds: float, rising: Rising) -> dict[str, open_loop.Served]:
    return {
        _NAMES[side]: open_loop.rising(address, [one.serialised(_model(side)) for one in requests], seconds, rising.in_time)
        for side, address in addresses.items()
    }


def _model(side: str) -> str:
    """Return what a side is asked."""
    return OURS if side == GATEWAY else side


def figures_table(figures: list[tuple[int, dict[str, Measured]]]) -> Table:
    """Return the table of what was measured at each number of requests under way."""
    table = Table("under way", "who", "p50 ms", "p95 ms", "p99 ms", "requests/s", "refused", "client's core")
    for column in table.columns[2:]:
        column.justify = "right"
    for level, measured in figures:
        for model, one in measured.items():
            table.add_row(str(level), _NAMES[model], *_cells(one), f"{one.refused:,}", f"{one.client_share:.0%}")
        for model in measured:
            if model in PEERS:
                ratios = (f"[bold]{_shown(ratio, '.1f', 'x')}" for ratio in _ratios(measured, model))
                table.add_row(str(level), f"[bold]ratio to {PEERS[model]}", *ratios, "", "")
        table.add_section()
    return table


def _cells(one: Measured) -> list[str]:
    return [*(_shown(one.percentile(share), ".2f") for share in (50, 95, 99)), f"{one.throughput:,.1f}"]


def _shown(figure: float, form: str, unit: str = "") -> str:
    """Return a figure as it is printed; there is none where nothing was answered."""
    return "-" if math.isnan(figure) else f"{figure:{form}}{unit}"


def _ratios(measured: dict[str, Measured], peer: str) -> list[float]:
    """Return how many times Cartwheel is better: its latencies are that much shorter, its throughput that much larger.

    NaN where one of both answered nothing.
    """
    ours, theirs = measured[OURS], measured[peer]
    shorter = [theirs.percentile(share) / ours.percentile(share) for share in (50, 95, 99)]
    return [*shorter, ours.throughput / theirs.throughput if theirs.milliseconds else math.nan]


def verdict(figures: list[tuple[int, dict[str, Measured]]]) -> str:
    """Return which aims are met."""
    told = []
    for level, measured in figures:
        if level == 1:
            p50 = measured[OURS].percentile(50)
            said = f"{_said(p50 < _AIM_MILLISECONDS)} ({_shown(p50, '.2f', ' ms')})"
            told.append(f"p50 at concurrency 1 under {_AIM_MILLISECONDS:g} ms: {said}")
        told.append(_gateway_verdict(level, measured))
        for peer in (model for model in PEERS if model in measured):
            ratio = _ratios(measured, peer)[-1]
            aim = f"throughput at concurrency {level} at least {_AIM_RATIO:g}x of the {PEERS[peer]}"
            told.append(f"{aim}: {_said(ratio >= _AIM_RATIO)} ({_shown(ratio, '.1f', 'x')})")
    return "\n".join(told)


def _gateway_verdict(level: int, measured: dict[str, Measured]) -> str:
    direct, through = measured[OURS], measured[GATEWAY]
    if level == 1:
        more = through.percentile(50) - direct.percentile(50)
        aim = f"the gateway's part of p50 at concurrency 1 at most {_AIM_GATEWAY_MILLISECONDS:g} ms"
        return f"{aim}: {_said(more <= _AIM_GATEWAY_MILLISECONDS)} ({_shown(more, '.2f', ' ms')})"
    share = through.throughput / direct.throughput if direct.milliseconds else math.nan
    aim = f"throughput through the gateway at concurrency {level} at least {_AIM_GATEWAY_SHARE:.0%} of the direct one"
    return f"{aim}: {_said(share >= _AIM_GATEWAY_SHARE)} ({_shown(share, '.0%')})"


def _said(met: bool) -> str:
    return "met" if met else "MISSED"


def _machine() -> str:
    return machine(["onnxruntime", "nvtabular", "tensorflow", "nvidia-pytriton"])


def plain_figures(level: int, measured: dict[str, Measured]) -> dict[str, Any]:
    """Return one row of figures as JSON holds it."""
    rows = {
        model: {
            **{f"p{share}_ms": one.percentile(share) if one.milliseconds else None for share in (50, 95, 99)},
            "requests": len(one.milliseconds),
            "refused": one.refused,
            "requests_per_second": one.throughput,
            "client_share": one.client_share,
        }
        for model, one in measured.items()
    }
    content: dict[str, Any] = json.loads(json.dumps(rows))
    return {"concurrency": level, **content}


if __name__ == "__main__":
    app()
