"""What the stages do between the rooms: nothing that was given is ignored, and nothing of another run is taken for this one's."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from cartwheel.cli import serve
from cartwheel.cli.serve import serve_run
from cartwheel.config import RunSettings
from cartwheel.core.errors import ConfigError, ServerError
from cartwheel.core.files import write_json
from cartwheel.pipeline.work import judged_configuration, source_files, train_cart
from serving.server.endpoint import ENDPOINT, Endpoint
from workflows.settings import SourceSettings

OTHER = Endpoint(grpc="127.0.0.1:1", http="127.0.0.1:2", metrics="127.0.0.1:3", pid=os.getpid())


def test_events_given_to_a_simulated_shop_are_not_ignored(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source\.path is .*events\.csv, but source\.kind is 'simulated'"):
        source_files(RunSettings(source=SourceSettings(path=tmp_path / "events.csv")))
    assert source_files(RunSettings()) == []


def test_a_log_without_carts_leaves_no_cart_model_of_an_earlier_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale = tmp_path / "models" / "cart"
    stale.mkdir(parents=True)
    (stale / "model.onnx").write_text("of an earlier log")
    write_json(tmp_path / "examples" / "report.json", {"no_cart": "There are no carts [in this log]."})
    train_cart(tmp_path, RunSettings())
    assert not stale.exists()
    assert capsys.readouterr().err == "There are no carts [in this log].\n"
    train_cart(tmp_path, RunSettings())


def test_what_is_judged_is_another_configuration_and_how_it_is_judged_is_not() -> None:
    first = RunSettings()
    same = [{"evaluate": {"bootstrap": 200, "cutoffs": (5,)}}, {"run": Path("elsewhere")}, {"export": {"max_k": 7}}]
    other = [{"seed": 9}, {"two_tower": {"dimension": 8}}, {"cart": {"epochs": 1}}, {"evaluate": {"candidates": 9}}]
    other.append({"evaluate": {"baseline_parameters": {"als": {"factors": 8}}}})
    hashes = [judged_configuration(RunSettings.model_validate(each)) for each in [*same, *other]]
    assert set(hashes[: len(same)]) == {judged_configuration(first)}
    assert len(set(hashes)) == 1 + len(other)


@pytest.fixture
def served(tmp_path: Path) -> Path:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "cartwheel.json").write_text("{}")
    return tmp_path


def stand_in(serve: Callable[[Callable[[Endpoint], None]], None]) -> type:
    """A server that needs no Triton."""

    class Server:
        def __init__(self, *_arguments: object, **_options: object) -> None:
            pass

        def serve_forever(self, on_ready: Callable[[Endpoint], None]) -> None:
            serve(on_ready)

    return Server


def test_a_server_that_cannot_start_leaves_the_address_of_the_one_that_runs(
    served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_on_ready: Callable[[Endpoint], None]) -> None:
        raise ServerError("serve.grpc_port = 8001 is taken.")

    OTHER.write(served / ENDPOINT)
    monkeypatch.setattr(serve, "EmbeddedServer", stand_in(fail))
    with pytest.raises(ServerError, match="taken"):
        serve_run(served, {}, Console(file=io.StringIO()))
    assert Endpoint.read(served / ENDPOINT) == OTHER


def test_a_server_takes_back_its_own_address_alone(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Endpoint(grpc="127.0.0.1:4", http="127.0.0.1:5", metrics="127.0.0.1:6", pid=os.getpid())
    monkeypatch.setattr(serve, "EmbeddedServer", stand_in(lambda on_ready: on_ready(own)))
    serve_run(served, {}, Console(file=io.StringIO()))
    assert not (served / ENDPOINT).exists()

    def overtaken(on_ready: Callable[[Endpoint], None]) -> None:
        on_ready(own)
        OTHER.write(served / ENDPOINT)

    monkeypatch.setattr(serve, "EmbeddedServer", stand_in(overtaken))
    serve_run(served, {}, Console(file=io.StringIO()))
    assert Endpoint.read(served / ENDPOINT) == OTHER


def test_an_option_that_is_not_accepted_is_called_as_it_was_typed(served: Path) -> None:
    with pytest.raises(ConfigError, match="--grpc-port 70000"):
        serve_run(served, {"grpc_port": 70_000}, Console(file=io.StringIO()))
