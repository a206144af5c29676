"""A shop's own column, feature family, task, metric and model, from its events to an answer over gRPC, by configuration alone.

``shop/`` is what the shop writes, from the guides ``docs/tables.md`` and ``docs/own-*.md``; nothing of Cartwheel knows it.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cartwheel.api import open_run
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json
from cartwheel.testing import FeatureFamilyConformance, LearnerConformance, MetricConformance, TaskConformance
from serving.client.client import Client
from serving.server.server import EmbeddedServer
from serving.settings import ServeSettings

ROOT = Path(__file__).resolve().parents[2]
SHOP = Path(__file__).parent / "shop"
PACKAGES = ("cartwheel", "workflows", "models", "evaluation", "serving")
USERS, ITEMS, DAYS = 180, 30, 40
SMALL = """
[two_tower]
epochs = 1
dimension = 8
embedding_dimension = 8
hidden = [8]

[ranking]
epochs = 1

[cart]
epochs = 1

[evaluate]
baselines = []
bootstrap = 100
candidates = 20

[export]
max_k = 10
parity_rows = 20
"""
"""How a small run is kept short; no part of the extension."""


def write_shop(folder: Path) -> None:
    """Write a log in which members of the club buy more, and so do those who put things into the cart."""
    rng = np.random.default_rng(7)
    club, keen, rows = rng.random(USERS) < 0.5, rng.random(USERS) < 0.5, []
    for user, day in itertools.product(range(USERS), range(DAYS)):
        if rng.random() > 0.4:
            continue
        start = datetime(2025, 3, 1) + timedelta(days=day, minutes=int(rng.integers(0, 1200)))
        buys = rng.random() < 0.05 + 0.4 * club[user] + 0.4 * keen[user]
        kinds = ["view", "view", *["cart"] * int(keen[user]), *["purchase"] * int(buys)]
        for minute, kind in enumerate(kinds):
            rows.append(f"u{user},i{rng.integers(ITEMS)},{kind},{start + timedelta(minutes=minute)},c{user % 3},9.5")
    (folder / "events.csv").write_text("\n".join(["user_id,item_id,event_type,timestamp,category,price", *rows]) + "\n")
    members = [f"u{user},{'yes' if club[user] else 'no'}" for user in range(USERS)]
    (folder / "users.csv").write_text("\n".join(["user_id,club", *members]) + "\n")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the shop, whose run is done."""
    folder, before = tmp_path_factory.mktemp("toy") / "shop", digests()
    shutil.copytree(SHOP, folder)
    write_shop(folder)
    (folder / "shop.toml").write_text((SHOP / "shop.toml").read_text() + SMALL)
    done = subprocess.run(
        [sys.executable, "-m", "cartwheel.cli.main", "run", "shop.toml"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert digests() == before, "the run changed a file of Cartwheel"
    assert "Right side" in done.stdout
    return folder


@pytest.fixture(scope="module")
def client(shop: Path) -> Iterator[Client]:
    with (
        EmbeddedServer(RunLayout(shop / "run").repository, ServeSettings(grpc_port=0, queue_seconds=60.0)) as server,
        Client(server.endpoint.grpc) as asking,
    ):
        yield asking


@pytest.fixture(scope="module")
def written() -> Iterator[dict[str, Any]]:
    """The names of the shop's Python file."""
    content: dict[str, Any] = {"__name__": "my_shop"}
    exec(compile((SHOP / "my_shop.py").read_text(), "my_shop.py", "exec"), content)
    return content


def test_it_is_short_and_no_package_knows_it() -> None:
    lines = [line for file in (SHOP / "my_shop.py", SHOP / "shop.toml") for line in file.read_text().splitlines() if line.strip()]
    assert len(lines) < 100
    known = [file for name in PACKAGES for file in (ROOT / name).rglob("*") if file.suffix in (".py", ".toml", ".json")]
    assert len(known) > 300
    own = ("my_shop:", "CartWeek", "cart_week", "week_carts", "BuysTwice", "FisherSettings", '"fisher"', "HALVES")
    mine = {(file.name, name) for file in known for name in own if name in file.read_text(encoding="utf-8")}
    assert mine == set()


def digests() -> dict[str, str]:
    """Return the content of every file of the packages that an extension could have had to change."""
    files = [file for name in PACKAGES for file in (ROOT / name).rglob("*") if file.suffix in (".py", ".toml", ".json", ".proto")]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_each_part_is_in_the_run(shop: Path) -> None:
    layout = RunLayout(shop / "run").task("loyal")
    spec, metrics = read_json(layout.spec), read_json(layout.metrics)
    columns = {column["name"] for column in spec["columns"]}
    assert columns == {"week_carts", "club"}
    assert spec["title"] == "Users who buy twice within a week"
    assert metrics["served"] == "fisher", metrics["reason"]
    (halves,) = [each for each in metrics["records"] if (each["model"], each["metric"]) == ("fisher", "halves")]
    assert halves["low"] < halves["value"] < halves["high"]
    assert open_run(shop / "run").task_metrics("loyal") == metrics
    values = {each["model"]: each["value"] for each in metrics["records"] if each["metric"] == "log_loss"}
    assert values["fisher"] < min(values["one_feature"], values["base_rate"])


def test_it_answers_over_grpc(shop: Path, client: Client) -> None:
    stored = client.predict("loyal", "u1")
    assert stored.known
    assert stored.probability is not None
    assert 0 < stored.probability < 1
    assert stored.decision == (stored.probability >= (stored.threshold or 0))
    asked = client.predict_many("loyal", ["u1", "u1"], club=["true", "false"])
    assert (asked[0].probability or 0) > (asked[1].probability or 0) + 0.1
    assert "club" in [reason.column for reason in asked[0].reasons]
    carts = client.predict_many("loyal", ["u1", "u1"], week_carts=[0.0, 6.0])
    assert carts[0].score != carts[1].score


def test_each_part_keeps_the_laws_of_its_kind(written: dict[str, Any]) -> None:
    class OfFamily(FeatureFamilyConformance):
        def family(self) -> Any:
            return written["CartWeek"]()

    class OfTask(TaskConformance):
        def task(self) -> Any:
            return written["loyal"]()

    class OfLearner(LearnerConformance):
        learner = written["Fisher"]

    class OfMetric(MetricConformance):
        metric = written["HALVES"]

    for suite in (OfFamily, OfTask, OfLearner, OfMetric):
        laws = [name for name in dir(suite) if name.startswith("test_")]
        assert laws
        for law in laws:
            getattr(suite(), law)()
