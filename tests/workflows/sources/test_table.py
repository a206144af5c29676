from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conformance import SourceConformance

from cartwheel.errors import ConfigError, DataError
from workflows.settings import EventSettings, SourceSettings
from workflows.sources import SOURCES, open_source
from workflows.validate import check_events


class TestTable(SourceConformance):
    kind = "table"
    file = "export.csv"
    rows = 4
    required_column = "was_wann"
    settings = {  # noqa: RUF012 - the suite never changes it
        "columns": {
            "user_id": "kunde",
            "item_id": "artikel",
            "event_type": "art",
            "timestamp": "was_wann",
            "price": "preis",
            "campaign": "aktion",
        },
        "event_types": {"gesehen": "view", "gekauft": "purchase"},
        "timestamp_format": "%d.%m.%Y %H:%M",
    }

    def write(self, folder: Path) -> None:
        (folder / self.file).write_text(
            "was_wann;kunde;artikel;art;preis;aktion;rest\n"
            "2.1.2020 10:00;007;Ä 1;gekauft;9.90;sommer;x\n"
            "01.01.2020 10:00; 7 ;Ä 1;gesehen;;;x\n"
            '01.01.2020 10:01;"a""b";"x;y";gesehen;0;;x\n'
            "01.01.2020 10:02;日本;Ä  1;view;1e2;;x\n"
        )

    def test_ids_come_back_exactly(self, folder: Path) -> None:
        summary = self.check(folder)
        events = pl.read_parquet(self.target(folder) / "events.parquet")
        assert events["user_id"].to_list() == [" 7 ", 'a"b', "日本", "007"]
        assert events["item_id"].to_list() == ["Ä 1", "x;y", "Ä  1", "Ä 1"]
        assert events["price"].to_list() == [None, 0.0, 100.0, 9.9]
        assert events["campaign"].to_list() == [None, None, None, "sommer"]
        assert summary.own_columns == ("campaign",)
        assert summary.id_types == {"user_id": "string", "item_id": "string"}


def table(path: Path, **settings: Any) -> dict[str, Any]:
    """Check ``path`` as a table and return its summary and events."""
    source = open_source(SourceSettings(kind="table", path=path, **settings), path.parent)
    summary = check_events(source, EventSettings(), path.parent / "checked")
    return {"summary": summary, "events": pl.read_parquet(path.parent / "checked" / "events.parquet")}


def test_canonical_names_need_no_mapping(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text("\ufeffuser_id,item_id,event_type,timestamp\r\n1,2,view,2020-01-01\r\n")
    found = table(path)
    assert found["summary"].id_types == {"user_id": "int64", "item_id": "int64"}
    assert found["events"]["timestamp"].to_list() == [dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pl.Series([1, 2], dtype=pl.Int32), "int64"),
        (pl.Series([1.0, 2.0]), "int64"),
        (pl.Series(["1", "2"]), "string"),
        (pl.Series(["1", "2"], dtype=pl.Categorical), "string"),
        (pl.Series([2**64 - 1, 2], dtype=pl.UInt64), "string"),
    ],
)
def test_typed_ids_keep_their_type(tmp_path: Path, values: pl.Series, expected: str) -> None:
    path = tmp_path / "e.parquet"
    time = pl.Series([dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, 1)])
    pl.DataFrame({"user_id": values, "item_id": ["a", "b"], "timestamp": time}).write_parquet(path)
    found = table(path, default_event_type="view")
    assert found["summary"].id_types["user_id"] == expected
    assert found["events"]["user_id"].to_list() == [str(int(v)) if values.dtype.is_float() else str(v) for v in values]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_unix_times(tmp_path: Path, unit: str, suffix: str) -> None:
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    rows = pl.DataFrame({"user_id": ["a"], "item_id": ["b"], "timestamp": [1_577_836_800 * scale]})
    path = tmp_path / f"e{suffix}"
    if suffix == ".csv":
        rows.write_csv(path)
    else:
        rows.write_parquet(path)
    events = table(path, default_event_type="view", timestamp_format=unit)["events"]
    assert events["timestamp"].to_list() == [dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)]


def test_typed_times_need_no_format(tmp_path: Path) -> None:
    zoned = pl.Series([dt.datetime(2020, 1, 1, 12, 0, 0, 123456)]).dt.replace_time_zone("Europe/Berlin")
    path = tmp_path / "e.parquet"
    pl.DataFrame({"user_id": ["a"], "item_id": ["b"], "timestamp": zoned}).write_parquet(path)
    events = table(path, default_event_type="view", timestamp_format="ms")["events"]
    assert events["timestamp"].to_list() == [dt.datetime(2020, 1, 1, 11, 0, 0, 123456, tzinfo=dt.timezone.utc)]


def test_numbers_where_iso_was_expected_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    pl.DataFrame({"user_id": ["a"], "item_id": ["b"], "timestamp": [1]}).write_parquet(path)
    with pytest.raises(DataError, match=r"Set source\.timestamp_format to the unit"):
        table(path, default_event_type="view")


def test_mapped_sessions_allow_anonymous_baskets(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text("visit,item_id,timestamp\nv 1,2,2020-01-01\n")
    found = table(path, columns={"session_id": "visit"}, default_event_type="view")
    assert found["events"].row(0)[:5] == (None, "2", "view", dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), "v 1")
    assert found["summary"].users == 0
    assert found["summary"].id_types["user_id"] == "string"


def test_nested_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    pl.DataFrame({"user_id": [["a"]], "item_id": ["b"], "timestamp": ["2020-01-01"]}).write_parquet(path)
    with pytest.raises(DataError, match=r"'user_id' holds List\(String\)"):
        table(path, default_event_type="view")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"event_types": {"seen": "veiw"}}, "Did you mean 'view'"),
        ({"default_event_type": "buy"}, "no event type"),
        ({"timestamp_format": "seconds"}, "no time format"),
        ({"columns": {"_row": "x"}}, "reserved"),
        ({"columns": {"reason": "x"}}, "reserved"),
    ],
)
def test_settings_that_cannot_work(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_source(SourceSettings(kind="table", path=tmp_path, **settings), tmp_path)


def test_an_unknown_kind_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'movielens'") as raised:
        open_source(SourceSettings(kind="movilens", path=tmp_path), tmp_path)
    assert all(kind in str(raised.value) for kind in SOURCES)


def test_settings_of_a_table_do_not_suit_a_publisher(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source\.columns is set"):
        open_source(SourceSettings(kind="rees46", path=tmp_path, columns={"user_id": "x"}), tmp_path)


def test_relative_paths_start_at_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("user_id,item_id,event_type,timestamp\n1,2,view,2020-01-01\n")
    source = open_source(SourceSettings(kind="table", path=Path("e.csv")), tmp_path)
    assert source.scan().collect().height == 1
