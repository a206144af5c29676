"""Who may ask, and how often: the file of keys, their roles and rates, and a gateway that wants them."""

import json
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from pydantic import ValidationError
from running_gateway import Gateway, infer, refusal, rpc, until
from typer.testing import CliRunner

from cartwheel.cli.main import app
from cartwheel.core.errors import ConfigError, UsageError
from serving.gateway.keys import KeyFile, Keys, Role
from serving.gateway.refusal import RefusedError
from serving.server.front import check_callers
from serving.settings import ServeSettings


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def refused(keys: Keys, text: str, role: Role = Role.ASK) -> str:
    with pytest.raises(RefusedError) as error:
        keys.admit(text, role)
    return error.value.reason


def test_a_file_holds_no_key_and_is_its_owner_s_alone(file: KeyFile) -> None:
    text = file.add("shop", [Role.ASK], None)
    assert len(text) > 40
    assert text not in file.path.read_text()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert KeyFile.read(file.path).keys == file.keys
    with pytest.raises(UsageError, match="already has a key named 'shop'"):
        file.add("shop", [Role.ASK], None)


def test_keys_allow_what_their_roles_say(file: KeyFile) -> None:
    ask, operate = file.add("ask", [Role.ASK], None), file.add("both", [Role.OPERATE, Role.TRACK], None)
    keys = Keys(file.path, 0)
    assert (keys.admit(ask, Role.ASK), keys.admit(operate, Role.TRACK)) == ("ask", "both")
    assert refused(keys, ask, Role.OPERATE) == refused(keys, operate) == "role"
    assert (refused(keys, ""), refused(keys, ask[:-1]), refused(keys, "é")) == ("no_key", "unknown_key", "unknown_key")


def test_a_key_asks_as_often_as_its_rate_and_twice_that_at_once(file: KeyFile) -> None:
    clock = Clock()
    slow, fast, free = file.add("slow", [Role.ASK], None), file.add("fast", [Role.ASK], 10), file.add("free", [Role.ASK], 0)
    keys = Keys(file.path, 0.1, clock=clock)
    assert keys.admit(slow, Role.ASK)
    assert refused(keys, slow) == "rate"
    for _ in range(20):
        keys.admit(fast, Role.ASK)
    with pytest.raises(RefusedError) as error:
        keys.admit(fast, Role.ASK)
    assert (error.value.http_status, error.value.retry_seconds) == (429, pytest.approx(0.1))
    clock.now += 0.5
    for _ in range(5):
        keys.admit(fast, Role.ASK)
    assert refused(keys, fast) == "rate"
    assert {keys.admit(free, Role.ASK) for _ in range(100)} == {"free"}


def test_a_changed_file_counts_within_a_second_and_a_broken_one_not(file: KeyFile) -> None:
    clock, said = Clock(), list[str]()
    first = file.add("first", [Role.ASK], None)
    keys = Keys(file.path, 0, said.append, clock)
    second = file.add("second", [Role.ASK], None)
    file.remove("first")
    assert keys.admit(first, Role.ASK)
    clock.now += 1.5
    assert keys.admit(second, Role.ASK)
    assert refused(keys, first) == "unknown_key"
    file.path.write_text("{")
    clock.now += 1.5
    assert keys.admit(second, Role.ASK)
    assert "The keys stay as they were" in said[0]


NO_ROLE = '{"keys": [{"name": "a", "digest": "a", "roles": ["x"]}]}'


@pytest.mark.parametrize("content", ["", "[]", '{"keys": [{"name": 1, "digest": "a"}]}', NO_ROLE])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    with pytest.raises(ConfigError, match="There is no file of keys"):
        Keys(path, 0)
    path.write_text(content)
    with pytest.raises(ConfigError, match="is not a file of keys"):
        Keys(path, 0)


def test_the_command_adds_lists_and_removes(tmp_path: Path) -> None:
    run, path = CliRunner().invoke, str(tmp_path / "keys.json")
    text = run(app, ["keys", "add", "app", "--file", path, "--role", "ask", "--role", "track", "--rate", "5"]).stdout.strip()
    assert Keys(Path(path), 0).admit(text, Role.TRACK) == "app"
    listed = run(app, ["keys", "list", "--file", path]).stdout
    assert all(part in listed for part in ("app", "ask, track", "5"))
    assert run(app, ["keys", "remove", "app", "--file", path]).exit_code == 0
    assert json.loads(Path(path).read_text()) == {"keys": []}
    assert isinstance(run(app, ["keys", "remove", "app", "--file", path]).exception, UsageError)


def test_beyond_this_machine_it_must_be_said_who_may_ask(tmp_path: Path) -> None:
    for address in ("127.0.0.1", "::1"):
        check_callers(ServeSettings(), address)
    with pytest.raises(UsageError, match="without authentication"):
        check_callers(ServeSettings(), "0.0.0.0")
    check_callers(ServeSettings(keys_file=tmp_path), "0.0.0.0")
    check_callers(ServeSettings(anyone=True), "192.168.0.1")
    with pytest.raises(ValidationError, match="keys_file needs the gateway"):
        ServeSettings(gateway="off", keys_file=tmp_path)


@pytest.fixture(scope="module")
def guarded(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("guarded")
    file = KeyFile(folder / "keys.json")
    rights = (("ask", Role.ASK, None), ("operate", Role.OPERATE, None), ("slow", Role.ASK, 0.01))
    keys = {name: file.add(name, [role], rate) for name, role, rate in rights}
    own = Path(shutil.copytree(run, folder / "run", ignore=shutil.ignore_patterns("server.json", "logs", "live")))
    running = Gateway(own, folder, keys_file=str(file.path), log_requests="all", max_under_way=4)
    try:
        yield running, keys
    finally:
        running.end()


def test_every_door_wants_a_key(guarded: tuple[Gateway, dict[str, str]]) -> None:
    gateway, keys = guarded
    request = infer("recommend", user_id=["u1"])
    with grpc.insecure_channel(gateway.endpoint.grpc) as channel:
        assert refusal(lambda: rpc(channel, "ModelInfer", request))[0] == "UNAUTHENTICATED"
        assert refusal(lambda: rpc(channel, "ModelConfig", b"\n\trecommend"))[0] == "UNAUTHENTICATED"
        assert refusal(lambda: channel.unary_unary("/cartwheel.v1.Shop/Cart")(b"", timeout=20))[0] == "UNAUTHENTICATED"
        for metadata in (("authorization", f"Bearer {keys['ask']}"), ("x-api-key", keys["ask"])):
            assert rpc(channel, "ModelInfer", request, metadata=[metadata])
        assert (
            refusal(lambda: rpc(channel, "ModelInfer", request, metadata=[("x-api-key", keys["operate"])]))[0]
            == "PERMISSION_DENIED"
        )
        assert rpc(channel, "ServerReady", b"") == b"\x08\x01"
    with httpx.Client(base_url=f"http://{gateway.endpoint.http}") as http:
        asked = http.post("/v1/similar_items", json={"item_id": 1003})
        assert (asked.status_code, asked.headers["www-authenticate"], asked.json()["reason"]) == (401, "Bearer", "no_key")
        assert http.post("/v1/similar_items", content=b"{").status_code == 401, "who is not known is not told what is wrong"
        bearer = {"authorization": f"Bearer {keys['ask']}"}
        assert http.post("/v1/similar_items", json={"item_id": 1003}, headers=bearer).status_code == 200
        assert http.get("/metrics", headers=bearer).status_code == 403
        assert http.get("/metrics", headers={"x-api-key": keys["operate"]}).status_code == 200
        assert http.get("/health/ready").status_code == 200
        slow = [http.post("/v1/similar_items", json={"item_id": 1003}, headers={"x-api-key": keys["slow"]}) for _ in range(2)]
        assert [answer.status_code for answer in slow] == [200, 429]
        assert 90 <= int(slow[1].headers["retry-after"]) <= 100


def test_requests_are_logged_with_their_ids_and_counted(guarded: tuple[Gateway, dict[str, str]]) -> None:
    gateway, keys = guarded
    with httpx.Client(base_url=f"http://{gateway.endpoint.http}") as http:
        good, bad = (
            http.post("/v1/recommend", json=body, headers={"x-api-key": keys["ask"], "x-request-id": name})
            for name, body in (("good", {}), ("bad", {"k": 0}))
        )
        assert (good.status_code, bad.status_code) == (200, 422)
        until(lambda: {"good", "bad"} <= {line.get("request_id") for line in gateway.log})
        lines = {line.get("request_id"): line for line in gateway.log}
        assert (
            lines["good"].items()
            >= {"door": "json", "ensemble": "recommend", "status": "OK", "rung": "ranked", "caller": "ask"}.items()
        )
        assert lines["bad"].items() >= {"status": "INVALID_ARGUMENT", "reason": "invalid"}.items()
        text = http.get("/metrics", headers={"x-api-key": keys["operate"]}).text
    for counted in (
        'cartwheel_rungs_total{ensemble="recommend",rung="ranked"}',
        'cartwheel_requests_total{door="json",ensemble="recommend",status="OK"}',
        'cartwheel_request_seconds_count{door="json",ensemble="recommend"}',
        'cartwheel_triton_seconds_count{ensemble="recommend"}',
        'cartwheel_rejections_total{reason="invalid"}',
        "cartwheel_under_way 0.0",
        "cartwheel_waiting 0.0",
        "cartwheel_export_info",
        'nv_inference_request_success{model="recommend"',
    ):
        assert counted in text
    assert keys["ask"] not in text + gateway.output.read_text() + json.dumps(gateway.log)


def test_a_key_that_is_removed_is_refused_soon(guarded: tuple[Gateway, dict[str, str]]) -> None:
    gateway, _ = guarded
    file = KeyFile.read(gateway.output.parent / "keys.json")
    text = file.add("short", [Role.ASK], None)

    def status() -> int:
        return httpx.post(f"http://{gateway.endpoint.http}/v1/recommend", json={}, headers={"x-api-key": text}).status_code

    time.sleep(0.01)
    until(lambda: status() == 200)
    file.remove("short")
    until(lambda: status() == 401)
