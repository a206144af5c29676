"""Whole answers of the ensembles, computed in this process: what they promise and the rules that they follow."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pytest
from synthetic_run import SyntheticRun

from cartwheel.core.errors import UsageError
from cartwheel.core.frames import read_frame
from models.families.neighbours.blend import Base, Blend
from models.retrieval.fusion import Fusion, write_fusion
from serving.contract.tensors import Sizes
from serving.ensembles.registry import markdown
from serving.export.repository import write_repository
from serving.export.run_models import read_models, unknown_item
from serving.export.snapshot import read_snapshot
from serving.local import LocalRepository
from serving.pieces.similar import neighbours_graph
from serving.settings import ExportSettings
from workflows.features.feature_set import BUILT_IN

SHOP = SyntheticRun(Path("unused"), items=50, users=20, seed=7, cart=True, dimension=8, recents=5)
CATEGORY = dict(zip(SHOP.item_ids, SHOP.items["item_category"], strict=True))


def test_ten_items_are_answered_best_first_to_known_users_and_strangers(local: LocalRepository) -> None:
    for user in ("u1", "nobody", ""):
        answer = local.ask("recommend", user_id=[[user]])
        items, scores = answer["items"][0].tolist(), answer["scores"][0].tolist()
        assert len(set(items)) == 10
        assert scores == sorted(scores, reverse=True)
        assert np.isfinite(scores).all()


def test_a_log_that_is_best_served_by_what_is_recently_popular_is_served_so_by_the_same_ensemble(own_run: Path) -> None:
    """What the choice on validation writes in that case, exported with its parity check."""
    popular = Base(retrieval=0.0, popularity=(2.0, 0.002))
    Blend(known=popular, stranger=popular).write(own_run)
    write_fusion(own_run / "models/ranking", Fusion(1.0, 0.0))
    local = LocalRepository(write_repository(own_run, ExportSettings()))
    items = read_frame(own_run / "snapshot/items.parquet", ["item_id", "item_recent_events", "item_events"])
    score = items.select(2.0 * pl.col("item_recent_events").log1p() + 0.002 * pl.col("item_events").log1p()).to_series()
    value = dict(zip(items["item_id"], score, strict=True))
    for user in ("u1", "u7", "nobody", ""):
        hidden = set(SHOP.hidden(SHOP.user_ids.index(user))) if user in SHOP.user_ids else set()
        answer = local.ask("recommend", user_id=[[user]], k=[10])
        best = sorted((number for item, number in value.items() if item not in hidden), reverse=True)[:10]
        found = [item for item in answer["items"][0].tolist() if item]
        np.testing.assert_allclose([value[item] for item in found], best[: len(found)], rtol=1e-5)
        assert len(found) == min(10, len(value) - len(hidden))


def test_rows_of_one_request_are_answered_each_for_itself(local: LocalRepository) -> None:
    users = [["u1"], ["u2"], ["nobody"]]
    together = local.ask("recommend", user_id=users, k=[6])
    for row, user in enumerate(users):
        alone = local.ask("recommend", user_id=[user], k=[6])
        for name, value in alone.items():
            np.testing.assert_array_equal(together[name][row], value[0])


def test_excluded_and_recent_items_are_not_answered(local: LocalRepository, export: Callable[..., LocalRepository]) -> None:
    best = local.ask("recommend", user_id=[["nobody"]], k=[5])["items"][0].tolist()
    left = local.ask("recommend", user_id=[["nobody"]], exclude=[[*best[:3], "unknown", ""]], k=[100])["items"][0]
    assert not set(best[:3]) & set(left.tolist())
    seen = local.ask("recommend", user_id=[[""]], recent_items=[best[:2]], k=[100])["items"][0]
    assert not set(best[:2]) & set(seen.tolist())
    again = export(leave_out="nothing").ask("recommend", user_id=[[""]], recent_items=[best[:2]], k=[100])["items"][0]
    assert set(best[:2]) <= set(again.tolist())


@pytest.mark.parametrize("rule", ["recent", "purchased", "interacted", "nothing"])
def test_what_the_rule_leaves_out_never_comes_back_and_all_else_may(export: Callable[..., LocalRepository], rule: str) -> None:
    """Over the whole history, with what the request adds: what was looked at is not bought, and a line of a cart always stays out."""
    shop = SyntheticRun(Path("unused"), items=50, users=20, seed=7, cart=True, dimension=8, recents=5, leave_out=rule)
    local = export(leave_out=rule)
    users = [*shop.user_ids, "nobody"]
    given, line = ["1003", "1004"], "1005"
    found = local.ask("recommend", user_id=[[user] for user in users], k=[50])["items"]
    told = local.ask("recommend", user_id=[[user] for user in users], recent_items=[given] * len(users), k=[50])["items"]
    completed = local.ask("cart", user_id=[[user] for user in users], cart_items=[[line]] * len(users), k=[50])["items"]
    looked_at = set(given) if rule in ("recent", "interacted") else set()
    every = set(shop.item_ids)
    lengths = set()
    for place, user in enumerate(users):
        hidden = set(shop.hidden(place)) if user in shop.user_ids else set()
        lengths.add(len(hidden))
        assert set(found[place].tolist()) - {""} == every - hidden, user
        assert set(told[place].tolist()) - {""} == every - hidden - looked_at, user
        assert set(completed[place].tolist()) - {""} == every - hidden - {line}, user
    assert rule in ("recent", "nothing") or max(lengths) == 47


def test_users_of_long_and_short_histories_are_answered_together_as_alone(local: LocalRepository) -> None:
    users = ["u19", "u1", "nobody", "u3"]
    together = local.ask("recommend", user_id=[[user] for user in users], k=[50])
    for row, user in enumerate(users):
        np.testing.assert_array_equal(together["items"][row], local.ask("recommend", user_id=[[user]], k=[50])["items"][0])


def test_the_scan_leaves_out_as_the_full_search_does(
    export: Callable[..., LocalRepository], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = export(items=400, users=30, candidates=40)
    monkeypatch.setattr("serving.pieces.retrieve.SCAN_ITEMS", 10)
    scanned = export(items=400, users=30, candidates=40)
    for users in ([[f"u{number}"] for number in range(30)], [["u29"]], [["u27"], ["nobody"]]):
        one, other = (each.ask("recommend", user_id=users, k=[40]) for each in (full, scanned))
        np.testing.assert_array_equal(one["items"], other["items"])
    assert (one["items"] != "").all()
    assert (full.ask("recommend", user_id=[["u29"]], k=[40])["items"] != "").sum() <= 8


def test_without_the_second_stage_the_order_of_retrieval_is_served(own_run: Path, local: LocalRepository) -> None:
    """The repository is written and checked as ever; the step that ranks passes retrieval scores on."""
    (own_run / "models/ranking/fusion.json").write_text('{"retrieval_weight": 1.0, "ranking_weight": 0.0}')
    before = local.ask("recommend", user_id=[["u1"], ["nobody"]], k=[50])
    local = LocalRepository(write_repository(own_run, ExportSettings(diversity=0.0)))
    found = local.ask("recommend", user_id=[["u1"], ["nobody"]], k=[50])
    encoded = local.run("recommend_encode", {"user_id": np.array([["u1"], ["nobody"]], dtype=object)})
    names = ("query_categorical", "query_continuous", "query_lists", "recents", "excluded", "shopper")
    retrieved = local.run("recommend_retrieve", {name: encoded[name] for name in names})
    ids = np.array([*SHOP.item_ids, ""])
    real = np.isfinite(retrieved["retrieval_scores"])
    np.testing.assert_array_equal(found["items"], np.where(real, ids[retrieved["candidates"]], ""))
    np.testing.assert_array_equal(found["scores"], retrieved["retrieval_scores"])
    assert not np.array_equal(before["items"], found["items"])


def test_where_no_items_remain_the_rest_is_empty(local: LocalRepository) -> None:
    answer = local.ask("recommend", user_id=[["nobody"]], exclude=[SHOP.item_ids[:48]], k=[4])
    assert sorted(answer["items"][0].tolist()) == ["", "", *SHOP.item_ids[48:]]
    assert np.isneginf(answer["scores"][0, 2:]).all()
    assert answer["reason_item"][0, 2:].tolist() == ["", ""]
    assert answer["reason"][0, 2:].tolist() == [0, 0]
    none = local.ask("recommend", user_id=[["u1"]], exclude=[SHOP.item_ids], k=[2])
    assert none["items"].tolist() == [["", ""]]
    assert np.isneginf(none["scores"]).all()


def test_k_may_exceed_the_catalogue(local: LocalRepository) -> None:
    answer = local.ask("recommend", user_id=[["nobody"]], k=[100])
    assert answer["items"].shape == (1, 100)
    assert set(answer["items"][0, :50].tolist()) == set(SHOP.item_ids)
    assert set(answer["items"][0, 50:].tolist()) == {""}


def test_diversity_takes_off_for_better_items_of_the_category(local: LocalRepository) -> None:
    plain = local.ask("recommend", user_id=[["u1"]], k=[50], exclude=[[""]])
    seen: Counter[str] = Counter()
    expected = {}
    for item, score in zip(plain["items"][0].tolist(), plain["scores"][0].tolist(), strict=True):
        if item:
            expected[item] = score - (0.4 * seen[CATEGORY[item]] if CATEGORY[item] else 0.0)
            seen[CATEGORY[item]] += 1
    spread = local.ask("recommend", user_id=[["u1"]], k=[50], diversity=[0.4])
    shown = {item: score for item, score in zip(spread["items"][0].tolist(), spread["scores"][0].tolist(), strict=True) if item}
    assert shown == pytest.approx(expected, abs=1e-5)
    assert list(shown.values()) == sorted(shown.values(), reverse=True)


def test_the_cap_of_a_category_holds(export: Callable[..., LocalRepository]) -> None:
    capped = export(ExportSettings(max_per_category=2, diversity=0.1))
    items = [item for item in capped.ask("recommend", user_id=[["u1"]], k=[50])["items"][0].tolist() if item]
    counts = Counter(CATEGORY[item] for item in items)
    assert {category: count for category, count in counts.items() if category and count != 2} == {}


def test_fewer_candidates_than_items_are_ranked(export: Callable[..., LocalRepository]) -> None:
    narrow = export(ExportSettings(max_k=8), candidates=12)
    assert narrow.metadata["sizes"]["candidates"] == 12
    assert len(set(narrow.ask("recommend", user_id=[["u2"]], k=[8])["items"][0].tolist())) == 8
    assert export(ExportSettings(max_k=20), candidates=12).metadata["sizes"]["candidates"] == 20


def test_reasons_name_a_recent_item_or_the_taste_of_the_user(local: LocalRepository) -> None:
    stranger = local.ask("recommend", user_id=[["nobody"]])
    assert set(stranger["reason"][0].tolist()) == {0}
    visitor = local.ask("recommend", user_id=[[""]], recent_items=[["1003", "1004"]], k=[40])
    for reason, item in zip(visitor["reason"][0].tolist(), visitor["reason_item"][0].tolist(), strict=True):
        assert (reason, item != "") in {(0, False), (1, True)}
    assert set(visitor["reason_item"][0].tolist()) - {""} <= {"1003", "1004"}
    assert {1} < set(visitor["reason"][0].tolist())
    user = local.ask("recommend", user_id=[["u1"]], k=[40])
    assert {1, 2} == {reason for reason, item in zip(user["reason"][0], user["items"][0], strict=True) if item}


def test_the_reason_is_the_recent_item_of_the_highest_cosine(local: LocalRepository, run: Path) -> None:
    vectors = np.load(run / "models/two_tower/item_vectors.npy")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    recents = ["1003", "1004", "unknown"]
    answer = local.ask("recommend", user_id=[[""]], recent_items=[recents], k=[40])
    for item, reason, because in zip(answer["items"][0], answer["reason"][0], answer["reason_item"][0], strict=True):
        cosine = {recent: float(unit[SHOP.item_ids.index(item)] @ unit[SHOP.item_ids.index(recent)]) for recent in recents[:2]}
        best = max(cosine, key=cosine.__getitem__)
        assert (reason == 1) == (cosine[best] >= 0.5)
        assert because == (best if reason == 1 else "")


def test_a_cart_gets_chances_and_completions(local: LocalRepository) -> None:
    answer = local.ask("cart", user_id=[["u1"], [""]], cart_items=[["1003", "", "unknown"], ["", "", ""]], k=[10])
    lines = answer["line_probability"]
    assert np.isnan(lines).tolist() == [[False, True, False], [True, True, True]]
    assert ((lines[0, [0, 2]] > 0) & (lines[0, [0, 2]] < 1)).all()
    assert 0 < answer["cart_probability"][0, 0] < 1
    assert answer["cart_probability"][1, 0] == 0
    assert "1003" not in answer["items"][0].tolist()


def test_recent_items_add_to_the_stored_ones(local: LocalRepository) -> None:
    """What was seen before the visit stays seen, however much is told of the visit."""
    for place, user in enumerate(SHOP.user_ids):
        stored = set(SHOP.hidden(place))
        told = [item for item in SHOP.item_ids if item not in stored][:6]
        for given in (told[:1], told):
            answer = set(local.ask("recommend", user_id=[[user]], recent_items=[given], k=[100])["items"][0].tolist()) - {""}
            assert answer == set(SHOP.item_ids) - stored - set(given)


def test_a_line_that_stands_twice_is_one_line(local: LocalRepository) -> None:
    once = local.ask("cart", user_id=[["nobody"]], cart_items=[["1010", "new", "1003"]])
    twice = local.ask("cart", user_id=[["nobody"]], cart_items=[["1003", "1010", "", "1010", "new", "1003", "new", "1003"]])
    chances = dict(zip(["1010", "new", "1003"], once["line_probability"][0].tolist(), strict=True))
    expected = [chances.get(item, np.nan) for item in ["1003", "1010", "", "1010", "new", "1003", "new", "1003"]]
    np.testing.assert_allclose(twice["line_probability"][0], expected, rtol=1e-6)
    np.testing.assert_allclose(twice["cart_probability"], once["cart_probability"], rtol=1e-6)
    unlike = local.ask("cart", user_id=[["nobody"]], cart_items=[["new", "other"]])
    assert unlike["cart_probability"] != local.ask("cart", user_id=[["nobody"]], cart_items=[["new"]])["cart_probability"]


def test_a_cart_is_answered_alone_as_in_company(local: LocalRepository) -> None:
    """Neither the width of the batch nor the other carts in it change an answer."""
    rng = np.random.default_rng(5)
    carts = [[str(item) for item in rng.choice([*SHOP.item_ids, "new", ""], size)] for size in (1, 7, 2, 5, 3, 1)]
    users = [["u1"], [""], ["u2"], ["nobody"], ["u3"], ["u1"]]
    recents = [[""], ["1001"], ["1002"], ["1003"], [""], ["1001"]]
    wide = [[*cart, *[""] * (11 - len(cart))] for cart in carts]
    together = local.ask("cart", user_id=users, cart_items=wide, recent_items=recents)
    for row, cart in enumerate(carts):
        alone = local.ask("cart", user_id=[users[row]], cart_items=[cart], recent_items=[recents[row]])
        np.testing.assert_allclose(together["line_probability"][row, : len(cart)], alone["line_probability"][0], rtol=1e-6)
        assert np.isnan(together["line_probability"][row, len(cart) :]).all()
        np.testing.assert_allclose(together["cart_probability"][row], alone["cart_probability"][0], rtol=1e-6)
        assert together["items"][row].tolist() == alone["items"][0].tolist()


def test_padding_does_not_change_a_cart(local: LocalRepository) -> None:
    narrow = local.ask("cart", user_id=[["u4"]], cart_items=[["1003", "1010"]])
    wide = local.ask("cart", user_id=[["u4"]], cart_items=[["1003", "1010", "", ""]])
    np.testing.assert_allclose(wide["line_probability"][:, :2], narrow["line_probability"], rtol=1e-6)
    np.testing.assert_allclose(wide["cart_probability"], narrow["cart_probability"], rtol=1e-6)
    assert wide["items"].tolist() == narrow["items"].tolist()


def test_similar_items_are_the_nearest_by_cosine(local: LocalRepository, run: Path) -> None:
    vectors = np.load(run / "models/two_tower/item_vectors.npy")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit[3]
    cosine[3] = -np.inf
    order = np.argsort(-cosine)[:5]
    answer = local.ask("similar_items", item_id=[["1003"]], k=[5])
    assert answer["items"][0].tolist() == [SHOP.item_ids[place] for place in order]
    np.testing.assert_allclose(answer["scores"][0], cosine[order], atol=1e-6)
    everything = local.ask("similar_items", item_id=[["1003"]], k=[60])
    assert everything["items"][0].tolist().count("") == 11
    assert np.isneginf(everything["scores"][0, 49:]).all()


def test_an_unknown_item_is_answered_with_popular_ones(local: LocalRepository) -> None:
    answer = local.ask("similar_items", item_id=[["unknown"], [""]], k=[3])
    popular = sorted(zip(SHOP.items["item_recent_events"], SHOP.item_ids, strict=True), key=lambda pair: (-pair[0], pair[1]))
    for row in range(2):
        assert answer["items"][row].tolist() == [item for _, item in popular[:3]]
        assert answer["scores"][row].tolist() == [0.0, 0.0, 0.0]


def test_an_item_with_the_vector_0_is_answered_with_popular_ones(run: Path, local: LocalRepository) -> None:
    models = read_models(run)
    catalogue = read_snapshot(run, unknown_item(models.item, set(SHOP.item_ids), BUILT_IN)).catalogue
    vectors = 3.0 * catalogue.vectors
    vectors[3] = 0.0
    step = next(model for model in local.contract.models if model.name == "similar_items_retrieve")
    graph = neighbours_graph(step, replace(catalogue, vectors=vectors), 20)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    [near, cosines] = session.run(["neighbours", "cosines"], {"item_id": np.array([["1003"], ["1004"]], dtype=object)})
    popular = np.argsort(-np.delete(catalogue.popularity[:-1], 3), kind="stable")[:20]
    assert near[0].tolist() == [place + (place >= 3) for place in popular]
    assert not cosines[0].any()
    assert cosines[1, 0] == pytest.approx(local.ask("similar_items", item_id=[["1004"]], k=[1])["scores"][0, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("ensemble", "inputs", "message"),
    [
        ("recommend", {"user_id": [[""]], "k": [0]}, r"'k' holds 0; ask for 1 to 100 items"),
        ("recommend", {"user_id": [[""]], "k": [101]}, r"'k' holds 101"),
        ("recommend", {"user_id": [[""]], "diversity": [-1.0]}, r"'diversity' holds -1.0; give a number of at least 0"),
        (
            "recommend",
            {"user_id": [[""]], "timestamp": [[1_700_000_000]]},
            r"'timestamp' holds 1700000000; give Unix microseconds",
        ),
        ("recommend", {"user_id": ["u1"]}, r"'user_id' has shape \[1\]. Give it with shape \['B', 1\]"),
        ("recommend", {"users": [["u1"]]}, r"no inputs \['users'\]"),
        ("cart", {"user_id": [["u1"]]}, r"needs the inputs \['cart_items'\]"),
        ("basket", {}, r"no ensemble 'basket'"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(local: LocalRepository, ensemble: str, inputs: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        local.ask(ensemble, **inputs)


def test_the_readme_table_names_every_tensor() -> None:
    table = markdown(Sizes(recents=5, candidates=12, neighbours=8, max_k=8, has_cart=True))
    for row in (
        "| `recommend` in | `user_id` | BYTES | [B, 1]",
        "| `cart` in | `cart_items` | BYTES | [B, N]",
        "| `similar_items` out | `scores` | FP32 | [B, k]",
    ):
        assert row in table
    assert "(required)" in next(line for line in table.splitlines() if "cart_items" in line)
