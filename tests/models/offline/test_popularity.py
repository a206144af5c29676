"""Three counts: over all, of late, and within a kind of items."""

import numpy as np
import polars as pl
import pytest
from recommender_conformance import RecommenderConformance, ask, small

from cartwheel.core.errors import UsageError
from models.families.popularity.recently_popular import DAY
from models.families.recommender import Recommender
from models.families.registry import MostPopular, PopularInCategory, RecentlyPopular
from models.questions.interactions import Interactions, from_events


class TestMostPopular(RecommenderConformance):
    personal = False

    def make(self, seed: int = 0) -> Recommender:
        return MostPopular()

    def test_it_counts(self) -> None:
        scores = self.fitted(small([(0, 0, 1), (0, 2, 2), (1, 2, 1), (1, 1, 2), (1, 2, 3)])).scores(ask([0], []))
        np.testing.assert_array_equal(scores, [[1, 1, 3], [1, 1, 3]])


class TestRecentlyPopular(RecommenderConformance):
    personal = False

    def make(self, seed: int = 0) -> Recommender:
        return RecentlyPopular(days=120)

    @staticmethod
    def log() -> Interactions:
        return small([(0, 0, 0), (1, 1, DAY), (2, 0, 2 * DAY), (3, 2, 5 * DAY)])

    def test_the_window_ends_just_before_the_question_and_holds_its_beginning(self) -> None:
        recommender = RecentlyPopular(days=2)
        recommender.fit(self.log())
        asked = [
            recommender.scores(ask([], now=now))[0].round(9).tolist() for now in (0, DAY, 2 * DAY, 2 * DAY + 1, 3 * DAY, 5 * DAY)
        ]
        assert asked == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0]]

    def test_the_clock_stops_where_training_ends(self) -> None:
        recommender = RecentlyPopular(days=4)
        recommender.fit(self.log())
        np.testing.assert_allclose(recommender.scores(ask([], now=500 * DAY)), [[1, 0, 1]], atol=1e-12)

    def test_it_agrees_with_counting_afresh_for_each_question(self) -> None:
        generator = np.random.default_rng(3)
        time, item = generator.integers(0, 50, 400), generator.integers(0, 9, 400)
        log = small([(0, int(i), int(t) * DAY) for i, t in zip(item, time, strict=True)])
        recommender = RecentlyPopular(days=6)
        recommender.fit(log)
        nows = generator.permutation(60)
        queries = ask(*[[] for _ in nows])
        queries.now[:] = nows * DAY
        for now, row in zip(nows, recommender.scores(queries), strict=True):
            clock = min(int(now) * DAY, int(time.max()) * DAY + 1)
            inside = (time * DAY >= clock - 6 * DAY) & (time * DAY < clock)
            np.testing.assert_allclose(row, np.bincount(item[inside], minlength=9), rtol=1e-12, atol=1e-12)

    def test_a_window_of_no_days_is_refused(self) -> None:
        with pytest.raises(UsageError, match="recently_popular: days is 0"):
            RecentlyPopular(days=0)


class TestPopularInCategory(RecommenderConformance):
    def make(self, seed: int = 0) -> Recommender:
        return PopularInCategory()

    @staticmethod
    def log() -> Interactions:
        events = [
            (0, "a", "tea"),
            (0, "a", "tea"),
            (0, "b", "tea"),
            (0, "c", "cup"),
            (0, "d", None),
            (0, "d", None),
            (0, "d", None),
        ]
        table = pl.DataFrame(events, schema=["user_id", "item_id", "category"], orient="row")
        return from_events(table.with_columns(timestamp=pl.int_range(pl.len())))

    def test_the_categories_of_the_history_come_first_and_then_the_most_popular(self) -> None:
        scores = self.fitted(self.log()).scores(ask([1, 0, 2]))
        np.testing.assert_allclose(scores, [[1 + 2 / 3 * 2 / 7, 1 + 2 / 3 * 1 / 7, 1 + 1 / 3 * 1 / 7, 3 / 7]])

    def test_without_a_known_category_it_is_popularity(self) -> None:
        scores = self.fitted(self.log()).scores(ask([3, 3], []))
        np.testing.assert_allclose(scores, np.tile([2 / 7, 1 / 7, 1 / 7, 3 / 7], (2, 1)))

    def test_only_the_last_items_are_looked_at(self) -> None:
        recommender = PopularInCategory(last=1)
        recommender.fit(self.log())
        np.testing.assert_array_equal(recommender.scores(ask([0, 0, 2])), recommender.scores(ask([2])))
