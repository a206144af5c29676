"""The served lists as requests ask for them, each form of request by itself."""

from pathlib import Path

import polars as pl
import pytest

from evaluation.evaluate import evaluate_run
from evaluation.figures import Evaluation
from evaluation.list_requests import list_request_records
from evaluation.lists import left_out, read_facts
from evaluation.report.list_requests import list_requests
from evaluation.settings import EvaluateSettings
from workflows.features.columns import FORMS
from workflows.tasks.task_names import RECOMMEND_OF

SETTINGS = EvaluateSettings(bootstrap=100, cutoffs=(5, 10), baselines=())
STRANGER, WITH_ITEMS, USER, USER_WITH_ITEMS = FORMS


def records(run: Path, settings: EvaluateSettings = SETTINGS) -> Evaluation:
    return Evaluation(tuple(list_request_records(run, settings, 1, read_facts(run, "test"), left_out(run))))


@pytest.fixture(scope="module")
def evaluation(finished_run: Path) -> Evaluation:
    return records(finished_run)


def value(evaluation: Evaluation, form: str, metric: str, model: str = "two_tower+dlrm", k: int | None = 10) -> float:
    found = evaluation.find(RECOMMEND_OF[form], model, metric, k)
    assert found is not None
    assert found.value is not None
    return found.value


def test_each_form_is_a_task_with_baselines_and_intervals(evaluation: Evaluation, finished_run: Path) -> None:
    assert evaluation.tasks == tuple(RECOMMEND_OF.values())
    asked = pl.read_parquet(finished_run / "examples/test/recommend_requests.parquet")
    for form, task in RECOMMEND_OF.items():
        found = evaluation.find(task, "two_tower+dlrm", "ndcg", 10)
        assert found is not None
        assert found.low < found.value < found.high  # type: ignore[operator]
        assert found.n <= asked.filter(pl.col("form") == form).height
        assert f"asked for as a request of the form: {form}" in found.protocol.candidate_set
        roles = {each.model: each.role for each in evaluation.records if each.task == task}
        assert {name for name, role in roles.items() if role == "baseline"} == {"most_popular", "recently_popular"}


def test_a_request_that_knows_all_that_the_log_knows_gets_the_lists_of_the_log(
    evaluation: Evaluation, finished_run: Path
) -> None:
    """In this run the users with recent items are the shoppers of the log, question by question."""
    log = evaluate_run(finished_run, SETTINGS, 1, None)
    for metric in ("ndcg", "recall", "hit_rate", "coverage", "novelty", "ndcg_minus_most_popular"):
        found = log.find("two_stage", "two_tower+dlrm", metric, 10)
        assert found is not None
        assert value(evaluation, USER_WITH_ITEMS, metric) == found.value
    assert {each for each in log.tasks if each.startswith("recommend_of")} == set(RECOMMEND_OF.values())


def test_who_tells_nothing_gets_the_same_list_as_all_others(evaluation: Evaluation, finished_run: Path) -> None:
    items = pl.read_parquet(finished_run / "examples/test/catalogue.parquet").height
    assert value(evaluation, STRANGER, "coverage") == pytest.approx(10 / items)
    assert value(evaluation, WITH_ITEMS, "coverage") > 20 / items


def test_recent_items_tell_a_stranger_from_others(evaluation: Evaluation) -> None:
    assert value(evaluation, WITH_ITEMS, "ndcg") > 1.5 * value(evaluation, STRANGER, "ndcg")


def test_no_more_requests_are_asked_than_is_said(finished_run: Path) -> None:
    few = records(finished_run, SETTINGS.model_copy(update={"max_two_stage_anchors": 40}))
    asked = [few.find(task, "most_popular", "ndcg", 10) for task in few.tasks]
    assert sum(each.n for each in asked if each is not None) == 40


def test_a_run_of_an_earlier_release_has_no_such_tasks(own_run: Path) -> None:
    (own_run / "examples/test/recommend_requests.parquet").unlink()
    assert records(own_run).tasks == ()


def test_the_report_has_a_row_for_each_form(evaluation: Evaluation) -> None:
    told = "".join(map(str, list_requests(evaluation)))
    for form in FORMS:
        assert form in told
        assert f"{value(evaluation, form, 'ndcg', k=5):.4f}" in told
    assert list_requests(Evaluation()) == []
