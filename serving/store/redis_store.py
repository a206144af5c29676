"""The store for many servers: Redis, from version 6.2 on.

Each batch is one script, which Redis runs whole or not at all, so that what is new and what is known is decided with what is kept.
When it returns, the events are as durable as Redis is set to make them: with ``appendonly yes`` and ``appendfsync always`` they are on
its disk; :attr:`RedisStore.weakness` says where it is set otherwise. https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from cartwheel.core.errors import MissingDependencyError, UsageError
from serving.store.event import OfItem, Recent, Tracked
from serving.store.item_state import ItemState
from serving.store.link import Link
from serving.store.store import Kept, Store, unreachable

if TYPE_CHECKING:
    import redis

_ADD: Final = """
local prefix, id_ms, keep, keep_ms, keep_item = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local new = {}
for at = 6, #ARGV, 7 do
    local id, shopper, time, packed, body = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    local item, of_item = ARGV[at + 5], ARGV[at + 6]
    if redis.call('SET', prefix .. 'id:' .. id, 1, 'NX', 'PX', id_ms) then
        local place = string.format('%020d', redis.call('INCR', prefix .. 'places'))
        redis.call('XADD', prefix .. 'journal', '*', 'place', place, 'event', body)
        if time ~= '' then
            local key = prefix .. 'shopper:' .. shopper
            redis.call('ZADD', key, time, place .. packed)
            redis.call('ZREMRANGEBYRANK', key, 0, -keep - 1)
            redis.call('PEXPIRE', key, keep_ms)
            key = prefix .. 'of_item:' .. item
            redis.call('ZADD', key, time, place .. of_item)
            redis.call('ZREMRANGEBYRANK', key, 0, -keep_item - 1)
            redis.call('PEXPIRE', key, keep_ms)
        end
        new[#new + 1] = 1
    else
        new[#new + 1] = 0
    end
end
return new
"""
_SET_ITEMS: Final = """
local prefix = ARGV[1]
for at = 2, #ARGV, 4 do
    local key = prefix .. 'item:' .. ARGV[at]
    for number, name in ipairs({'price', 'stock', 'available'}) do
        if ARGV[at + number] ~= '' then redis.call('HSET', key, name, ARGV[at + number]) end
    end
    redis.call('ZADD', prefix .. 'items', redis.call('INCR', prefix .. 'item_places'), ARGV[at])
end
"""
_LINK: Final = """
local prefix, keep_ms = ARGV[1], ARGV[2]
for at = 3, #ARGV, 2 do
    redis.call('SET', prefix .. 'link:' .. ARGV[at], ARGV[at + 1], 'PX', keep_ms)
    redis.call('ZADD', prefix .. 'links', redis.call('INCR', prefix .. 'link_places'), ARGV[at])
end
"""
_DIGITS: Final = 20
_SECONDS: Final = 2.0


class RedisStore(Store):
    """Events in Redis.

    Args:
        url: such as ``redis://127.0.0.1:6379/0`` (``rediss`` for TLS, with user and password as they are needed).
        kept: how much is kept.
        prefix: of all keys, so that several shops may share one Redis.

    Raises:
        MissingDependencyError: if the extra ``redis`` is not installed.
        UsageError: if the URL is none of Redis.
        ServerError: if Redis does not answer.
    """

    is_local = False

    def __init__(self, url: str, kept: Kept, prefix: str = "cartwheel:") -> None:
        self._client, self._kept, self._prefix = connect(url), kept, prefix
        self._where = _without_secrets(url)
        with self._failing():
            self._add = self._client.register_script(_ADD)
            self._set_items = self._client.register_script(_SET_ITEMS)
            self._link = self._client.register_script(_LINK)
            self._client.ping()

    @property
    def weakness(self) -> str:
        """Why an acknowledged event may be lost with Redis's machine, in a sentence; empty where it is on the disk."""
        with self._failing():
            told = {**self._client.config_get("appendonly"), **self._client.config_get("appendfsync")}
        if told == {"appendonly": "yes", "appendfsync": "always"}:
            return ""
        found = ", ".join(f"{name} {value}" for name, value in told.items())
        wanted = "Set appendonly yes and appendfsync always."
        return f"Redis at {self._where} has {found}: what it acknowledges may be lost with its machine. {wanted}"

    def add(self, events: Sequence[Tracked], now_us: int) -> list[bool]:
        """Keep events; see :meth:`Store.add`."""
        if not events:
            return []
        oldest = now_us - self._kept.oldest_us
        arguments: list[Any] = [
            self._prefix, max(self._kept.id_us // 1000, 1), self._kept.events, max(self._kept.oldest_us // 1000, 1),
            self._kept.item_events,
        ]  # fmt: skip
        for event in events:
            packed = _packed(event.item_id, event.event_type, event.price, event.quantity, event.session_id)
            of_item = _packed(event.shopper, event.event_type, event.price, event.quantity)
            time = event.time_us if event.time_us > oldest else ""
            arguments += [event.event_id, event.shopper, time, packed, event.text(), event.item_id, of_item]
        with self._failing():
            return [bool(new) for new in self._add(args=arguments)]

    def recent(self, shoppers: Sequence[str], after_us: int) -> list[list[Recent]]:
        """Return what shoppers did; see :meth:`Store.recent`."""
        with self._failing():
            pipe = self._client.pipeline(transaction=False)
            for shopper in shoppers:
                pipe.zrangebyscore(f"{self._prefix}shopper:{shopper}", f"({after_us}", "+inf", withscores=True)
            return [[_recent(member, score) for member, score in found] for found in pipe.execute()]

    def of_items(self, items: Sequence[str], after_us: int) -> list[list[OfItem]]:
        """Return what was done with items; see :meth:`Store.of_items`."""
        with self._failing():
            pipe = self._client.pipeline(transaction=False)
            for item in items:
                pipe.zrangebyscore(f"{self._prefix}of_item:{item}", f"({after_us}", "+inf", withscores=True)
            return [[_of_item(member, score) for member, score in found] for found in pipe.execute()]

    def journal(self, most: int) -> list[tuple[str, Tracked]]:
        """Return the first events that are not landed; see :meth:`Store.journal`."""
        with self._failing():
            found: Any = self._client.xrange(f"{self._prefix}journal", count=most)
        return [(entry["place"], Tracked.parsed(entry["event"])) for _, entry in found]

    def landed(self, place: str) -> None:
        """Forget the journal up to a place; see :meth:`Store.landed`."""
        stream = f"{self._prefix}journal"
        with self._failing():
            while True:
                found: Any = self._client.xrange(stream, count=1000)
                done = [name for name, entry in found if entry["place"] <= place]
                if not done:
                    return
                self._client.xdel(stream, *done)

    def set_items(self, states: Sequence[ItemState]) -> None:
        """Set the state of items; see :meth:`Store.set_items`."""
        arguments: list[Any] = [self._prefix]
        for state in states:
            there = "" if state.available is None else int(state.available)
            numbers = ("" if value is None else repr(float(value)) for value in (state.price, state.stock))
            arguments += [state.item_id, *numbers, there]
        if states:
            with self._failing():
                self._set_items(args=arguments)

    def items(self, after: str) -> tuple[list[ItemState], str]:
        """Return the state of items; see :meth:`Store.items`."""
        with self._failing():
            found: Any = self._client.zrangebyscore(f"{self._prefix}items", f"({after or 0}", "+inf", withscores=True)
            pipe = self._client.pipeline(transaction=False)
            for item, _ in found:
                pipe.hgetall(f"{self._prefix}item:{item}")
            held = pipe.execute()
        return [_state(item, fields) for (item, _), fields in zip(found, held, strict=True)], (
            str(int(found[-1][1])) if found else after
        )

    def link(self, links: Sequence[Link], now_us: int) -> None:
        """Keep who visitors are; see :meth:`Store.link`."""
        del now_us  # Redis has a clock of its own
        arguments: list[Any] = [self._prefix, max(self._kept.oldest_us // 1000, 1)]
        for link in links:
            arguments += [_packed(link.visitor, link.since_us), link.user_id]
        if links:
            with self._failing():
                self._link(args=arguments)

    def links(self, after: str) -> tuple[list[Link], str]:
        """Return the links; see :meth:`Store.links`."""
        with self._failing():
            found: Any = self._client.zrangebyscore(f"{self._prefix}links", f"({after or 0}", "+inf", withscores=True)
            if not found:
                return [], after
            names = [name for name, _ in found]
            users: Any = self._client.mget([f"{self._prefix}link:{name}" for name in names])
            if gone := [name for name, user in zip(names, users, strict=True) if user is None]:
                self._client.zrem(f"{self._prefix}links", *gone)
        told = ((*json.loads(name), user) for name, user in zip(names, users, strict=True) if user is not None)
        return [Link(visitor, user, since) for visitor, since, user in told], str(int(found[-1][1]))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        import redis

        try:
            yield
        except redis.RedisError as error:
            raise unreachable(f"Redis at {self._where}", error) from error


def connect(url: str) -> redis.Redis:
    """Return a client of Redis that gives a call up after two seconds.

    Raises:
        MissingDependencyError: if the extra ``redis`` is not installed.
        UsageError: if the URL is none of Redis.
    """
    try:
        import redis
    except ImportError as error:
        raise MissingDependencyError("Redis needs the package redis.", "Install `cartwheel[redis]`.") from error
    try:
        return redis.Redis.from_url(url, decode_responses=True, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)
    except ValueError as error:
        raise UsageError(f"{_without_secrets(url)!r} is not a Redis URL: {error}.", "Write redis://HOST:PORT/NUMBER.") from error


def _packed(*values: str | float | None) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _recent(member: str, score: float) -> Recent:
    item, kind, price, *more = json.loads(member[_DIGITS:])
    return Recent(item, kind, int(score), price, *more)


def _of_item(member: str, score: float) -> OfItem:
    shopper, kind, price, quantity = json.loads(member[_DIGITS:])
    return OfItem(shopper, kind, int(score), price, quantity)


def _state(item: str, fields: dict[str, str]) -> ItemState:
    price, stock = (float(fields[name]) if name in fields else None for name in ("price", "stock"))
    return ItemState(item, price, stock, fields["available"] == "1" if "available" in fields else None)


def _without_secrets(url: str) -> str:
    """Return a URL without user and password, for messages."""
    before, _, after = url.rpartition("@")
    return f"{before.partition('//')[0]}//{after}" if before else url
