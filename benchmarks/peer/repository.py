"""Writes the model repository of the peer: the same program twice, answering one by one and together, beside the run it reads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from cartwheel.core.files import atomic_path

ONE_BY_ONE: Final = "peer_one_by_one"
"""Answers one request after the other, as Merlin Systems' Triton models do."""
TOGETHER: Final = "peer_together"
"""Answers at once whatever Triton hands over together."""
_PROGRAM: Final = Path(__file__).with_name("model.py")
_CONFIG: Final = """name: "{model}"
backend: "python"
max_batch_size: {max_batch}
dynamic_batching {{ max_queue_delay_microseconds: {queue_microseconds} }}
input [ {{ name: "user_id" data_type: TYPE_STRING dims: [ 1 ] optional: true }} ]
input [ {{ name: "recent_items" data_type: TYPE_STRING dims: [ -1 ] optional: true allow_ragged_batch: true }} ]
input [ {{ name: "exclude" data_type: TYPE_STRING dims: [ -1 ] optional: true allow_ragged_batch: true }} ]
input [ {{ name: "timestamp" data_type: TYPE_INT64 dims: [ 1 ] optional: true }} ]
output [ {{ name: "items" data_type: TYPE_STRING dims: [ {k} ] }} ]
output [ {{ name: "scores" data_type: TYPE_FP32 dims: [ {k} ] }} ]
parameters {{ key: "queue" value: {{ string_value: "unbounded" }} }}
parameters {{ key: "run" value: {{ string_value: "{run}" }} }}
parameters {{ key: "k" value: {{ string_value: "{k}" }} }}
parameters {{ key: "together" value: {{ string_value: "{together}" }} }}
parameters {{ key: "candidates" value: {{ string_value: "{candidates}" }} }}
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""


def write_peer(run: Path, folder: Path, *, k: int, candidates: int, max_batch: int, queue_microseconds: int) -> Path:
    """Write the repository.

    Args:
        run: run directory after ``train``; the peer reads it, so that it must stay.
        folder: the repository's place; what is there is replaced.
        k: how many items it answers.
        candidates: how many retrieved items it ranks.
        max_batch: the most requests that it answers together.
        queue_microseconds: how long it waits for company.

    Returns:
        ``folder``.
    """
    with atomic_path(folder) as aside:
        for model in (ONE_BY_ONE, TOGETHER):
            version = aside / model / "1"
            version.mkdir(parents=True)
            shutil.copyfile(_PROGRAM, version / "model.py")
            config = _CONFIG.format(
                model=model,
                together=str(model == TOGETHER).lower(),
                run=run.absolute(),
                k=k,
                candidates=candidates,
                max_batch=max_batch,
                queue_microseconds=queue_microseconds,
            )
            (version.parent / "config.pbtxt").write_text(config, encoding="utf-8")
    return folder
