"""The command line: one command per stage, one for all of them, and requests to a server."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import traceback
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional

import typer
from rich.console import Console

from cartwheel import __version__
from cartwheel.cli import (
    ask,
    audit,
    compare,
    experiments,
    explain,
    features,
    foreign,
    gateway,
    keys,
    live,
    page,
    plan,
    recommend_all,
    replay,
    report,
    reproduce,
    status,
    tune,
    versions,
)
from cartwheel.core import packages
from cartwheel.core.errors import CartwheelError, UsageError
from cartwheel.core.memory import give_back_at_once

if TYPE_CHECKING:
    from cartwheel.config import RunSettings

app = typer.Typer(
    name="cartwheel",
    help="Recommendations and cart predictions for online shops: shop events in, gRPC answers out.",
    epilog="Start with `cartwheel demo`; then `cartwheel run my.toml` on your own events, `cartwheel serve` and `cartwheel recommend`.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(plan.app)
app.add_typer(features.app)
app.add_typer(keys.app)
app.command()(audit.audit)
app.command()(compare.compare)
app.command()(reproduce.reproduce)
app.command()(report.report)
app.command()(experiments.preview)
app.command()(experiments.experiment)
app.command()(live.consume)
app.command()(live.land)
app.command("gateway")(gateway.gateway)
app.command()(status.status)
app.command()(tune.tune)
app.command()(replay.replay)
app.command("compile")(foreign.compile_workflow)
app.command("serve-model")(foreign.serve_model)
app.command("convert-systems")(foreign.convert_systems)
app.command()(versions.versions)
app.command()(versions.deploy)
app.command()(versions.rollback)

Config = Annotated[Path, typer.Argument(help="The configuration file; see the folder configs for examples.")]
Run = Annotated[Optional[Path], typer.Option("--run", help="Run directory, instead of the one in the configuration.")]  # noqa: UP045 - typer on 3.10
Data = Annotated[Optional[Path], typer.Option("--data", help="Events to read, instead of source.path of the configuration.")]  # noqa: UP045

_INTERRUPTED = 130  # what a shell calls a program that was interrupted; typer exits with it by itself
_DEFAULT_CONFIG = Path("cartwheel.toml")


class Target(str, Enum):
    """What a repository is written for, instead of what the configuration says."""

    EMBEDDED = "embedded"
    NATIVE = "native"


class Switch(str, Enum):
    """Whether something is used."""

    ON = "on"
    OFF = "off"


def _settings(config: Path, run: Path | None, data: Path | None) -> RunSettings:
    from cartwheel.config import load_settings

    settings = load_settings(config)
    if run is not None:
        settings = settings.model_copy(update={"run": run.resolve()})
    if data is not None:
        settings = settings.model_copy(update={"source": settings.source.model_copy(update={"path": data.resolve()})})
    return settings


def _run(commands: list[str], config: Path, run: Path | None, data: Path | None, target: Target | None = None) -> None:
    from cartwheel.pipeline.stages import run_stages

    settings = _settings(config, run, data)
    if target is not None:
        settings = settings.model_copy(update={"export": settings.export.model_copy(update={"target": target.value})})
    run_stages(settings, commands, Console(stderr=True))
    if "evaluate" in commands:
        from cartwheel.pipeline.work import show_evaluation

        show_evaluation(settings.run, Console())
    if "export" in commands:
        served = "serve it with" if settings.export.target == "embedded" else "an embedded export can be served with"
        print(f"The run is in {settings.run}; {served} `cartwheel serve {settings.run}`.", file=sys.stderr)


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write events.parquet and truth/ to.")],
    shoppers: Annotated[int, typer.Option(help="Total number of shoppers.", min=1)] = 4000,
    items: Annotated[int, typer.Option(help="Total number of items.", min=1)] = 2000,
    days: Annotated[int, typer.Option(help="Number of days in the log.", min=7)] = 60,
    seed: Annotated[int, typer.Option(help="Random seed; the same seed gives the same bytes.", min=0)] = 1,
) -> None:
    """Simulate a shop: an event log, and the truth behind it."""
    from cartwheel.pipeline.stages import require_training_packages
    from cartwheel.pipeline.work import simulate_shop

    require_training_packages()
    rows = simulate_shop(out, shoppers, items, days, seed)
    Console().print(f"{rows:,} events in {out / 'events.parquet'}, the truth beside them in {out / 'truth'}")


@app.command()
def prepare(config: Config = _DEFAULT_CONFIG, run: Run = None, data: Data = None) -> None:
    """Validate the events, build point-in-time examples and fit the NVTabular features."""
    _run(["prepare"], config, run, data)


@app.command()
def train(config: Config = _DEFAULT_CONFIG, run: Run = None, data: Data = None) -> None:
    """Train the retrieval and the DLRM models."""
    _run(["train"], config, run, data)


@app.command()
def evaluate(config: Config = _DEFAULT_CONFIG, run: Run = None, data: Data = None) -> None:
    """Evaluate every model and its baselines on the test split."""
    _run(["evaluate"], config, run, data)


@app.command()
def export(
    config: Config = _DEFAULT_CONFIG,
    run: Run = None,
    data: Data = None,
    target: Annotated[
        Optional[Target],  # noqa: UP045
        typer.Option(help="embedded: for `cartwheel serve`; native: for any Triton with the onnxruntime backend."),
    ] = None,
) -> None:
    """Write the Triton model repository, after checking that its answers equal the offline ones."""
    _run(["export"], config, run, data, target)


@app.command("run")
def run_all(
    config: Config = _DEFAULT_CONFIG,
    run: Run = None,
    data: Data = None,
    go_on: Annotated[
        bool, typer.Option("--continue", help="Continue training the served version on new events, and deploy the result.")
    ] = False,
    landed: Annotated[
        Path | None,
        typer.Option(
            "--landed", help="With --continue: folder written by `cartwheel land` [default: landed in the run directory]."
        ),
    ] = None,
    deploy: Annotated[
        bool, typer.Option("--deploy/--no-deploy", help="With --continue: whether to deploy a version that is not worse.")
    ] = True,
) -> None:
    """Run all stages: prepare, train, evaluate, export. Finished, unchanged stages are skipped.

    \b
      cartwheel run shop.toml                         # the first time, and whenever the configuration has changed
      cartwheel land runs/shop --out runs/shop/landed # events received by the gateway; not needed if the source has them
      cartwheel run shop.toml --continue              # every night: train on new events, and deploy if not worse

    With --continue, training starts from the served version. New events of the source and the landed files are appended to that version's
    log; known ids keep their numbers and new ones are appended; both models are trained from that version's weights, for a third of the
    epochs and on the latest examples; choices made on validation are kept. Then both versions get the same questions from the newest
    days, which neither has seen. The new one is deployed if the lower end of the 95% interval of the difference in NDCG@10 is no more than
    5% of the served version's NDCG@10 below zero: by shares of the shoppers, as in `cartwheel deploy`, if a server is running, or else at
    the next start. Otherwise it stays in the folder continued of the run, and the command ends with exit code 12.

    After an interruption, the same command resumes.
    """  # noqa: D301 - click's mark of a paragraph that it must not wrap
    from cartwheel.pipeline.stages import COMMANDS

    if go_on:
        from cartwheel.cli.continuing import continue_run

        continue_run(_settings(config, run, data), landed, config, deploy=deploy)
        return
    if landed is not None or not deploy:
        raise UsageError("--landed and --no-deploy need --continue.", "Add --continue, or omit them.")
    _run(list(COMMANDS), config, run, data)


@app.command()
def serve(
    run: Annotated[Path, typer.Argument(help="A run directory, a repository exported from one, or a configuration file.")],
    host: Annotated[Optional[str], typer.Option(help="Address to listen on [default: 127.0.0.1].")] = None,  # noqa: UP045
    grpc_port: Annotated[Optional[int], typer.Option(help="gRPC port; 0 picks a free one [default: 8001].")] = None,  # noqa: UP045
    http_port: Annotated[
        int | None, typer.Option(help="Port for JSON requests, health and metrics [default: a free one].")
    ] = None,
    metrics_port: Annotated[Optional[int], typer.Option(help="Port of Prometheus metrics [default: a free one].")] = None,  # noqa: UP045
    health_port: Annotated[Optional[int], typer.Option(help="Port of /health/ready [default: a free one].")] = None,  # noqa: UP045
    threads: Annotated[Optional[int], typer.Option(help="ONNX Runtime threads within one step [default: 1].")] = None,  # noqa: UP045
    gateway: Annotated[
        Optional[Switch],  # noqa: UP045
        typer.Option(help="off runs Triton alone, for trusted clients [default: on]."),
    ] = None,
) -> None:
    """Serve a repository on the embedded Triton, behind the gateway, until SIGTERM or Ctrl-C. Options override the configuration file."""
    from cartwheel.cli.serve import serve_run

    told = {
        "host": host,
        "grpc_port": grpc_port,
        "http_port": http_port,
        "metrics_port": metrics_port,
        "health_port": health_port,
        "threads": threads,
        "gateway": gateway.value if gateway else None,
    }
    serve_run(run, {name: value for name, value in told.items() if value is not None}, Console(stderr=True))


app.command()(ask.recommend)
app.command()(ask.cart)
app.command()(ask.predict)
app.command()(explain.explain)
app.command()(page.page)
app.command("recommend-all")(recommend_all.recommend_all)


@app.command()
def demo(
    run: Annotated[Path, typer.Option("--run", help="Run directory of the demo.")] = Path("runs/demo"),
) -> None:
    """Run everything once on a simulated shop: train, evaluate, export, serve, and send requests over gRPC."""
    from cartwheel.cli.demo import run_demo

    run_demo(run, Console())


@app.command()
def doctor(
    grpc_port: Annotated[int, typer.Option(help="The gRPC port that a server would use.", min=1, max=65535)] = 8001,
) -> None:
    """Check this machine, its packages and ports, and suggest fixes."""
    from cartwheel.cli.doctor import State, examine, show

    findings = examine(grpc_port)
    show(findings, Console())
    if any(finding.state is State.UNFIT for finding in findings):
        raise typer.Exit(7)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        Console().print(f"cartwheel {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; every error that was foreseen ends in one sentence and its own exit code."""
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    give_back_at_once()
    try:
        app()
    except CartwheelError as error:
        _die(str(error), error.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != _INTERRUPTED:
            raise
        for number in (signal.SIGINT, signal.SIGTERM):  # whoever is impatient is told the same
            signal.signal(number, signal.SIG_IGN)
        print("cartwheel: Stopped. Finished stages are kept: the same command resumes from there.", file=sys.stderr)
        _end_at_once(_INTERRUPTED)
    except BrokenPipeError:
        os._exit(0)
    except ModuleNotFoundError as error:
        if (extra := packages.extra_with(error.name or "")) is None:
            _die_of_a_defect(error)
        _die(f"This command needs {error.name}, which is not installed. {packages.INSTALL.format(extra)}", 1)
    except Exception as error:  # noqa: BLE001 - the last resort that keeps tracebacks from users
        _die_of_a_defect(error)


def _die_of_a_defect(error: Exception) -> None:
    if os.environ.get("CARTWHEEL_DEBUG"):
        traceback.print_exc()
    _die(f"Unexpected {type(error).__name__}: {error}. This is a bug; set CARTWHEEL_DEBUG=1 for the traceback.", 1)


def _end_at_once(code: int) -> NoReturn:
    """End with a code that Python keeps: where a signal met code made of a text, it ends by that signal, whatever was made of it."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _die(message: str, code: int) -> None:
    print(f"cartwheel: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
