"""Writes the model repository of the peer: one model of the Python backend, beside the run that it reads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from cartwheel.files import atomic_path

MODEL: Final = "peer"
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
parameters {{ key: "run" value: {{ string_value: "{run}" }} }}
parameters {{ key: "k" value: {{ string_value: "{k}" }} }}
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
        version = aside / MODEL / "1"
        version.mkdir(parents=True)
        shutil.copyfile(_PROGRAM, version / "model.py")
        config = _CONFIG.format(
            model=MODEL,
            run=run.absolute(),
            k=k,
            candidates=candidates,
            max_batch=max_batch,
            queue_microseconds=queue_microseconds,
        )
        (version.parent / "config.pbtxt").write_text(config, encoding="utf-8")
    return folder
