"""The oracle's probabilities are those by which the log really came about."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from cartwheel.core.errors import DataError
from workflows.simulate import SimulateSettings, simulate
from workflows.simulate.truth import Truth
from workflows.simulate.world import Doubles, Ints

Asked: TypeAlias = tuple[pl.DataFrame, Doubles]


@pytest.fixture(scope="module")
def asked(shop: Any) -> Asked:
    """Sampled views with the oracle's probabilities, [B, I], with and without the running session."""
    rng = np.random.default_rng(0)
    views = shop.of_type("view")
    views = views[np.sort(rng.choice(len(views), 4000, replace=False))]
    return views, probabilities(shop, views, views["session_id"].to_list())


def probabilities(shop: Any, views: pl.DataFrame, sessions: Sequence[str | None]) -> Doubles:
    logs = shop.truth.scores(views["user_id"].to_list(), views["us"].to_numpy(), sessions, shop.item_ids)
    assert logs.dtype == np.float32
    return np.exp(logs.astype(np.float64))


def chosen(shop: Any, views: pl.DataFrame) -> Ints:
    code = {item: row for row, item in enumerate(shop.item_ids)}
    return np.array([code[item] for item in views["item_id"]])


def surprise_z(probability: Doubles, choice: Ints) -> float:
    """Standard score of the log-likelihood of the choices, were they drawn from the rows of ``probability``."""
    logs = np.log(np.maximum(probability, 1e-300))
    mean = (probability * logs).sum(axis=1)
    variance = (probability * logs**2).sum(axis=1) - mean**2
    return (logs[np.arange(len(choice)), choice] - mean).sum() / np.sqrt(variance.sum())


def count_z(probability: Doubles, choice: Ints, groups: Ints) -> Doubles:
    """Standard scores of how often each group of items was chosen."""
    member = np.equal.outer(groups, np.unique(groups)).astype(float)
    share = probability @ member
    return (member[choice] - share).sum(axis=0) / np.sqrt((share * (1 - share)).sum(axis=0))


def auc(score: Doubles, label: NDArray[np.bool_]) -> float:
    order = np.argsort(score, kind="stable")
    rank = np.empty(len(order))
    rank[order] = np.arange(1, len(order) + 1)
    positives = label.sum()
    return (rank[label].sum() - positives * (positives + 1) / 2) / (positives * (len(label) - positives))


def test_views_in_a_session_are_drawn_from_the_scores(shop: Any, asked: Asked) -> None:
    views, probability = asked
    choice = chosen(shop, views)
    np.testing.assert_allclose(probability.sum(axis=1), 1.0, atol=1e-5)
    assert probability[np.arange(len(choice)), choice].min() > 0.0
    assert abs(surprise_z(probability, choice)) < 4
    items = shop.table("items")
    popularity = np.digitize(items["appeal"].to_numpy(), np.quantile(items["appeal"].to_numpy(), [0.2, 0.4, 0.6, 0.8]))
    price = np.digitize(items["base_price"].to_numpy(), np.quantile(items["base_price"].to_numpy(), [0.25, 0.5, 0.75]))
    for groups in (items["category"].to_numpy(), popularity, price):
        assert np.abs(count_z(probability, choice, groups)).max() < 4.5


def test_scores_are_calibrated_at_every_level(shop: Any, asked: Asked) -> None:
    views, probability = asked
    drawn = np.zeros_like(probability)
    drawn[np.arange(len(views)), chosen(shop, views)] = 1.0
    for low, high in ((1e-4, 1e-3), (1e-3, 1e-2), (1e-2, 0.05), (0.05, 0.2), (0.2, 1.0)):
        cell = (probability >= low) & (probability < high)
        expected, spread = probability[cell].sum(), np.sqrt((probability[cell] * (1 - probability[cell])).sum())
        assert abs(drawn[cell].sum() - expected) < 4 * spread, (low, high)


def test_the_first_view_of_an_unknown_session_is_drawn_from_the_mixture(shop: Any) -> None:
    first = shop.of_type("view").group_by("session_id", maintain_order=True).first()[:3000]
    probability = probabilities(shop, first, [None] * len(first))
    np.testing.assert_allclose(probability.sum(axis=1), 1.0, atol=1e-5)
    choice = chosen(shop, first)
    assert abs(surprise_z(probability, choice)) < 4
    assert np.abs(count_z(probability, choice, shop.table("items")["category"].to_numpy())).max() < 4.5


def test_the_scores_would_notice_a_wrong_law(shop: Any, asked: Asked) -> None:
    views, probability = asked
    other = probability[np.random.default_rng(1).permutation(len(views))]
    flattened = probability**0.8
    flattened /= flattened.sum(axis=1, keepdims=True)
    assert abs(surprise_z(np.maximum(other, 1e-9), chosen(shop, views))) > 10
    assert abs(surprise_z(flattened, chosen(shop, views))) > 10


def test_the_oracle_is_far_above_most_popular(shop: Any, asked: Asked) -> None:
    views, probability = asked
    choice = chosen(shop, views)
    code = {item: row for row, item in enumerate(shop.item_ids)}
    popularity = np.zeros(len(code))
    for item, count in shop.of_type("view")["item_id"].value_counts().iter_rows():
        popularity[code[item]] = count  # of the whole log: more than a fair baseline would know

    def recall(score: Doubles) -> float:
        return ((score > score[np.arange(len(choice)), choice][:, None]).sum(axis=1) < 20).mean()

    unaware = probabilities(shop, views, [None] * len(views))
    popular = recall(np.tile(popularity, (len(choice), 1)))
    assert recall(unaware) > 2 * popular
    assert recall(probability) > 1.3 * recall(unaware)


def test_not_yet_launched_and_unknown_items_have_no_chance(shop: Any) -> None:
    items = shop.table("items")
    start = int(shop.events["us"].min())
    scores = shop.truth.scores(["u00001", "stranger"], np.array([start, start]), [None, None], [*shop.item_ids, "no such item"])
    unborn = (items["launch_day"] > 0).to_numpy()
    assert np.isneginf(scores[:, :-1][:, unborn]).all()
    assert np.isfinite(scores[:, :-1][:, ~unborn]).all()
    assert np.isneginf(scores[:, -1]).all()
    np.testing.assert_allclose(np.exp(scores.astype(np.float64)).sum(axis=1), 1.0, atol=1e-5)


def test_what_the_running_session_has_seen_is_out(shop: Any) -> None:
    session = shop.table("sessions").sort("planned")["session_id"][-1]
    views = shop.of_type("view").filter(session_id=session)
    scores = shop.truth.scores(
        views["user_id"].to_list(), views["us"].to_numpy(), [session] * len(views), views["item_id"].to_list()
    )
    assert np.isneginf(scores[np.tril_indices(len(views), -1)]).all()
    assert np.isfinite(scores[np.triu_indices(len(views))]).all()


def test_scores_do_not_depend_on_the_company_they_are_asked_in(shop: Any, asked: Asked) -> None:
    views, probability = asked
    some = views[::500]
    alone = np.concatenate([probabilities(shop, some[row], [some["session_id"][row]]) for row in range(len(some))])
    np.testing.assert_allclose(alone, probability[::500], rtol=1e-5, atol=1e-9)


def test_cart_probabilities_are_those_of_the_purchases(shop: Any) -> None:
    carts = shop.of_type("cart").join(
        shop.of_type("purchase").select("session_id", "item_id", bought=pl.lit(value=True)),
        on=["session_id", "item_id"],
        how="left",
        maintain_order="left",
    )
    label = carts["bought"].fill_null(value=False).to_numpy()
    chance = shop.truth.cart_probability(
        carts["user_id"].to_list(), carts["item_id"].to_list(), carts["us"].to_numpy(), carts["session_id"].to_list()
    )
    assert chance.dtype == np.float64
    assert np.isfinite(chance).all()
    for part in np.array_split(np.argsort(chance), 5):
        spread = np.sqrt((chance[part] * (1 - chance[part])).sum())
        assert abs(label[part].sum() - chance[part].sum()) < 4 * spread
    assert 0.25 < label.mean() < 0.45
    assert 0.75 < auc(chance, label) < 0.88


def test_an_unknown_cart_line_has_no_probability(shop: Any) -> None:
    line = shop.of_type("cart").row(0, named=True)
    users, items, instants = (
        [line["user_id"]] * 3,
        [line["item_id"], line["item_id"], "i99999"],
        [line["us"], line["us"] + 1, line["us"]],
    )
    assert np.isnan(shop.truth.cart_probability(users, items, np.array(instants))).tolist() == [False, True, True]
    assert np.isnan(shop.truth.cart_probability(users[:1], items[:1], np.array(instants[:1]), ["another"])).all()


def test_without_taste_the_choice_within_a_category_is_by_appeal_and_price(tmp_path: Path) -> None:
    simulate(SimulateSettings(shoppers=30, items=40, days=7, taste=0.0), 1, tmp_path)
    truth = Truth.load(tmp_path)
    flat = replace(truth.world.users, price_sensitivity=np.zeros_like(truth.world.users.price_sensitivity))
    truth.world = replace(truth.world, users=flat)
    items = pl.read_parquet(tmp_path / "truth" / "items.parquet")
    first = items.filter(pl.col("category") == items["category"][0], pl.col("launch_day") < 0)["item_id"].to_list()
    instant = np.array([1_736_121_600_000_000] * 2)  # the first instant of the log
    scores = truth.scores(["u00000", "u00001"], instant, [None, None], first)
    np.testing.assert_allclose(scores[0] - scores[0, 0], scores[1] - scores[1, 0], atol=1e-4)


def test_a_shop_that_nobody_visits_has_an_oracle(tmp_path: Path) -> None:
    settings = SimulateSettings(shoppers=1, items=5, days=7, sessions_per_week=0.0001)
    for seed in range(20):
        simulate(settings, seed, tmp_path)
        if not len(pl.read_parquet(tmp_path / "events.parquet")):
            break
    else:
        pytest.fail("every one of 20 shops had a visitor")
    truth = Truth.load(tmp_path)
    assert np.isfinite(truth.scores(["u00000"], np.array([1_736_200_000_000_000]), ["s0"], ["i00000"])).all()
    assert np.isnan(truth.cart_probability(["u00000"], ["i00000"], np.array([0]))).all()


def test_a_log_without_truth_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"settings\.json: not found.*cartwheel simulate"):
        Truth.load(tmp_path)


def test_a_damaged_truth_is_explained(tmp_path: Path) -> None:
    simulate(SimulateSettings(shoppers=3, items=5, days=7), 1, tmp_path)
    (tmp_path / "truth" / "users.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="damaged"):
        Truth.load(tmp_path)


def test_arguments_of_unequal_length_are_explained(shop: Any) -> None:
    with pytest.raises(DataError, match="2 users, 1 instants and 1 sessions"):
        shop.truth.scores(["u00000", "u00001"], np.array([0]), [None], ["i00000"])
