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
ANSWERS = """
[tasks.spend]
use = "spend"
every_days = 4
predict = { within_days = 6 }
learners = ["poisson_regression", "buy_till_you_die"]
cost_of_false_negative = 4

[tasks.risk]
use = "risk"
table = "orders.csv"
label = "fraud"
learners = ["logistic_regression", "isolation_forest", "autoencoder"]

[tasks.offer]
use = "targeting"
table = "offers.csv"
label = "bought"
treatment = "mail"
control = "none"
treated = "club"
cost_of_treatment = 0.1
learners = ["t_linear", "x_trees"]
"""
"""Questions of docs/answers.md, beside the shop's own."""


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
    _write_tables(folder, rng)
    members = [f"u{user},{'yes' if club[user] else 'no'}" for user in range(USERS)]
    (folder / "users.csv").write_text("\n".join(["user_id,club", *members]) + "\n")


def _write_tables(folder: Path, rng: np.random.Generator) -> None:
    """Write orders, of which large ones at night are often fraud, and offers that move the young alone."""
    size, hour = rng.gamma(2.0, 30.0, 6000), rng.integers(0, 24, 6000)
    fraud = rng.random(6000) < 0.01 + 0.6 * ((size > 90) & (hour < 8))
    orders = [f"{value:.2f},{when},{int(bad)}" for value, when, bad in zip(size, hour, fraud, strict=True)]
    (folder / "orders.csv").write_text("\n".join(["size,hour,fraud", *orders]) + "\n")
    age, mail = rng.integers(18, 80, 12000), rng.choice(["none", "club", "other"], 12000)
    bought = rng.random(12000) < 0.1 + 0.4 * ((mail == "club") & (age < 40))
    offers = [f"{years},{which},{int(yes)}" for years, which, yes in zip(age, mail, bought, strict=True)]
    (folder / "offers.csv").write_text("\n".join(["age,mail,bought", *offers]) + "\n")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the shop, whose run is done."""
    folder, before = tmp_path_factory.mktemp("toy") / "shop", digests()
    shutil.copytree(SHOP, folder)
    write_shop(folder)
    (folder / "shop.toml").write_text((SHOP / "shop.toml").read_text() + SMALL + ANSWERS)
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


def test_money_fraud_and_offers_are_answered_over_grpc(shop: Path, client: Client) -> None:
    spend = client.predict("spend", "u1")
    assert spend.known
    assert spend.quantity is not None
    assert spend.low is not None
    assert spend.high is not None
    assert spend.order is not None
    assert 0 <= spend.low <= spend.quantity <= spend.high
    large, usual = (client.predict("risk", size=size, hour=hour) for size, hour in ((220.0, 2), (40.0, 12)))
    assert (large.probability or 0) > 5 * (usual.probability or 0)
    young, old = client.predict_many("offer", age=[25, 70])
    assert young.effect == pytest.approx(0.4, abs=0.15)
    assert young.decision is True
    assert (old.effect or 0) < 0.15
    assert old.threshold == pytest.approx(0.1)


def test_reports_say_what_intervals_hold_and_what_treating_is_worth(shop: Path) -> None:
    page = RunLayout(shop / "run").task_report.read_text(encoding="utf-8")
    for said in (
        "with a target of 80%",
        "one too few",
        "is better than random",
        "over the better of these",
        "Cost of decisions",
    ):
        assert said in page
    policy = read_json(RunLayout(shop / "run").task("offer").metrics)["policy"]
    assert policy["gain"] > 0
    assert policy["low"] > 0
    assert read_json(RunLayout(shop / "run").task("offer").spec)["dropped"]["all"]["of_no_arm"] > 3600


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
