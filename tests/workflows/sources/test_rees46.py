from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from conformance import SourceConformance

HEADER = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
REAL = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "rees46" / "2019-Oct.csv"


class TestRees46(SourceConformance):
    kind = "rees46"
    file = "2019-Oct.csv"
    rows = 4
    required_column = "product_id"
    user_column = "user_id"
    price_column = "price"
    has_local_times = False
    text_column = "brand"
    item_column = "product_id"

    def write(self, folder: Path) -> None:
        (folder / self.file).write_text(
            HEADER
            + "2019-10-01 00:00:02 UTC,cart,0044,2103807459595387724,,shiseido,35.79,541312140,s-1\n"
            + "2019-10-01 00:00:00 UTC,view,3900821,2053013552326770905,appliances.kitchen,,33.20,554748717,s 2\n"
            + "2019-10-01 00:00:03 UTC,purchase,3900821,2053013552326770905,appliances.kitchen,aqua,33.20,554748717,s 2\n"
            + "2019-10-01 00:00:01 UTC,remove_from_cart,3900821,2053013552326770905,,aqua,33.20,554748717,s 2\n"
        )

    def test_values_arrive_as_they_are(self, folder: Path) -> None:
        self.check(folder)
        row = pl.read_parquet(self.target(folder) / "events.parquet").row(2, named=True)
        assert row["timestamp"].isoformat() == "2019-10-01T00:00:02+00:00"
        assert {name: row[name] for name in row if name != "timestamp"} == {
            "user_id": "541312140",
            "item_id": "0044",
            "event_type": "cart",
            "session_id": "s-1",
            "category": "2103807459595387724",
            "brand": "shiseido",
            "price": 35.79,
            "quantity": None,
            "category_id": "2103807459595387724",
        }

    def test_the_category_is_the_code_where_there_is_one(self, folder: Path) -> None:
        categories = self.open(folder).scan().collect()["category"].to_list()
        assert categories == ["2103807459595387724", "appliances.kitchen", "appliances.kitchen", "2053013552326770905"]

    def test_a_last_row_that_is_cut_off_is_quarantined(self, folder: Path) -> None:
        with (folder / self.file).open("a") as stream:
            stream.write("2019-10-01 00:00:09 UTC,view,7,2053013552326770905,,aqua,33.20,5547")
        summary = self.check(folder, max_bad_share=0.5)
        assert (summary.rows, summary.reasons) == (4, {"cut off": 1})

    def test_a_whole_last_row_without_line_end_is_kept(self, folder: Path) -> None:
        path = folder / self.file
        path.write_text(path.read_text().rstrip("\n"))
        assert self.check(folder).rows == 4

    def test_rows_without_user_are_bad_even_in_a_session(self, folder: Path) -> None:
        path = folder / self.file
        path.write_text(path.read_text().replace("541312140", ""))
        assert self.check(folder, max_bad_share=0.5).reasons == {"missing user_id": 1}


@pytest.mark.skipif(not REAL.exists(), reason=f"real data are absent: {REAL}")
def test_the_published_rows() -> None:
    source = TestRees46().open(REAL)
    counts = dict(source.scan().group_by("event_type").len().collect().iter_rows())
    assert counts == {"view": 17056, "cart": 165, "purchase": 214}
    categories = source.scan().collect()["category"]
    assert categories.null_count() <= 1
