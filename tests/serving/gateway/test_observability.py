"""What a gateway tells of itself: every line of its metrics, drift against the export, traces, the dashboard, alerts, and `status`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running_gateway import Gateway, until
from typer.testing import CliRunner

from cartwheel.cli.main import app
from cartwheel.core.errors import CartwheelError, MissingDependencyError
from cartwheel.core.files import sha256
from serving.contract.reference import ANSWERED, FILE, ITEM_INPUTS, SCORE, Reference, stability_index
from serving.gateway.observer import Window
from serving.gateway.tracing import Tracer

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def metrics(exploring: Gateway) -> dict[str, float]:
    """The metrics after a little of everything: questions, events, a refusal, unknown ids."""
    with httpx.Client(base_url=f"http://{exploring.endpoint.http}", timeout=30) as http:
        for number in range(210):
            body: dict[str, Any] = {"user_id": f"u{number % 60}", "k": 5, "timestamp": None}
            if number % 2:
                body["recent_items"] = [str(1000 + number % 50), "never sold"]
            answer = http.post(
                "/v1/recommend", json=body, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"} if number == 7 else {}
            )
            assert answer.status_code == 200, answer.text
        http.post("/v1/recommend", json={"user_id": "a stranger"})
        assert http.post("/v1/recommend", json={"k": 1_000_000}).status_code == 422
        event = {"user_id": "u1", "item_id": "1003", "event_type": "view"}
        assert http.post("/v1/track", json={"events": [event, {"item_id": "x"}]}).json()["accepted"] == 1
        text = http.get("/metrics").text
    return parsed(text)


def parsed(text: str) -> dict[str, float]:
    """Name with labels -> value."""
    lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def total(metrics: dict[str, float], name: str, **labels: str) -> float:
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(
        value
        for key, value in metrics.items()
        if key.split("{")[0] == name and all(each in key for each in wanted) and not np.isnan(value)
    )


def test_all_that_an_operator_asks_for_is_there(metrics: dict[str, float]) -> None:
    for stage in ("events", "triton", "explore"):
        assert total(metrics, "cartwheel_stage_seconds_count", stage=stage) >= 60
    assert total(metrics, "cartwheel_request_seconds_count", door="json", ensemble="recommend") >= 61
    assert total(metrics, "cartwheel_rungs_total", rung="ranked") >= 61
    assert total(metrics, "cartwheel_rejections_total", reason="invalid") >= 1
    assert total(metrics, "cartwheel_ingest_lag_seconds_count") >= 1
    assert total(metrics, "cartwheel_unknown_ids_total", kind="user") >= 1
    assert total(metrics, "cartwheel_unknown_ids_total", kind="item") >= 30
    assert total(metrics, "cartwheel_nulls_total", input="recent_items") >= 31
    assert total(metrics, "cartwheel_nulls_total", input="event_price") >= 1
    assert total(metrics, "cartwheel_observed_total") >= 61
    assert any(name.startswith("cartwheel_queue_seconds") for name in metrics)
    assert any(name.startswith("nv_inference_request_success") for name in metrics), "Triton's own, of each step"


def test_drift_is_of_scores_and_inputs(metrics: dict[str, float]) -> None:
    named = {name: value for name, value in metrics.items() if name.startswith("cartwheel_drift_psi{")}
    assert {f'cartwheel_drift_psi{{input="{name}"}}' for name in (*ITEM_INPUTS, SCORE, ANSWERED)} == set(named)
    assert np.isfinite(named[f'cartwheel_drift_psi{{input="{SCORE}"}}'])


def test_the_export_s_expectations_are_its_own(run: Path) -> None:
    expected = Reference.read(run / "repository" / FILE)
    for name, shares in expected.shares.items():
        assert shares.sum() == pytest.approx(1), name
        assert shares.min() >= 0
    assert len(expected.score_edges) >= 5
    assert expected.knows_user("u3")
    assert not expected.knows_user("a stranger")
    told = json.loads((run / "repository" / "cartwheel.json").read_text())["files"]
    assert told[FILE] == sha256(run / "repository" / FILE), "what is shipped is what was hashed"


@given(st.lists(st.integers(1, 500), min_size=2, max_size=12), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_the_stability_index_is_small_where_nothing_changed_and_large_where_all_did(counts: list[int], seed: int) -> None:
    shares = np.array(counts) / sum(counts)
    same = np.random.default_rng(seed).multinomial(50_000, shares).astype(float)
    assert 0 <= stability_index(same, shares) < 0.02
    other = np.zeros(len(counts))
    other[int(np.argmin(counts))] = 1_000
    assert stability_index(other, shares) > 0.25


def test_drift_is_of_the_latest_and_of_enough() -> None:
    window = Window(np.array([0.5, 0.5]))
    window.add(np.zeros(100, np.int64))
    assert np.isnan(window.drift)
    for _ in range(6):
        window.add(np.zeros(1_000, np.int64))
    assert window.drift > 1
    for _ in range(30):
        window.add(np.tile([0, 1], 500))
    assert window.drift < 0.01


def test_a_request_is_traced_as_part_of_its_caller_s_trace(metrics: dict[str, float], collector: Any) -> None:
    until(lambda: any(span.trace_id.hex() == TRACE for span in collector.spans), 30)
    spans = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    [request] = [span for span in spans if span.parent_span_id.hex() == PARENT]
    assert request.name == "recommend"
    told = {each.key: each.value for each in request.attributes}
    assert told["cartwheel.rung"].string_value == "ranked"
    assert told["rpc.grpc.status_code"].int_value == 0
    parts = {span.name: span for span in spans if span.parent_span_id == request.span_id}
    assert {"events", "triton"} <= set(parts)
    for part in parts.values():
        assert request.start_time_unix_nano <= part.start_time_unix_nano <= part.end_time_unix_nano <= request.end_time_unix_nano


def test_tracing_without_opentelemetry_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry", None)
    with pytest.raises(MissingDependencyError, match=r"Install `cartwheel\[tracing\]`"):
        Tracer("http://127.0.0.1:1")


def test_status_shows_a_running_server(exploring: Gateway, metrics: dict[str, float]) -> None:
    shown = CliRunner().invoke(app, ["status", str(exploring.run), "--once"])
    assert shown.exit_code == 0, shown.output
    for words in ("serving", "ranked", "p50", "recommend", "invalid", "drift", SCORE):
        assert words in shown.output, shown.output
    told = CliRunner().invoke(app, ["status", str(exploring.run), "--json"])
    state = json.loads(told.stdout)
    assert state["ready"] is True
    assert state["versions"]
    assert state["ensembles"]["recommend"]["answers"] >= 61
    assert 0 < state["ensembles"]["recommend"]["p50_ms"] <= state["ensembles"]["recommend"]["p99_ms"]
    assert state["rejections"]["invalid"] >= 1


def test_status_of_what_does_not_run_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["status", str(tmp_path), "--once"])
    assert isinstance(refused.exception, CartwheelError)


DEPLOY = Path(__file__).resolve().parents[3] / "serving" / "deploy"


def expressions() -> list[str]:
    """Every query of the dashboard, the alert rules and the adapter."""
    yaml = pytest.importorskip("yaml")
    panels = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())["panels"]
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    rules = yaml.safe_load((DEPLOY / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    return [*asked, *(rule["expr"] for group in groups for rule in group["rules"]), *(rule["metricsQuery"] for rule in rules)]


def test_every_metric_and_label_that_is_asked_for_is_there(exploring: Gateway, metrics: dict[str, float]) -> None:
    text = httpx.get(f"http://{exploring.endpoint.http}/metrics", timeout=30).text
    declared = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    known = set(declared) | {
        f"{name}{end}" for name, kind in declared.items() if kind == "histogram" for end in ("_bucket", "_count", "_sum")
    }
    asked = expressions()
    assert len(asked) > 30
    for expression in asked:
        names = set(re.findall(r"\b(?:cartwheel|nv)_\w+", expression))
        assert names or expression.startswith("up{"), expression
        assert names <= known, expression
    labels = set(re.findall(r'[{,](\w+)="', text))
    matched = {label for expression in asked for label in re.findall(r'[{,](\w+)(?:=|!=|=~|!~)"', expression)} - {"job"}
    assert matched <= labels, matched - labels


def test_a_gateway_runs_alone_before_a_triton_of_somebody_else(run: Path, tmp_path: Path) -> None:
    from serving.server.ports import HeldPorts
    from serving.server.server import EmbeddedServer
    from serving.settings import ServeSettings

    config = tmp_path / "gateway.toml"
    config.write_text(
        f'run = "{run}"\n[serve]\nstore_folder = "{tmp_path / "live"}"\nladder_seconds = 60.0\nqueue_seconds = 60.0\n'
    )
    alone = ServeSettings(gateway="off", queue_seconds=60.0)
    with EmbeddedServer(run / "repository", alone, log=tmp_path / "triton.log") as triton:
        held = HeldPorts("127.0.0.1", dict.fromkeys(("grpc_port", "http_port", "metrics_port"), 0))
        ports = {name: held[name] for name in ("grpc_port", "http_port", "metrics_port")}
        held.release()
        options = [f"--{name.replace('_', '-')}={port}" for name, port in ports.items()]
        behind = [
            f"--triton={triton.grpc_address}",
            f"--triton-http={triton.http_address}",
            f"--triton-metrics={triton.endpoint.metrics}",
        ]
        command = [sys.executable, "-m", "cartwheel.cli.main", "gateway", str(config), *options, *behind]
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])})
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{ports['http_port']}", timeout=30) as http:
                until(lambda: answers(http, "/health/ready"), 60)
                answer = http.post("/v1/recommend", json={"user_id": "u1", "k": 3})
                assert (answer.status_code, answer.json()["rung"]) == (200, "ranked"), answer.text
                assert "nv_inference_request_success" in http.get("/metrics").text
        finally:
            process.terminate()
            assert process.wait(60) == 0, "it drains and ends"


def answers(http: httpx.Client, path: str) -> bool:
    try:
        return http.get(path).status_code == 200
    except httpx.TransportError:
        return False
