"""What may be decided about the repository and its server."""

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
    """The most items that one answer can hold."""
    max_batch: Annotated[int, Field(gt=0)] = 64
    """The most requests that a step answers together."""
    queue_microseconds: Annotated[int, Field(ge=0)] = 0
    """How long the steps that answer requests together wait for company; while they are busy, requests gather without waiting."""
    diversity: Annotated[float, Field(ge=0.0)] = 0.0
    """Score taken off for each better item of the same category in the list; a request may override it."""
    max_per_category: Annotated[int, Field(ge=0)] = 0
    """The most items of one category in an answer; 0 sets no limit."""
    parity_rows: Annotated[int, Field(gt=0)] = 512
    """How many test examples must score the same in serving as offline."""
    keep_versions: Annotated[int, Field(ge=0)] = 5
    """How many exports stay in `versions`, the latest; what is served and what was served before it always do. 0 keeps all."""


class DeploySettings(Settings):
    """How `cartwheel deploy` brings a new version in under load."""

    shares: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...] = (0.05, 0.25, 0.5)
    """Shares of the shoppers that get the new version, one after the other, before all do; none changes over at once."""
    step_seconds: Annotated[float, Field(ge=0.0)] = 60.0
    """How long each share stands before the versions are compared."""
    warm_up_requests: Annotated[int, Field(gt=0, le=256)] = 64
    """The most recent requests that the new version is warmed up with and held against its own files, before a shopper gets it."""
    latency_ratio: Annotated[float, Field(gt=1.0)] = 1.5
    """How many times as long as the old version's the new one's answers may take, before and under load."""
    latency_milliseconds: Annotated[float, Field(ge=0.0)] = 5.0
    """How much longer beyond that they may take."""
    least_requests: Annotated[int, Field(gt=0)] = 50
    """From how many answers of each version on their latencies are compared."""
    false_alarm: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.01
    """How probable it may be that a version that is as good as the old one is taken back for its errors, and as probable again for its
    clicks."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if list(self.shares) != sorted(set(self.shares)):
            raise ValueError("shares must rise from one to the next")
        return self


class ServeSettings(Settings):
    """Where and how the gateway and the embedded server listen."""

    gateway: Literal["on", "off"] = "on"
    """``on`` puts the gateway in front of Triton, which then listens where only this user reaches it; ``off`` leaves Triton alone, for
    callers whom one trusts."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    grpc_port: Port = 0
    """gRPC port; 0 picks a free one."""
    http_port: Port = 0
    """HTTP port: of questions in JSON, health and metrics, or, without the gateway, of health and metadata; 0 picks a free one."""
    metrics_port: Port = 0
    """Port of Prometheus metrics; 0 picks a free one."""
    health_port: Port = 0
    """HTTP port of ``/health/ready`` and ``/health/live``, which ``cartwheel serve`` answers; 0 picks a free one."""
    start_seconds: Annotated[float, Field(gt=0.0)] = 60.0
    """How long the server may take to be ready."""
    probe_seconds: Annotated[float, Field(gt=0.0)] = 0.5
    """How often readiness is tried by a real question to every ensemble."""
    probe_timeout_seconds: Annotated[float, Field(gt=0.0)] = 2.0
    """How long an answer may take before the server counts as not ready; above ``queue_seconds``, so that one at its limit is ready."""
    hang_seconds: Annotated[float, Field(gt=0.0)] = 10.0
    """After how long without any answer to such a question, not even a refusal, the server is started again."""
    max_restarts: Annotated[int, Field(ge=0)] = 5
    """How often within ``restart_window_seconds`` a server that is dead is started again; one more death ends ``cartwheel serve``."""
    restart_window_seconds: Annotated[float, Field(gt=0.0)] = 60.0
    """The time in which restarts are counted."""
    queue_size: Annotated[int, Field(gt=0)] = 128
    """How many requests to one ensemble may wait to be computed; the next is refused with UNAVAILABLE. Each of ``read_processes`` counts
    its share."""
    queue_seconds: Annotated[float, Field(gt=0.0)] = 1.0
    """How long a request may wait to be read, and then to be computed, before it is refused with UNAVAILABLE."""
    threads: Annotated[int, Field(gt=0)] = 1
    """ONNX Runtime threads within one step."""
    read_processes: Annotated[int, Field(gt=0, le=64)] = 3
    """Processes that read and check requests before anything is computed; each holds some 30 MB."""
    keys_file: Path | None = None
    """File of the API keys that the gateway wants, written by `cartwheel keys add`; without it no key is wanted."""
    rate_per_key: Annotated[float, Field(ge=0.0)] = 0.0
    """Requests a second that a key may ask whose entry sets no rate, twice that at once; 0 sets no limit."""
    anyone: bool = False
    """Whether the gateway may listen beyond this machine although it wants neither keys nor certificates of clients."""
    log_requests: Literal["all", "failed", "none"] = "failed"
    """Which requests get a line in the gateway's log: ``failed`` are those that were refused or answered by a lower rung."""
    record_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of the answered requests that the gateway writes whole, with answer, version and the live events it was answered with, to
    `live/requests.jsonl` beside the repository, for `cartwheel replay`. They hold what was asked, user ids included."""
    record_megabytes: Annotated[float, Field(gt=0.0)] = 256.0
    """How large that file may grow before it becomes `requests.jsonl.previous`, in the place of the one before."""
    ladder: Literal["on", "off"] = "on"
    """Whether the gateway answers `recommend` from its own tables of neighbours and popular items where Triton is away, late or breaks."""
    ladder_seconds: Annotated[float, Field(gt=0.0)] = 0.5
    """After how long without Triton's answer it does so; earlier where the caller's own deadline is near."""
    explore_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of the requests to `recommend` whose items come in a random order, so that `cartwheel preview` can tell what another model
    would have brought; with it every exposure is logged with its propensity."""
    explore_pool: Annotated[int, Field(gt=0, le=1000)] = 20
    """How many of the best items that order is drawn from, where no more are asked for."""
    observe_per_second: Annotated[float, Field(ge=0.0)] = 20.0
    """How many requests a second are looked at, at most, for ids that the export does not know, what is left out, and drift."""
    tracing: str = ""
    """URL of an OpenTelemetry collector that takes OTLP over HTTP, such as ``http://127.0.0.1:4318/v1/traces``; empty traces nothing.
    Needs ``cartwheel[tracing]``."""
    tracing_share: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """Share of the requests that are traced, beside those whose caller traces them (``traceparent``)."""
    log_exposures: Literal["on", "off"] = "off"
    """``on`` logs what `recommend` shows even where nothing is explored, as an experiment between two versions needs it."""
    max_under_way: Annotated[int, Field(gt=0)] = 128
    """How many requests the gateway may have under way with Triton; further ones wait."""
    max_waiting: Annotated[int, Field(ge=0)] = 512
    """How many requests may wait in the gateway; the next is refused with UNAVAILABLE, over HTTP with 503."""
    gateway_queue_seconds: Annotated[float, Field(gt=0.0)] = 0.5
    """How long a request may wait in the gateway before it is refused with UNAVAILABLE, over HTTP with 503."""
    lost_seconds: Annotated[float, Field(gt=0.0)] = 30.0
    """After how long without an answer the gateway takes a request that Triton was given for lost, and its place for free."""
    drain_seconds: Annotated[float, Field(ge=0.0)] = 30.0
    """How long requests in flight may still take when the server is told to stop."""
    max_rows: Annotated[int, Field(gt=0)] = 64
    """The most shoppers that one request may ask about; ``export.max_batch`` bounds it too."""
    max_message_bytes: Annotated[int, Field(gt=0, lt=2**31)] = 4 * 1024 * 1024
    """The most bytes of ids that one request may hold, each id with 4 bytes of its length."""
    max_cart_items: Annotated[int, Field(gt=0)] = 1_000
    """The most lines of one cart."""
    max_recent_items: Annotated[int, Field(gt=0)] = 1_000
    """The most recent items that a request may give of one shopper."""
    max_list: Annotated[int, Field(gt=0)] = 1_000
    """The most values of one list that a request may give to a model of `cartwheel serve-model`."""
    max_events: Annotated[int, Field(gt=0)] = 256
    """The most events since the snapshot that a request may give of one shopper."""
    store: str = "sqlite"
    """Where the gateway keeps what shoppers did since the export: ``sqlite`` for a file of its own, a URL of Redis (``redis://HOST:PORT/0``)
    for many gateways, ``off`` to keep nothing."""
    store_folder: Path | None = None
    """Folder of that file and of the events that were refused; left out, ``live`` beside the repository."""
    store_seconds: Annotated[float, Field(gt=0.0)] = 0.05
    """How long a question waits for Redis before it is asked without the shopper's events."""
    event_days: Annotated[float, Field(gt=0.0)] = 30.0
    """After how many days an event is no shopper's state any more; it stays in the journal until it is landed."""
    cart_hours: Annotated[float, Field(ge=0.0)] = 24.0
    """How long an item that was put into the cart, and neither taken out nor bought, counts as in it and is not recommended."""
    event_id_hours: Annotated[float, Field(gt=0.0)] = 168.0
    """How long an event id is remembered: the same id within it is the same event, and is counted once."""
    extra_types: tuple[str, ...] = ()
    """Event types that may be tracked beside those that Cartwheel knows; give what ``events.extra_types`` gives."""
    max_track_events: Annotated[int, Field(gt=0, le=10_000)] = 1_000
    """The most events that one request may track."""
    max_track_waiting: Annotated[int, Field(gt=0)] = 20_000
    """How many events may wait to be durable; further ones are refused with UNAVAILABLE, over HTTP with 429."""
    max_exclude: Annotated[int, Field(gt=0)] = 100_000
    """The most items that a request may exclude for one shopper."""
    tls_certificate: Path | None = None
    """PEM file of the server's certificate; with it gRPC speaks TLS only."""
    tls_key: Path | None = None
    """PEM file of the certificate's private key."""
    tls_client_roots: Path | None = None
    """PEM file of the authorities whose clients may ask; without it no client certificate is wanted."""

    tls_probe_certificate: Path | None = None
    """PEM file of a client certificate for readiness's own questions; without it a server with ``tls_client_roots`` asks none, and only
    its processes are watched."""
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
