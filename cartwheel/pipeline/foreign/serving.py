"""``serve_model``: what ``export_model`` writes, served by the embedded Triton for as long as a block lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cartwheel.pipeline.foreign.export_model import export_model

if TYPE_CHECKING:
    from serving.client.client import Client
    from serving.settings import ServeSettings


@contextmanager
def serve_model(
    workflow: str | Path, model: str | Path, out: str | Path, *, serve: ServeSettings | None = None, **options: Any
) -> Iterator[Client]:
    """Export a model and serve it inside a block.

    Args:
        workflow: folder of a saved NVTabular workflow, as for :func:`cartwheel.export_model`; it holds a pickle.
        model: the model.
        out: folder of the repository and its versions.
        serve: where to listen, and limits.
        **options: further arguments of :func:`cartwheel.export_model`.

    Yields:
        A client of the server, which ends with the block.

    Raises:
        CartwheelError: as :func:`cartwheel.export_model` does, or because the server does not start.
    """
    from serving.client.client import Client
    from serving.server.server import EmbeddedServer

    given: Mapping[str, Any] = options
    written = export_model(workflow, model, out, **given)
    with EmbeddedServer(written.repository, serve) as server, Client(server.grpc_address) as client:
        yield client
