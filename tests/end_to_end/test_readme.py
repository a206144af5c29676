"""The README is true: its commands run, its tables and its examples are those of the code."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from shop_runs import QUICK, ROOT, serving

from benchmarks.leaders.data_sets import DATA_SETS
from cartwheel.config import load_settings
from serving.contract.tensors import Sizes
from serving.ensembles.registry import markdown

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines() if line.strip()]
SHOP, OWN_COLUMNS, OWN_QUESTION = (text for language, text in BLOCKS if language == "toml")
TENSORS = (ROOT / "docs" / "tensors.md").read_text(encoding="utf-8")
FIGURES = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
[APP] = [text for language, text in BLOCKS if language == "python"]
ASKING = [command for command in COMMANDS if "--run runs/demo" in command]
LOOKING = [command for command in COMMANDS if command.startswith(("cartwheel plan", "cartwheel report"))]
LIVE = [text.splitlines() for language, text in BLOCKS if language == "sh" and re.search(r"8080|runs/variety\.toml", text)]
FREE = ["cartwheel doctor", "cartwheel --help"]
DEMO = "cartwheel/demo.toml"
SMALLER = {"shoppers = 4000": "shoppers = 1300", "items = 2000": "items = 1100", "days = 60": "days = 35"}
"""A shop of the demo's kind with all shoppers and items that the README names."""
AS_DEMO = (
    "from pathlib import Path; from rich.console import Console; from cartwheel.cli.demo import run_demo; "
    'run_demo(Path("runs/demo"), Console(), Path("smaller.toml"))'
)


def shell(command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )


@pytest.fixture(scope="module", params=["smaller", pytest.param("whole", marks=pytest.mark.thorough)])
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of `make demo`, which does not start it again where it is done; or that of a smaller shop, elsewhere."""
    if not (ROOT / ".venv" / "bin" / "cartwheel").exists():
        pytest.skip("LOUD: there is no .venv here, so `make demo` and the commands of the README were not run")
    if request.param == "whole":
        folder, result = ROOT, shell("make demo")
    else:
        folder = tmp_path_factory.mktemp("demo")
        shop = (ROOT / DEMO).read_text(encoding="utf-8")
        for of_demo, less in SMALLER.items():
            assert of_demo in shop
            shop = shop.replace(of_demo, less)
        (folder / "smaller.toml").write_text(shop)
        result = shell(f"python -c '{AS_DEMO}'", folder)
    assert result.returncode == 0, result.stderr
    for said in (
        "two_tower+item_to_item",
        "a known shopper",
        "a shopper never seen before",
        "an anonymous visitor",
        "a cart",
        "own question lapse",
    ):
        assert said in result.stdout
    return folder / "runs" / "demo"


@pytest.fixture(scope="module")
def address(demo: Path) -> Iterator[str]:
    """Where the demo is served."""
    with serving(demo) as (_, endpoint):
        yield endpoint["grpc"]


def test_every_command_of_the_readme_is_run_by_a_test() -> None:
    known = {
        "make demo",
        "make test",
        "cartwheel serve runs/demo",
        "cartwheel run shop.toml",
        *ASKING,
        *LOOKING,
        *FREE,
        *itertools.chain(*LIVE),
    }
    assert set(COMMANDS) == known
    assert (len(ASKING), len(LOOKING), list(map(len, LIVE[1:]))) == (4, 3, [3, 1, 6])


def test_make_test_is_what_lands_or_rejects() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_demo_keeps_its_promises(demo: Path) -> None:
    records = json.loads((demo / "evaluation" / "metrics.json").read_text())

    def figure(task: str, model: str, metric: str, k: int, part: str = "value") -> float:
        [found] = [r for r in records if (r["task"], r["model"], r["metric"], r["k"]) == (task, model, metric, k)]
        return float(found[part])

    best = figure("retrieval", "most_popular", "recall", 20, "high")
    assert figure("retrieval", "two_tower", "recall", 20, "low") > 2 * best, "by a wide margin"
    [served] = {r["model"] for r in records if r["task"] == "two_stage" and r["role"] == "model"}
    assert figure("two_stage", served, "ndcg_minus_two_tower", 10, "low") > 0, "what is added to the two-tower helps"
    assert figure("two_stage", served, "ndcg", 10) < figure("two_stage", "oracle", "ndcg", 10)


@pytest.mark.parametrize("command", LOOKING)
def test_the_demo_can_be_looked_at(demo: Path, command: str) -> None:
    result = shell(command, demo.parents[1])
    assert result.returncode == 0, result.stderr
    assert any(word in result.stdout for word in ("report.html", "item_price", "i0"))


@pytest.mark.parametrize("command", ASKING)
def test_the_demo_can_be_asked(demo: Path, address: str, command: str) -> None:
    result = shell(command, demo.parents[1])
    assert result.returncode == 0, result.stderr
    assert ("u00042" if "predict" in command else "i0") in result.stdout


@pytest.mark.parametrize("command", FREE)
def test_the_other_commands_run(command: str) -> None:
    result = shell(command)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout


def test_the_python_example_runs(address: str) -> None:
    script = APP.replace("127.0.0.1:8001", address)
    result = subprocess.run([ROOT / ".venv/bin/python", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 6


def test_a_newcomer_asks_clicks_deploys_and_goes_back(demo: Path) -> None:
    """The section "Live, in five minutes", at ports that are free."""
    [serve], asking, [going_on], deploying = LIVE
    assert serve == "cartwheel serve runs/demo --http-port 8080"
    for left in ("active.json", "live"):
        shutil.rmtree(demo / left, ignore_errors=True)
        (demo / left).unlink(missing_ok=True)
    with serving(demo, "--http-port", "0") as (_, endpoint):
        folder = demo.parents[1]

        def run(command: str) -> str:
            shop = str(ROOT / DEMO if folder == ROOT else folder / "smaller.toml")
            result = shell(command.replace("localhost:8080", endpoint["http"]).replace(DEMO, shop), folder)
            assert result.returncode == 0, result.stderr
            return result.stdout

        before, tracked, after = (json.loads(run(command)) for command in asking)
        assert tracked["accepted"] == 1
        assert after["items"] != before["items"]
        assert "i01009" not in [item["item_id"] for item in after["items"]]
        command = going_on.replace("localhost:8080", endpoint["http"])
        with subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.PIPE, start_new_session=True) as load:
            try:
                _, _, deployed, listed, rolled_back, shares = map(run, deploying)
            finally:
                os.killpg(load.pid, signal.SIGTERM)
            assert load.stdout is not None
            statuses = load.stdout.read().split()
        try:
            [new] = re.findall(r"The version (\w+) is served;", deployed)
            assert new != before["version"]
            assert re.search(rf"{new} .*100% of the shoppers", listed)
            assert f"The version {before['version']} is served again, in the place of {new}." in rolled_back
            assert f'cartwheel_version_share{{version="{before["version"]}"}} 1.0' in shares
            assert json.loads(run(asking[0]))["version"] == before["version"]
            assert len(statuses) > 20
            assert set(statuses[:-1]) == {b"200"}
        finally:
            if folder == ROOT:  # the demo is left as it was, so that it is not exported anew
                run("(echo 'run = \"demo\"'; cat cartwheel/demo.toml) > runs/plain.toml; cartwheel export runs/plain.toml")


def test_a_shops_own_export_its_table_and_its_question_need_only_that_configuration(demo: Path, tmp_path: Path) -> None:
    names = {"user_id": "customer", "item_id": "sku", "timestamp": "time", "event_type": "action", "category": "department"}
    actions = {"view": "seen", "cart": "basket", "purchase": "bought"}
    whole = pl.read_parquet(demo / "events" / "events.parquet").filter(pl.col("event_type").is_in(list(actions)))
    users = whole["user_id"].drop_nulls().unique().sort()
    some = users.gather_every(len(users) // 135)
    events = whole.filter(pl.col("user_id").is_in(some.implode()))
    export = (
        events.select(list(names))
        .rename(names)
        .with_columns(pl.col("action").replace(actions), pl.col("time").dt.to_string("iso"))
    )
    (tmp_path / "events").mkdir()
    export.write_csv(tmp_path / "events" / "export.csv")
    items = export.select(item_id="sku").unique().sort("item_id")
    colours = pl.Series(["red", "green", "blue"]).gather(pl.int_range(len(items), eager=True) % 3)
    items = items.with_columns(colour=colours)
    pl.concat([items, pl.DataFrame({"item_id": ["listed today"], "colour": ["red"]})]).write_csv(tmp_path / "items.csv")
    (tmp_path / "shop.toml").write_text(SHOP + OWN_COLUMNS + OWN_QUESTION + QUICK)
    assert load_settings(tmp_path / "shop.toml").source.kind == "table"
    result = shell("cartwheel run shop.toml", tmp_path)
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "runs" / "shop" / "events" / "summary.json").read_text())
    assert summary["rows"] == export.height
    run = tmp_path / "runs" / "shop"
    assert (run / "repository" / "cartwheel.json").is_file()
    assert "listed today" in pl.read_parquet(run / "snapshot" / "items.parquet")["item_id"]
    assert "colour" in pl.read_parquet(run / "features" / "snapshot" / "items" / "*.parquet").columns
    assert json.loads((run / "task_models" / "lapse" / "leaderboard.json").read_text())["served"]
    assert "lapse" in (run / "task_evaluation" / "report.html").read_text()


def test_the_tensor_table_is_that_of_the_code() -> None:
    sizes = Sizes(recents=20, candidates=200, neighbours=100, max_k=100, has_cart=True)
    assert markdown(sizes) in TENSORS


def test_the_figures_of_the_data_sets_are_those_of_the_leaderboard() -> None:
    board = (ROOT / "benchmarks" / "leaderboard.md").read_text(encoding="utf-8")
    judged = [line for line in board.splitlines() if line.startswith("| [")]
    told = [line.strip("| ").split(" | ") for line in FIGURES.splitlines() if re.search(r"\| [+-]0\.\d{4} \[", line)]
    assert 0 < len(told) == len(judged) <= len(DATA_SETS)
    for (_, ours, best, lead, *_), line in zip(told, judged, strict=True):
        assert f" {ours} | {best} | {lead} |" in line


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
