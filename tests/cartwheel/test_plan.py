"""``cartwheel plan`` shows, compares and decodes saved workflows, and says in one sentence what is wrong with a path."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cartwheel.cli.main import main
from workflows.compiler.plan.read import read_plan
from workflows.compiler.plan.show import as_dot, as_json, as_mermaid, as_text
from workflows.compiler.quiet import quiet_nvtabular
from workflows.compiler.saved import load_saved

Command = Callable[..., tuple[int, str, str]]
"""Arguments -> exit code, standard output, standard error."""


def save(folder: Path, colors: list[str]) -> None:
    with quiet_nvtabular():
        from merlin.io import Dataset
        from nvtabular import Workflow, ops

        table = pl.DataFrame({"color": colors, "price": [float(number) for number in range(len(colors))]})
        graph = (["color"] >> ops.Categorify(out_path=str(folder / "scratch"))) + (["price"] >> ops.Normalize())
        Workflow(graph).fit(Dataset(table.to_pandas())).save(str(folder / "saved"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two run directories with the workflow ``recommend``, fitted on other rows."""
    made = []
    for colors in (["red", "red", "red", "blue", "blue", "gr\nen"], ["red", "red", "red", "blue", "blue"]):
        run = tmp_path_factory.mktemp("run")
        save(run, colors)
        shutil.move(run / "saved", run / "workflow/recommend")
        made.append(run)
    return made[0], made[1]


def cartwheel(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["cartwheel", *map(str, arguments)])
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    with pytest.raises(SystemExit) as stop:
        main()
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return lambda *arguments: cartwheel(monkeypatch, capsys, *arguments)


def test_every_format_is_printed_of_a_run_and_of_a_saved_workflow(runs: tuple[Path, Path], run_command: Command) -> None:
    folder = runs[0] / "workflow/recommend"
    plan = read_plan(load_saved(folder))
    for name, form in (("text", as_text), ("json", as_json), ("mermaid", as_mermaid), ("dot", as_dot)):
        assert run_command("plan", "show", runs[0], "--format", name) == (0, form(plan) + "\n", "")
        assert run_command("plan", "show", folder, "--format", name, "--column", "price") == (0, form(plan, ["price"]) + "\n", "")
    code, drawn, _ = run_command("plan", "show", runs[0], "--workflow", "recommend", "--column", "color")
    assert code == 0
    assert "═▶ color: int64" in drawn
    assert "price" not in drawn


def test_differences_are_printed(runs: tuple[Path, Path], run_command: Command) -> None:
    code, told, _ = run_command("plan", "diff", *runs)
    assert code == 0
    lines = told.splitlines()
    assert lines[0] == "~ vocabulary color: +0 keys, -1 keys; 2 ids kept, 0 moved"
    assert lines[1].startswith("~ price: Standardize mean 2.5 -> 2.0, std ")
    assert run_command("plan", "diff", runs[0], runs[0] / "workflow/recommend") == (
        0,
        "Nothing changed: the encodings are equal.\n",
        "",
    )


def test_ids_and_keys_are_printed(runs: tuple[Path, Path], run_command: Command) -> None:
    assert run_command("plan", "vocabulary", runs[0], "color") == (0, '3\tred\n4\tblue\n5\t"gr\\nen"\n', "")
    assert run_command("plan", "vocabulary", runs[0], "color", "--head", 1) == (0, "3\tred\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "{run}/nowhere"], 6, "is neither a prepared run directory nor a saved workflow. Give a run directory after"),
        (["show", "{run}", "--workflow", "cart"], 2, "has no workflow 'cart'; it has recommend. Give --workflow recommend."),
        (["show", "{run}/workflow/recommend", "--workflow", "cart"], 2, "is a workflow itself"),
        (["show", "{run}", "--column", "prize"], 8, "makes no column 'prize'; it makes ['color', 'price']"),
        (["diff", "{run}", "{run}/events"], 6, "is neither"),
        (["vocabulary", "{run}", "price"], 2, "'price' has no vocabulary; Categorify does not make it. Ask for one of color."),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_sentence(
    runs: tuple[Path, Path],
    run_command: Command,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    found, out, err = run_command("plan", *[argument.format(run=runs[0]) for argument in arguments])
    assert (found, out) == (code, "")
    assert words in err
    assert err.count("\n") == 1


def test_a_workflow_that_cannot_be_trusted_is_refused(runs: tuple[Path, Path], tmp_path: Path, run_command: Command) -> None:
    folder = Path(shutil.copytree(runs[0] / "workflow/recommend", tmp_path / "copied"))
    metadata = json.loads((folder / "metadata.json").read_text())
    metadata["versions"]["nvtabular"] = "1.8.1"
    (folder / "metadata.json").write_text(json.dumps(metadata))
    code, _, err = run_command("plan", "show", folder)
    assert code == 6
    assert "was saved by NVTabular 1.8.1" in err


@pytest.mark.parametrize("command", ["show", "diff", "vocabulary"])
def test_help_teaches_by_an_example(command: str, run_command: Command) -> None:
    code, told, _ = run_command("plan", command, "--help")
    assert code == 0
    assert f"\n    cartwheel plan {command} runs/" in told
