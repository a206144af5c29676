"""Versions under load: brought in by shares, compared, taken back, and never a failed or wrong answer, whatever is killed or damaged."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from running_gateway import ROOT, Gateway, until
from tritonclient.grpc import service_pb2

from cartwheel.core.errors import CartwheelError
from cartwheel.core.files import sha256
from serving.export.repository import write_repository
from serving.local import METADATA, LocalRepository
from serving.replay.replay import replay
from serving.server.control import order
from serving.settings import ExportSettings
from serving.versions.store import Version, VersionStore

USERS = [f"u{number}" for number in range(20)]
QUICK = {"shares": [0.5], "step_seconds": 1.0}
SLOW = {"shares": [0.5], "step_seconds": 60.0}


class Shop:
    """One server of a run with two versions, A and B, and what each of them answers."""

    def __init__(self, run: Path, folder: Path) -> None:
        self.run, self.store = run, VersionStore(run)
        self.a = self.store.newest()
        write_repository(run, ExportSettings(diversity=2.0))
        self.b = self.store.newest()
        self.store.activate(self.a)
        # A busy machine is neither an overload nor a slow version.
        self.gateway = Gateway(run, folder, queue_seconds=60.0, ladder="off", record_share=1.0)
        self.expected = {version.name: answers(version) for version in (self.a, self.b)}
        self.http = httpx.Client(base_url=f"http://{self.gateway.endpoint.http}", timeout=20)

    def ask(self, user: str) -> dict[str, Any]:
        asked = {"user_id": user, "k": 5, "timestamp": "2023-11-15T00:00:00Z"}
        answer = self.http.post("/v1/recommend", json=asked)
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    def ask_at_length(self, times: int) -> None:
        """Ask requests that together are more than a pipe holds, and that are recorded."""
        for number in range(times):
            asked = {"user_id": USERS[number % len(USERS)], "exclude": [f"{'long' * 8} {item}" for item in range(100)]}
            assert self.http.post("/v1/recommend", json=asked).status_code == 200

    def order(self, do: str, version: Version | str | None = None, **settings: Any) -> tuple[dict[str, Any], list[str]]:
        said: list[str] = []
        name = version.name if isinstance(version, Version) else version
        content = {"do": do, "version": name, "settings": {"latency_milliseconds": 1000.0, **settings}}
        return order(self.gateway.endpoint.control, content, said.append), said

    @property
    def serving(self) -> str:
        return str(self.ask("u1")["version"])

    def settled(self, version: Version) -> None:
        """Wait until all shoppers get a version, and one Triton is left."""
        until(lambda: {self.ask(user)["version"] for user in USERS} == {version.name} and len(self.tritons()) == 1, 60)

    def tritons(self) -> list[int]:
        return [pid for pid, name in below(self.gateway.process.pid).items() if name == "tritonserver"]


def below(pid: int) -> dict[int, str]:
    """Process -> name of all that a process started."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            head, _, tail = (folder / "stat").read_text(errors="replace").rpartition(")")
        except OSError:
            continue
        parents[int(folder.name)] = int(tail.split()[1]), head.partition("(")[2]
    found, level = {}, {pid}
    while level:
        level = {child for child, (parent, _) in parents.items() if parent in level}
        found.update({child: parents[child][1] for child in level})
    return found


def answers(version: Version) -> dict[str, list[str]]:
    local = LocalRepository(version.path)
    asked = {"timestamp": [[1_700_006_400_000_000]], "k": [5]}
    return {user: [item for item in local.ask("recommend", user_id=[[user]], **asked)["items"][0] if item] for user in USERS}


@pytest.fixture(scope="module")
def shop(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("versions")
    own = Path(shutil.copytree(run, folder / "run", ignore=shutil.ignore_patterns("server.json", "logs", "live")))
    made = Shop(own, folder)
    try:
        yield made
    finally:
        made.http.close()
        made.gateway.end()


class Load:
    """Asks all the time, and holds every answer against what its version answers."""

    def __init__(self, shop: Shop) -> None:
        self._shop, self._stop = shop, threading.Event()
        self.versions: dict[str, set[str]] = {user: set() for user in USERS}
        self.faults: list[str] = []
        self.count = 0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        for user in itertools.cycle(USERS):
            if self._stop.is_set():
                return
            try:
                answer = self._shop.ask(user)
                items = [str(item["item_id"]) for item in answer["items"]]
                if items != self._shop.expected[answer["version"]][user]:
                    self.faults.append(f"{user} of {answer['version']} gets {items}")
                self.versions[user].add(answer["version"])
            except (AssertionError, KeyError, httpx.HTTPError) as error:
                self.faults.append(repr(error))
            self.count += 1

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()


def test_two_versions_differ(shop: Shop) -> None:
    assert shop.a.name != shop.b.name
    assert shop.expected[shop.a.name] != shop.expected[shop.b.name]
    assert shop.serving == shop.a.name, "the active one, though another was exported since"
    assert f"{shop.b.name} was exported since" in shop.gateway.output.read_text()


@pytest.mark.slow
def test_a_version_is_brought_in_by_shares_and_taken_back_without_a_failed_or_wrong_answer(shop: Shop) -> None:
    shop.ask_at_length(100)
    with Load(shop) as load:
        done, said = shop.order("deploy", warm_up_requests=256, **QUICK)
        assert done == {"version": shop.b.name, "before": shop.a.name}
        assert load.versions["u1"] <= {shop.a.name, shop.b.name}
        until(lambda: shop.serving == shop.b.name)
        back, _ = shop.order("rollback")
        assert back == {"version": shop.a.name, "before": shop.b.name}
    assert load.faults == []
    assert load.count > 50
    told = "\n".join(said)
    for words in ("all checksums match", "recorded, give the same answers as its files", "50% of the shoppers"):
        assert words in told
    shop.settled(shop.a)
    assert shop.store.history[-1] == shop.a.name


def refused(shop: Shop, settings: dict[str, Any], version: Version | None = None) -> str:
    with pytest.raises(CartwheelError) as error:
        shop.order("deploy", version or shop.b, **settings)
    return str(error.value)


@pytest.mark.slow
def test_a_shopper_stays_with_one_version_what_is_clicked_counts_for_it_and_one_that_dies_is_taken_back(shop: Shop) -> None:
    failure: list[str] = []
    old = shop.tritons()
    deploying = threading.Thread(target=lambda: failure.append(refused(shop, SLOW)))
    deploying.start()
    until(lambda: len({shop.ask(user)["version"] for user in USERS}) == 2, 60)
    with Load(shop) as load:
        until(lambda: load.count > 4 * len(USERS), 60)
    assert load.faults == []
    assert {len(versions) for versions in load.versions.values()} == {1}
    with pytest.raises(CartwheelError, match="is already being deployed"):
        shop.order("deploy", shop.b)
    [(version, user)] = [(*versions, user) for user, versions in load.versions.items() if user == "u1"]
    event = {"user_id": user, "item_id": str(shop.ask(user)["items"][0]["item_id"]), "event_type": "view"}
    assert shop.http.post("/v1/track", json={"events": [event, {**event, "event_id": "again"}]}).json()["accepted"] == 2
    counts = shop.order("tell")[0]["versions"]
    assert {name: told["clicked"] for name, told in counts.items()} == {version: 1} | dict.fromkeys({*counts} - {version}, 0)
    assert all(told["shown"] > 20 and told["failed"] == 0 for told in counts.values())
    [new] = set(shop.tritons()) - set(old)
    os.kill(new, signal.SIGKILL)
    deploying.join()
    assert "Triton ended by itself (signal 9)" in failure[0]
    assert failure[0].endswith(f"The version {shop.a.name} serves all again.")
    shop.settled(shop.a)
    assert shop.tritons() == old


def altered(shop: Shop, folder: Path, code: str) -> Version:
    """File a version whose program is another, as one that was exported by a Cartwheel with a fault would be."""
    repository = Path(shutil.copytree(shop.b.path, folder / "repository"))
    content = json.loads((repository / METADATA).read_text())
    for program in repository.glob("recommend_score/1/model.py"):
        program.chmod(0o644)
        program.write_text(program.read_text() + code)
        content["files"][program.relative_to(repository).as_posix()] = sha256(program)
    (repository / METADATA).chmod(0o644)
    (repository / METADATA).write_text(json.dumps(content))
    return shop.store.add(repository)


FAILS_LATER = """
_execute = TritonPythonModel.execute

def _fail_later(self, requests):
    if not os.path.exists("FLAG"):
        return _execute(self, requests)
    return [_error("it fails", pb_utils.TritonError.INTERNAL) for _ in requests]

TritonPythonModel.execute = _fail_later
"""
ANSWERS_OTHERWISE = """
_run = TritonPythonModel._computed

def _other(self, tensors):
    answer = _run(self, tensors)
    if "scores" in answer:
        answer["scores"] = answer["scores"] + np.float32(0.5)
    return answer

TritonPythonModel._computed = _other
"""


@pytest.mark.slow
def test_a_version_that_fails_or_answers_otherwise_than_its_files_is_taken_back(shop: Shop, tmp_path: Path) -> None:
    other = altered(shop, tmp_path / "other", ANSWERS_OTHERWISE)
    assert "it answers otherwise than its files: scores" in refused(shop, QUICK, other)
    flag, failure = tmp_path / "flag", list[str]()
    failing = altered(shop, tmp_path / "failing", FAILS_LATER.replace("FLAG", str(flag)))
    settings = {"shares": [0.5], "step_seconds": 4.0}
    deploying = threading.Thread(target=lambda: failure.append(refused(shop, settings, failing)))
    with Load(shop):
        deploying.start()
        until(lambda: len({shop.http.post("/v1/recommend", json={"user_id": user}).json()["version"] for user in USERS}) == 2, 60)
        flag.touch()
        deploying.join()
    assert "requests failed, of the old version 0 of" in failure[0]
    shop.settled(shop.a)
    for version in (other, failing):
        shutil.rmtree(version.path)


def test_a_damaged_version_is_refused_and_the_old_one_goes_on(shop: Shop) -> None:
    path = shop.b.path / "recommend_score" / "1" / "recommend_rank.onnx"
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        sentence = refused(shop, QUICK)
    finally:
        path.write_bytes(whole)
        path.chmod(0o444)
    assert f"The version {shop.b.name} is damaged" in sentence
    assert "\n" not in sentence
    assert shop.serving == shop.a.name


@pytest.mark.slow
def test_recorded_requests_are_answered_alike_after_a_restart_and_elsewhere(shop: Shop, tmp_path: Path) -> None:
    recorded = shop.run / "live" / "requests.jsonl"
    time.sleep(0.5)  # what was asked before is written
    recorded.unlink(missing_ok=True)
    track = [{"user_id": user, "item_id": "1009", "event_type": "view"} for user in ("u3", "fresh")]
    shop.http.post("/v1/track", json={"events": track})
    with ThreadPoolExecutor(8) as callers:  # together, so that they are computed together
        asked = [
            *(("recommend", {"user_id": user, "k": 5}) for user in (*USERS, "fresh")),
            *(("recommend", {"recent_items": [item], "exclude": ["1001"], "diversity": 0.5}) for item in ("1003", "1004")),
            *(("cart", {"cart_items": ["1002", item], "user_id": "u3"}) for item in ("1005", "1006")),
            *(("similar_items", {"item_id": item}) for item in ("1007", "1008")),
        ]
        answers = list(callers.map(lambda one: shop.http.post(f"/v1/{one[0]}", json=one[1]), asked))
    assert {answer.status_code for answer in answers} == {200}
    until(lambda: recorded.is_file() and len(recorded.read_text().splitlines()) == len(asked))
    assert recorded.stat().st_mode & 0o077 == 0
    later = [{"user_id": user, "item_id": "1011", "event_type": "view"} for user in USERS]
    assert shop.http.post("/v1/track", json={"events": later}).json()["accepted"] == len(USERS)
    assert shop.http.post("/v1/recommend", json={"user_id": "u5", "k": 5}).json()["items"] != answers[5].json()["items"]
    lines = recorded.read_text().splitlines()[: len(asked)]
    copied = tmp_path / "copied.jsonl"
    copied.write_text("\n".join(lines) + "\n")
    here = replay(copied, shop.gateway.endpoint.grpc, 1e-6)
    assert (here.asked, here.differ, here.first) == (len(asked), 0, [])
    shutil.copytree(shop.store.find(shop.serving).path, tmp_path / "other" / "repository")
    elsewhere = Gateway(tmp_path / "other", tmp_path, queue_seconds=60.0)
    try:
        there = replay(copied, elsewhere.endpoint.grpc, 1e-6)
        assert (there.asked, there.differ, there.first) == (len(asked), 0, [])
        assert there.largest <= 1e-6
        _check_what_is_told_of_a_replay(copied, elsewhere.endpoint.grpc)
    finally:
        elsewhere.end()
    with pytest.raises(CartwheelError, match=r"is not answered by .*UNAVAILABLE"):
        replay(copied, elsewhere.endpoint.grpc, 1e-6)


def _check_what_is_told_of_a_replay(copied: Path, address: str) -> None:
    lines = [json.loads(line) for line in copied.read_text().splitlines()]
    answer = service_pb2.ModelInferResponse.FromString(base64.b64decode(lines[0]["answer"]))
    place = [output.name for output in answer.outputs].index("scores")
    scores = np.frombuffer(answer.raw_output_contents[place], np.float32).copy()
    scores[0] *= np.float32(1.00001)
    answer.raw_output_contents[place] = scores.tobytes()
    off = {**lines[0], "answer": base64.b64encode(answer.SerializeToString()).decode(), "request_id": "off"}
    other = {**lines[1], "version": "0" * 12}
    copied.write_text("".join(json.dumps(line) + "\n" for line in (off, other)))
    done = replay(copied, address, 1e-6)
    assert (done.asked, done.differ, sum(done.others.values())) == (1, 1, 1)
    assert done.first[0].startswith("off: scores[0, 0] is ")
    assert replay(copied, address, 1e-4, any_version=True).differ == 0
    copied.write_text(json.dumps(off) + "\nnonsense\n")
    with pytest.raises(CartwheelError, match=r"copied\.jsonl, line 2 is not a recorded request"):
        replay(copied, address, 1e-6)
    with pytest.raises(CartwheelError, match="cannot be read: No such file"):
        replay(copied.parent / "none.jsonl", address, 1e-6)


def test_a_version_that_is_not_there_or_served_already_is_refused_in_a_sentence(shop: Shop) -> None:
    for version, words in ((shop.a.name, "is already served"), ("0" * 12, "is a prefix of no version of")):
        with pytest.raises(CartwheelError, match=words):
            shop.order("deploy", version)
    with pytest.raises(CartwheelError, match=r"deploy\.shares"):
        shop.order("deploy", shop.b, shares=[0.5, 0.1])


def test_the_command_lists_versions_and_says_what_is_wrong_in_a_sentence(shop: Shop, run: Path, tmp_path: Path) -> None:
    def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cartwheel.cli.main", *map(str, words)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
            check=False,
        )

    listed = command("versions", shop.run).stdout
    assert shop.b.name in listed
    assert [line for line in listed.splitlines() if shop.a.name in line and "100% of the shoppers" in line]
    other = tmp_path / "another run" / "repository"
    shutil.copytree(shop.a.path, other)
    served = command("deploy", shop.run, "--from", other.parent)
    assert (served.returncode, served.stderr.count("\n")) == (2, 1)
    assert f"The version {shop.a.name} is already served." in served.stderr
    assert "There is no exported repository in" in command("deploy", shop.run, "--from", tmp_path).stderr
    idle = Path(shutil.copytree(run, tmp_path / "idle", ignore=shutil.ignore_patterns("server.json", "logs", "live")))
    refusal = command("deploy", idle)
    assert refusal.returncode == 10
    assert "No server is running here" in refusal.stderr
    assert "Traceback" not in refusal.stderr
