"""Lists for every user: what the served steps answer to each by itself, whatever the rules, and the same after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import RunError, UsageError
from serving.batch import recommend_all as batch
from serving.batch.recommend_all import Wanted, recommend_all
from serving.export.repository import write_repository
from serving.local import LocalRepository
from serving.rules.packed import packed
from serving.rules.rules import Rules, ShopRules
from serving.settings import ExportSettings

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = _synthetic().write_synthetic_run(tmp_path_factory.mktemp("all") / "run")
    write_repository(path, ExportSettings(parity_rows=20))
    return path


def _synthetic() -> ModuleType:
    import importlib.util

    spec = importlib.util.spec_from_file_location("synthetic_run_of_batch", Path(__file__).parents[1] / "synthetic_run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def users(run: Path) -> list[str]:
    return pl.read_parquet(run / "snapshot" / "users.parquet")["user_id"].to_list()


@pytest.fixture(scope="module")
def items(run: Path) -> pl.DataFrame:
    return pl.read_parquet(run / "snapshot" / "items.parquet")


def lists(file: Path) -> dict[str, list[tuple[int, float]]]:
    found = defaultdict(list)
    for row in pl.read_parquet(file).iter_rows(named=True):
        found[row["user_id"]].append((row["item_id"], row["score"]))
        assert row["rank"] == len(found[row["user_id"]])
    return found


def held(found: dict[str, list[tuple[int, float]]], user: str, answer: dict[str, Any]) -> None:
    shown = answer["items"][0] != ""
    assert [item for item, _ in found[user]] == [int(item) for item in answer["items"][0][shown]], user
    np.testing.assert_allclose([score for _, score in found[user]], answer["scores"][0][shown], rtol=1e-4, atol=1e-5)


def test_each_list_is_what_the_served_steps_answer(run: Path, users: list[str], tmp_path: Path) -> None:
    done = recommend_all(run, tmp_path / "all.parquet", Wanted(k=12, reasons=True))
    table, found = pl.read_parquet(tmp_path / "all.parquet"), lists(tmp_path / "all.parquet")
    assert table.schema == {
        "user_id": pl.String, "rank": pl.Int32, "item_id": pl.Int64, "score": pl.Float32, "reason": pl.String, "because_of": pl.Int64
    }  # fmt: skip
    served = LocalRepository(run / "repository")
    for user in users:
        answer = served.ask("recommend", user_id=[[user]], k=[12])
        held(found, user, answer)
        rows = table.filter(pl.col("user_id") == user)
        because = [str(item) if item is not None else "" for item in rows["because_of"]]
        assert because == [text for text, item in zip(answer["reason_item"][0], answer["items"][0], strict=True) if item]
    assert (done.users, done.rows, done.resumed) == (len(users), len(table), 0)
    assert done.short == sum(len(found[user]) < 12 for user in users) > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.parquet"]


@pytest.mark.parametrize("small", [False, True])
def test_rules_hold_for_each_list(
    run: Path, users: list[str], items: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bool
) -> None:
    if small:  # blocks of two users, parts of three blocks
        monkeypatch.setattr(batch, "_MOST_USERS", 2)
        monkeypatch.setattr(batch, "_BLOCKS_OF_A_PART", 3)
    recommend_all(
        run, tmp_path / "a.parquet", Wanted(k=7, rules=Rules(where="price < 40"), shop=ShopRules(categories=("books", "music")))
    )
    passing = ((items["item_price"] < 40) & items["item_category"].is_in(["books", "music"])).fill_null(value=False).to_numpy()
    barred, served, found = packed(~passing), LocalRepository(run / "repository"), lists(tmp_path / "a.parquet")
    for user in users:
        held(found, user, served.ask("recommend", user_id=[[user]], k=[7], barred=barred[None]))


def test_arranged_lists_keep_caps_and_pins_and_are_otherwise_by_score(
    run: Path, users: list[str], items: pl.DataFrame, tmp_path: Path
) -> None:
    rules = Rules.model_validate({"max_per_category": 2, "pinned": [{"item_id": "1007", "position": 3}]})
    recommend_all(run, tmp_path / "a.parquet", Wanted(k=6, rules=rules, reasons=True))
    category = dict(zip(map(int, items["item_id"]), items["item_category"], strict=True))
    served, found = LocalRepository(run / "repository"), lists(tmp_path / "a.parquet")
    for user in users:
        ranked = [int(item) for item in served.ask("recommend", user_id=[[user]], k=[50])["items"][0] if item and item != "1007"]
        counts, expected = defaultdict(int, {category[1007]: 1}), []
        for item in ranked:
            if not category[item] or counts[category[item]] < 2:
                expected.append(item)
                counts[category[item]] += 1
        expected.insert(min(2, len(expected)), 1007)
        assert [item for item, _ in found[user]] == expected[:6], user
    table = pl.read_parquet(tmp_path / "a.parquet")
    assert set(table.filter(pl.col("item_id") == 1007)["reason"]) == {"pinned"}


def test_killed_it_goes_on_where_it_was(run: Path, users: list[str], tmp_path: Path) -> None:
    out = tmp_path / "all.parquet"
    script = (
        "import sys, time, os; from pathlib import Path; from serving.batch import recommend_all as b;"
        "b._MOST_USERS, b._BLOCKS_OF_A_PART = 1, 2; write = b._Parts.write;\n"
        "def slow(self, number, table):\n    write(self, number, table); print(number, flush=True); time.sleep(0.2)\n"
        "b._Parts.write = slow; b.recommend_all(Path(sys.argv[1]), Path(sys.argv[2]), b.Wanted(k=5))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(run), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    assert process.stdout is not None
    for _ in range(2):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not out.exists()
    parts = sorted((tmp_path / "all.parquet.parts").glob("part-*.parquet"))
    before = {path: path.stat().st_mtime_ns for path in parts}
    assert len(before) >= 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "_MOST_USERS", 1)
        patch.setattr(batch, "_BLOCKS_OF_A_PART", 2)
        done = recommend_all(run, out, Wanted(k=5))
    assert done.resumed == 2 * len(before)
    recommend_all(run, tmp_path / "whole.parquet", Wanted(k=5))
    assert pl.read_parquet(out).equals(pl.read_parquet(tmp_path / "whole.parquet"))
    assert not parts[0].parent.exists()


def test_parts_of_other_wishes_are_not_taken(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.parquet"
    begun = batch._Parts(out, "of something else")
    begun.write(0, batch._Answering(LocalRepository(run / "repository"), Wanted(), 100).empty())
    assert recommend_all(run, out, Wanted(k=2)).resumed == 0


def test_what_cannot_be_is_refused_in_a_sentence(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.parquet"
    with pytest.raises(UsageError, match=r"-k is 101; this repository answers 1 to 100 items"):
        recommend_all(run, out, Wanted(k=101))
    with pytest.raises(UsageError, match=r"names the column 'pric', which items do not have\. Did you mean 'price'"):
        recommend_all(run, out, Wanted(rules=Rules(where="pric < 2")))
    with pytest.raises(UsageError, match="is a folder"):
        recommend_all(run, tmp_path, Wanted())
    with pytest.raises(RunError, match="is not a Cartwheel repository"):
        recommend_all(tmp_path, out, Wanted())
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_writes_the_file(run: Path, users: list[str], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from cartwheel.cli.main import app

    config = tmp_path / "shop.toml"
    config.write_text(f'run = "{run}"\n[serve.rules]\ncategories = ["books"]\n')
    asked = ["recommend-all", str(config), "--out", str(tmp_path / "all.parquet"), "-k", "3", "--where", "price > 5"]
    told = CliRunner().invoke(app, asked, catch_exceptions=False).output
    assert f"{len(users)} users" in told
    assert len(lists(tmp_path / "all.parquet")) <= len(users)
    assert time.time() - (tmp_path / "all.parquet").stat().st_mtime < 60
