"""Deploys a new version while the old one serves, and rolls it back if it is worse.

The new version has a Triton of its own, beside that of the old one and behind the same gateway. One Triton could load both, under its
explicit model control, but then it would have to survive what Triton 2.51 does not survive well: models that are unloaded while requests
run, and a process of a model that dies and takes all others with it. So whatever the new version does, the old one does not notice, and
what it held is given back as a whole when its process ends. Either way both versions are in memory for as long as they are compared.
"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError

from cartwheel.core.errors import CartwheelError, ConfigError, ServerError, UsageError
from serving.gateway.options import TRITON_SOCKET
from serving.server.control import Say
from serving.server.front import Front, Lead
from serving.settings import DeploySettings
from serving.versions.store import Version, VersionStore
from serving.versions.verdict import slower, worse

if TYPE_CHECKING:
    from serving.server.server import EmbeddedServer

_LOOK_SECONDS: Final = 0.1
_CHECK_SECONDS: Final = 300.0
_END_SECONDS: Final = 5.0
_GOES_ON: Final = "The version {old} serves all again."


class Host(Protocol):
    """Who serves."""

    @property
    def server(self) -> EmbeddedServer:
        """The Triton that serves."""
        ...

    @property
    def front(self) -> Front | None:
        """The gateway; None where there is none."""
        ...

    @property
    def is_ending(self) -> bool:
        """Whether the server was told to stop."""
        ...

    def adopt(self, server: EmbeddedServer) -> None:
        """Look after another Triton from now on, and after the present one no longer."""
        ...


class Deployer:
    """Takes the orders of ``cartwheel deploy``, ``rollback`` and ``versions``, one deployment at a time.

    Args:
        host: who serves.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._busy = threading.Lock()
        self._under_way = ""
        self._cancelled = ""

    def act(self, order: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
        """Do what an order asks: ``deploy`` (``version``, ``settings``), ``rollback`` (``version``) or ``tell``.

        Raises:
            UsageError: if the server has no gateway, another deployment is under way, or the version is not known or served already.
            RunError: if the version is damaged, or the disk is full.
            ServerError: if the version does not start, answers wrongly, or is worse; the old one then serves all.
        """
        front = self._host.front
        if front is None:
            raise UsageError(
                "The server runs without the gateway, which alone can let two versions answer (serve.gateway is off).",
                "Start it with the gateway, or start it anew on the other version.",
            )
        if order["do"] == "tell":
            return {**front.ask(lambda: {"do": "tell"}), "under_way": self._under_way}
        if order["do"] == "rollback" and self._under_way:
            return self._called_off("`cartwheel rollback` called it off")
        if not self._busy.acquire(blocking=False):
            raise UsageError(f"The version {self._under_way} is already being deployed.", "Wait, or `cartwheel rollback` it.")
        try:
            return self._change(order, front, say)
        finally:
            self._under_way, self._cancelled = "", ""
            self._busy.release()

    def close(self) -> None:
        """Call off what is under way, and wait until it is."""
        self._cancelled = self._cancelled or "the server was told to stop"
        if self._busy.acquire(timeout=_END_SECONDS):
            self._busy.release()

    def _called_off(self, why: str) -> Mapping[str, Any]:
        called_off, self._cancelled = self._under_way, why
        while self._under_way == called_off:
            time.sleep(_LOOK_SECONDS)
        return {"version": called_off, "called_off": True}

    def _change(self, order: Mapping[str, Any], front: Front, say: Say) -> Mapping[str, Any]:
        server, store = self._host.server, VersionStore.of(self._host.server.repository)
        served = _main(front)
        if order["do"] == "rollback":
            version = store.find(order["version"]) if order.get("version") else store.before(served)
            settings = DeploySettings(shares=(), latency_milliseconds=math.inf)  # who goes back wants to, however slow it is
        else:
            version = store.find(order["version"]) if order.get("version") else store.newest()
            settings = _settings(order.get("settings", {}))
        if version.name == served:
            raise UsageError(f"The version {version.name} is already served.", "See the others with `cartwheel versions`.")
        self._under_way = version.name
        store.checked(version)
        before = None
        try:
            before = store.add(server.repository)
        except CartwheelError as error:
            say(f"{served} is not available for rollback: {error.found}")
        say(f"{version.name}: all checksums match")

        def activate() -> None:
            for one in (before, version):
                if one is not None and (one is version or (one.name == served and not store.history)):
                    store.activate(one)

        _Deployment(self, self._host, front, settings, say, served).run(version, activate)
        return {"version": version.name, "before": served}

    def check(self) -> None:
        """Do nothing unless what is under way was called off.

        Raises:
            ServerError: if it was.
        """
        if self._cancelled or self._host.is_ending:
            raise ServerError(f"it was not finished: {self._cancelled or 'the server was told to stop'}")


class _Deployment:
    """One version on its way in."""

    def __init__(self, deployer: Deployer, host: Host, front: Front, settings: DeploySettings, say: Say, served: str) -> None:
        self._deployer, self._host, self._front = deployer, host, front
        self._settings, self._say, self._served = settings, say, served
        self._old = host.server

    def run(self, version: Version, activate: Callable[[], None]) -> None:
        """Bring it in, or leave everything as it was.

        Args:
            version: the version.
            activate: called once it answers all shoppers, before the old one is ended.

        Raises:
            RunError, ServerError: why it was not brought in.
        """
        new = self._old.beside(version.path)
        try:
            begun = time.monotonic()
            endpoint = new.start(self._is_called_off)
            self._deployer.check()
            self._say(f"{version.name}: loaded beside {self._served} in {time.monotonic() - begun:.1f} s")
            self._check(new)
            self._front.route({self._old.repository: 1.0}, Lead(new.repository, new.door, endpoint.metrics, 0.0))
            for share in self._settings.shares:
                self._try(new, version.name, share)
            self._alive(new)
            self._front.route({new.repository: 1.0})
            self._alive(new)
            activate()
        except CartwheelError as error:
            self._take_back(new)
            raise ServerError(
                f"The version {version.name} was not deployed: {error.found.rstrip('.')}.", _GOES_ON.format(old=self._served)
            ) from error
        except BaseException:
            self._take_back(new)
            raise
        self._host.adopt(new)
        self._old.stop(drain=True)
        self._say(f"{version.name}: serves all shoppers; {self._served} has exited")

    def _is_called_off(self) -> bool:
        try:
            self._deployer.check()
        except ServerError:
            return True
        return False

    def _take_back(self, new: EmbeddedServer) -> None:
        try:
            if not self._host.is_ending:
                self._front.back_to(Lead(self._old.repository, self._old.door, self._old.metrics))
        finally:
            new.stop(drain=False)

    def _alive(self, new: EmbeddedServer) -> None:
        self._deployer.check()
        new.check()

    def _check(self, new: EmbeddedServer) -> None:
        """Warm the new version up with recorded requests, and hold its answers against its files and its latency against the old one's.

        Raises:
            ServerError: if it does not answer, answers otherwise than its files, or takes too long.
        """
        recorded = self._front.ask(lambda: {"do": "recent", "most": self._settings.warm_up_requests})["requests"]
        doors = {name: f"unix:{server.door / TRITON_SOCKET}" for name, server in (("old", self._old), ("new", new))}
        asked = json.dumps({"repository": str(new.repository), "requests": recorded, **doors})
        told = json.loads(self._checked(asked))
        if wrong := told["wrong"] or slower(told["old"], told["new"], self._settings):
            raise ServerError(wrong)
        self._say(
            f"{told['compared']:,} requests, {len(recorded):,} of them recorded, give the same answers as its files"
            f" (largest difference {told['largest']:.1e}); median latency {told['new'].get('p50', 0.0):.1f} ms"
            f" ({self._served}: {told['old'].get('p50', 0.0):.1f} ms)"
        )

    def _checked(self, asked: str) -> str:
        """Return what the check writes; it ends with the deployment.

        Raises:
            ServerError: if it does not end in time, or breaks.
        """
        command = [sys.executable, "-m", "serving.versions.check"]
        until = time.monotonic() + _CHECK_SECONDS
        # A file and no pipe: `communicate` that is called again after a time-out writes no more of what the pipe did not hold.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as given:
            given.write(asked)
            given.seek(0)
            with subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                try:
                    while True:
                        self._deployer.check()
                        with contextlib.suppress(subprocess.TimeoutExpired):
                            out, complaints = process.communicate(timeout=_LOOK_SECONDS)
                            break
                        if time.monotonic() > until:
                            raise ServerError(f"it did not answer recorded requests within {_CHECK_SECONDS:g} s")
                finally:
                    process.kill()
        if process.returncode:
            raise ServerError(f"it could not be checked ({(complaints.strip().splitlines() or ['no reason given'])[-1]})")
        return str(out)

    def _try(self, new: EmbeddedServer, name: str, share: float) -> None:
        """Let a share of the shoppers have the new version for a while, and compare.

        Raises:
            ServerError: if it is worse, or its Triton ends.
        """
        self._front.route({self._old.repository: 1.0 - share, new.repository: share})
        until = time.monotonic() + self._settings.step_seconds
        while time.monotonic() < until:
            self._alive(new)
            time.sleep(min(_LOOK_SECONDS, max(0.0, until - time.monotonic())))
        self._alive(new)
        told = self._front.ask(lambda: {"do": "tell"})["versions"]
        old_counts, new_counts = told[self._served], told[name]
        if wrong := worse(old_counts, new_counts, self._settings, len(self._settings.shares)):
            raise ServerError(f"at {share:.0%} of the shoppers, {wrong}")
        self._say(
            f"{name}: {share:.0%} of the shoppers, {new_counts['answered']:,} answers, {new_counts['failed']:,} failed,"
            f" p95 {new_counts['p95']:.1f} ms, {new_counts['clicked']:,} of {new_counts['shown']:,} lists clicked"
            f" ({self._served}: {old_counts['answered']:,}, {old_counts['failed']:,}, {old_counts['p95']:.1f} ms,"
            f" {old_counts['clicked']:,} of {old_counts['shown']:,})"
        )


def _main(front: Front) -> str:
    """Return the version that most shoppers get."""
    told = front.ask(lambda: {"do": "tell"})["versions"]
    shares = {str(name): float(counts["share"]) for name, counts in told.items()}
    return max(shares, key=lambda name: shares[name])


def _settings(given: Mapping[str, Any]) -> DeploySettings:
    try:
        return DeploySettings.model_validate(given)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(map(str, detail["loc"])) or "shares"
        raise ConfigError(f"deploy.{where}: {detail['msg']}.", "See docs/settings.md.") from None
