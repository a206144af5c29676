"""Each planted difference is found, and its message says where."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_run import AS_OF_US

from cartwheel.core.errors import ParityError
from serving.export.offline_chain import OfflineChain
from serving.export.parity import ParityReport, check_parity
from serving.export.repository import write_repository
from serving.local import LocalRepository
from serving.pieces import live
from serving.settings import ExportSettings
from workflows.features.columns import FORMS, QUERY, SEVERAL_LINES, SIZES


def plant(path: Path, column: str, change: Callable[[Any], Any], row: int = 2) -> None:
    """Change one value of a Parquet file."""
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[row] = change(values[row])
    pq.write_table(table.set_column(table.column_names.index(column), column, pa.array(values, table[column].type)), path)


def nudged(vector: list[float]) -> list[float]:
    return [vector[0] + 0.01, *vector[1:]]


def nudged_ids(ids: list[int]) -> list[int]:
    return [ids[0] + 1, *ids[1:]]


def test_an_equal_run_is_reported_check_by_check(run: Path) -> None:
    report = check_parity(run, run / "repository", ExportSettings())
    names = {check.name for check in report.checks}
    assert {"item vectors", "snapshot query vectors", "models/ranking logits", "models/cart logits"} <= names
    assert "recommend for user 'u0': best scores" in names
    asked = {f"cart of {size} asked by a {form}: " for form in FORMS for size in SIZES}
    assert {name + what for name in asked for what in ("lines", "carts")} <= names
    assert {"form of each request", *(f"features/snapshot/requests {name}" for name in QUERY)} <= names
    assert {f"features/snapshot/requests as events {name}" for name in QUERY} <= names
    rows = {check.name: check.rows for check in report.checks}
    assert all(rows[f"{name}carts"] >= 3 for name in asked)
    assert all(check.difference <= check.tolerance for check in report.checks)


@pytest.mark.parametrize(
    ("file", "column", "change", "message"),
    [
        ("features/test/recommend/part_0.parquet", "item_id", lambda value: value + 1, "features/test/recommend item_id"),
        (
            "features/test/recommend/part_0.parquet",
            "item_price",
            lambda value: value + 1e-4,
            "features/test/recommend item_price",
        ),
        ("features/test/recommend/part_0.parquet", "recent_items", lambda value: [9, 9], "features/test/recommend recent_items"),
        ("features/test/ranking/part_0.parquet", "price_gap", lambda value: value + 1e-4, "features/test/ranking price_gap"),
        ("features/test/cart/part_0.parquet", "cart_value", lambda value: None, "features/test/cart cart_value"),
        ("models/ranking/offline.parquet", "logit", lambda value: value + 1e-3, "models/ranking logits"),
        ("models/cart/offline.parquet", "logit", lambda value: value - 1e-3, "models/cart logits"),
        ("models/two_tower/offline.parquet", "query_vector", nudged, "models/two_tower query vectors"),
        ("models/two_tower/offline_queries.parquet", "query_vector", nudged, "snapshot query vectors"),
        ("features/snapshot/queries/part_0.parquet", "hour", lambda value: value + 1, "features/snapshot/queries hour"),
        ("features/snapshot/queries/part_0.parquet", "session_minutes", lambda value: value + 1, "session_minutes"),
        (
            "features/snapshot/requests/part_0.parquet",
            "user_views",
            lambda value: value + 1,
            "features/snapshot/requests user_views",
        ),
        ("features/snapshot/requests/part_0.parquet", "recent_items", nudged_ids, "features/snapshot/requests recent_items"),
    ],
)
def test_a_planted_difference_is_refused(
    own_run: Path, file: str, column: str, change: Callable[[Any], Any], message: str
) -> None:
    plant(own_run / file, column, change)
    with pytest.raises(ParityError, match=rf"{message}.*row 2"):
        check_parity(own_run, own_run / "repository", ExportSettings())


def test_a_repository_that_miscounts_events_is_refused(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "COUNTED_KINDS", {**live.COUNTED_KINDS, "user_views": "purchase"})
    with pytest.raises(ParityError, match="features/snapshot/requests as events user_views"):
        write_repository(own_run, ExportSettings())


def test_a_run_may_name_what_a_request_tells_of_in_any_order(own_run: Path) -> None:
    path = own_run / "snapshot/state.json"
    state = json.loads(path.read_text())
    for kinds in (sorted(state["request_kinds"].items()), sorted(state["request_kinds"].items(), reverse=True)):
        path.write_text(json.dumps({**state, "request_kinds": dict(kinds)}))
        write_repository(own_run, ExportSettings())


def test_other_item_vectors_are_refused(own_run: Path) -> None:
    path = own_run / "models/two_tower/item_vectors.npy"
    vectors = np.load(path)
    vectors[7] += 0.001
    np.save(path, vectors)
    with pytest.raises(ParityError, match=r"item vectors: .* at row 7"):
        check_parity(own_run, own_run / "repository", ExportSettings())


def test_a_repository_of_another_ranking_is_refused(own_run: Path) -> None:
    (own_run / "models/ranking/fusion.json").write_text('{"retrieval_weight": 0.3}')
    with pytest.raises(ParityError, match="recommend for user 'u0': score of each item"):
        check_parity(own_run, own_run / "repository", ExportSettings())


def test_a_repository_that_forgets_a_single_item_of_a_long_history_is_refused(own_run: Path) -> None:
    """The last user is left so few items that each of them is answered."""
    path = own_run / "snapshot/users.parquet"
    users = pq.read_table(path)
    lists = users["left_out"].to_pylist()
    assert len(lists[-1]) > 40
    recent = {int(item) - 1000 for item in users["recent_items"].to_pylist()[-1]}
    lists[-1].remove(next(row for row in lists[-1] if row not in recent))
    place = users.column_names.index("left_out")
    pq.write_table(users.set_column(place, "left_out", pa.array(lists, pa.list_(pa.int32()))), path)
    with pytest.raises(ParityError, match="recommend for user 'u19'"):
        write_repository(own_run, ExportSettings())


def test_the_users_asked_for_whole_answers_are_those_of_the_longest_histories_and_a_stranger(own_run: Path) -> None:
    chain = OfflineChain(own_run, LocalRepository(own_run / "repository").contract, ExportSettings())
    lengths = [len(row) for row in pq.read_table(own_run / "snapshot/queries.parquet")["left_out"].to_pylist()]
    places = chain.places(6)
    assert len(lengths) - 1 in places
    longest = sorted(range(len(lengths)), key=lambda place: -lengths[place])[:3]
    assert set(longest) <= set(places)
    assert len(places) == len(set(places)) <= 7


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", SIZES)
def test_a_repository_of_another_calibration_of_lines_is_refused(own_run: Path, form: str, size: str) -> None:
    path = own_run / "models/cart/calibration.json"
    content = json.loads(path.read_text())
    content["forms"][form][size]["slope"] += 2.0
    path.write_text(json.dumps(content))
    with pytest.raises(ParityError, match=f"cart of {size} asked by a {form}: lines"):
        check_parity(own_run, own_run / "repository", ExportSettings())


@pytest.mark.parametrize("form", FORMS)
def test_a_repository_of_another_head_is_refused(own_run: Path, form: str) -> None:
    path = own_run / "models/cart/head.json"
    content = json.loads(path.read_text())
    content["forms"][form]["bias"] += 2.0
    path.write_text(json.dumps(content))
    with pytest.raises(ParityError, match=f"cart of {SEVERAL_LINES} asked by a {form}: (carts|lines)"):
        check_parity(own_run, own_run / "repository", ExportSettings())


def test_a_cart_of_one_line_gets_the_chance_of_its_line_whatever_the_calibration(run: Path) -> None:
    served = LocalRepository(run / "repository")
    known, recent = "u3", "1004"
    for place, form in enumerate(FORMS):
        user, told = known if place >= 2 else "", recent if place % 2 else ""
        for item in ("1000", "1005", "1011"):
            asked = {"user_id": [[user]], "recent_items": [[told or ""]], "timestamp": [[AS_OF_US]]}
            for cart in ([item], [item, item]):
                answer = served.ask("cart", cart_items=[cart], **asked)
                assert answer["cart_probability"][0, 0] == answer["line_probability"][0, 0], form


def test_tables_of_different_length_are_refused(own_run: Path) -> None:
    path = own_run / "features/test/ranking/part_0.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(ParityError, match="has 40 rows and features/test/ranking has 39"):
        check_parity(own_run, own_run / "repository", ExportSettings())


def test_missing_against_present_differs_however_small() -> None:
    report = ParityReport()
    with pytest.raises(ParityError, match=r"x: serving gives nan and offline 0.0 at row 1"):
        report.compare("x", np.array([0.0, np.nan]), np.zeros(2), 1.0)
    report.compare("y", np.array([np.nan, -np.inf]), np.array([np.nan, -np.inf]), 0.0)
    with pytest.raises(ParityError, match=r"z: serving gives the shape \[1\] and offline has \[2\]"):
        report.compare("z", np.zeros(1), np.zeros(2), 1.0)
