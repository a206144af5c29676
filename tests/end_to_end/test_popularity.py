"""The popularity baselines that evaluation reads off the catalogue are those that the conformance suite holds to account."""

from pathlib import Path

import numpy as np
import pytest

from models.families.popularity.recently_popular import DAY
from models.families.recommender import Recommender
from models.families.registry import MostPopular, RecentlyPopular
from models.families.tabular.logistic_regression import MOST_POPULAR, POPULARITY, RECENTLY_POPULAR
from models.questions.run_log import read_interactions, read_questions, split_start
from models.retrieval.run_scorer import RunScorer, popularity
from workflows.settings import PrepareSettings

ROWS = np.arange(5)


def scored(recommender: Recommender, run: Path, split: str) -> np.ndarray:
    log = read_interactions(run)
    return RunScorer(recommender, run, split, log, read_questions(run, split, log))(ROWS)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_most_popular_counts_what_the_catalogue_counts(run: Path, split: str) -> None:
    counts = popularity(run, split, POPULARITY[MOST_POPULAR])(ROWS)
    assert len(np.unique(counts)) > 10
    np.testing.assert_allclose(scored(MostPopular(), run, split), counts, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_recently_popular_counts_what_the_catalogue_counts(run: Path, split: str) -> None:
    log, start = read_interactions(run), split_start(run, split)
    until_start = start - (
        log.time[log.time < start].max() + 1
    )  # the offline clock stops with the last interaction, not at the start
    days = PrepareSettings().popularity_days - until_start / DAY
    counts = popularity(run, split, POPULARITY[RECENTLY_POPULAR])(ROWS)
    assert len(np.unique(counts)) > 5
    np.testing.assert_allclose(scored(RecentlyPopular(days), run, split), counts, rtol=1e-12, atol=1e-12)
