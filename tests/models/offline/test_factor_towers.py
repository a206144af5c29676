"""Factor models as towers: the vectors that are served give the scores of the recommenders."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from recommender_conformance import ask, planted

from cartwheel.core.errors import ConfigError, ParityError, UsageError
from models.families.factors.towers import ALSTowers, BPRTowers, FactorTowers, als_towers, bpr_towers
from models.families.factors.train import unfitted
from models.families.recommender import Scores
from models.families.registry import ALS, BPR
from models.families.settings import RetrievalSettings
from models.questions.interactions import Interactions
from models.training.onnx_export import write_checked
from models.training.tables import FIRST_ID, Table

LENGTH = 20
EMPTY, UNKNOWN, REPEATED = [], [FIRST_ID - 1] * 3, [5, 9, 5, 5, 9, 17]
"""Histories of encoded ids."""


def of_ids(count: int) -> np.ndarray:
    """The codes of ids as NVTabular gives them, in the order of the codes."""
    return np.concatenate([np.full(FIRST_ID, -1), np.arange(count)]).astype(np.int64)


def histories() -> list[list[int]]:
    generator, items = np.random.default_rng(3), planted().items
    drawn = [generator.integers(1, items + FIRST_ID, generator.integers(1, LENGTH + 1)).tolist() for _ in range(60)]
    return [EMPTY, UNKNOWN, REPEATED, *drawn]


def table(lists: list[list[int]], users: list[int] | None = None) -> Table:
    recent = np.zeros((len(lists), LENGTH), np.int32)
    for row, ids in zip(recent, lists, strict=True):
        row[: len(ids)] = ids
    return Table(Path("here"), {"recent_items": recent, "user_id": np.array(users or [2] * len(lists), np.int32)})


def codes(lists: list[list[int]]) -> list[list[int]]:
    return [[one - FIRST_ID for one in ids if one >= FIRST_ID] for ids in lists]


def served(model: Any, columns: Table, names: tuple[str, ...]) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {name: values.astype(np.int64) for name, values in columns.batch(slice(None), names).items()}
    answer: np.ndarray = session.run(None, feeds)[0]
    return answer


def scores(towers: FactorTowers, columns: Table, items: int) -> Scores:
    """What the ONNX files score, after a look whether they answer as NumPy does."""
    query = served(towers.query_model(), columns, towers.columns)
    np.testing.assert_allclose(query, towers.encode_queries(columns), rtol=1e-5, atol=1e-6)
    ids = Table(Path("here"), {"item_id": np.arange(items + FIRST_ID, dtype=np.int32)})
    vectors = served(towers.item_model(), ids, ("item_id",))
    np.testing.assert_array_equal(vectors, towers.encode_items(ids))
    assert not vectors[:FIRST_ID].any()
    result: Scores = query @ vectors[FIRST_ID:].T
    return result


def als(log: Interactions, **parameters: float) -> tuple[ALS, ALSTowers]:
    model = ALS(**{"factors": 64, "l2": 2.0, **parameters})  # type: ignore[arg-type]
    model.fit(log)
    return model, als_towers(model, of_ids(log.items))


def bpr(log: Interactions, items: np.ndarray | None = None) -> tuple[BPR, BPRTowers]:
    model = BPR(factors=16, iterations=50)
    model.fit(log)
    return model, bpr_towers(model, of_ids(log.items) if items is None else items, of_ids(log.users))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 20.0, 100.0, 2_000.0])
def test_als_folds_in_as_the_recommender_does(alpha: float) -> None:
    log, lists = planted(), histories()
    model, towers = als(log, alpha=alpha)
    found, wanted = scores(towers, table(lists), log.items), model.scores(ask(*codes(lists)))
    np.testing.assert_allclose(found[2:], wanted[2:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("alpha", [0.2, 20.0, 2_000.0])
def test_als_solves_the_normal_equations_at_64_factors(alpha: float) -> None:
    log, lists = planted(), histories()
    model, towers = als(log, alpha=alpha)
    items = model.item_factors.astype(np.float64)
    found = scores(towers, table(lists), log.items)
    for row, history in list(enumerate(codes(lists)))[2:]:
        confidence, preference = np.ones(log.items), np.zeros(log.items)
        confidence[history], preference[history] = alpha, 1.0
        left = (items.T * confidence) @ items + model.l2 * np.eye(64)
        wanted = items @ np.linalg.solve(left, items.T @ (confidence * preference))
        assert np.linalg.norm(found[row] - wanted) < 1e-5 * np.linalg.norm(wanted)


def test_als_answers_an_empty_history_with_what_is_popular() -> None:
    log = planted()
    model, towers = als(log, factors=8)
    found = scores(towers, table([EMPTY, UNKNOWN]), log.items)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], model.item_factors @ model.average_shopper, rtol=1e-4, atol=1e-6)
    count = np.bincount(log.item, minlength=log.items)
    assert np.corrcoef(found[0], count)[0, 1] > 0.8


def test_als_does_not_look_at_an_item_that_has_no_id() -> None:
    log = planted()
    ids = of_ids(log.items)
    ids[FIRST_ID + 4] = -1
    model, _ = als(log)
    towers = als_towers(model, ids)
    both = scores(towers, table([[5, FIRST_ID + 4], [5]]), log.items)
    np.testing.assert_array_equal(both[0], both[1])
    assert not both[:, 4].any()


def test_bpr_scores_as_the_recommender_does_less_a_constant() -> None:
    log, lists = planted(), histories()
    model, towers = bpr(log)
    users = [2, FIRST_ID, 1, *np.random.default_rng(5).integers(1, log.users + FIRST_ID, 60).tolist()]
    found = scores(towers, table(lists, users), log.items)
    wanted = model.scores(ask(*codes(lists), users=[user - FIRST_ID if user >= FIRST_ID else -1 for user in users]))
    apart = (wanted - found)[wanted.max(axis=1) > 1e-9]  # an empty history of a stranger: the baseline ranks by popularity alone
    assert len(apart) > 50
    np.testing.assert_allclose(apart, np.full_like(apart, apart.mean()), atol=1e-4)


def test_bpr_scores_an_item_never_seen_0_and_all_others_higher() -> None:
    log, lists = planted(), histories()
    _, towers = bpr(log.take(log.item != 3))
    found = scores(towers, table(lists, [FIRST_ID] * len(lists)), log.items)
    assert not found[:, 3].any()
    assert (np.delete(found, 3, axis=1) > 0).all()


def test_biases_hardly_count_in_how_alike_two_items_are() -> None:
    log = planted()
    model, towers = bpr(log)

    def cosines(vectors: np.ndarray) -> np.ndarray:
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(unit @ unit.T)

    np.testing.assert_allclose(cosines(towers.items[FIRST_ID:]), cosines(model.item_factors[:, :-1]), atol=0.15)


@pytest.mark.parametrize("make", [als, bpr])
def test_how_far_lists_are_padded_does_not_matter(make: Any) -> None:
    _, towers = make(planted())
    columns = table(histories())
    wider = Table(columns.folder, columns.columns | {"recent_items": np.pad(columns["recent_items"], ((0, 0), (0, 9)))})
    model = towers.query_model()
    both = [served(model, each, towers.columns) for each in (columns, wider)]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-6, atol=1e-7)


def test_only_a_factor_model_with_parameters_that_it_has_is_made() -> None:
    made = unfitted(RetrievalSettings(model="als", parameters={"factors": 8, "alpha": 3.0}), seed=4)
    assert isinstance(made, ALS)
    assert (made.factors, made.alpha, made.l2, made.seed) == (8, 3.0, ALS().l2, 4)
    with pytest.raises(UsageError, match=r"retrieval\.model is 'two_tower', which is not a factor model"):
        unfitted(RetrievalSettings(), seed=4)
    for key, value, words in (("factrs", 8, "is not a known key"), ("factors", 0.5, "where a whole number is expected")):
        with pytest.raises(ConfigError, match=rf"retrieval\.parameters\.{key} .*{words}"):
            unfitted(RetrievalSettings(model="bpr", parameters={key: value}), seed=4)


def test_an_onnx_file_that_answers_otherwise_is_not_written(tmp_path: Path) -> None:
    _, towers = als(planted())
    columns = table(histories())
    feeds = {"recent_items": columns["recent_items"].astype(np.int64)}
    wanted = towers.encode_queries(columns)
    wanted[3, 5] += 0.01
    with pytest.raises(ParityError, match=r"differs from the same in NumPy by 0\.01 in row 3"):
        write_checked(towers.query_model(), feeds, wanted, tmp_path / "query.onnx", "the same in NumPy")
    assert not list(tmp_path.iterdir())
