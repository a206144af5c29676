"""What every store of events must satisfy.

Inherit it in a test file and open the store::

    class TestMine(StoreConformance):
        def open(self, kept):
            return MyStore(..., kept)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

import numpy as np
import pytest

from serving.store.event import OfItem, Recent, Tracked, shopper_key
from serving.store.item_state import ItemState
from serving.store.link import Link
from serving.store.store import DAY_US, HOUR_US, Kept, Store

NOW_US: Final = 1_700_000_000_000_000


def event(number: int, user: str | None = "anna", **more: object) -> Tracked:
    """Return an event of its own id, a second after that of the number before."""
    values = {"event_id": f"e{number}", "user_id": user, "item_id": f"i{number}", "event_type": "view"}
    return Tracked(**{**values, "time_us": NOW_US + number * 1_000_000, **more})  # type: ignore[arg-type]


class StoreConformance:
    """The laws of a store. ``open`` gives a new one that is empty each time a test begins, and the same one within it."""

    def open(self, kept: Kept) -> Store:
        """Open the store of this test."""
        raise NotImplementedError

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """The store, which keeps five events of a shopper."""
        with self.open(Kept(events=5, days=10, id_hours=48)) as opened:
            yield opened

    def test_what_is_added_is_there_in_order_of_its_time(self, store: Store) -> None:
        """Late ones go where they belong, those of one instant stay as they came, and other shoppers are others."""
        late = event(1, time_us=NOW_US, price=2.5, event_type="purchase")
        same = event(4, time_us=NOW_US + 3_000_000)
        assert store.add([event(3), late, event(2, "bert"), same], NOW_US) == [True] * 4
        found = store.recent([shopper_key("anna"), shopper_key("bert"), shopper_key("carl")], 0)
        assert found[0] == [
            Recent("i1", "purchase", NOW_US, 2.5),
            Recent("i3", "view", NOW_US + 3_000_000, None),
            Recent("i4", "view", NOW_US + 3_000_000, None),
        ]
        assert [[recent.item_id for recent in row] for row in found[1:]] == [["i2"], []]
        assert [recent.item_id for recent in store.recent([shopper_key("anna")], NOW_US)[0]] == ["i3", "i4"]

    def test_of_a_shopper_and_of_an_item_all_is_told(self, store: Store) -> None:
        """Price, quantity and visit of an event, and who did what with an item, up to the latest ``Kept.item_events``."""
        sold = event(2, "bert", item_id="ü", event_type="purchase", price=2.5, quantity=3.0, session_id="visit")
        store.add([event(3, item_id="ü"), sold, event(1, None, session_id="s", item_id="ü"), event(9)], NOW_US)
        assert store.recent([sold.shopper], 0) == [[Recent("ü", "purchase", sold.time_us, 2.5, 3.0, "visit")]]
        of_item = [
            OfItem(shopper_key(None, "s"), "view", NOW_US + 1_000_000, None, None),
            OfItem(shopper_key("bert"), "purchase", NOW_US + 2_000_000, 2.5, 3.0),
            OfItem(shopper_key("anna"), "view", NOW_US + 3_000_000, None, None),
        ]
        assert store.of_items(["ü", "nothing"], 0) == [of_item, []]
        assert store.of_items(["ü"], NOW_US + 1_000_000) == [of_item[1:]]
        with self.open(Kept(events=5, days=10, item_events=2)) as less:
            less.add([event(4, "carl", item_id="ü")], NOW_US)
            assert [one.shopper for one in less.of_items(["ü"], 0)[0]] == [shopper_key("anna"), shopper_key("carl")]

    def test_a_visit_without_a_user_is_no_user_of_its_name(self, store: Store) -> None:
        """A session is a history of its own."""
        store.add([event(1, None, session_id="anna"), event(2, "anna", session_id="s")], NOW_US)
        found = store.recent([shopper_key(None, "anna"), shopper_key("anna"), shopper_key(None, "s")], 0)
        assert [[recent.item_id for recent in row] for row in found] == [["i1"], ["i2"], []]

    def test_an_id_that_is_known_changes_nothing(self, store: Store) -> None:
        """Neither in one batch nor in two."""
        assert store.add([event(1), event(1, item_id="other"), event(2)], NOW_US) == [True, False, True]
        assert store.add([event(2), event(3)], NOW_US) == [False, True]
        assert [recent.item_id for recent in store.recent([shopper_key("anna")], 0)[0]] == ["i1", "i2", "i3"]
        assert [kept.event_id for _, kept in store.journal(9)] == ["e1", "e2", "e3"]

    def test_the_latest_are_kept_and_old_ones_are_no_state(self, store: Store) -> None:
        """Whatever the order in which they come; the journal has all of them."""
        order = np.random.default_rng(1).permutation(12).tolist()
        for number in order:
            store.add([event(number)], NOW_US)
        store.add([event(99, "bert", time_us=NOW_US - 11 * DAY_US)], NOW_US)
        found = store.recent([shopper_key("anna"), shopper_key("bert")], 0)
        assert [recent.item_id for recent in found[0]] == [f"i{number}" for number in range(7, 12)]
        assert found[1] == []
        assert [kept.event_id for _, kept in store.journal(99)] == [f"e{number}" for number in [*order, 99]]

    def test_the_state_of_items_is_what_was_set_last(self, store: Store) -> None:
        """What is left out stays, only what was set since a place is told again, and nothing else is touched."""
        assert store.items("") == ([], "")
        store.set_items([ItemState("a", price=2.5), ItemState("ü:1", stock=0.0), ItemState("a", stock=7.0, available=True)])
        states, place = store.items("")
        assert sorted(states) == [ItemState("a", 2.5, 7.0, available=True), ItemState("ü:1", None, 0.0, None)]
        assert store.items(place) == ([], place)
        store.set_items([ItemState("a", available=False)])
        states, later = store.items(place)
        assert states == [ItemState("a", 2.5, 7.0, available=False)]
        assert later != place
        store.set_items([])
        assert store.items(later) == ([], later)
        assert store.journal(9) == []

    def test_a_visitor_may_be_several_users_one_after_the_other(self, store: Store) -> None:
        """The last one that was told of an instant counts, and only what was linked since a place is told again."""
        assert store.links("") == ([], "")
        store.link([Link("uv1", "anna", 7), Link("sü:1", "bert", 0), Link("uv1", "carl", 9), Link("uv1", "dora", 7)], NOW_US)
        links, place = store.links("")
        assert sorted(links) == [Link("sü:1", "bert", 0), Link("uv1", "carl", 9), Link("uv1", "dora", 7)]
        assert store.links(place) == ([], place)
        store.link([Link("uv2", "anna", 1)], NOW_US)
        links, later = store.links(place)
        assert links == [Link("uv2", "anna", 1)]
        assert later != place
        store.link([], NOW_US)
        assert store.links(later) == ([], later)

    def test_the_journal_has_every_field_until_it_is_landed(self, store: Store) -> None:
        """Places sort as the events came; landing forgets no id and no state."""
        full = Tracked("id\n", "ünna", "i,1", "cart", NOW_US, "s", "c'a", 'b"r', 1.25, 2.0)
        store.add([full, *(event(number) for number in range(15))], NOW_US)
        places = [place for place, _ in store.journal(99)]
        assert places == sorted(places)
        assert len(set(places)) == 16
        assert store.journal(1) == [(places[0], full)]
        store.landed(places[9])
        assert [kept.event_id for _, kept in store.journal(3)] == ["e9", "e10", "e11"]
        assert store.add([full], NOW_US) == [False]
        assert [recent.item_id for recent in store.recent([full.shopper], 0)[0]] == ["i,1"]
        store.landed(places[-1])
        store.add([event(50)], NOW_US)
        ((place, _),) = store.journal(9)
        assert place > places[-1]

    def test_a_batch_is_kept_whole_or_not_at_all(self, store: Store) -> None:
        """What cannot be kept takes its batch with it."""
        with pytest.raises(Exception, match=r".+"):
            store.add([event(1), event(2, time_us="no time")], NOW_US)
        assert store.journal(9) == []
        assert store.add([event(1)], NOW_US) == [True]

    def test_what_is_kept_is_there_when_it_is_opened_again(self) -> None:
        """As after an end of the process."""
        kept = Kept(events=5, days=10, id_hours=48)
        with self.open(kept) as first:
            first.add([event(1)], NOW_US)
        with self.open(kept) as second:
            assert second.add([event(1), event(2)], NOW_US) == [False, True]
            assert [recent.item_id for recent in second.recent([shopper_key("anna")], 0)[0]] == ["i1", "i2"]

    def test_many_writers_and_readers_count_each_event_once(self, store: Store) -> None:
        """Two stores on the same data, as of two processes, and several threads of each."""
        with self.open(Kept(events=500, days=10, id_hours=48)) as other:
            new: list[bool] = []

            def write(where: Store) -> None:
                for start in range(0, 60, 3):
                    new.extend(where.add([event(start + step) for step in range(3)], NOW_US))
                    where.recent([shopper_key("anna")], 0)

            threads = [threading.Thread(target=write, args=(where,)) for where in (store, other, store, other)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sum(new) == 60
            assert sorted(int(kept.event_id[1:]) for _, kept in store.journal(99)) == list(range(60))

    def test_ids_are_forgotten_in_the_end(self) -> None:
        """The window is a setting; a long one costs memory."""
        with self.open(Kept(events=5, days=10, id_hours=0.5 / 3600)) as store:
            store.add([event(1)], NOW_US)
            self.wait(0.6)
            store.add([event(2)], NOW_US + HOUR_US)
            assert store.add([event(1)], NOW_US + HOUR_US) == [True]

    def wait(self, seconds: float) -> None:
        """Let time pass, for stores that have a clock of their own."""
