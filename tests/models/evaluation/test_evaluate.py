"""A whole run is judged with baselines, intervals and protocols; the same seed gives the same bytes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import ComparisonError, RunError
from evaluation.evaluate import evaluate_run
from evaluation.figures import METRICS_FILE, Evaluation, difference
from evaluation.lists import left_out
from evaluation.protocols.protocol import SAMPLED_PROBABILITIES_WARNING
from evaluation.settings import EvaluateSettings
from models.families.registry import BASELINES
from models.families.tabular.logistic_regression import POPULARITY
from models.metrics.classification import pr_auc, roc_auc
from models.questions.anchors import read_anchors
from models.questions.run_log import read_interactions, read_questions
from models.retrieval.retrieval import Retrieval
from models.retrieval.run_scorer import RunScorer
from workflows.tasks.recommend_requests import RECOMMEND_REQUESTS
from workflows.tasks.task_names import OF_FORMS, RECOMMEND_OF

SETTINGS = EvaluateSettings(cutoffs=(5, 10), bootstrap=100, candidates=20, max_two_stage_anchors=50)


class Seer:
    """An oracle that ranks items by number and knows every third line."""

    def scores(
        self, user_ids: Sequence[str], timestamps_us: np.ndarray, session_ids: Sequence[str | None], item_ids: Sequence[str]
    ) -> np.ndarray:
        assert len(user_ids) == len(timestamps_us) == len(session_ids)
        return np.tile(-np.array([float(name[4:]) for name in item_ids], np.float32), (len(user_ids), 1))

    def cart_probability(
        self, user_ids: Sequence[str], item_ids: Sequence[str], timestamps_us: np.ndarray, session_ids: None = None
    ) -> np.ndarray:
        return np.where(np.arange(len(user_ids)) % 3 == 0, 0.4, np.nan)


@pytest.fixture(scope="module")
def evaluation(finished_run: Path) -> Evaluation:
    return evaluate_run(finished_run, SETTINGS, 1, Seer())


def value(evaluation: Evaluation, *key: object) -> float:
    record = evaluation.find(*key)
    assert record is not None, key
    assert record.value is not None, record.reason
    return record.value


def test_every_figure_carries_its_protocol_and_an_interval(evaluation: Evaluation) -> None:
    for record in evaluation.records:
        assert record.n > 0
        assert record.protocol.split == "test"
        assert record.protocol.sample_size["users"] > 1
        assert all((record.protocol.candidate_set, record.protocol.tie_rule, record.protocol.excluded, record.protocol.interval))
        assert record.low is not None, record
        assert record.low <= record.value <= record.high or "calibration" in record.metric, record


def test_what_is_judged_against_sampled_items_carries_a_warning_and_nothing_else_does(
    evaluation: Evaluation, finished_run: Path
) -> None:
    assert {record.task for record in evaluation.records if record.protocol.warning} == {"ranking"}
    assert evaluation.warnings("ranking") == (SAMPLED_PROBABILITIES_WARNING,)
    assert evaluation.warnings("retrieval") == ()
    told = json.loads((finished_run / METRICS_FILE).read_text())
    for row in told:
        assert row["protocol"]["warning"] == (SAMPLED_PROBABILITIES_WARNING if row["task"] == "ranking" else "")


def test_what_is_left_out_says_how_much_so_that_other_lengths_have_other_hashes(evaluation: Evaluation, own_run: Path) -> None:
    record = evaluation.find("retrieval", "two_tower", "recall", 5)
    assert record is not None
    assert record.protocol.excluded == "the shopper's recent items (at most 4), as candidates and as truth"
    state = own_run / "snapshot/state.json"
    told = json.loads(state.read_text())
    hashes = {record.protocol.hash}
    for changes, words in (
        ({"recent_items": 200}, "at most 200"),
        ({"leave_out": "nothing"}, "nothing"),
        ({"leave_out": "purchased"}, "what the shopper had bought and not returned, over the whole history, as candidates"),
        ({"leave_out": "interacted"}, "what the shopper had interacted with (view), over the whole history, as candidates"),
    ):
        state.write_text(json.dumps(told | changes))
        other = replace(record.protocol, excluded=left_out(own_run))
        assert words in other.excluded
        assert other.hash not in hashes
        hashes.add(other.hash)
    state.write_text(json.dumps({name: value for name, value in told.items() if name != "leave_out"}))
    with pytest.raises(RunError, match=r"state\.json lacks leave_out"):
        left_out(own_run)


def test_figures_of_one_task_compare_and_those_of_others_are_refused_with_the_difference_spelled_out(
    evaluation: Evaluation,
) -> None:
    ours, theirs = (evaluation.find("retrieval", model, "recall", 5) for model in ("two_tower", "most_popular"))
    assert ours is not None
    assert theirs is not None
    assert ours.protocol.hash == theirs.protocol.hash
    assert difference(ours, theirs) == pytest.approx(ours.value - theirs.value)
    sampled = evaluation.find("two_stage", "most_popular", "recall", 5)
    assert sampled is not None
    with pytest.raises(ComparisonError, match=r"cannot be compared: .*sample_size\.anchors: 118 against 50"):
        difference(ours, sampled)


def test_leads_are_tested_and_corrected(evaluation: Evaluation) -> None:
    found = [record for record in evaluation.records if "_minus_" in record.metric and record.low is not None]
    assert found
    for record in found:
        assert record.p_value is not None
        assert record.p_holm is not None
        assert 0 < record.p_value <= record.p_holm <= 1


def test_lists_are_also_judged_for_more_than_accuracy(evaluation: Evaluation) -> None:
    for metric in ("precision", "map", "novelty", "average_popularity", "diversity", "serendipity", "gini"):
        for model in ("two_tower", "most_popular"):
            assert value(evaluation, "retrieval", model, metric, 5) is not None
    assert value(evaluation, "retrieval", "most_popular", "serendipity", 5) == 0.0
    assert value(evaluation, "retrieval", "two_tower", "gini", 5) < value(evaluation, "retrieval", "most_popular", "gini", 5)
    assert value(evaluation, "retrieval", "two_tower", "novelty", 5) > value(
        evaluation, "retrieval", "most_popular", "novelty", 5
    )


def test_baselines_stand_beside_every_model(evaluation: Evaluation) -> None:
    baselines = {
        task: {record.model for record in evaluation.records if record.task == task and record.role == "baseline"}
        for task in evaluation.tasks
    }
    learnt = {"popular_in_category", "item_knn", "vsknn", "ease", "als", "bpr", "markov_next_item"}
    popular, chances = {"most_popular", "recently_popular"}, {"logistic_regression", "gradient_boosting", "base_rate"}
    assert baselines == {
        "retrieval": popular | learnt,
        "two_stage": popular | learnt | {"two_tower"},
        "ranking": popular | chances,
        "cart_line": popular | chances,
        "cart": chances,
        "cart_line_just_added": popular | chances,
        **{task: {"base_rate"} for task in OF_FORMS.difference(RECOMMEND_OF.values())},
        **dict.fromkeys(RECOMMEND_OF.values(), popular),
    }


def test_a_model_that_knows_the_taste_beats_popularity(evaluation: Evaluation) -> None:
    difference = evaluation.find("retrieval", "two_tower", "ndcg_minus_most_popular", 10)
    assert difference is not None
    assert difference.low > 0
    assert value(evaluation, "retrieval", "two_tower", "ndcg", 10) - value(
        evaluation, "retrieval", "most_popular", "ndcg", 10
    ) == pytest.approx(difference.value)


def test_retrieval_recall_is_that_of_a_plain_loop(evaluation: Evaluation, finished_run: Path) -> None:
    items = pl.read_parquet(finished_run / "examples/test/catalogue.parquet")
    queries = pl.read_parquet(finished_run / "examples/test/recommend.parquet")
    counts = dict(zip(items["item_id"], items["item_events"], strict=True))
    recalls = []
    for recent, targets in zip(queries["recent_items"].to_list(), queries["target_items"].to_list(), strict=True):
        if not targets:
            continue
        open_items = [name for name in counts if name not in recent]
        parts = []
        for target in targets:
            above = sum(counts[name] > counts.get(target, -1) for name in open_items)
            tied = sum(counts[name] == counts.get(target, -1) for name in open_items)
            parts.append(min(max((5 - above) / tied, 0.0), 1.0) if target in open_items else 0.0)
        recalls.append(np.mean(parts))
    assert value(evaluation, "retrieval", "most_popular", "recall", 5) == pytest.approx(np.mean(recalls))
    missing = [np.mean([target in counts for target in targets]) for targets in queries["target_items"].to_list() if targets]
    assert value(evaluation, "retrieval", "catalogue", "reachable") == pytest.approx(np.mean(missing))


def test_ranking_figures_are_those_of_the_logits(evaluation: Evaluation, finished_run: Path) -> None:
    rows = pl.read_parquet(finished_run / "examples/test/ranking.parquet")
    logit = 3 * rows["category_affinity"] - 0.3 * rows["item_recent_events"] + 0.01 * rows["item_age_days"] - 1.5
    logit = logit.to_numpy()
    label = rows["label"].to_numpy()
    assert value(evaluation, "ranking", "dlrm", "roc_auc") == pytest.approx(roc_auc(label, logit), abs=1e-6)
    assert value(evaluation, "ranking", "dlrm", "pr_auc") == pytest.approx(pr_auc(label, logit), abs=1e-6)
    assert value(evaluation, "ranking", "base_rate", "roc_auc") == 0.5


def test_whole_carts_are_judged_once_each(evaluation: Evaluation) -> None:
    record = evaluation.find("cart", "dlrm", "roc_auc")
    assert record is not None
    assert record.n == record.protocol.sample_size["carts"] == 120
    assert record.value > 0.5


def test_the_oracle_is_judged_on_the_lines_that_it_knows_with_the_models_beside(evaluation: Evaluation) -> None:
    oracle = evaluation.find("cart_line_just_added", "oracle", "log_loss")
    model = evaluation.find("cart_line_just_added", "dlrm", "log_loss")
    assert oracle is not None
    assert model is not None
    assert oracle.n == model.n == 120
    assert evaluation.find("retrieval", "oracle", "ndcg", 5) is not None
    assert evaluation.find("ranking", "oracle", "log_loss") is None


def test_one_seed_gives_equal_bytes(finished_run: Path, evaluation: Evaluation, own_run: Path) -> None:
    evaluate_run(own_run, SETTINGS, 1, Seer())
    assert (own_run / METRICS_FILE).read_bytes() == (finished_run / METRICS_FILE).read_bytes()
    assert Evaluation.read(own_run) == evaluation
    rows = json.loads((own_run / METRICS_FILE).read_text())
    assert {"task", "model", "metric", "k", "value", "low", "high", "n", "protocol"} <= set(rows[0])


def test_no_anchor_is_ranked_twice_by_what_retrieves(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Retrieval, int]] = []
    scored = Retrieval.__call__

    def counted(self: Retrieval, rows: np.ndarray) -> np.ndarray:
        asked.extend((self, int(row)) for row in rows)
        return scored(self, rows)

    monkeypatch.setattr(Retrieval, "__call__", counted)
    evaluate_run(finished_run, SETTINGS.model_copy(update={"baselines": ()}), 1)
    anchors = read_anchors(finished_run, "test")
    whole = [row for retrieval, row in asked if retrieval is asked[0][0]]
    assert sorted(whole) == sorted(anchors.row)
    requests = read_anchors(finished_run, "test", RECOMMEND_REQUESTS)
    assert len(asked) - len(whole) == min(len(requests), SETTINGS.max_two_stage_anchors)


def test_the_settings_know_every_baseline() -> None:
    assert set(EvaluateSettings().baselines) == set(BASELINES) - set(POPULARITY)


def test_baselines_see_nothing_of_the_split_but_the_history_of_the_asker(finished_run: Path, own_run: Path) -> None:
    events = pl.read_parquet(own_run / "events/events.parquet")
    later = events.head(120).with_columns(pl.col("timestamp") + pl.duration(days=3), item_id=pl.lit("item000"))
    pl.concat([events, later]).write_parquet(own_run / "events/events.parquet")
    found = []
    for run in (finished_run, own_run):
        log = read_interactions(run)
        questions = read_questions(run, "test", log)
        scorer = RunScorer(BASELINES["item_knn"](0), run, "test", log, questions)
        found.append(scorer(np.arange(len(questions))))
        assert (questions.times < questions.now[questions.rows]).all()
    np.testing.assert_array_equal(*found)


def test_an_item_that_no_event_names_is_refused(own_run: Path) -> None:
    log = read_interactions(own_run)
    questions = read_questions(own_run, "test", log)
    rewrite(
        own_run,
        "examples/test/catalogue.parquet",
        lambda table: table.with_columns(item_id=pl.col("item_id").replace("item007", "lamp")),
    )
    with pytest.raises(RunError, match=r"catalogue\.parquet holds the item 'lamp', which is not in the run's events"):
        RunScorer(BASELINES["item_knn"](0), own_run, "test", log, questions)


def test_without_carts_there_are_no_cart_records(own_run: Path) -> None:
    for name in ("cart", "cart_requests", "recommend_requests"):
        (own_run / f"examples/test/{name}.parquet").unlink()
    assert evaluate_run(own_run, SETTINGS, 1, None).tasks == ("retrieval", "two_stage", "ranking")


def rewrite(run: Path, path: str, change: object) -> None:
    pl.read_parquet(run / path).pipe(change).write_parquet(run / path)


def test_a_split_in_which_nothing_came_true_gives_reasons(own_run: Path) -> None:
    rewrite(own_run, "examples/test/recommend.parquet", lambda t: t.with_columns(target_items=pl.lit([], pl.List(pl.String))))
    rewrite(own_run, "examples/test/ranking.parquet", lambda t: t.with_columns(label=pl.lit(0, pl.Int8)))
    evaluation = evaluate_run(own_run, SETTINGS, 1, None)
    recall = evaluation.find("retrieval", "two_tower", "recall", 5)
    assert recall is not None
    assert (recall.value, recall.n, recall.reason) == (None, 0, "no anchor of the split has a truth item")
    area = evaluation.find("ranking", "dlrm", "roc_auc")
    assert area is not None
    assert area.value is None
    assert "same label" in area.reason
    assert "NaN" not in (own_run / METRICS_FILE).read_text()


def test_a_training_split_of_one_class_has_nothing_that_learns_classes(own_run: Path) -> None:
    path = "features/train/ranking/part_0.parquet"
    rewrite(own_run, path, lambda table: table.with_columns(label=pl.lit(1, pl.Int8)))
    evaluation = evaluate_run(own_run, SETTINGS, 1, None)
    assert evaluation.find("ranking", "logistic_regression", "roc_auc") is None
    assert evaluation.find("ranking", "gradient_boosting", "roc_auc") is None
    assert value(evaluation, "ranking", "base_rate", "log_loss") > 1


def test_tables_without_rows_give_reasons(own_run: Path) -> None:
    for path in ("examples/test/ranking.parquet", "features/test/ranking/part_0.parquet"):
        rewrite(own_run, path, lambda table: table.clear())
    record = evaluate_run(own_run, SETTINGS, 1, Seer()).find("ranking", "oracle", "roc_auc")
    assert record is not None
    assert record.reason == "the split has no row of this task"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("models/two_tower/item.onnx", r"item\.onnx is missing.*cartwheel train"),
        ("models/ranking/fusion.json", r"fusion\.json cannot be read"),
        ("examples/test/catalogue.parquet", r"catalogue\.parquet is missing"),
        ("models/cart/head.json", r"head\.json is missing"),
    ],
)
def test_what_is_missing_is_named(own_run: Path, path: str, message: str) -> None:
    (own_run / path).unlink()
    with pytest.raises(RunError, match=message):
        evaluate_run(own_run, SETTINGS, 1, None)


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("models/ranking/fusion.json", '{"retrieval_weight": "much"}', r"fusion\.json cannot be read"),
        ("models/cart/head.json", '{"weights": [1.0], "bias": 0.0}', "expected three numbers"),
        ("models/cart/calibration.json", '{"slope": 1.0}', "intercept is None"),
        ("models/cart/calibration.json", "[1]", "expected a JSON object"),
        ("models/cart/calibration.json", '{"slope": 1.0, "intercept": 0.0}', "the calibration of requests cannot be read"),
        ("snapshot/state.json", "{", "is not JSON"),
        ("models/ranking/model.onnx", "no model", "is not a valid ONNX model"),
    ],
)
def test_what_cannot_be_read_is_named(own_run: Path, path: str, content: str, message: str) -> None:
    (own_run / path).write_text(content)
    with pytest.raises(RunError, match=message):
        evaluate_run(own_run, SETTINGS, 1, None)


def test_tables_of_two_runs_do_not_mix(own_run: Path) -> None:
    rewrite(own_run, "features/test/catalogue/part_0.parquet", lambda table: table.head(50))
    with pytest.raises(RunError, match=r"50 rows and .* 60; they must be row-aligned"):
        evaluate_run(own_run, SETTINGS, 1, None)


def test_a_model_of_other_features_is_named(own_run: Path) -> None:
    rewrite(own_run, "features/test/ranking/part_0.parquet", lambda table: table.drop("price_gap"))
    with pytest.raises(RunError, match=r"needs the columns \['price_gap'\]"):
        evaluate_run(own_run, SETTINGS, 1, None)
