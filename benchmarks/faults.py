"""What hostile and failing clients do to a running server: crashes, hangs, wrong statuses and seconds to recovery. See README.md."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
import tempfile
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any, Final, Optional

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the folder of a script is searched first, and one beside this has the name of a room
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])

import grpc  # noqa: E402
import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.fault_cases.case import AIM_SECONDS, Case, Counts  # noqa: E402
from benchmarks.fault_cases.target import Server, describe, shop_of  # noqa: E402
from benchmarks.machine import machine  # noqa: E402
from cartwheel.core.errors import CartwheelError, ServerError, UsageError  # noqa: E402
from cartwheel.core.progress import progress  # noqa: E402
from serving.export.repository import write_repository  # noqa: E402
from serving.settings import ExportSettings  # noqa: E402

_SYNTHETIC: Final = ROOT / "tests" / "serving" / "synthetic_run.py"
_FAILED: Final = 1

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def cases() -> list[Case]:
    """Return the cases of all modules that have some."""
    names = sorted(module.name for module in pkgutil.iter_modules([str(ROOT / "benchmarks" / "fault_cases")]))
    modules = [importlib.import_module(f"benchmarks.fault_cases.{name}") for name in names]
    return [case for module in modules for case in getattr(module, "CASES", ())]


@app.command()
def main(
    run: Annotated[Optional[Path], typer.Option(help="Harm a server of this run, rather than of a small synthetic one.")] = None,  # noqa: UP045
    only: Annotated[str, typer.Option(help="Run the cases alone whose names contain this.")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="Do everything fifty times less often: to see that all is well.")
    ] = False,
    gateway: Annotated[bool, typer.Option(help="Ask through the gateway, or Triton itself.")] = True,
    listed: Annotated[bool, typer.Option("--list", help="Print the names of the cases and end.")] = False,
) -> None:
    """Start a server, have clients harm it in every way, and count crashes, hangs, wrong statuses and seconds to recovery.

    The aims are none, none, none, and under 3 seconds. The exit code is 0 where all are met, 1 where one is missed.
    """
    console = Console(width=max(120, Console().width))
    chosen = [case for case in cases() if only in case.name]
    if listed:
        console.print("\n".join(case.name for case in chosen), highlight=False, markup=False)
        return
    try:
        if not chosen:
            raise UsageError(f"--only {only!r} is in the name of no case.", "See their names with --list.")
        with tempfile.TemporaryDirectory(prefix="cartwheel-faults-") as folder:
            results = _run(
                chosen, run.resolve() if run else synthetic(Path(folder) / "run"), Path(folder), quick=quick, gateway=gateway
            )
    except CartwheelError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from None
    console.print(machine(["nvidia-pytriton", "onnxruntime", "grpcio"]), highlight=False, markup=False, soft_wrap=True)
    console.print(_table(results))
    for case, counts in results:
        for note in counts.notes:
            console.print(f"{case.name}: {note}", highlight=False, markup=False)
    met = all(counts.holds for _, counts in results)
    console.print(
        f"no crash, no hang, no wrong status, back within {AIM_SECONDS:g} s: {'met' if met else 'MISSED'}", highlight=False
    )
    if not met:
        raise typer.Exit(_FAILED)


def synthetic(path: Path) -> Path:
    """Write the run on which the server is tested, and export it."""
    spec = importlib.util.spec_from_file_location("synthetic_run", _SYNTHETIC)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules["synthetic_run"] = module
    spec.loader.exec_module(module)
    module.write_synthetic_run(path)
    write_repository(path, ExportSettings())
    return path


def _run(chosen: Sequence[Case], run: Path, folder: Path, *, quick: bool, gateway: bool) -> list[tuple[Case, Counts]]:
    shop = shop_of(run)
    results = []
    shared = [case for case in chosen if not case.own_server]
    with progress("cases", len(chosen)) as advance:
        if shared:
            with Server(shop, folder / "shared", quick=quick, gateway=gateway) as server:
                for case in shared:
                    advance(0, note=case.name)
                    results.append((case, _harmed(case, server)))
                    advance()
        for place, case in enumerate(case for case in chosen if case.own_server):
            advance(0, note=case.name)
            own = folder / f"own {place}"
            with Server(shop, own, case.settings, quick=quick, gateway=gateway, environment=case.environment) as server:
                results.append((case, _harmed(case, server)))
            advance()
    return results


def _harmed(case: Case, server: Server) -> Counts:
    """Run a case on a server that answers; one that the case before brought down for good is started again."""
    if server.process.poll() is not None:
        server.start()
    try:
        return case.run(server)
    except (ServerError, grpc.RpcError, HTTPException, OSError) as error:
        return Counts(crashes=1, notes=[describe(error)])


def _table(results: Sequence[tuple[Case, Counts]]) -> Table:
    table = Table("case", "requests", "crashes", "hangs", "wrong", "seconds to recovery", "")
    for column in table.columns[1:6]:
        column.justify = "right"
    for case, counts in results:
        figures = (f"{counts.requests:,}", str(counts.crashes), str(counts.hangs), str(counts.wrong), f"{counts.seconds:.2f}")
        table.add_row(case.name, *figures, "met" if counts.holds else "[bold]MISSED")
    return table


if __name__ == "__main__":
    app()
