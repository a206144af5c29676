from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from conformance import SourceConformance

from workflows.events.validate import check_events
from workflows.settings import EventSettings

REAL = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "movielens-latest-small"


class _MovieLens(SourceConformance):
    kind = "movielens"
    rows = 3
    has_local_times = False

    def test_ratings_know_their_films(self, folder: Path) -> None:
        self.check(folder)
        events = pl.read_parquet(self.target(folder) / "events.parquet")
        assert events.select("user_id", "item_id", "event_type", "rating", "category", "title", "genres").rows() == [
            ("7", "2", "rating", 4.0, None, "Nothing", None),
            (
                "1",
                "1",
                "rating",
                3.5 if self.file == "ratings.csv" else 3.0,
                "Animation",
                "Toy, Story (1995)",
                "Animation|Comedy",
            ),
            ("7", "99", "rating", 5.0, None, None, None),
        ]
        assert str(events["timestamp"][0]) == "2000-12-31 22:12:40+00:00"


class TestRatingsCsv(_MovieLens):
    file = "ratings.csv"
    required_column = "movieId"
    user_column = "userId"
    text_column = "userId"
    item_column = "movieId"

    def write(self, folder: Path) -> None:
        (folder / self.file).write_text(
            "userId,movieId,rating,timestamp\n1,1,3.5,978300761\n7,2,4.0,978300760\n7,99,5,978300762\n"
        )
        (folder / "movies.csv").write_text(
            'movieId,title,genres\n1,"Toy, Story (1995)",Animation|Comedy\n2,Nothing,(no genres listed)\n'.replace(
                "(no genres listed)", ""
            )
        )


class TestRatingsDat(_MovieLens):
    file = "ratings.dat"
    required_column = ""
    user_column = ""

    def write(self, folder: Path) -> None:
        (folder / self.file).write_text("1::1::3::978300761\n7::2::4::978300760\n7::99::5::978300762\n")
        (folder / "movies.dat").write_bytes(b"1::Toy, Story (1995)::Animation|Comedy\n2::Nothing::\n3::Caf\xe9::Drama\n")


class TestUData(_MovieLens):
    file = "u.data"
    required_column = ""
    user_column = ""

    def write(self, folder: Path) -> None:
        (folder / self.file).write_text("1\t1\t3\t978300761\n7\t2\t4\t978300760\n7\t99\t5\t978300762\n")
        flags = ["0|0|0|1|0|1|" + "|".join("0" * 13), "|".join("0" * 19)]
        (folder / "u.item").write_bytes(
            f"1|Toy, Story (1995)|01-Jan-1995||http://x|{flags[0]}\n2|Nothing|||y|{flags[1]}\n".encode() + b"3|Caf\xe9\n"
        )


def test_no_genres_listed_is_no_category(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,3.5,978300761\n")
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,A,(no genres listed)\n")
    assert TestRatingsCsv().open(tmp_path).scan().collect()["category"].to_list() == [None]


def test_ratings_without_films(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,3.5,978300761\n")
    assert TestRatingsCsv().open(tmp_path).scan().collect()["category"].to_list() == [None]


@pytest.mark.skipif(not REAL.exists(), reason=f"real data are absent: {REAL}")
def test_the_published_rows(tmp_path: Path) -> None:
    summary = check_events(TestRatingsCsv().open(REAL), EventSettings(), tmp_path)
    assert (summary.rows, summary.users, summary.items, summary.quarantined) == (100_004, 671, 9_066, 0)
    assert summary.own_columns == ("rating", "title", "genres")
