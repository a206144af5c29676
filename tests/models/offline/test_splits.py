"""What trains, what is asked, and what is known when it is asked."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from logs import few, logs
from recommender_conformance import small

from cartwheel.core.errors import DataError, UsageError
from evaluation.protocols.protocol import Given, GlobalTemporal, LeaveOneOut, PerUserRatio, Protocol, SessionNextItem, Split
from evaluation.protocols.splits import Fold, Questions, folds
from models.questions.interactions import Interactions

SPLITS: list[Split] = [
    GlobalTemporal(0.2, 0.3),
    GlobalTemporal(0.2, 0.3, folds=2),
    LeaveOneOut(),
    PerUserRatio(0.25),
    PerUserRatio(0.5, "random"),
    SessionNextItem(0.3),
]


def split(log: Interactions, protocol: Protocol) -> list[Fold]:
    """The folds, or an example that hypothesis throws away where the log is too short for them."""
    try:
        return folds(log, protocol)
    except DataError:
        assume(False)
        raise


def asked(fold: Fold) -> list[Questions]:
    return [questions for questions in (fold.valid, fold.test) if questions is not None]


def pairs(row: np.ndarray, item: np.ndarray) -> set[tuple[int, int]]:  # type: ignore[type-arg]
    return set(zip(row.tolist(), item.tolist(), strict=True))


@pytest.mark.parametrize("how", SPLITS, ids=str)
@few
@given(log=logs(8))
def test_what_was_seen_is_hidden_and_never_true(how: Split, log: Interactions) -> None:
    for fold in split(log, Protocol(how, excluded="seen")):
        for questions in asked(fold):
            history = pairs(questions.queries.rows, questions.queries.history)
            assert pairs(questions.hidden_row, questions.hidden_item) == history
            assert not pairs(questions.truth_row, questions.truth_item) & history
            assert (questions.n_truth > 0).all()


@pytest.mark.parametrize("how", SPLITS, ids=str)
@few
@given(log=logs(8))
def test_nothing_is_hidden_where_nothing_is_excluded(how: Split, log: Interactions) -> None:
    for fold in split(log, Protocol(how, excluded="nothing")):
        for questions in asked(fold):
            assert len(questions.hidden_row) == 0
            assert (questions.n_truth > 0).all()


@pytest.mark.parametrize("how", [each for each in SPLITS if getattr(each, "order", "time") == "time"], ids=str)
@few
@given(log=logs(8))
def test_a_history_is_not_later_than_its_question(how: Split, log: Interactions) -> None:
    for fold in split(log, Protocol(how)):
        for questions in asked(fold):
            queries = questions.queries
            assert (queries.times <= queries.now[queries.rows]).all()
            assert (queries.session_length <= queries.lengths).all()
            inner = queries.rows[1:] == queries.rows[:-1]
            assert (np.diff(queries.times)[inner] >= 0).all()


@few
@given(logs(8), st.integers(1, 3))
def test_temporal_folds_are_apart_in_time_and_train_on_what_lies_before(log: Interactions, number: int) -> None:
    made = split(log, Protocol(GlobalTemporal(0.2, 0.4, folds=number), excluded="nothing"))
    assert len(made) == number
    previous = -1
    for fold in made:
        first = int(fold.test.queries.now.min())
        assert fold.train.time.max() < first
        assert first > previous
        assert (fold.test.queries.times < first).all()
        if fold.valid is not None and len(fold.valid):
            assert fold.train.time.max() < fold.valid.queries.now.min()
            assert fold.valid.queries.now.max() < first
        previous = int(fold.test.queries.now.max())


@few
@given(logs(8))
def test_every_interaction_of_leave_one_out_is_used_once(log: Interactions) -> None:
    fold = split(log, Protocol(LeaveOneOut(), excluded="nothing"))[0]
    enough = np.flatnonzero(np.diff(log.starts) >= 3)
    assert len(fold.train) == len(log) - 2 * len(enough)
    assert fold.valid is not None
    for questions, back in ((fold.valid, 2), (fold.test, 1)):
        assert questions.users.tolist() == enough.tolist()
        last = log.starts[enough + 1] - back
        assert questions.truth_item.tolist() == log.item[last].tolist()
        assert questions.queries.lengths.tolist() == (last - log.starts[enough]).tolist()


@few
@given(logs(8), st.sampled_from(["time", "random"]), st.integers(0, 3))
def test_the_ratio_holds_for_each_user(log: Interactions, order: str, seed: int) -> None:
    protocol = Protocol(PerUserRatio(0.25, order), excluded="nothing", seed=seed)  # type: ignore[arg-type]
    fold = split(log, protocol)[0]
    count, trained = np.diff(log.starts), np.diff(fold.train.starts)
    assert (count - trained).tolist() == [min(round(n * 0.25), n - 1) for n in count.tolist()]
    again = folds(log, protocol)[0]
    np.testing.assert_array_equal(fold.train.item, again.train.item)
    if order == "time":
        for user in range(log.users):
            kept = log.item[log.starts[user] : log.starts[user] + trained[user]]
            np.testing.assert_array_equal(fold.train.item[fold.train.user == user], kept)


def test_another_seed_draws_other_tests() -> None:
    log = small([(user, item, item) for user in range(20) for item in range(8)])
    first, other = (folds(log, Protocol(PerUserRatio(0.5, "random"), seed=seed))[0].train.item for seed in (0, 1))
    assert not np.array_equal(first, other)


@few
@given(logs(8))
def test_sessions_are_whole_and_each_event_but_the_first_is_asked_for(log: Interactions) -> None:
    fold = split(log, Protocol(SessionNextItem(0.3), excluded="nothing"))[0]
    tested = set(fold.test.users.tolist())
    assert not tested & set(fold.train.session.tolist())
    for session in tested:
        rows = np.flatnonzero(log.session == session)
        mine = np.flatnonzero(fold.test.users == session)
        assert len(mine) == len(rows) - 1
        assert fold.test.queries.session_length[mine].tolist() == list(range(1, len(rows)))
        assert fold.test.truth_item[np.isin(fold.test.truth_row, mine)].tolist() == log.item[rows][1:].tolist()
    if fold.valid is not None:
        assert not tested & set(fold.valid.users.tolist())


@few
@given(logs(8), st.data())
def test_taking_questions_takes_their_answers(log: Interactions, data: st.DataObject) -> None:
    test = split(log, Protocol(LeaveOneOut()))[0].test
    chosen = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=len(test), max_size=len(test))))
    taken = test.take(chosen)
    assert pairs(chosen[taken.truth_row], taken.truth_item) == {
        pair for pair in pairs(test.truth_row, test.truth_item) if pair[0] in chosen
    }
    assert taken.users.tolist() == test.users[chosen].tolist()


def test_dates_say_when_to_begin() -> None:
    day = 86_400_000_000
    log = small([(user, user, number * day) for number, user in enumerate([0, 1, 0, 1, 0, 1])])
    fold = folds(log, Protocol(GlobalTemporal("1970-01-03", "1970-01-05"), excluded="nothing"))[0]
    assert fold.train.time.max() == day
    assert fold.test.queries.now.tolist() == [4 * day, 5 * day]
    same = folds(log, Protocol(GlobalTemporal("1970-01-03T00:00:00Z", "1970-01-05T00:00:00Z"), excluded="nothing"))[0]
    assert same.train.time.tolist() == fold.train.time.tolist()


def test_what_cannot_be_split_is_refused() -> None:
    log = small([(0, 0, 1), (0, 1, 2)])
    with pytest.raises(UsageError, match="cannot be made from the protocol alone"):
        folds(log, Protocol(Given("as the publisher did")))
    with pytest.raises(DataError, match="leave a part of the log"):
        folds(small([(0, 0, 1), (1, 1, 1)]), Protocol(GlobalTemporal()))
    with pytest.raises(DataError, match="leaves no test question"):
        folds(log, Protocol(LeaveOneOut()))
