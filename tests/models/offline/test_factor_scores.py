"""Factor models as retrievers of the sum: over a catalogue and users' ids they give the recommenders' scores."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from recommender_conformance import ask, planted

from cartwheel.core.errors import RunError
from models.families.factors.fit_scores import factor_scores, unfitted_factors
from models.families.factors.scores import FactorScores
from models.families.registry import ALS, BPR

CATALOGUE = np.array([7, 3, 11, 0, 5], np.int64)
"""Codes of the items of a catalogue of five."""
RECENT = np.array([[0, 2, -1], [4, 5, 1], [-1, -1, -1]])
"""Rows of the catalogue; 5 is an item out of it."""
HISTORIES = ([7, 11], [5, 3], [])


@pytest.fixture(scope="module", params=["als", "bpr"])
def fitted(request: pytest.FixtureRequest) -> tuple[str, FactorScores]:
    model = unfitted_factors(request.param, planted(), 3)
    model.fit(planted())
    return request.param, factor_scores(model, planted(), CATALOGUE)


def scores(model: FactorScores, users: list[str]) -> np.ndarray:
    return np.asarray(model.queries(users, RECENT) @ model.items.T + model.bias)


def test_strangers_have_the_scores_of_the_recommender(fitted: tuple[str, FactorScores]) -> None:
    name, model = fitted
    log = planted()
    recommender = ALS(seed=3) if name == "als" else BPR(seed=3)
    recommender.fit(log)
    # Who has no history gets scores of 0 from both, and popular items here: as the average shopper, and by the biases.
    rows = slice(0, 2)
    expected = recommender.scores(ask(*HISTORIES))[:, CATALOGUE]
    found = scores(model, ["", "nobody", ""])[rows]
    # A shopper's scores differ from the recommender's by one number, which no order knows of.
    np.testing.assert_allclose(found - found.mean(axis=1, keepdims=True), expected[rows] - expected[rows].mean(axis=1, keepdims=True),
                               rtol=1e-4, atol=1e-4)  # fmt: skip


def test_shoppers_are_known_by_their_ids(fitted: tuple[str, FactorScores]) -> None:
    name, model = fitted
    log = planted()
    user = str(log.user_ids[4])
    if name == "als":
        assert model.users == ()
        np.testing.assert_array_equal(scores(model, [user] * 3), scores(model, [""] * 3))
        return
    recommender = BPR(seed=3)
    recommender.fit(log)
    expected = recommender.scores(ask(*HISTORIES, users=[4] * 3))[:, CATALOGUE]
    found = scores(model, [user] * 3)
    np.testing.assert_allclose(found - found[:, :1], expected - expected[:, :1], rtol=1e-4, atol=1e-4)


def test_what_is_written_is_read_again(fitted: tuple[str, FactorScores], tmp_path: Path) -> None:
    _, model = fitted
    model.write(tmp_path / "model.npz")
    again = FactorScores.read(tmp_path / "model.npz", len(CATALOGUE))
    assert again.users == model.users
    users = ["", *(str(user) for user in planted().user_ids[:2])]
    np.testing.assert_array_equal(scores(again, users), scores(model, users))
    with pytest.raises(RunError, match="vectors of 5 items, where 6 are expected"):
        FactorScores.read(tmp_path / "model.npz", 6)
    (tmp_path / "model.npz").write_bytes(b"no archive")
    with pytest.raises(RunError, match="cannot be read"):
        FactorScores.read(tmp_path / "model.npz", 5)


def test_the_graph_answers_rows_of_a_snapshot(fitted: tuple[str, FactorScores]) -> None:
    _, model = fitted
    users = ["never seen", *(str(user) for user in planted().user_ids[[9, 2]])]
    graph = model.over(users).query_model()
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    feeds = {"user_id": np.array([[1], [2], [3]]), "recent_items": RECENT + 1}
    asked = {value.name: feeds[value.name] for value in session.get_inputs()}
    found = session.run(None, asked)[0][:, : model.items.shape[1]]
    np.testing.assert_allclose(found, model.queries(users, RECENT), rtol=1e-5, atol=1e-5)
