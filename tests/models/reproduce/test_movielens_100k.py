"""The split to the row as pandas drew it, and the whole table on a small file of the publisher's format."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from cartwheel.core.errors import DataError, UsageError
from evaluation.reproduce import TABLES, rerun
from evaluation.reproduce.movielens_100k import _protocol, fold_by, read
from models.questions.interactions import Interactions, Ints

TABLE = TABLES["movielens-100k"]


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    """40 users in two camps, 30 items, each user with 12 ratings, in random order."""
    generator = np.random.default_rng(0)
    rows = []
    for user in range(1, 41):
        items = generator.choice(15, 12, replace=False) + 1 + 15 * (user % 2)
        rows += [(user, item, generator.integers(1, 6), 881_250_949 + generator.integers(10**7)) for item in items]
    path = tmp_path / "u.data"
    order = generator.permutation(len(rows))
    path.write_text("".join("\t".join(map(str, rows[place])) + "\n" for place in order))
    return path


@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_each_row_trains_or_tests_as_pandas_sampled_it(ratings: Path, column: str) -> None:
    events = read(ratings)
    groups = [group.sample(frac=1, random_state=42) for _, group in events.to_pandas().groupby(column)]
    train = pd.concat([group.iloc[: round(0.75 * len(group))] for group in groups])
    fold = fold_by(column, events, _protocol("item"))
    assert _pairs(fold.train.user, fold.train.item, fold.train) == set(zip(train.user_id, train.item_id, strict=True))
    asked = _pairs(fold.test.queries.user[fold.test.truth_row], fold.test.truth_item, fold.train)
    rest = events.to_pandas().drop(train.index)
    assert asked == set(zip(rest.user_id, rest.item_id, strict=True))


def _pairs(user: Ints, item: Ints, log: Interactions) -> set[tuple[int, int]]:
    return set(zip(log.user_ids.gather(user), log.item_ids.gather(item), strict=True))


def test_the_whole_table_runs_and_tells_agreement_from_difference(ratings: Path) -> None:
    outcomes = list(rerun(dataclasses.replace(TABLE, shape=None), ratings))
    assert [outcome.what for outcome in outcomes] == ["bpr"] * 3 + ["sar"] * 3 + ["als"] * 3 + ["sar"] * 3
    assert len({outcome.protocol for outcome in outcomes}) == 2
    for outcome in outcomes:
        assert outcome.low is not None
        assert outcome.high is not None
        assert 0 < outcome.low <= outcome.ours <= outcome.high <= 1
        assert outcome.difference == pytest.approx(outcome.ours - outcome.published)  # type: ignore[operator]
        agrees = outcome.tolerance is None or abs(outcome.difference) <= outcome.tolerance  # type: ignore[arg-type]
        assert outcome.passed == (None if outcome.tolerance is None else agrees)
    assert sum(outcome.passed is False for outcome in outcomes) > 0, "other data has other figures"


def test_sar_is_as_counted_by_hand_from_the_publishers_formulas(ratings: Path) -> None:
    """Affinities fade from the newest rating of all, similarities are Jaccard's, the lists leave out what is rated."""
    events = read(ratings)
    fold = fold_by("item_id", events, _protocol("item"))
    train = fold.train
    held = train.matrix().toarray()
    both = held.T @ held
    jaccard = both / (np.diag(both)[:, None] + np.diag(both)[None] - both)
    affinity = np.zeros_like(held)
    affinity[train.user, train.item] = train.weight * 0.5 ** ((train.time.max() - train.time) / (30 * 86_400 * 1e6))
    scores = np.where(held > 0, -np.inf, affinity @ jaccard)
    precision = []
    for row, user in enumerate(fold.test.queries.user):
        shown = np.argsort(-scores[user], kind="stable")[:10]
        precision.append(np.isin(shown, fold.test.truth_item[fold.test.truth_row == row]).mean())
    ours = next(
        outcome for outcome in rerun(dataclasses.replace(TABLE, shape=None), ratings, ["sar"]) if outcome.metric == "precision@10"
    )
    assert ours.ours == pytest.approx(np.mean(precision), abs=1e-9)


def test_other_data_than_the_published_is_refused(ratings: Path) -> None:
    with pytest.raises(
        DataError, match="480 interactions of 40 users with 30 items; the table was made with 100,000 interactions"
    ):
        list(rerun(TABLE, ratings))


def test_a_model_that_the_table_lacks_is_refused(ratings: Path) -> None:
    with pytest.raises(UsageError, match=r"has no model 'svd'\. It has bpr, sar, als"):
        list(rerun(TABLE, ratings, ["svd"]))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2,3,4", "line 2: '1,2,3,4'; expected user, item, rating and Unix time"),
        ("1\t2\t3", "line 2"),
        ("1\t2\t6\t4", "line 2.*a rating from 1 to 5 in the third column"),
        ("1\t-2\t3\t4", "line 2"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "u.data"
    path.write_text(f"196\t242\t3\t881250949\n{line}\n")
    with pytest.raises(DataError, match=said):
        read(path)


def test_a_good_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "u.data"
    path.write_text("196\t242\t3\t881250949\r\n186\t302\t5\t891717742\r\n")
    expected = {
        "user_id": [196, 186],
        "item_id": [242, 302],
        "weight": [3, 5],
        "timestamp": [881250949 * 10**6, 891717742 * 10**6],
    }
    assert read(path).equals(pl.DataFrame(expected))
