"""What of a version's answers is clicked, and when it is worse: held against plain counting and SciPy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running_gateway import infer, texts
from scipy.stats import fisher_exact
from tritonclient.grpc import service_pb2

from serving.gateway.tally import Clicks, Tally
from serving.settings import DeploySettings
from serving.versions.verdict import more_often, worse

SETTINGS = DeploySettings()


def answered(clicks: Clicks, tally: Tally, user: str, *items: str) -> None:
    answer = service_pb2.ModelInferResponse()
    answer.outputs.add(name="items", datatype="BYTES", shape=[1, len(items)])
    answer.raw_output_contents.append(texts(items))
    clicks.answered(infer("recommend", user_id=[user]).SerializeToString(), answer.SerializeToString(), tally)


def view(user: str, item: str) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "event_type": "view"}


def test_a_click_counts_once_for_the_latest_answer_that_held_the_item() -> None:
    clicks, old, new = Clicks(), Tally(), Tally()
    answered(clicks, old, "anna", "lamp", "desk")
    answered(clicks, new, "anna", "lamp", "")
    answered(clicks, new, "", "lamp")
    clicks.clicked([view("anna", "lamp"), view("anna", "lamp"), view("bob", "lamp"), view("anna", ""), view("anna", "chair")])
    assert (old.shown, old.clicked, new.shown, new.clicked) == (1, 0, 1, 1)
    clicks.clicked([view("anna", "desk"), {"session_id": "s", "item_id": "desk"}])
    assert (old.clicked, new.clicked) == (1, 1)


@settings(deadline=None)
@given(old=st.integers(0, 400), new=st.integers(0, 400), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_more_often_is_fishers_exact_test(old: int, new: int, shares: tuple[float, float]) -> None:
    old_hits, new_hits = round(old * shares[0]), round(new * shares[1])
    table = [[new_hits, new - new_hits], [old_hits, old - old_hits]]
    expected = fisher_exact(table, alternative="greater")[1] if old and new and old_hits + new_hits else 1.0
    assert more_often(old_hits, old, new_hits, new) == pytest.approx(expected, abs=1e-9)


def counts(answers: int = 1000, failed: int = 0, shown: int = 1000, clicked: int = 100, p95: float = 10.0) -> dict[str, float]:
    return {"answered": answers, "failed": failed, "shown": shown, "clicked": clicked, "p50": p95 / 2, "p95": p95}


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (counts(), ""),
        (counts(clicked=90), ""),
        (counts(clicked=160), ""),
        (counts(answers=0, shown=0, clicked=0, p95=0.0), ""),
        (counts(answers=10, p95=500.0), ""),
        (counts(failed=1), ""),
        (counts(failed=15), "15 of 1,015 requests failed, of the old version 0 of 1,000"),
        (counts(p95=21.0), "95 % of its answers take up to 21.0 ms, the old version's 10.0 ms"),
        (counts(clicked=50), "of 1,000 lists 50 were clicked, of the old version's 1,000 lists 100"),
    ],
)
def test_a_version_is_worse_where_the_counts_show_it(new: dict[str, float], words: str) -> None:
    assert worse(counts(), new, SETTINGS, looks=3) == words
