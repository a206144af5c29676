"""The embedded Triton: started, refused, watched and stopped, with nothing left behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton

from cartwheel.core.errors import RunError, ServerError, UsageError
from serving.client.client import Client
from serving.server.endpoint import Endpoint
from serving.server.server import EmbeddedServer
from serving.settings import ServeSettings

SERVE = Path(__file__).parent / "serve.py"
ROOT = Path(__file__).parents[3]


def processes_about(text: str) -> set[int]:
    """Processes, other than this one, whose command line has ``text`` in it."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text.encode() in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                found.add(int(folder.name))
    return found


def triton_of(repository: Path) -> int:
    """The process of the Triton that serves ``repository``."""
    (pid,) = (
        pid for pid in processes_about(str(repository)) if (Path("/proc") / str(pid) / "comm").read_text() == "tritonserver\n"
    )
    return pid


def leftovers(pid: int) -> list[Path]:
    """Shared memory and temporary folders of the server whose owner was ``pid``."""
    return [*Path("/dev/shm").glob(f"cartwheel_{pid}_*"), *Path("/tmp").glob(f"cartwheel-{pid}-*")]


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(scope="module")
def one_model(write_repository: Any) -> Path:
    return write_repository("recommend")


class Served:
    """A process that serves ``repository`` until told otherwise."""

    def __init__(self, repository: Path, folder: Path, **settings: Any) -> None:
        self.repository, self.log = repository, folder / "triton.log"
        path = folder / "server.json"
        command = [sys.executable, str(SERVE), str(repository), str(path), str(self.log), json.dumps(settings)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert eventually(lambda: path.is_file() or self.process.poll() is not None, 60)
        assert self.process.poll() is None, self.process.communicate()[1]
        self.endpoint = Endpoint.read(path)

    @property
    def triton(self) -> int:
        return triton_of(self.repository)

    def health(self) -> dict[str, Any]:
        try:
            return self._told()
        except (OSError, http.client.HTTPException):  # it may end between a status and its body
            return {"state": "gone", "restarts": -1}

    def _told(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://{self.endpoint.health}/health/ready") as answer:
                return json.load(answer)
        except urllib.error.HTTPError as unready:
            with unready:
                return json.load(unready)

    @contextlib.contextmanager
    def until_killed(self) -> Iterator[subprocess.Popen[str]]:
        """End it whatever happens: a test that fails would wait for it for ever."""
        with self.process:
            try:
                yield self.process
            finally:
                self.process.kill()

    def is_gone(self) -> bool:
        return not processes_about(str(self.repository)) and not leftovers(self.process.pid)


@pytest.fixture
def served(one_model: Path, tmp_path: Path) -> Any:
    running = Served(one_model, tmp_path)
    with running.until_killed():
        yield running


def test_a_started_server_answers_at_all_its_addresses(server: EmbeddedServer) -> None:
    where = server.endpoint
    assert triton.InferenceServerClient(where.grpc).is_server_ready()
    with urllib.request.urlopen(f"http://{where.http}/v2/health/ready") as answer:
        assert answer.status == 200
    with urllib.request.urlopen(f"http://{where.metrics}/metrics") as answer:
        assert b"nv_inference_request_success" in answer.read()
    assert (where.pid, where.tls) == (os.getpid(), False)
    assert server.start() == where, "starting twice starts once"


def test_http_gives_health_and_metadata_but_no_inference(server: EmbeddedServer) -> None:
    body = {"inputs": [{"name": "k", "shape": [1], "datatype": "INT32", "data": [3]}]}
    address = f"http://{server.http_address}/v2/models/recommend"
    with urllib.request.urlopen(f"{address}/config") as answer:
        assert json.load(answer)["parameters"]["max_k"] == {"string_value": "20"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}/infer", data=json.dumps(body).encode())
    with refused.value as answer:
        assert answer.code == 403


@pytest.mark.parametrize("closed", ["get_model_repository_index", "get_system_shared_memory_status", "get_log_settings"])
def test_what_reaches_into_the_server_is_closed(server: EmbeddedServer, closed: str) -> None:
    with pytest.raises(triton.InferenceServerException, match="restricted"):
        getattr(triton.InferenceServerClient(server.grpc_address), closed)()


def test_stopping_leaves_no_process_no_shared_memory_and_no_files(one_model: Path) -> None:
    with EmbeddedServer(one_model) as running:
        log = running.log
        assert processes_about(str(one_model))
        assert log.read_text()
    assert not processes_about(str(one_model))
    assert not log.exists()
    with pytest.raises(ServerError, match="has not been started"):
        running.endpoint  # noqa: B018


def test_a_stopped_server_starts_again_and_keeps_the_log_before(one_model: Path, tmp_path: Path) -> None:
    server = EmbeddedServer(one_model, log=tmp_path / "logs" / "triton.log")
    first = server.start()
    server.stop(drain=False)
    server.stop()
    assert server.start() != first
    server.stop(drain=False)
    assert "Started GRPCInferenceService" in (tmp_path / "logs" / "triton.log.previous").read_text()


@pytest.mark.parametrize("option", ["grpc_port", "http_port", "metrics_port"])
def test_a_taken_port_is_named_before_triton_starts(one_model: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=rf"serve\.{option} = {port} is taken.*set serve\.{option} to another port"):
            EmbeddedServer(one_model, ServeSettings(**{option: port})).start()


def test_a_port_that_is_taken_while_triton_loads_is_named(one_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "triton.log"
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]

        def take_the_port_once_triton_runs() -> None:
            eventually(lambda: log.is_file() and log.stat().st_size > 0)
            other.listen()

        thief = threading.Thread(target=take_the_port_once_triton_runs)
        thief.start()
        with pytest.raises(ServerError, match=rf"serve\.grpc_port = {port} is taken"):
            EmbeddedServer(one_model, ServeSettings(grpc_port=port), log=log).start()
        thief.join()


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_a_host_that_is_not_this_machine_is_refused(one_model: Path, host: str) -> None:
    with pytest.raises(UsageError, match=rf"serve\.host is '{host}'"):
        EmbeddedServer(one_model, ServeSettings(host=host)).start()


@pytest.mark.parametrize(("host", "reachable"), [("0.0.0.0", "127.0.0.1"), ("localhost", "127.0.0.1"), ("::1", "[::1]")])
def test_every_way_to_name_this_machine_gives_an_address_that_can_be_asked(one_model: Path, host: str, reachable: str) -> None:
    if ":" in host and not Path("/proc/net/if_inet6").is_file():
        pytest.skip("this machine has no IPv6")
    with EmbeddedServer(one_model, ServeSettings(host=host)) as running, Client(running.grpc_address) as client:
        assert running.grpc_address.rpartition(":")[0] in {reachable, "[::1]" if host == "localhost" else reachable}
        assert client.recommend(k=1).item_ids == (101,)


def test_a_missing_or_empty_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no model repository at .*nowhere.*cartwheel export"):
        EmbeddedServer(tmp_path / "nowhere")
    (tmp_path / "recommend").mkdir()
    with pytest.raises(RunError, match=r"no folder in it has a config\.pbtxt"):
        EmbeddedServer(tmp_path)


def test_a_model_without_its_program_is_refused(write_repository: Any) -> None:
    repository = write_repository("recommend", "cart")
    (repository / "cart" / "1" / "model.py").unlink()
    with pytest.raises(RunError, match=r"The model cart lacks its program .*cart/1/model\.py"):
        EmbeddedServer(repository)


def test_a_broken_repository_names_each_model_and_why(write_repository: Any, tmp_path: Path) -> None:
    repository = write_repository("recommend", "cart", "similar_items", extra={"lost_import": "import no_such_package\n"})
    (repository / "cart" / "config.pbtxt").write_text("inpu t {")
    shutil.rmtree(repository / "similar_items" / "1")
    with pytest.raises(ServerError) as raised:
        EmbeddedServer(repository, log=tmp_path / "triton.log").start()
    message = str(raised.value)
    assert "model lost_import: ModuleNotFoundError: No module named 'no_such_package' (at " in message
    assert "model cart: failed to read text proto" in message
    assert '1:6: Message type "inference.ModelConfig" has no field named "inpu"' in message
    assert "model similar_items: at least one version must be available" in message
    assert "model recommend" not in message
    assert str(tmp_path / "triton.log") in message
    assert eventually(lambda: not processes_about(str(repository)))


def test_a_start_that_takes_too_long_names_the_model_and_leaves_nothing(write_repository: Any) -> None:
    slow = "import time\n\nclass TritonPythonModel:\n    def initialize(self, args):\n        time.sleep(60)\n"
    repository = write_repository("recommend", extra={"slow": slow})
    with pytest.raises(
        ServerError, match=r"not ready within 1\.5 s \(serve\.start_seconds\): still loading (recommend, )?slow\."
    ):
        EmbeddedServer(repository, ServeSettings(start_seconds=1.5)).start()
    assert not processes_about(str(repository))


def test_a_log_that_cannot_be_written_is_refused(one_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"log cannot be written"):
        EmbeddedServer(one_model, log=tmp_path / "file" / "triton.log").start()


def test_sigterm_ends_everything_cleanly(served: Served) -> None:
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(20) == 0
    assert served.is_gone()


def test_a_second_signal_ends_everything_at_once(served: Served) -> None:
    served.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    begun = time.monotonic()
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(20) == 0
    assert time.monotonic() - begun < 2.0
    assert served.is_gone()


def test_a_killed_owner_leaves_nothing_behind(served: Served) -> None:
    served.process.kill()
    served.process.wait()
    assert eventually(served.is_gone)
    with pytest.raises(ServerError, match="no longer running"):
        Endpoint.read(served.log.parent / "server.json")


def test_a_killed_guard_takes_triton_with_it_and_both_are_replaced(served: Served) -> None:
    before = served.triton
    guard = int((Path("/proc") / str(before) / "stat").read_text().rpartition(")")[2].split()[1])
    os.kill(guard, signal.SIGKILL)
    assert eventually(lambda: served.health()["restarts"] == 1)
    assert eventually(lambda: served.health()["state"] == "serving", 30)
    assert served.triton != before
    with Client(served.endpoint.grpc) as client:
        assert client.recommend(k=1).item_ids == (101,)
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(20) == 0
    assert eventually(served.is_gone)


def test_a_server_that_dies_too_often_ends_its_owner_with_a_clear_error(one_model: Path, tmp_path: Path) -> None:
    served = Served(one_model, tmp_path, max_restarts=1)
    with served.until_killed():
        for restarts in (1, 2):
            os.kill(served.triton, signal.SIGKILL)
            assert eventually(lambda told=restarts: served.process.poll() is not None or served.health()["restarts"] == told, 30)
            assert eventually(lambda: served.process.poll() is not None or served.health()["state"] == "serving", 30)
        _, said = served.process.communicate(timeout=20)
    assert served.process.returncode == ServerError.exit_code
    assert "Triton ended by itself (signal 9, SIGKILL); restarting it" in said
    assert "that is 2 times within 60 s, and serve.max_restarts allows 1" in said
    assert "Started Metrics Service" in said, "the last lines of the log are quoted"
    assert str(served.log) in said
    assert served.is_gone()


def test_a_server_that_hangs_is_started_again(one_model: Path, tmp_path: Path) -> None:
    served = Served(one_model, tmp_path, hang_seconds=1.0, probe_timeout_seconds=0.3, probe_seconds=0.1, drain_seconds=0.5)
    with served.until_killed(), Client(served.endpoint.grpc, timeout_seconds=30) as client, ThreadPoolExecutor(1) as aside:
        stuck = aside.submit(client.recommend, "sleep 60")
        assert eventually(lambda: served.health()["state"] == "unwell")
        assert served.health()["detail"] == "recommend did not answer in time"
        assert eventually(lambda: served.health()["restarts"] == 1)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(20) == 0
        assert isinstance(stuck.exception(), ServerError)
        assert "Triton has not answered for 1 s (recommend did not answer in time); restarting it" in served.process.stderr.read()


def test_a_signal_while_it_starts_again_ends_it(write_repository: Any, tmp_path: Path) -> None:
    slow = "import os, time\n\nclass TritonPythonModel:\n    def initialize(self, args):\n        time.sleep(float(os.environ['SLOW']))\n"
    slow = f"import pathlib\n{slow}".replace(
        "float(os.environ['SLOW'])", f"60 if pathlib.Path({str(tmp_path / 'slow')!r}).exists() else 0"
    )
    served = Served(write_repository("recommend", extra={"slow": slow}), tmp_path)
    with served.until_killed():
        (tmp_path / "slow").touch()
        os.kill(served.triton, signal.SIGKILL)
        assert eventually(lambda: served.health()["state"] == "restarting")
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(10) == 0
    assert served.is_gone()


def test_what_is_under_way_is_answered_before_the_end(served: Served, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as aside, Client(served.endpoint.grpc, timeout_seconds=30, retries=0) as client:
        client.metadata()
        under_way = aside.submit(client.recommend, f"sleep 1.5 {tmp_path / 'begun'}", k=1)
        assert eventually((tmp_path / "begun").exists)
        served.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: served.health()["state"] == "draining")
        assert under_way.result().item_ids == (101,)
    assert served.process.wait(20) == 0
    assert served.is_gone()


def test_a_lock_that_is_lost_while_it_starts_is_met_by_a_second_try(write_repository: Any, tmp_path: Path) -> None:
    once = (
        f"import pathlib\nmark = pathlib.Path({str(tmp_path / 'mark')!r})\n\nclass TritonPythonModel:\n    def initialize(self, args):\n"
        "        if not mark.exists():\n            mark.touch()\n            raise RuntimeError('boost::interprocess::lock_exception')\n"
    )
    said: list[str] = []
    with EmbeddedServer(write_repository("recommend", extra={"once": once}), say=said.append) as running:
        assert running.grpc_address
    assert said == [
        "Triton did not start, for a lock in shared memory was lost (boost::interprocess::lock_exception); it is tried once more."
    ]


def test_a_second_server_leaves_the_log_of_the_first_alone(one_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "triton.log"
    with EmbeddedServer(one_model, log=log) as first, EmbeddedServer(one_model, log=log) as second:
        assert (first.log, second.log) == (log, tmp_path / "triton.2.log")
        assert first.endpoint.grpc in log.read_text()
        assert second.endpoint.grpc in second.log.read_text()
    assert not (tmp_path / "triton.log.previous").exists()


def test_a_dead_server_is_noticed_at_once(one_model: Path) -> None:
    with EmbeddedServer(one_model) as running:
        os.kill(triton_of(one_model), signal.SIGKILL)
        with pytest.raises(ServerError, match="signal 9"):
            eventually(lambda: bool(running.check()), 5.0)
    running.log.unlink()


def test_serve_forever_wants_the_main_thread(one_model: Path) -> None:
    caught: list[BaseException] = []

    def serve() -> None:
        try:
            EmbeddedServer(one_model).serve_forever()
        except UsageError as error:
            caught.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_an_endpoint_file_that_is_missing_or_corrupt_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"there is no .*server\.json.*cartwheel serve"):
        Endpoint.read(tmp_path / "server.json")
    (tmp_path / "server.json").write_text('{"grpc": 1')
    with pytest.raises(ServerError, match="does not hold the addresses"):
        Endpoint.read(tmp_path / "server.json")
