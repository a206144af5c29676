"""The neighbours of a run: chosen on validation, learnt from the past alone, and added to every retrieval score."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import RunError
from evaluation.evaluate import evaluate_run
from evaluation.settings import EvaluateSettings
from models.families.neighbours.blend import FOLDER, POPULARITY, Blend, read_blend
from models.families.neighbours.settings import ItemToItemSettings
from models.families.neighbours.table import Neighbours
from models.families.registry import ALS, BPR, EASE, ItemKNN, make_baseline
from models.questions.anchors import read_anchors
from models.questions.run_log import read_interactions, read_questions
from models.retrieval.choose_neighbours import fit_item_to_item
from models.retrieval.learnt import Learnt
from models.retrieval.retrieval import Retrieval, read_recent
from models.retrieval.run_scorer import RunScorer
from models.retrieval.towers import Towers
from models.retrieval.two_stage import retrieve_and_rank

SETTINGS = EvaluateSettings(candidates=20, cutoffs=(10,), bootstrap=100, baselines=())


@pytest.fixture
def served(own_run: Path) -> Path:
    """A run whose catalogue is served, as export finds it, and whose validation shoppers went from items to their followers."""
    items = pl.read_parquet(own_run / "examples/test/catalogue.parquet")
    items.write_parquet(own_run / "snapshot/items.parquet")
    names = items["item_id"].to_list()
    path = own_run / "examples/valid/recommend.parquet"
    queries = pl.read_parquet(path)
    # Each item of the history is followed, in the log, by the item seven further on, which is of no category that they share.
    targets = [[names[(names.index(recent[-1]) + 7) % 60]] if recent else [] for recent in queries["recent_items"].to_list()]
    queries.with_columns(target_items=pl.Series(targets, dtype=pl.List(pl.String))).write_parquet(path)
    events = pl.read_parquet(own_run / "events/events.parquet")
    begin = events["timestamp"].min()
    assert isinstance(begin, datetime)
    rows = [
        {
            "user_id": f"walker{walk}",
            "item_id": names[(walk + 7 * step) % 60],
            "session_id": f"walk{walk}",
            "timestamp": begin - timedelta(minutes=10 * walk - step),
            "event_type": "view",
        }
        for walk in range(60)
        for step in range(2)
    ]
    walks = pl.DataFrame(rows, schema={name: events.schema[name] for name in rows[0]})
    pl.concat([events, walks], how="diagonal").write_parquet(own_run / "events/events.parquet")
    return own_run


def fit(run: Path, learner: str = "auto", seed: int = 0) -> Blend:
    settings = ItemToItemSettings.model_validate({"learner": learner, "neighbours": 10})
    return fit_item_to_item(run, settings, SETTINGS, seed).blend


def test_what_validation_likes_is_taken(served: Path) -> None:
    chosen = fit_item_to_item(served, ItemToItemSettings(neighbours=10), SETTINGS, 0)
    assert chosen.blend.tables
    assert chosen.ndcg > chosen.alone + 0.1
    assert read_blend(served) == chosen.blend
    for split in ("valid", "test", "snapshot"):
        for counted in chosen.blend.tables:
            table = Neighbours.read(served / FOLDER / f"{split}_{counted.learner}.npz", 60)
            assert (table.weights > 0).any()


def test_the_figure_of_the_choice_is_that_of_the_retrieval(served: Path) -> None:
    from models.metrics.ranking import ndcg
    from models.questions.anchors import judge

    chosen = fit_item_to_item(served, ItemToItemSettings(neighbours=10), SETTINGS, 0)
    anchors = read_anchors(served, "valid")
    judged = judge(Retrieval(served, "valid"), anchors, 10, "both")
    # The choice is judged with weights of the other half of the shoppers, these with weights of all.
    assert float(ndcg(judged.placement, 10).mean()) == pytest.approx(chosen.ndcg, abs=5e-2)
    alone = judge(Towers(served, "valid"), anchors, 10, "alone")
    assert float(ndcg(alone.placement, 10).mean()) == pytest.approx(chosen.alone, abs=2e-2)


def test_without_a_learner_the_two_tower_is_alone_and_older_tables_go(served: Path) -> None:
    fit(served, "item_knn")
    assert (served / FOLDER / "test_item_knn.npz").exists()
    assert fit(served, "none") == Blend()
    assert not list((served / FOLDER).glob("*.npz"))
    rows = np.arange(5)
    np.testing.assert_array_equal(Retrieval(served, "test")(rows), Towers(served, "test")(rows))


def test_without_validation_anchors_the_two_tower_is_alone(served: Path) -> None:
    path = served / "examples/valid/recommend.parquet"
    pl.read_parquet(path).with_columns(target_items=pl.lit([], pl.List(pl.String))).write_parquet(path)
    assert fit(served) == Blend()


@pytest.mark.parametrize("learner", ["item_knn", "ease", "sequential_rules"])
def test_every_score_has_what_the_neighbours_add(served: Path, learner: str) -> None:
    blend = fit(served, learner)
    assert [table.learner for table in blend.tables] == [learner]
    anchors = read_anchors(served, "test")
    both, tower, recent = Retrieval(served, "test"), Towers(served, "test"), read_recent(served, "test")[anchors.row]
    table = Neighbours.read(served / FOLDER / f"test_{learner}.npz", 60)
    counts = pl.read_parquet(served / "examples/test/catalogue.parquet").select(POPULARITY).to_numpy()
    expected = tower(anchors.row).astype(np.float64)
    for row, history in enumerate(recent):
        base = blend.known if (history >= 0).any() else blend.stranger
        expected[row] = base.retrieval * expected[row] + np.log1p(counts) @ np.array(base.popularity)
        for steps, item in enumerate(reversed(history[history >= 0].tolist())):
            share = sum(weight * decay**steps for decay, weight in blend.tables[0].shares.items())
            held = table.columns[item] >= 0
            expected[row, table.columns[item][held]] += share * table.weights[item][held]
    np.testing.assert_allclose(both(anchors.row), expected, rtol=1e-4, atol=1e-5)
    stages = retrieve_and_rank(served, "test", SETTINGS, anchors)
    found = stages.candidates >= 0
    np.testing.assert_allclose(
        stages.retrieval[found],
        np.take_along_axis(expected, np.maximum(stages.candidates, 0), axis=1)[found],
        rtol=1e-4,
        atol=1e-5,
    )


def test_no_table_knows_what_comes_after_its_split_begins(served: Path) -> None:
    fit(served, "sequential_rules")
    file = served / FOLDER
    before = {split: (file / f"{split}_sequential_rules.npz").read_bytes() for split in ("valid", "test", "snapshot")}
    path = served / "events/events.parquet"
    events = pl.read_parquet(path)
    start = datetime.fromisoformat("2024-03-01T00:00:00+00:00")
    later = events.filter(pl.col("timestamp") >= start)
    changed = later.with_columns(pl.col("item_id").shuffle(seed=1))
    pl.concat([events.filter(pl.col("timestamp") < start), changed]).write_parquet(path)
    fit(served, "sequential_rules")
    after = {split: (file / f"{split}_sequential_rules.npz").read_bytes() for split in before}
    assert after["valid"] == before["valid"]
    assert after["test"] == before["test"]
    assert after["snapshot"] != before["snapshot"]


def test_a_seed_gives_the_same_bytes_twice(served: Path) -> None:
    fit(served, seed=4)
    first = {path.name: path.read_bytes() for path in (served / FOLDER).iterdir()}
    fit(served, seed=4)
    assert {path.name: path.read_bytes() for path in (served / FOLDER).iterdir()} == first


def test_both_ways_of_retrieving_are_judged(served: Path) -> None:
    fit(served, "item_knn")
    evaluation = evaluate_run(served, SETTINGS, 0)
    of = {(record.task, record.model): record for record in evaluation.records if record.metric == "ndcg" and record.k == 10}
    assert of["retrieval", "two_tower"].role == of["retrieval", "two_tower+item_to_item"].role == "model"
    assert of["two_stage", "two_tower"].role == of["two_stage", "two_tower+item_to_item"].role == "baseline"
    assert "item_knn" in of["retrieval", "two_tower+item_to_item"].protocol.remark


def test_a_catalogue_that_the_events_lack_is_refused(served: Path) -> None:
    path = served / "events/events.parquet"
    pl.read_parquet(path).filter(pl.col("item_id") != "item003").write_parquet(path)
    with pytest.raises(RunError, match=r"catalogue\.parquet holds the item 'item003', which is not in the run's events"):
        fit(served, "item_knn")


def test_no_baseline_is_learnt_twice(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = read_interactions(own_run)
    learnt, questions = Learnt(own_run, log, 50, 3), read_questions(own_run, "test", log)
    shared = ("item_knn", "ease", "als", "bpr")
    rows = np.arange(20)
    wanted = {name: RunScorer(make_baseline(name, 3), own_run, "test", log, questions)(rows) for name in shared}
    for name in shared[:2]:
        learnt.table("test", name)
    for name in shared[2:]:
        learnt.factors("test", name)
    for kind in (ItemKNN, EASE, ALS, BPR):
        monkeypatch.setattr(kind, "fit", lambda model, _: pytest.fail(f"{model.name} is learnt a second time"))
    for name in shared:
        found = RunScorer(make_baseline(name, 3), own_run, "test", log, questions)(rows)
        np.testing.assert_array_equal(found, wanted[name])
