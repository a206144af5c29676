"""Settings of the repository and its server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from cartwheel.core.settings import Settings
from serving.rules.rules import ShopRules

Port = Annotated[int, Field(ge=0, le=65535)]


class ExportSettings(Settings):
    """How the model repository is written."""

    target: Literal["embedded", "native"] = "embedded"
    """``embedded`` for the Triton binary of nvidia-pytriton; ``native`` for any Triton with the onnxruntime backend."""
    max_k: Annotated[int, Field(gt=0, le=1000)] = 100
    """Maximum number of items in an answer."""
    max_batch: Annotated[int, Field(gt=0)] = 64
    """Maximum batch size of a step."""
    queue_microseconds: Annotated[int, Field(ge=0)] = 0
    """How long a batching step waits for more requests; while it is busy, requests queue up anyway."""
    diversity: Annotated[float, Field(ge=0.0)] = 0.0
    """Score penalty for each better item of the same category in the list; a request may override it."""
    max_per_category: Annotated[int, Field(ge=0)] = 0
    """Maximum number of items of one category in an answer; 0 means no limit."""
    parity_rows: Annotated[int, Field(gt=0)] = 512
    """Number of test examples whose served scores must equal the offline ones."""
    keep_versions: Annotated[int, Field(ge=0)] = 5
    """Number of latest exports kept in `versions`; the served version and the one before it are always kept. 0 keeps all."""


class DeploySettings(Settings):
    """How `cartwheel deploy` rolls out a new version under load."""

    shares: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...] = (0.05, 0.25, 0.5)
    """Successive shares of the shoppers that get the new version before all do; an empty list switches at once."""
    step_seconds: Annotated[float, Field(ge=0.0)] = 60.0
    """How long each share lasts before the versions are compared."""
    warm_up_requests: Annotated[int, Field(gt=0, le=256)] = 64
    """Number of most recent requests used to warm up the new version and to compare its answers with its own files before any shopper gets
    it."""
    latency_ratio: Annotated[float, Field(gt=1.0)] = 1.5
    """Maximum ratio of the new version's latency to the old one's, before and under load."""
    latency_milliseconds: Annotated[float, Field(ge=0.0)] = 5.0
    """Additional latency allowed beyond that ratio."""
    least_requests: Annotated[int, Field(gt=0)] = 50
    """Minimum number of answers of each version for comparing latencies."""
    false_alarm: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.01
    """Probability of rolling back a version that is as good as the old one because of its errors, and the same again for its clicks."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if list(self.shares) != sorted(set(self.shares)):
            raise ValueError("shares must rise from one to the next")
        return self


class ServeSettings(Settings):
    """Where and how the gateway and the embedded server listen."""

    gateway: Literal["on", "off"] = "on"
    """``on`` puts the gateway in front of Triton, which then listens where only this user can reach it; ``off`` runs Triton alone, for
    trusted clients."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    grpc_port: Port = 0
    """gRPC port; 0 picks a free one."""
    http_port: Port = 0
    """HTTP port for JSON requests, health and metrics, or, without the gateway, for health and metadata; 0 picks a free one."""
    metrics_port: Port = 0
    """Port of Prometheus metrics; 0 picks a free one."""
    health_port: Port = 0
    """HTTP port of ``/health/ready`` and ``/health/live``, which ``cartwheel serve`` answers; 0 picks a free one."""
    start_seconds: Annotated[float, Field(gt=0.0)] = 60.0
    """How long the server may take to be ready."""
    probe_seconds: Annotated[float, Field(gt=0.0)] = 0.5
    """Interval between readiness probes, each a real request to every ensemble."""
    probe_timeout_seconds: Annotated[float, Field(gt=0.0)] = 2.0
    """Timeout of a probe, after which the server is not ready; above ``queue_seconds``, so that a fully loaded server is ready."""
    hang_seconds: Annotated[float, Field(gt=0.0)] = 10.0
    """Time without any answer to a probe, not even a rejection, after which the server is restarted."""
    max_restarts: Annotated[int, Field(ge=0)] = 5
    """Maximum number of restarts within ``restart_window_seconds``; one more failure ends ``cartwheel serve``."""
    restart_window_seconds: Annotated[float, Field(gt=0.0)] = 60.0
    """Period in which restarts are counted."""
    queue_size: Annotated[int, Field(gt=0)] = 128
    """How many requests to one ensemble may wait to be computed; more are rejected with UNAVAILABLE. Each of ``read_processes`` counts its
    share."""
    queue_seconds: Annotated[float, Field(gt=0.0)] = 1.0
    """How long a request may wait to be read, and then to be computed, before it is rejected with UNAVAILABLE."""
    threads: Annotated[int, Field(gt=0)] = 1
    """ONNX Runtime threads within one step."""
    read_processes: Annotated[int, Field(gt=0, le=64)] = 3
    """Processes that read and validate requests before anything is computed; each uses some 30 MB."""
    keys_file: Path | None = None
    """File of the API keys that the gateway requires, written by `cartwheel keys add`; without it no key is required."""
    rate_per_key: Annotated[float, Field(ge=0.0)] = 0.0
    """Requests per second for a key whose entry sets no rate, with bursts of up to twice that number; 0 means no limit."""
    anyone: bool = False
    """Whether the gateway may listen beyond this machine without requiring keys or client certificates."""
    log_requests: Literal["all", "failed", "none"] = "failed"
    """Which requests get a line in the gateway's log: ``failed`` are those that were rejected or answered by a fallback."""
    record_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of the answered requests that the gateway records completely, with answer, version and live events, in `live/requests.jsonl`
    beside the repository, for `cartwheel replay`. They contain the requests, including user ids."""
    record_megabytes: Annotated[float, Field(gt=0.0)] = 256.0
    """Maximum size of that file, after which it is renamed to `requests.jsonl.previous` and replaces the older one."""
    ladder: Literal["on", "off"] = "on"
    """Whether the gateway answers `recommend` from its own tables of neighbours and popular items if Triton is down, late or fails."""
    ladder_seconds: Annotated[float, Field(gt=0.0)] = 0.5
    """Time without Triton's answer after which it does so; earlier if the client's deadline is near."""
    explore_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of the requests to `recommend` whose items are shown in random order, so that `cartwheel preview` can estimate the performance
    of another model; every exposure is then logged with its propensity."""
    explore_pool: Annotated[int, Field(gt=0, le=1000)] = 20
    """How many of the best items that order is drawn from, unless more are requested."""
    observe_per_second: Annotated[float, Field(ge=0.0)] = 20.0
    """Maximum number of requests per second that are inspected for unknown ids, missing inputs and drift."""
    tracing: str = ""
    """URL of an OpenTelemetry collector for OTLP over HTTP, such as ``http://127.0.0.1:4318/v1/traces``; empty disables tracing. Needs
    ``cartwheel[tracing]``."""
    tracing_share: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """Share of the requests that are traced, in addition to those that the client traces (``traceparent``)."""
    log_exposures: Literal["on", "off"] = "off"
    """``on`` logs the items that ``recommend`` shows even without exploration, as an experiment between two versions requires."""
    max_under_way: Annotated[int, Field(gt=0)] = 128
    """Maximum number of requests in flight to Triton; more wait in the gateway."""
    max_waiting: Annotated[int, Field(ge=0)] = 512
    """Maximum number of requests waiting in the gateway; more are rejected with UNAVAILABLE, over HTTP with 503."""
    gateway_queue_seconds: Annotated[float, Field(gt=0.0)] = 0.5
    """How long a request may wait in the gateway before it is rejected with UNAVAILABLE, over HTTP with 503."""
    lost_seconds: Annotated[float, Field(gt=0.0)] = 30.0
    """Time without an answer from Triton after which the gateway considers a request lost and frees its slot."""
    drain_seconds: Annotated[float, Field(ge=0.0)] = 30.0
    """Maximum time for completing requests in flight at shutdown."""
    max_rows: Annotated[int, Field(gt=0)] = 64
    """Maximum number of shoppers in one request; also limited by ``export.max_batch``."""
    max_message_bytes: Annotated[int, Field(gt=0, lt=2**31)] = 4 * 1024 * 1024
    """Maximum number of bytes of ids in one request, where each id needs 4 bytes more for its length."""
    max_cart_items: Annotated[int, Field(gt=0)] = 1_000
    """Maximum number of lines of one cart."""
    max_recent_items: Annotated[int, Field(gt=0)] = 1_000
    """Maximum number of recent items of one shopper in a request."""
    max_list: Annotated[int, Field(gt=0)] = 1_000
    """Maximum length of a list in a request to a model of `cartwheel serve-model`."""
    max_events: Annotated[int, Field(gt=0)] = 256
    """Maximum number of events of one shopper since the snapshot in a request."""
    store: str = "sqlite"
    """Where the gateway stores events since the export: ``sqlite`` for a file of its own, a Redis URL (``redis://HOST:PORT/0``) for several
    gateways, ``off`` for nowhere."""
    store_folder: Path | None = None
    """Folder of that file and of rejected events; by default ``live`` beside the repository."""
    store_seconds: Annotated[float, Field(gt=0.0)] = 0.05
    """How long a request waits for Redis before it proceeds without the shopper's events."""
    event_days: Annotated[float, Field(gt=0.0)] = 30.0
    """Days after which an event is dropped from a shopper's state; it stays in the journal until it is landed."""
    cart_hours: Annotated[float, Field(ge=0.0)] = 24.0
    """How long an item that was added to the cart, and neither removed nor bought, counts as in the cart and is not recommended."""
    event_id_hours: Annotated[float, Field(gt=0.0)] = 168.0
    """How long an event id is remembered: the same id within it is the same event, and is counted once."""
    extra_types: tuple[str, ...] = ()
    """Event types that may be tracked in addition to the built-in ones; use the value of ``events.extra_types``."""
    max_track_events: Annotated[int, Field(gt=0, le=10_000)] = 1_000
    """Maximum number of events in one tracking request."""
    max_track_waiting: Annotated[int, Field(gt=0)] = 20_000
    """Maximum number of events waiting to be durable; more are rejected with UNAVAILABLE, over HTTP with 429."""
    max_exclude: Annotated[int, Field(gt=0)] = 100_000
    """Maximum number of excluded items of one shopper in a request."""
    tls_certificate: Path | None = None
    """PEM file of the server's certificate; with it, gRPC accepts only TLS."""
    tls_key: Path | None = None
    """PEM file of the certificate's private key."""
    tls_client_roots: Path | None = None
    """PEM file of the certificate authorities of accepted clients; without it no client certificate is required."""

    tls_probe_certificate: Path | None = None
    """PEM file of a client certificate for the readiness probes; without it, a server with ``tls_client_roots`` sends none, and only its
    processes are monitored."""
    tls_probe_key: Path | None = None
    """PEM file of that certificate's private key."""

    rules: ShopRules = ShopRules()
    """What holds for every answer of `recommend` and `similar_items`, and for what completes a cart (docs/rules.md)."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together; set both or neither")
        if (self.tls_probe_certificate is None) != (self.tls_probe_key is None):
            raise ValueError("tls_probe_certificate and tls_probe_key belong together; set both or neither")
        if self.tls_client_roots is not None and self.tls_certificate is None:
            raise ValueError("tls_client_roots needs tls_certificate and tls_key; set all three")
        if self.keys_file is not None and self.gateway == "off":
            raise ValueError("keys_file needs the gateway, which checks the keys; set gateway to on, or leave keys_file out")
        return self
