from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from conformance import SourceConformance

from workflows.events.validate import check_events
from workflows.settings import EventSettings

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
REAL = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "online_retail" / "online_retail.parquet"


class TestOnlineRetail(SourceConformance):
    kind = "online_retail"
    file = "retail.parquet"
    rows = 5
    required_column = "StockCode"
    user_column = "CustomerID"
    price_column = "UnitPrice"
    has_local_times = True
    text_column = "Description"
    item_column = "StockCode"

    def write(self, folder: Path) -> None:
        pl.DataFrame(
            {
                "InvoiceNo": ["536365", "536365", "C536379", "536414", "536365"],
                "StockCode": ["85123A", "71053", "85123A", "22139", "gift_0001_20"],
                "Description": ["HOLDER", "LANTERN", "HOLDER", None, "Voucher"],
                "Quantity": [6, 6, -1, 56, 1],
                "InvoiceDate": ["12/1/2010 8:26", "12/1/2010 8:26", "12/1/2010 9:41", "12/1/2010 11:52", "12/1/2010 8:26"],
                "UnitPrice": [2.55, 3.39, 2.55, 0.0, 16.67],
                "CustomerID": [17850.0, 17850.0, 14527.0, None, 17850.0],
                "Country": ["United Kingdom"] * 5,
            }
        ).write_parquet(folder / self.file)

    def test_returns_refund_and_strangers_keep_their_basket(self, folder: Path) -> None:
        summary = self.check(folder)
        events = pl.read_parquet(self.target(folder) / "events.parquet")
        columns = ("user_id", "item_id", "event_type", "session_id", "price", "quantity", "description")
        assert events.select(columns).rows() == [
            ("17850", "85123A", "purchase", "536365", 2.55, 6, "HOLDER"),
            ("17850", "71053", "purchase", "536365", 3.39, 6, "LANTERN"),
            ("17850", "gift_0001_20", "purchase", "536365", 16.67, 1, "Voucher"),
            ("14527", "85123A", "refund", "C536379", 2.55, 1, "HOLDER"),
            (None, "22139", "purchase", "536414", None, 56, None),
        ]
        assert str(events["timestamp"][0]) == "2010-12-01 08:26:00+00:00"
        assert summary.id_types == {"user_id": "int64", "item_id": "string"}

    def test_the_csv_reads_the_same(self, folder: Path) -> None:
        path = folder / "retail.csv"
        pl.read_parquet(folder / self.file).write_csv(path)
        assert ",17850.0," in path.read_text()
        summary = check_events(self.open(path), EventSettings(), folder.parent / "csv")
        typed = self.check(folder / self.file).as_json()
        assert typed["remarks"]
        remarks = tuple(remark.replace("retail.parquet", "retail.csv") for remark in typed["remarks"])
        assert summary.as_json() == {**typed, "files": ("retail.csv",), "remarks": remarks}

    def test_bookkeeping_is_set_aside_and_is_not_bad(self, tmp_path: Path) -> None:
        path = tmp_path / "in" / "r.csv"
        path.parent.mkdir()
        lines = [f"1,{code},x,1,12/1/2010 8:26,1.0,5,UK\n" for code in ("POST", "D", "M", "BANK CHARGES", "85123A")]
        path.write_text(HEADER + "".join(lines) + "A1,B,Adjust bad debt,1,12/1/2010 8:26,-11062.06,,UK\n")
        summary = self.check(path, max_bad_share=0.2)
        assert summary.reasons == {"not a product": 4, "negative price": 1}
        assert (summary.rows, summary.quarantined, summary.set_aside, summary.bad_share) == (1, 5, 4, 1 / 6)

    def test_equal_lines_of_an_invoice_are_one_with_their_quantities_together(self, tmp_path: Path) -> None:
        path = tmp_path / "in" / "r.csv"
        path.parent.mkdir()
        row = "1,85123A,x,{},12/1/2010 8:26,{},5,UK\n"
        path.write_text(HEADER + "".join(row.format(*pair) for pair in ((1, 2.5), (2, 2.5), (1, 3.5), (1, 2.5))))
        summary = self.check(path, max_bad_share=0.5)
        assert (summary.rows, summary.merged, summary.quarantined, summary.rows_read) == (3, 1, 0, 4)
        events = pl.read_parquet(self.target(path) / "events.parquet")
        assert events.select("quantity", "price").rows() == [(2.0, 2.5), (2.0, 2.5), (1.0, 3.5)]
        assert self.check(path, max_bad_share=0.5, repeats="refuse").reasons == {"duplicate": 1}
        assert pl.read_parquet(self.target(path) / "quarantine.parquet")["row"].to_list() == [4]


@pytest.mark.skipif(not REAL.exists(), reason=f"real data are absent: {REAL}")
@pytest.mark.slow
def test_the_published_rows(tmp_path: Path) -> None:
    source = TestOnlineRetail().open(REAL)
    raw = source.scan().collect()
    assert raw.height == 541_909
    assert raw["session_id"].n_unique() == 25_900
    assert raw["user_id"].null_count() == 135_080
    assert raw["user_id"].drop_nulls().n_unique() == 4_372
    assert raw["item_id"].n_unique() == 4_070
    assert raw["quantity"].str.starts_with("-").sum() == 10_624
    summary = check_events(source, EventSettings(), tmp_path)
    assert summary.rows + summary.merged + summary.quarantined == summary.rows_read == 541_909
    assert set(summary.reasons) == {"not a product", "negative price"}
    assert summary.merged == 5_262
    assert summary.reasons["negative price"] == 2
