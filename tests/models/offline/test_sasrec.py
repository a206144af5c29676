"""Self-attention over sequences: what it may look at, what it learns, and the suite of all recommenders (it trains often)."""

import numpy as np
import pytest
from recommender_conformance import RecommenderConformance, ask, planted, small

from cartwheel.core.errors import UsageError
from evaluation.protocols.judge import judge
from evaluation.protocols.protocol import LeaveOneOut, Protocol
from evaluation.protocols.splits import folds
from models.families.recommender import Recommender
from models.families.sasrec.sasrec import Examples, SASRec
from models.metrics.ranking import hit_rate


def tiny(seed: int = 0, epochs: int = 25) -> SASRec:
    return SASRec(16, 1, 2, 8, dropout=0.1, learning_rate=0.01, batch_size=64, epochs=epochs, seed=seed)


@pytest.mark.thorough
class TestSASRec(RecommenderConformance):
    draws = True

    def make(self, seed: int = 0) -> Recommender:
        return tiny(seed)


def test_it_learns_what_follows_what() -> None:
    protocol = Protocol(LeaveOneOut())
    fold = folds(planted(), protocol)[0]
    model = tiny()
    model.fit(fold.train)
    assert hit_rate(judge(model, fold.test, fold.train, protocol, 5).placement, 5).mean() > 0.8
    history = [0, 1, 2]
    scores = model.scores(ask(history, [9, 9, 9, 9, 9, *history], [], users=[-1, 3, -1]))
    assert np.isfinite(scores).all()
    assert not np.array_equal(scores[0], scores[1]), "what lies further back counts too"
    np.testing.assert_allclose(scores[2], 0.0, atol=1e-12, err_msg="an empty history scores 0")
    np.testing.assert_array_equal(model.scores(ask(history))[0], scores[0])


def test_a_slot_looks_back_only_and_padding_changes_nothing() -> None:
    from models.families.sasrec.network import Network

    network = Network(20, 8, 2, 2, 10, initial=0.5, dtype="float64")
    ids = np.array([[0, 0, 3, 5, 7, 9]], np.int32)
    whole = network(ids).numpy()
    other = network(np.array([[0, 0, 3, 5, 7, 11]], np.int32)).numpy()
    np.testing.assert_allclose(whole[:, 2:5], other[:, 2:5], atol=1e-12)
    assert not np.allclose(whole[:, 5], other[:, 5])
    np.testing.assert_allclose(network(ids[:, 2:]).numpy(), whole[:, 2:], atol=1e-12)


def test_examples_ask_for_the_next_item_and_draw_what_the_user_lacks() -> None:
    log = small([(0, item, item) for item in (0, 1, 2, 3, 4)] + [(1, 5, 1), (1, 6, 2), (2, 7, 1)])
    examples = Examples(log, 3)
    assert len(examples) == 2, "one interaction is no sequence"
    (parts,) = examples.batches(10, np.random.default_rng(0))
    rows = {}
    for ids, target, negative in parts:
        for one, two, three in zip(ids, target, negative, strict=True):
            assert ((one > 0) == (two > 0)).all()
            assert ((three > 0) == (two > 0)).all()
            if one.any():  # a part of a batch that no sequence fills holds one blank slot
                rows[tuple(one[one > 0] - 1)] = (tuple(two[two > 0] - 1), set(three[three > 0] - 1))
    assert set(rows) == {(1, 2, 3), (5,)}
    assert rows[1, 2, 3][0] == (2, 3, 4)
    assert rows[1, 2, 3][1] <= {5, 6, 7}
    assert rows[5,][0] == (6,)
    assert rows[5,][1] <= {0, 1, 2, 3, 4, 7}


def test_parameters_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match=r"sasrec: width 10, heads 3 and dropout 0\.5 do not fit together"):
        SASRec(width=10, heads=3)
    with pytest.raises(UsageError, match="sasrec: epochs is 0"):
        SASRec(epochs=0)
