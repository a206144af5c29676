"""API keys: who may ask, and how often.

A key is 32 random bytes, so its hash needs to be neither slow nor salted: nobody can guess what has 256 bits of chance, and a slow hash
(scrypt) would only make each request, and each attack with wrong keys, dear. The file holds BLAKE2b hashes alone; who reads it cannot ask.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any, Final

from cartwheel.core.errors import ConfigError, UsageError
from cartwheel.core.files import write_json
from serving.gateway.refusal import Code, RefusedError

_PREFIX: Final = "cw_"
_SECRET_BYTES: Final = 32
_PERSON: Final = b"cartwheel.key"
_BURST_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 1.0
_PRIVATE: Final = 0o600
_MISSING: Final = "This server wants a key: send it as `authorization: Bearer KEY` or as `x-api-key: KEY`."
_UNKNOWN: Final = "This key is not known here, or no longer. Ask the server's operator for one."


class Role(str, Enum):
    """What a key allows."""

    ASK = "ask"
    TRACK = "track"
    OPERATE = "operate"


@dataclass(frozen=True)
class Key:
    """One key, as its file holds it.

    Attributes:
        name: whose it is.
        digest: BLAKE2b of the key, hexadecimal.
        roles: what it allows.
        rate: requests a second; None means ``serve.rate_per_key``, 0 no limit.
        created: when, ISO 8601.
    """

    name: str
    digest: str
    roles: tuple[Role, ...] = (Role.ASK,)
    rate: float | None = None
    created: str = ""


@dataclass
class _Bucket:
    """What a key may still ask at once."""

    tokens: float
    at: float


@dataclass
class KeyFile:
    """The keys of a file.

    Attributes:
        path: the file.
        keys: those that it holds.
    """

    path: Path
    keys: list[Key] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, *, missing: bool = False) -> KeyFile:
        """Read a file of keys.

        Args:
            path: the file.
            missing: whether it need not be there.

        Raises:
            ConfigError: if it is missing or no such file.
        """
        fix = f"Write it with `cartwheel keys add NAME --file {path}`."
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, [_key(entry) for entry in content["keys"]])
        except FileNotFoundError:
            if missing:
                return cls(path)
            raise ConfigError(f"There is no file of keys at {path}.", fix) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is not a file of keys ({error}).", fix) from None

    def add(self, name: str, roles: Sequence[Role], rate: float | None) -> str:
        """Make a key, write its hash, and return it: it stands nowhere else.

        Raises:
            UsageError: if there is a key of that name.
        """
        if any(key.name == name for key in self.keys):
            raise UsageError(f"{self.path} already has a key named {name!r}.", "Choose another name, or remove that key first.")
        text = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._write([*self.keys, Key(name, digest(text), tuple(roles), rate, now)])
        return text

    def remove(self, name: str) -> None:
        """Take a key out of the file; a running server refuses it within a second.

        Raises:
            UsageError: if there is none of that name.
        """
        left = [key for key in self.keys if key.name != name]
        if len(left) == len(self.keys):
            there = ", ".join(key.name for key in self.keys) or "none"
            raise UsageError(f"{self.path} has no key named {name!r}.", f"It has {there}.")
        self._write(left)

    def _write(self, keys: list[Key]) -> None:
        write_json(self.path, {"keys": [asdict(key) for key in keys]})
        self.path.chmod(_PRIVATE)
        self.keys = keys


class Keys:
    """The keys of a running server; the file is read again once it has changed.

    Args:
        path: the file.
        rate: requests a second of keys that set none; 0 sets no limit.
        say: called with a sentence where the changed file cannot be read; the keys before then stay.
        clock: seconds, for the rates.

    Raises:
        ConfigError: if the file is missing or no such file.
    """

    def __init__(
        self,
        path: Path,
        rate: float,
        say: Callable[[str], None] = lambda _line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._rate, self._say, self._clock = path, rate, say, clock
        self._by_digest: Mapping[str, Key] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._looked, self._stamp = 0.0, (0, 0)
        self._load()

    def admit(self, text: str, role: Role) -> str:
        """Let a key ask once more, and return its name.

        Args:
            text: the key; empty where none was sent.
            role: what is asked.

        Raises:
            RefusedError: if there is no such key, it does not allow that, or it asks too often.
        """
        now = self._clock()
        if now - self._looked > _LOOK_SECONDS:
            self._look(now)
        if not text:
            raise RefusedError(Code.UNAUTHENTICATED, _MISSING, "no_key")
        key = self._by_digest.get(digest(text))
        if key is None:
            raise RefusedError(Code.UNAUTHENTICATED, _UNKNOWN, "unknown_key")
        if role not in key.roles:
            has = ", ".join(each.value for each in key.roles)
            raise RefusedError(
                Code.PERMISSION_DENIED, f"The key {key.name!r} does not have the role {role.value!r} but {has}.", "role"
            )
        self._take(key, now)
        return key.name

    def _take(self, key: Key, now: float) -> None:
        rate = self._rate if key.rate is None else key.rate
        if not rate:
            return
        most = max(1.0, rate * _BURST_SECONDS)
        bucket = self._buckets.setdefault(key.digest, _Bucket(most, now))
        bucket.tokens, bucket.at = min(most, bucket.tokens + (now - bucket.at) * rate), now
        if bucket.tokens < 1:
            sentence = f"The key {key.name!r} asks more than {rate:g} times a second. Ask again later."
            raise RefusedError(Code.RESOURCE_EXHAUSTED, sentence, "rate", (1 - bucket.tokens) / rate)
        bucket.tokens -= 1

    def _look(self, now: float) -> None:
        self._looked = now
        try:
            if _stamp(self._path) != self._stamp:
                self._load()
        except (ConfigError, OSError) as error:
            self._say(f"The keys stay as they were: {error}")

    def _load(self) -> None:
        keys = KeyFile.read(self._path).keys
        self._stamp, self._looked = _stamp(self._path), self._clock()
        self._by_digest = {key.digest: key for key in keys}
        self._buckets = {digest: bucket for digest, bucket in self._buckets.items() if digest in self._by_digest}


def digest(text: str) -> str:
    """Return what a file holds of a key."""
    return hashlib.blake2b(text.encode(), digest_size=32, person=_PERSON).hexdigest()


def _key(entry: Mapping[str, Any]) -> Key:
    key = Key(**entry)
    if not isinstance(key.name, str) or not isinstance(key.digest, str) or not isinstance(key.rate, (int, float, type(None))):
        raise TypeError(f"{entry.get('name')!r} is no key")
    return replace(key, roles=tuple(Role(role) for role in key.roles))


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino
