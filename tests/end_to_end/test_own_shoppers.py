"""A planted attribute of users decides what they turn to: the recommender learns it, and the exported repository answers by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

import cartwheel
from cartwheel.core.errors import ParityError
from models.families.dlrm.model import DLRMLearner, load_dlrm
from models.families.two_tower.model import TwoTowerLearner, load_two_tower
from models.training.tables import NULL_ID, OOV_ID, Table, read_table
from serving.export.repository import write_repository
from serving.local import LocalRepository
from workflows.features.columns import FORMS

TEAMS = ("red", "blue", "green")
ITEMS = 15
"""Of each team; item n is of team n modulo 3."""
NEW = [f"new{team}" for team in range(3)]
"""Listed users without an event, one of each team."""

FAMILIES = '''
"""Families of the shop's own, one of a shopper and one of an item."""

import polars as pl
from cartwheel import Column, FeatureFamily, Kind, Owner
from workflows.features.timeline import Timeline

DAY = 24 * 3600 * 1_000_000


class Mood(FeatureFamily):
    name, owner = "mood", Owner.SHOPPER
    columns = (Column("week_carts", Owner.SHOPPER, Kind.COUNT, "carts of the last 7 days"),
               Column("week_shopper", Owner.SHOPPER, Kind.CATEGORY, "whether there were events"))

    def compute(self, log, at):
        carts = Timeline(log, log.key, (log.kind == "cart").to_numpy()).count(at, days=7)
        any_event = Timeline(log, log.key).count(at, days=7) > 0
        return pl.DataFrame({"week_carts": pl.Series(carts, dtype=pl.Float32),
                             "week_shopper": pl.Series(["yes" if each else "no" for each in any_event], dtype=pl.String)})

    def recompute(self, past):
        week = [event for event in past.events if event.time >= past.anchor - 7 * DAY]
        return {"week_carts": float(sum(event.kind == "cart" for event in week)), "week_shopper": "yes" if week else "no"}


class Heat(FeatureFamily):
    name, owner = "heat", Owner.ITEM
    columns = (Column("day_events", Owner.ITEM, Kind.COUNT, "events of the last day"),)

    def compute(self, log, at):
        return pl.DataFrame({"day_events": pl.Series(Timeline(log, log.item).count(at, days=1), dtype=pl.Float32)})

    def recompute(self, past):
        return {"day_events": float(sum(event.time >= past.anchor - DAY for event in past.events))}
'''

SHOP: dict[str, Any] = {
    "seed": 3,
    "source": {"kind": "table", "path": "events.csv"},
    "two_tower": {
        "epochs": 10, "batch_size": 128, "dimension": 16, "embedding_dimension": 16, "hidden": [32], "learning_rate": 0.005, "refit": False,
    },
    "item_to_item": {"learner": "item_knn"},
    "ranking": {"epochs": 1, "bottom": [8], "top": [8], "embedding_dimension": 8},
    "cart": {"epochs": 1, "bottom": [8], "top": [8], "embedding_dimension": 8},
    "evaluate": {"candidates": 20, "max_two_stage_anchors": 100},
    "export": {"max_k": 10, "parity_rows": 100},
}  # fmt: skip
OWN: dict[str, Any] = {
    "tables": {
        "users": {"path": "users.csv", "valid_from": "joined"},
        "calendar": {"path": "calendar.csv", "valid_from": "announced"},
    },
    "features": {
        "families": ["planted_families:Mood", "planted_families:Heat"],
        "own": {
            "team": {"kind": "category", "from": "users.team"},
            "points": {"kind": "number", "from": "users.points"},
            "sale": {"kind": "boolean", "from": "calendar.sale"},
            "staff": {"kind": "number", "from": "calendar.staff"},
            "hobbies": {"kind": "tags", "from": "users.hobbies", "width": 2},
        },
    },
}


def write_log(folder: Path) -> None:
    """Write users who turn to items of their team, most of them once or twice, each listed an hour before."""
    rng, start = np.random.default_rng(7), datetime(2025, 1, 1)
    events, users = ["user_id,item_id,event_type,timestamp,price"], ["user_id,team,joined,points,hobbies"]
    for n in range(600):
        at = start + timedelta(minutes=int(rng.integers(0, 30 * 24 * 60)))
        joined, hobbies = at - timedelta(hours=1), rng.choice(["a", "b", "a|b", ""])
        users.append(f"u{n:03d},{TEAMS[n % 3]},{joined.isoformat()}Z,{rng.integers(0, 50)},{hobbies}")
        for item in rng.choice(ITEMS, size=int(rng.integers(1, 4)), replace=False):
            for kind in ("view", "cart", "purchase")[: int(rng.integers(1, 4))]:
                at += timedelta(minutes=1)
                events.append(f"u{n:03d},i{item * 3 + n % 3:02d},{kind},{at.isoformat()}Z,{10 + item}")
    users += [f"{user},{team},2025-01-20T00:00:00Z,7,a" for user, team in zip(NEW, TEAMS, strict=True)]
    days = [f"2025-{1 + n // 31:02d}-{1 + n % 31:02d}" for n in range(40)]
    calendar = [f"{day},2024-12-01T00:00:00Z,{'yes' if n % 3 == 0 else 'no'},{n % 5}" for n, day in enumerate(days)]
    calendar += [f"{day},2025-01-20T00:00:00Z,yes,9" for day in days[31:33]]  # changed before the snapshot
    calendar += [f"{day},2025-02-01T12:00:00Z,no,0" for day in days[31:]]  # changed after it
    (folder / "calendar.csv").write_text("\n".join(["date,announced,sale,staff", *calendar]))
    (folder / "events.csv").write_text("\n".join(events))
    (folder / "users.csv").write_text("\n".join(users))
    (folder / "planted_families.py").write_text(FAMILIES)


def recall(run: cartwheel.Run) -> float:
    """Return Recall@10 of the two-tower over the test split, with nothing left out."""
    tower, layout = load_two_tower(run.layout.model("two_tower").path), run.layout
    queries = tower.encode_queries(read_table(layout.features("test", "recommend"), tower.features.query))
    items = tower.encode_items(read_table(layout.features("test", "catalogue"), tower.features.item))
    ids = pl.read_parquet(layout.examples("test", "catalogue"))["item_id"].to_numpy()
    true = pl.read_parquet(layout.examples("test", "recommend"))["target_items"].to_list()
    shown = ids[np.argsort(-(queries @ items.T), axis=1)[:, :10]]
    return float(np.mean([len(set(row) & set(wanted)) / len(wanted) for row, wanted in zip(shown, true, strict=True)]))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, dict[str, Any]], cartwheel.Run]]:
    folder = tmp_path_factory.mktemp("planted")
    write_log(folder)

    def prepare(name: str, more: dict[str, Any]) -> cartwheel.Run:
        return cartwheel.open_run({"run": str(folder / name), **SHOP, **more}).prepare()

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # where relative paths start and the shop's module lies
        yield prepare


@pytest.fixture(scope="module")
def run(prepared: Callable[[str, dict[str, Any]], cartwheel.Run]) -> cartwheel.Run:
    return prepared("with", OWN).train().export()


@pytest.fixture(scope="module")
def local(run: cartwheel.Run) -> LocalRepository:
    return LocalRepository(run.layout.repository)


def test_the_recommender_finds_more_with_the_attribute(
    run: cartwheel.Run, prepared: Callable[[str, dict[str, Any]], cartwheel.Run]
) -> None:
    from cartwheel.pipeline.work import retrieval

    without = prepared("without", {})
    retrieval(without.path, without.settings)
    found, before = recall(run), recall(without)
    assert found > before + 0.1, (found, before)


def test_new_users_are_answered_by_their_attribute(local: LocalRepository) -> None:
    for team, user in enumerate(NEW):
        answer = local.ask("recommend", user_id=[[user]], k=[10])
        teams = [int(item[1:]) % 3 for item in answer["items"][0]]
        assert teams.count(team) >= 6, (user, teams)
    stranger = [int(item[1:]) % 3 for item in local.ask("recommend", user_id=[["nobody"]], k=[10])["items"][0]]
    answers = {tuple(local.ask("recommend", user_id=[[user]], k=[10])["items"][0]) for user in [*NEW, ""]}
    assert len(answers) == 4
    assert len(stranger) == 10


def test_a_listed_user_is_known_and_anybody_else_a_stranger(local: LocalRepository, run: cartwheel.Run) -> None:
    users = np.array([["new1"], ["u000"], ["nobody"], [""]], dtype=object)
    encoded = local.run("recommend_encode", {"user_id": users, "recent_items": np.array([["i00"]] * 4, dtype=object)})
    assert encoded["known_user"][:, 0].tolist() == [1, 1, 0, 0]
    assert [FORMS[form] for form in encoded["form"][:, 0]] == [FORMS[3], FORMS[3], FORMS[1], FORMS[1]]
    assert (encoded["query_categorical"][2] == encoded["query_categorical"][3]).all()
    tower = load_two_tower(run.layout.model("two_tower").path)
    place = tower.features.query_categorical.index("team")
    teams = encoded["query_categorical"][:, place]
    assert teams[0] != teams[2] != teams[1]
    assert encoded["query_continuous"].shape[1] == len(tower.features.query_continuous)


def test_the_day_of_a_request_is_looked_up_in_the_calendar_as_stored(local: LocalRepository, run: cartwheel.Run) -> None:
    features = load_two_tower(run.layout.model("two_tower").path).features
    place, day = features.query_continuous.index("staff"), 86_400_000_000
    first = 20_089 * day  # 2025-01-01
    asked = np.array([[first + n * day + day // 2] for n in (31, 32, 33, 38, 400)], np.int64)
    answer = local.run("recommend_encode", {"user_id": np.full(asked.shape, "new0", dtype=object), "timestamp": asked})
    staff = answer["query_continuous"][:, place]
    assert staff[0] == staff[1] > staff[2] == staff[3]  # 9, as announced before the snapshot; 3, whatever was announced after it
    assert np.isfinite(staff[4])


def test_every_model_reads_own_columns_and_families(run: cartwheel.Run) -> None:
    shopper, item = {"sale", "staff", "team", "points", "hobbies_0", "week_carts", "week_shopper"}, {"day_events"}
    tower = load_two_tower(run.layout.model("two_tower").path)
    assert shopper <= set(tower.features.query)
    assert item <= set(tower.features.item)
    for name in ("ranking", "cart"):
        assert shopper | item <= set(load_dlrm(run.layout.model(name).path).columns)


def test_towers_are_shown_strangers_without_own_columns(run: cartwheel.Run) -> None:
    tower = load_two_tower(run.layout.model("two_tower").path)
    train = read_table(run.layout.features("train", "recommend"), tower.features.recommend)
    ids = TwoTowerLearner(tower, train, None, None)._inputs(np.arange(len(train))[None], np.random.default_rng(1))[0][0]
    check_strangers(tower.features.query_categorical, ids, train, tower.settings.id_dropout)
    assert OOV_ID not in train["team"]  # what a missing team is encoded as, which no row has


def test_rankers_are_shown_strangers_without_own_columns(run: cartwheel.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    dlrm, seen = load_dlrm(run.layout.model("ranking").path), []
    train = read_table(run.layout.features("train", "ranking"), (*dlrm.columns, "label"))
    learner = DLRMLearner(dlrm, train, None)

    def steps(ids: Any, *_: Any) -> Any:
        seen.append(ids[0])
        return SimpleNamespace(numpy=lambda: np.zeros(1))

    monkeypatch.setattr(learner, "_steps", steps)
    learner.steps(np.arange(len(train))[None], np.random.default_rng(1))
    check_strangers(dlrm.parts.columns, seen[0], train, dlrm.settings.id_dropout)


def check_strangers(columns: Sequence[str], ids: Any, train: Table, rate: float) -> None:
    """Check that half of the dropped users are nobody, and that only nobody lacks own columns."""
    user, team = ids[:, columns.index("user_id")], ids[:, columns.index("team")]
    dropped = (user == NULL_ID) & (train["user_id"] != NULL_ID)
    assert abs(dropped.mean() - rate / 2) < 0.03
    assert (team[dropped] == OOV_ID).all()
    assert (team[~dropped] == train["team"][~dropped]).all()


def test_a_repository_that_stores_another_attribute_is_refused(run: cartwheel.Run) -> None:
    users = run.layout.snapshot("users")
    table = pl.read_parquet(users)
    try:
        table.with_columns(
            pl.when(pl.col("user_id") == "new0").then(pl.lit("green")).otherwise("team").alias("team")
        ).write_parquet(users)
        with pytest.raises(ParityError, match=r"features/snapshot/queries team: serving gives \d+ and offline \d+"):
            write_repository(run.path, run.settings.export, run.settings.evaluate.candidates)
    finally:
        table.write_parquet(users)
