"""Both trainings of Cartwheel beside Merlin Models' own ``fit`` and beside a TensorFlow loop written by hand, at equal accuracy.

Each training is a process of its own; the sides take turns. See README.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Final, Optional

ROOT: Final = Path(__file__).resolve().parents[1]
# The folder of a script is searched first; this puts the rooms before it.
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])

import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.judging.child import run_child  # noqa: E402
from benchmarks.machine import load, machine  # noqa: E402
from cartwheel.core.errors import CartwheelError, RunError, UsageError  # noqa: E402
from cartwheel.core.files import write_json, write_text  # noqa: E402

OURS: Final = "Cartwheel"
STOCK: Final = "Merlin's fit"
HAND: Final = "TensorFlow by hand"
SIDES: Final = {OURS: "by_cartwheel", STOCK: "by_merlin", HAND: "by_hand"}
SEED: Final = 1

Choice = Mapping[str, Any]


@dataclass(frozen=True)
class Model:
    """What is trained.

    Attributes:
        function: of each side's module.
        accuracy: how its accuracy is called.
        aim: how many times the rows a second of Merlin's ``fit``.
        within: settings that lose no more accuracy than this to a side's most accurate ones may be chosen for their speed.
        choices: side -> batch size, learning rate and optimiser that ``--search`` chose.
        search: values of each that it tried.
    """

    function: str
    accuracy: str
    aim: float
    within: float
    choices: Mapping[str, Choice]
    search: Mapping[str, Sequence[Any]]


_ADAM: Final = {"optimizer": ("lazy_adam", "adam")}
MODELS: Final = {
    "dlrm": Model(
        "dlrm",
        "ROC AUC",
        3.0,
        0.002,
        {
            OURS: {"batch_size": 2048, "learning_rate": 0.001},
            STOCK: {"batch_size": 2048, "learning_rate": 0.001, "optimizer": "lazy_adam"},
            HAND: {"batch_size": 2048, "learning_rate": 0.001, "optimizer": "lazy_adam"},
        },
        {"batch_size": (2048, 4096, 8192, 16384), "learning_rate": (0.0005, 0.001, 0.002, 0.004)},
    ),
    "two_tower": Model(
        "two_tower",
        "recall at 20",
        2.0,
        0.003,
        {
            OURS: {"batch_size": 512, "learning_rate": 0.003},
            STOCK: {"batch_size": 512, "learning_rate": 0.003, "optimizer": "lazy_adam"},
            HAND: {"batch_size": 512, "learning_rate": 0.003, "optimizer": "lazy_adam"},
        },
        {"batch_size": (256, 512, 1024, 2048), "learning_rate": (0.0003, 0.001, 0.003)},
    ),
}

_SHOP: Final = """# Written by benchmarks/training.py.
run = "run"
seed = {seed}

[source]
kind = "simulated"
items = {items}
shoppers = {shoppers}
days = 60

[prepare]
max_train_examples = {rows}
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Sizes:
    """What is measured; see the options of ``main``."""

    shoppers: int
    items: int
    rows: int
    pairs: int
    epochs: int
    turns: int


QUICK: Final = Sizes(shoppers=400, items=200, rows=6_000, pairs=3_000, epochs=2, turns=1)


@dataclass(frozen=True)
class Training:
    """What one training took.

    Attributes:
        rows: learnt from in an epoch.
        weights: numbers that the model learns.
        build: wall clock and processor seconds until the first epoch.
        epochs: wall clock, processor seconds and accuracy of each epoch.
        peak_mb: most memory that the process held.
    """

    rows: int
    weights: int
    build: tuple[float, float]
    epochs: list[tuple[float, float, float]]
    peak_mb: float

    @property
    def accuracy(self) -> float:
        """The best of any epoch."""
        return max(accuracy for _, _, accuracy in self.epochs)

    def pace(self, clock: int) -> float:
        """Return rows a second (of the wall clock, 0, or of a processor, 1) of the median epoch but for the first, which compiles."""
        return self.rows / median(epoch[clock] for epoch in self.epochs[1:] or self.epochs)

    def epochs_to(self, accuracy: float) -> int:
        """Return how many epochs it takes to be as accurate."""
        return 1 + next(number for number, (_, _, reached) in enumerate(self.epochs) if reached >= accuracy)

    def seconds_to(self, accuracy: float, clock: int) -> float:
        """Return how long that takes, building and compiling included."""
        return self.build[clock] + sum(epoch[clock] for epoch in self.epochs[: self.epochs_to(accuracy)])


@app.command()
def main(
    model: Annotated[str, typer.Option(help=f"Which training: {', '.join(MODELS)}; all without it.")] = "",
    rows: Annotated[int, typer.Option(min=1_000, help="Labelled rows that the DLRM learns from.")] = 600_000,
    pairs: Annotated[int, typer.Option(min=1_000, help="Pairs that the two-tower learns from, at most.")] = 150_000,
    epochs: Annotated[int, typer.Option(min=2, help="Epochs of each training; all are run.")] = 4,
    turns: Annotated[int, typer.Option(min=1, help="How often each side trains, in turn; the median of the turns is shown.")] = 3,
    threads: Annotated[
        int, typer.Option(min=0, help="Threads of TensorFlow for one operation, for all sides; 0: its own choice.")
    ] = 0,
    search: Annotated[
        bool, typer.Option("--search", help="First try batch sizes, step sizes and optimisers of each side; takes long.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="At a small size: to see that all is well, not how fast.")] = False,
    run: Annotated[Optional[Path], typer.Option(help="Read the features of this run rather than making a shop.")] = None,  # noqa: UP045
    work: Annotated[
        Path, typer.Option(help="Folder where the shop is made, once.", show_default="runs/benchmark_training")
    ] = ROOT / "runs" / "benchmark_training",
    json: Annotated[Optional[Path], typer.Option(help="Write the figures to this file too.")] = None,  # noqa: UP045
) -> None:
    """Train on the encoded features of a simulated shop: Cartwheel, Merlin Models' fit, and TensorFlow by hand.

    All are evaluated alike, on validation rows that none learns from. The accuracy at which times are compared is one that all reach: the
    best of the least accurate side. Figures are worth only what the machine's quiet is worth: the load average is printed.
    """
    try:
        if model and model not in MODELS:
            raise UsageError(f"--model {model!r} is none of {', '.join(MODELS)}.", "Give one of these names.")
        sizes = QUICK if quick else Sizes(max(400, rows // 45), max(200, rows // 60), rows, pairs, epochs, turns)
        features = _features(run) if run else _made(work.resolve(), sizes)
        console = Console(width=max(200, Console().width))
        console.print(machine(["tensorflow", "tf-keras", "merlin-models"]), highlight=False)
        variables = {name: str(threads) for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS") if threads}
        content = {
            name: _compare(console, name, features, sizes, variables, search=search) for name in ([model] if model else MODELS)
        }
        console.print(f"load average at the end: {load():.1f}", highlight=False)
        if json:
            write_json(json, {"machine": machine(["tensorflow", "tf-keras", "merlin-models"]), **content})
    except CartwheelError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from None


def choose(tried: Sequence[tuple[Choice, Training]], within: float) -> Choice:
    """Return, of a side's settings that are as accurate as any of them but for ``within``, those that are so in least processor time."""
    best = max(training.accuracy for _, training in tried) - within
    able = [(choice, training) for choice, training in tried if training.accuracy >= best]
    return min(able, key=lambda pair: pair[1].seconds_to(best, 1))[0]


def _features(run: Path) -> Path:
    features = run.resolve() / "features"
    if not (features / "train" / "ranking").is_dir():
        raise UsageError(f"--run {run} holds no features/train/ranking.", "Give the run directory of a log that was prepared.")
    return features


def _made(work: Path, sizes: Sizes) -> Path:
    """Make the shop of the benchmark, or what is missing of it, and return its features."""
    folder = work / f"{sizes.rows}"
    config = folder / "shop.toml"
    most = max(sizes.rows, sizes.pairs)
    write_text(config, _SHOP.format(seed=SEED, items=sizes.items, shoppers=sizes.shoppers, rows=most))
    # A process of its own: what it holds must not stay with this one.
    done = subprocess.run([sys.executable, "-m", "cartwheel.cli.main", "prepare", str(config)], cwd=ROOT, check=False)
    if done.returncode:
        raise RunError(f"Preparing {config} failed.", "What went wrong stands above.")
    return folder / "run" / "features"


def _compare(
    console: Console, name: str, features: Path, sizes: Sizes, variables: Mapping[str, str], *, search: bool
) -> dict[str, Any]:
    """Measure one model, print its table, and return the figures."""
    model = MODELS[name]

    def train(side: str, choice: Choice, epochs: int) -> Training:
        return _train(model, side, choice, features, replace(sizes, epochs=epochs), variables)

    choices = dict(model.choices)
    if search:
        for side in SIDES:
            tried = [(choice, train(side, choice, sizes.epochs)) for choice in _grid(model, side)]
            console.print(_tried(model, side, tried))
            choices[side] = choose(tried, model.within)
    turns: dict[str, list[Training]] = {side: [] for side in SIDES}
    for _ in range(sizes.turns):
        for side in SIDES:
            turns[side].append(train(side, choices[side], sizes.epochs))
    # Turns differ in time alone, or hardly: what has no seed (threads that add up gradients) differs in the last digits.
    accuracy = min(training.accuracy for trainings in turns.values() for training in trainings)
    console.print(_table(model, turns, choices, accuracy), _verdict(model, turns, accuracy), sep="\n", highlight=False)
    return {
        side: {"choice": dict(choices[side]), "turns": [vars(training) for training in trainings]}
        for side, trainings in turns.items()
    }


def _train(model: Model, side: str, choice: Choice, features: Path, sizes: Sizes, variables: Mapping[str, str]) -> Training:
    stages = run_child(
        Path(sys.executable),
        f"benchmarks.trainers.{SIDES[side]}:{model.function}",
        variables,
        features=str(features),
        rows=sizes.rows if model.function == "dlrm" else sizes.pairs,
        epochs=sizes.epochs,
        seed=SEED,
        choice=dict(choice),
    )
    found, peak = stages["train"].result, stages["train"].peak_mb
    epochs = [(each["seconds"], each["cpu_seconds"], each["accuracy"]) for each in found["epochs"]]
    return Training(found["rows"], found["weights"], (found["build"]["seconds"], found["build"]["cpu_seconds"]), epochs, peak)


def _grid(model: Model, side: str) -> list[Choice]:
    values = {**model.search, **({} if side == OURS else _ADAM)}
    return [dict(zip(values, each, strict=True)) for each in product(*values.values())]


def _tried(model: Model, side: str, tried: Sequence[tuple[Choice, Training]]) -> Table:
    table = Table(f"{model.function}, {side}", model.accuracy, "after epochs", "rows/CPU s", "CPU s to it")
    for choice, training in sorted(tried, key=lambda pair: -pair[1].accuracy):
        best = training.accuracy
        figures = (
            f"{best:.4f}",
            f"{training.epochs_to(best)}",
            f"{training.pace(1):,.0f}",
            f"{training.seconds_to(best, 1):.1f}",
        )
        table.add_row(_named(choice), *figures)
    return table


def _named(choice: Choice) -> str:
    return ", ".join(str(value) for value in choice.values())


def _table(model: Model, turns: Mapping[str, Sequence[Training]], choices: Mapping[str, Choice], accuracy: float) -> Table:
    columns = ("batch, step size", "weights", "rows/s", "rows/CPU s", f"best {model.accuracy}", "peak MB")
    to = f"to {accuracy:.4f}:"
    table = Table(model.function, *columns, f"{to} epochs", f"{to} s", f"{to} CPU s", "rows/s of ours", "CPU of ours")
    for column in table.columns[2:]:
        column.justify = "right"
    for side, trainings in turns.items():
        first = trainings[0]
        figures = (
            f"{first.weights:,}",
            f"{_middle(trainings, 'pace', 0):,.0f}",
            f"{_middle(trainings, 'pace', 1):,.0f}",
            f"{first.accuracy:.4f}",
            f"{max(training.peak_mb for training in trainings):,.0f}",
            f"{first.epochs_to(accuracy)}",
            *(f"{_middle(trainings, 'seconds_to', accuracy, clock):.1f}" for clock in (0, 1)),
        )
        ratios = [f"[bold]{_ratio(turns, side, clock):.2f}x" for clock in (0, 1)] if side != OURS else ["", ""]
        table.add_row(side, _named(choices[side]), *figures, *ratios)
    return table


def _middle(trainings: Sequence[Training], method: str, *arguments: Any) -> float:
    return median(getattr(training, method)(*arguments) for training in trainings)


def _ratio(turns: Mapping[str, Sequence[Training]], side: str, clock: int) -> float:
    """Return how many times as many rows a second Cartwheel learns from: the median of the turns, each beside its own neighbour."""
    return median(ours.pace(clock) / theirs.pace(clock) for ours, theirs in zip(turns[OURS], turns[side], strict=True))


def _verdict(model: Model, turns: Mapping[str, Sequence[Training]], accuracy: float) -> str:
    told = []
    for what, clock in (("wall clock", 0), ("processor time", 1)):
        ratio = _ratio(turns, STOCK, clock)
        sooner = median(
            theirs.seconds_to(accuracy, clock) / ours.seconds_to(accuracy, clock)
            for ours, theirs in zip(turns[OURS], turns[STOCK], strict=True)
        )
        met = "met" if ratio >= model.aim else "MISSED"
        told.append(
            f"{model.aim:g} times the rows a second of {STOCK}, by {what}: {met} ({ratio:.2f}x); "
            f"{model.accuracy} {accuracy:.4f} reached {sooner:.2f} times as soon"
        )
    return "\n".join(told)


if __name__ == "__main__":
    app()
