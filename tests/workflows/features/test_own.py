"""Own columns are features like the built-in ones: known strictly before an instant, the same in plain code, and refused in a sentence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_shop import OWN, Shop, own_settings, write_shop, write_tables

from cartwheel.core.errors import ConfigError, DataError, MissingDependencyError
from cartwheel.testing.feature_family import FeatureFamilyConformance
from workflows.events.event_log import read_events
from workflows.features.column import Kind, Owner
from workflows.features.family import Moments
from workflows.features.own import (
    OwnFamily,
    first_listed,
    listed_items,
    listed_users,
    own_columns,
    own_families,
    own_family,
    own_frame,
)
from workflows.features.own_history import ALWAYS, ValueHistory, changes, coded
from workflows.prepare.tables import build_tables
from workflows.settings import PrepareSettings, TableSettings

LogMaker = Callable[..., pl.DataFrame]


@pytest.fixture(scope="module", autouse=True)
def _shop_of_the_suite(shop: Shop) -> None:
    OwnConformance.shop = shop


class OwnConformance(FeatureFamilyConformance):
    """The suite of all families, on the run's own log: where values come from, the run says and not the log that is handed over."""

    owner: Owner
    shop: Shop

    def family(self) -> OwnFamily:
        return family_of(self.shop, self.owner)

    def log(self, seed: int) -> pl.DataFrame:
        del seed
        return read_events(self.shop.run / "events/events.parquet")


class TestOwnItems(OwnConformance):
    owner = Owner.ITEM


class TestOwnShoppers(OwnConformance):
    owner = Owner.SHOPPER


class TestOwnSessions(OwnConformance):
    owner = Owner.SESSION


class TestOwnMoments(OwnConformance):
    owner = Owner.MOMENT


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, log_maker: LogMaker) -> Shop:
    return write_shop(tmp_path_factory.mktemp("own") / "run", log_maker)


def family_of(shop: Shop, owner: Owner) -> OwnFamily:
    family = own_family(shop.run, owner)
    assert family is not None
    return family


@pytest.mark.parametrize("owner", [Owner.ITEM, Owner.SHOPPER, Owner.SESSION, Owner.MOMENT], ids=lambda owner: owner.value)
def test_computed_at_once_equals_computed_plainly(shop: Shop, owner: Owner) -> None:
    family, rng = family_of(shop, owner), np.random.default_rng(0)
    asked = [shop.events[place] for place in rng.integers(0, len(shop.events), 60)]
    anchors = np.array([shop.events[place].time for place in rng.integers(0, len(shop.events), 60)]) + rng.integers(0, 2, 60)
    codes = np.array([shop.code(owner, event) for event in asked])
    table = family.compute(shop.log, Moments(codes, anchors))
    assert dict(table.schema) == {column.name: column.raw_type for column in family.columns}
    for row, event, anchor in zip(table.to_dicts(), asked, anchors.tolist(), strict=True):
        assert row == dict(family.recompute(shop.past(owner, event, anchor)))
    for column in family.columns:
        assert any(value != column.missing for value in table[column.name].to_list()), f"{column.name} has values"


@pytest.mark.parametrize("owner", [Owner.ITEM, Owner.SHOPPER], ids=lambda owner: owner.value)
def test_by_id_is_by_code(shop: Shop, owner: Owner) -> None:
    family, table = family_of(shop, owner), shop.log.items if owner is Owner.ITEM else shop.log.keys
    codes, at = np.arange(len(table)), np.full(len(table), shop.log.last)
    assert family.frame(table, at).equals(family.compute(shop.log, Moments(codes, at)))
    assert own_frame(shop.run, owner, table, shop.log.last).equals(family.frame(table, at))


def test_what_the_log_does_not_have_is_missing(shop: Shop) -> None:
    for family in own_families(shop.run):
        if family.owner is not Owner.MOMENT:
            row = family.compute(shop.log, Moments(np.array([-1]), np.array([shop.log.last]))).row(0, named=True)
            assert row == {column.name: column.missing for column in family.columns}


def test_an_item_is_listed_from_its_first_row_on_whether_the_log_saw_it_or_not(shop: Shop) -> None:
    starts = first_listed(shop.run, Owner.ITEM)
    assert starts["id"].to_list() == sorted([*(f"i{n}" for n in range(60)), "new1", "new2"])
    start = int(starts.filter(pl.col("id") == "new1")["listed_from"][0])
    assert "new1" not in listed_items(shop.run, start)
    assert "new1" in listed_items(shop.run, start + 1)
    assert own_frame(shop.run, Owner.ITEM, pl.Series(["new1"]), start)["description"].to_list() == [[0.0] * 4]
    assert own_frame(shop.run, Owner.ITEM, pl.Series(["new1"]), start + 1)["description"].to_list() != [[0.0] * 4]
    assert len(listed_users(shop.run, 0)) == 30, "a table without valid_from lists its users always"


def test_kinds_become_columns(shop: Shop) -> None:
    kinds = {column.name: (column.kind, column.width) for owner in Owner for column in own_columns(shop.run, owner)}
    assert kinds["weight"] == (Kind.AMOUNT, 1)
    assert kinds["genres"] == (Kind.TAGS, 4)
    assert kinds["description"] == (Kind.VECTOR, 4)
    assert kinds["picture"] == (Kind.VECTOR, 5)
    assert (kinds["launch_days"], kinds["launch_month"]) == ((Kind.NUMBER, 1), (Kind.CATEGORY, 1))
    assert kinds["waterproof"] == (Kind.CATEGORY, 1)


def test_columns_without_a_time_are_named_and_warned_of(shop: Shop) -> None:
    assert {family.owner: family.always_known for family in own_families(shop.run)} == {
        Owner.MOMENT: ("holiday",),
        Owner.SHOPPER: ("country",),
        Owner.SESSION: ("channel",),
        Owner.ITEM: ("margin",),
    }
    assert sum("taken as always known" in warning for warning in shop.warnings) == 4


def test_equal_input_gives_equal_bytes(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events/events.parquet").write_bytes((shop.run / "events/events.parquet").read_bytes())
    build_tables(tmp_path, write_tables(tmp_path, 5), own_settings(OWN), PrepareSettings(), 5)
    digests = [
        {
            file.relative_to(run): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted((run / "tables").rglob("*.parquet"))
        }
        for run in (shop.run, tmp_path)
    ]
    assert digests[0] == digests[1]


def test_texts_are_fitted_on_what_training_knew(shop: Shop, tmp_path: Path) -> None:
    """What comes to be known later changes no vector of what was known before."""
    (tmp_path / "events").mkdir()
    (tmp_path / "events/events.parquet").write_bytes((shop.run / "events/events.parquet").read_bytes())
    tables = write_tables(tmp_path, 5)
    late = pl.DataFrame(
        {"item_id": ["i1"], "since": ["2023-12-01 00:00:00"], "description": ["entirely other words"], "picture": ["9 " * 9]}
    )
    pl.concat([pl.read_csv(tmp_path / "items.csv", infer_schema=False), late], how="diagonal").write_csv(tmp_path / "items.csv")
    build_tables(tmp_path, tables, own_settings(OWN), PrepareSettings(), 5)
    for name in ("description", "picture"):
        before, after = (pl.read_parquet(run / f"tables/own/{name}.values.parquet") for run in (shop.run, tmp_path))
        both = before.join(after, on="raw", suffix="_later")
        assert len(both) == len(before)
        assert both["value"].to_list() == both["value_later"].to_list()


@settings(max_examples=60)
@given(data=st.data())
def test_as_of_is_the_last_row_strictly_before(data: st.DataObject) -> None:
    key, time = st.sampled_from("abc"), st.integers(-3, 3)
    rows = data.draw(st.lists(st.tuples(key, st.none() | time, st.none() | st.sampled_from("xyz")), max_size=12))
    asked = data.draw(st.lists(st.tuples(st.sampled_from("abcd"), time), min_size=1, max_size=8))
    frame, raw = coded(pl.DataFrame(rows, schema={"key": pl.String, "time": pl.Int64, "raw": pl.String}, orient="row"))
    found = ValueHistory(frame).codes(pl.Series([who for who, _ in asked]), np.array([when for _, when in asked]))
    for code, (who, when) in zip(found.tolist(), asked, strict=True):
        last: tuple[int, str | None] | None = None
        for name, start, text in rows:
            known = ALWAYS if start is None else start
            if name == who and known < when and (last is None or known >= last[0]):
                last = known, text
        assert (None if code < 0 else raw[code]) == (last[1] if last else None)


@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.sampled_from("xy")), max_size=12), when=st.integers(0, 6)
)
def test_rows_that_change_nothing_can_be_left_out(rows: list[tuple[str, int, str]], when: int) -> None:
    table = pl.DataFrame(rows, schema={"key": pl.String, "time": pl.Int64, "raw": pl.String}, orient="row")
    table = table.sort("key", "time", maintain_order=True)
    asked, at = pl.Series(["a", "b"]), np.array([when, when])
    answers = []
    for some in (table, changes(table)):
        frame, raw = coded(some)
        answers.append([raw[code] if code >= 0 else None for code in ValueHistory(frame).codes(asked, at).tolist()])
    assert answers[0] == answers[1]


class TestBadInput:
    @pytest.fixture
    def run(self, tmp_path: Path, event_maker: Callable[[list[dict[str, object]]], pl.DataFrame]) -> Path:
        rows = [
            {"user_id": f"u{n % 4}", "item_id": f"i{n % 3}", "event_type": "view", "time": 10**15 + n * 10**10} for n in range(40)
        ]
        (tmp_path / "events").mkdir()
        events = event_maker(rows).with_columns(colour=pl.lit("red"), stars=pl.lit("4"))
        events.write_parquet(tmp_path / "events/events.parquet")
        return tmp_path

    def build(self, run: Path, own: dict[str, Any], text: str = "", **table: Any) -> list[str]:
        tables = {}
        if text:
            (run / "items.csv").write_text(text)
            tables["items"] = TableSettings(path=run / "items.csv", **table)
        return build_tables(run, tables, own_settings(own), PrepareSettings(), 1)

    ITEMS = "item_id,colour,size,name\ni0,red,1.5,big red shoe\ni1,blue,2,blue boot\ni2,red,x,shirt\n"

    @pytest.mark.parametrize(
        ("own", "sentence"),
        [
            ({"colur": {"kind": "category"}}, "neither the events nor a table has a column 'colur'; there are 'colour'"),
            ({"colur": {"kind": "category"}}, "Did you mean 'colour'?"),
            ({"hue": {"kind": "category", "from": "items.colur"}}, "tables.items has no own column 'colur'"),
            ({"hue": {"kind": "category", "from": "item.colour"}}, "no table 'item'; the tables are 'items'. Did you mean 'items'?"),
            ({"colour": {"kind": "category"}}, "the column 'colour' is declared twice, by the events and tables.items"),
            ({"stars": {"kind": "number"}}, "nothing says whose value it is"),
            ({"size": {"kind": "number", "owner": "user"}}, "neither the events nor a table has a column 'size'"),
            ({"hue": {"kind": "number", "owner": "user", "from": "items.size"}}, "but the rows of tables.items belong to item keys"),
            ({"hour": {"kind": "category", "owner": "item", "from": "events.colour"}}, "'hour' is the name of a feature"),
            ({"stars": {"kind": "number", "owner": "moment"}}, "belongs to an item, a user or a session"),
            (
                {"a": {"kind": "date", "from": "items.name"}, "a_days": {"kind": "category", "from": "items.name"}},
                "two features are called 'a_days'",
            ),
        ],
    )  # fmt: skip
    def test_a_feature_that_has_no_column(self, run: Path, own: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ConfigError) as caught:
            self.build(run, own, self.ITEMS)
        assert sentence in str(caught.value)

    @pytest.mark.parametrize(
        ("own", "sentence"),
        [
            ({"size": {"kind": "number"}}, "1 of 3 values of tables.items.size are no numbers; the first is 'x' of 'i2'"),
            ({"name": {"kind": "date"}}, "3 of 3 values of tables.items.name are no dates or instants; the first is 'big red shoe'"),
            ({"name": {"kind": "boolean"}}, "are no yes or no (true, false"),
            ({"name": {"kind": "vector"}}, "are no lists of numbers"),
            ({"stars": {"kind": "text", "owner": "user"}}, "but the values of the events' column stars are numbers, such as '4'"),
        ],
    )  # fmt: skip
    def test_values_that_are_not_of_the_kind(self, run: Path, own: dict[str, Any], sentence: str) -> None:
        with pytest.raises(DataError) as caught:
            self.build(run, own, self.ITEMS)
        assert sentence in str(caught.value)

    def test_vectors_of_several_lengths(self, run: Path) -> None:
        text = 'item_id,picture\ni0,"[1, 2]"\ni1,"[1, 2]"\ni2,"[1]"\n'
        with pytest.raises(DataError, match="of several lengths; that of 'i2' has 1 numbers, the usual one 2"):
            self.build(run, {"picture": {"kind": "vector"}}, text)

    def test_amounts_are_not_negative(self, run: Path) -> None:
        with pytest.raises(DataError, match="no numbers that are not negative; the first is '-1' of 'i0'"):
            self.build(run, {"size": {"kind": "amount"}}, "item_id,size\ni0,-1\ni1,2\n")

    def test_a_column_without_values(self, run: Path) -> None:
        with pytest.raises(DataError, match="has no value at all in 2 rows"):
            self.build(run, {"size": {"kind": "number"}}, "item_id,size\ni0,\ni1,NULL\n")

    def test_a_few_bad_values_are_missing_and_told(self, run: Path) -> None:
        rows = "".join(f"x{n},{n}\n" for n in range(200))
        warnings = self.build(run, {"size": {"kind": "number"}}, f"item_id,size\ni0,large\n{rows}")
        assert any(
            "1 of 201 values of tables.items.size are no numbers; the first is 'large' of 'i0'. They are taken as missing" in line
            for line in warnings
        )
        assert own_frame(run, Owner.ITEM, pl.Series(["i0", "x7"]), 10**15)["size"].to_list() == [None, 7.0]

    def test_tags_that_another_sign_parts_are_told(self, run: Path) -> None:
        text = "item_id,tags\ni0,a;b\ni1,b\n"
        assert any(
            "have a comma or semicolon in them, such as 'a;b'" in line
            for line in self.build(run, {"tags": {"kind": "tags"}}, text)
        )
        self.build(run, {"tags": {"kind": "tags", "separator": ";"}}, text)
        assert own_frame(run, Owner.ITEM, pl.Series(["i0"]), 0)["tags"].to_list() == [["a", "b"]]

    def test_texts_without_words(self, run: Path) -> None:
        with pytest.raises(DataError, match="has a word of two letters or digits"):
            self.build(run, {"name": {"kind": "text"}}, "item_id,name\ni0,?\ni1,!\n")

    def test_nothing_that_training_knows(self, run: Path) -> None:
        with pytest.raises(DataError, match="was known before validation begins"):
            self.build(run, {"name": {"kind": "text"}}, "item_id,since,name\ni0,2001-09-13T10:00,shoe\n", valid_from="since")

    def test_an_embedding_without_its_package(self, run: Path) -> None:
        pytest.importorskip("sklearn")
        try:
            import model2vec  # noqa: F401
        except ImportError:
            with pytest.raises(MissingDependencyError, match=r"model2vec is not installed.*text"):
                self.build(run, {"name": {"kind": "text", "embedding": "a"}}, self.ITEMS)
        else:
            with pytest.raises(DataError, match="there is no model2vec model"):
                self.build(run, {"name": {"kind": "text", "embedding": str(run / "absent")}}, self.ITEMS)

    def test_a_german_decimal_sign_and_yes_in_one_table(self, run: Path) -> None:
        self.build(
            run, {"size": {"kind": "number"}, "new": {"kind": "boolean"}}, "item_id;size;new\ni0;1,5;Yes\ni1;2;0\n", decimal=","
        )
        assert own_frame(run, Owner.ITEM, pl.Series(["i0", "i1"]), 0).rows() == [(1.5, "true"), (2.0, "false")]
