"""A model repository written by hand, and one embedded Triton that serves it for all tests of the server and the clients.

Its models are real Triton models with the tensor contract of the ensembles and trivial logic (``tiny_models``): 12 items, 101 to
112, answered in the order of their numbers. So these tests need neither training nor export and say nothing about either.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from serving.server.server import EmbeddedServer

MODELS = Path(__file__).parent / "tiny_models"
QUERY = {"user_id": "STRING [-1, 1]", "recent_items": "STRING [-1, -1]", "timestamp": "INT64 [-1, 1]", "k": "INT32 [1]"}
INPUTS = {
    "recommend": {**QUERY, "exclude": "STRING [-1, -1]", "diversity": "FP32 [1]"},
    "cart": {**QUERY, "cart_items": "STRING [-1, -1]"},
    "similar_items": {"item_id": "STRING [-1, 1]", "k": "INT32 [1]"},
}
ONE = {"k": {"datatype": "INT32", "shape": [1], "values": [1]}}
QUESTIONS = {
    name: {asked: {"datatype": "BYTES", "shape": [1, 1], "values": [text]}, **ONE}
    for name, asked, text in (("recommend", "user_id", ""), ("cart", "cart_items", ""), ("similar_items", "item_id", "?"))
}
SCORED = {"items": "STRING [-1, -1]", "scores": "FP32 [-1, -1]"}
OUTPUTS = {
    "recommend": {**SCORED, "reason": "INT32 [-1, -1]", "reason_item": "STRING [-1, -1]"},
    "cart": {**SCORED, "line_probability": "FP32 [-1, -1]", "cart_probability": "FP32 [-1, 1]"},
    "similar_items": SCORED,
}


class WriteRepository(Protocol):
    def __call__(self, *models: str, id_type: str = "int64", extra: Mapping[str, str] | None = None) -> Path:
        """Write a repository of the tiny ``models`` (default: all) and of ``extra`` ones, name -> code; return its folder."""


@pytest.fixture(scope="session")
def write_repository(tmp_path_factory: pytest.TempPathFactory) -> WriteRepository:
    def write(*models: str, id_type: str = "int64", extra: Mapping[str, str] | None = None) -> Path:
        repository = tmp_path_factory.mktemp("tiny") / "repository"
        parameters = {"user_id_type": id_type, "item_id_type": id_type, "max_k": "20", "catalogue_size": "12"}
        for name in models or tuple(INPUTS):
            _write_config(repository / name, INPUTS[name], OUTPUTS[name], {**parameters, "question": json.dumps(QUESTIONS[name])})
            shutil.copyfile(MODELS / f"{name}.py", repository / name / "1" / "model.py")
        for name, code in (extra or {}).items():
            _write_config(repository / name, {"in": "FP32 [1]"}, {"out": "FP32 [1]"}, {})
            (repository / name / "1" / "model.py").write_text(code, encoding="utf-8")
        return repository

    return write


@pytest.fixture(scope="session")
def server(write_repository: WriteRepository) -> Iterator[EmbeddedServer]:
    """The one server of the session; a test that harms a server starts its own."""
    with EmbeddedServer(write_repository()) as running:
        yield running


def _write_config(folder: Path, inputs: Mapping[str, str], outputs: Mapping[str, str], parameters: Mapping[str, str]) -> None:
    lines = [f'name: "{folder.name}"', 'backend: "python"', "max_batch_size: 0", "instance_group [{ kind: KIND_CPU count: 1 }]"]
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for name, description in tensors.items():
            dtype, _, dims = description.partition(" ")
            optional = " optional: true" if kind == "input" else ""
            lines.append(f'{kind} {{ name: "{name}" data_type: TYPE_{dtype} dims: {dims}{optional} }}')
    lines += [
        f'parameters {{ key: "{key}" value: {{ string_value: {json.dumps(value)} }} }}' for key, value in parameters.items()
    ]
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text("\n".join(lines) + "\n", encoding="utf-8")
