from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from conformance import SourceConformance

REAL = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "retailrocket"
T = 1433221332117


class TestRetailRocket(SourceConformance):
    kind = "retailrocket"
    file = "events.csv"
    rows = 4
    required_column = "visitorid"
    user_column = "visitorid"
    has_local_times = False
    text_column = "transactionid"
    item_column = "itemid"

    def write(self, folder: Path) -> None:
        (folder / self.file).write_text(
            "timestamp,visitorid,event,itemid,transactionid\n"
            f"{T},257597,view,355908,\n{T + 1000},257597,addtocart,355908,\n{T + 2000},257597,transaction,355908,4000\n"
            f"{T + 500},9,view,7,\n"
        )
        (folder / "item_properties_part1.csv").write_text(
            f"timestamp,itemid,property,value\n{T + 1000},355908,categoryid,20\n{T - 9},355908,888,666\n{T + 1500},355908,categoryid,20\n"
        )
        (folder / "item_properties_part2.csv").write_text(
            f"timestamp,itemid,property,value\n{T - 9},355908,categoryid,10\n{T + 9_000},355908,categoryid,30\n"
        )
        (folder / "category_tree.csv").write_text("categoryid,parentid\n10,1\n1,\n20,21\n21,20\n")

    def test_categories_are_those_of_the_instant(self, folder: Path) -> None:
        self.check(folder)
        events = pl.read_parquet(self.target(folder) / "events.parquet")
        assert events.select("event_type", "category", "category_parent", "category_root", "transaction_id").rows() == [
            ("view", "10", "1", "1", None),
            ("view", None, None, None, None),
            ("cart", "20", "21", "21", None),
            ("purchase", "20", "21", "21", "4000"),
        ]

    def test_an_event_before_the_first_snapshot_has_no_category(self, folder: Path) -> None:
        (folder / self.file).write_text(f"timestamp,visitorid,event,itemid,transactionid\n{T - 10},1,view,355908,\n")
        self.check(folder)
        assert pl.read_parquet(self.target(folder) / "events.parquet")["category"].to_list() == [None]

    def test_rows_without_a_time_stay_single(self, folder: Path) -> None:
        with (folder / self.file).open("a") as stream:
            stream.write("soon,1,view,355908,\n,1,view,355908,\n1,1,view,,\n")
        summary = self.check(folder, max_bad_share=0.9)
        assert (summary.rows, summary.quarantined, summary.rows_read) == (4, 3, 7)


@pytest.mark.skipif(not REAL.exists(), reason=f"real data are absent: {REAL}")
def test_the_published_rows(tmp_path: Path) -> None:
    from workflows.events.validate import check_events
    from workflows.settings import EventSettings

    summary = check_events(TestRetailRocket().open(REAL), EventSettings(), tmp_path)
    assert summary.event_types == {"view": 75374, "cart": 12456, "purchase": 9551}
    assert (summary.rows, summary.users, summary.first[:10], summary.last[:10]) == (97381, 2174, "2015-05-03", "2015-09-18")
    assert summary.id_types == {"user_id": "int64", "item_id": "int64"}
