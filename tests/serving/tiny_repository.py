"""A model repository that is written by hand: the tensor contract of the ensembles, answered with trivial logic by real Triton models.

The catalogue is 12 items named by number; the order of an answer is by number. It needs neither training nor export, so that
the tests of the server and the client say nothing about either.
"""

from __future__ import annotations

import json
from pathlib import Path

ITEMS = tuple(str(number) for number in range(101, 113))
MAX_K = 20

_RECOMMEND = '''
import time
import numpy as np
import triton_python_backend_utils as pb

ITEMS = %(items)r


def texts(request, name):
    tensor = pb.get_input_tensor_by_name(request, name)
    return None if tensor is None else [[value.decode() for value in row] for row in tensor.as_numpy()]


def number(request, name, otherwise):
    tensor = pb.get_input_tensor_by_name(request, name)
    return otherwise if tensor is None else tensor.as_numpy().ravel()[0]


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        k = int(number(request, "k", 10))
        if not 1 <= k <= %(max_k)d:
            error = pb.TritonError("k is %%d; expected 1 to %(max_k)d." %% k, pb.TritonError.INVALID_ARG)
            return pb.InferenceResponse(error=error)
        users, recents, excludes = (texts(request, name) for name in ("user_id", "recent_items", "exclude"))
        count = max(len(rows) for rows in (users, recents, excludes, [[]]) if rows is not None)
        if users and users[0][0].startswith("sleep "):
            time.sleep(float(users[0][0][6:]))
        if users and users[0][0] == "break":
            raise ValueError("the model broke")
        if users and users[0][0] == "die":
            import os
            os.kill(os.getppid(), 9)
        items = np.full((count, k), b"", dtype=object)
        scores = np.full((count, k), -np.inf, dtype=np.float32)
        reason = np.zeros((count, k), dtype=np.int32)
        because = np.full((count, k), b"", dtype=object)
        for row in range(count):
            recent = [item for item in (recents[row] if recents else []) if item in ITEMS]
            dropped = set(excludes[row] if excludes else ()) | set(recent)
            left = [item for item in ITEMS if item not in dropped][:k]
            for place, item in enumerate(left):
                items[row, place], scores[row, place] = item.encode(), 1.0 / (1 + place)
                if recent:
                    reason[row, place], because[row, place] = 1, recent[-1].encode()
                elif users and users[row][0] == "7":
                    reason[row, place] = 2
        tensors = [pb.Tensor(*pair) for pair in
                   (("items", items), ("scores", scores), ("reason", reason), ("reason_item", because),
                    ("echo", np.array([[number(request, "timestamp", 0)]], dtype=np.int64)))]
        return pb.InferenceResponse(tensors)
'''

_CART = '''
import numpy as np
import triton_python_backend_utils as pb

ITEMS = %(items)r


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        cart = [value.decode() for value in pb.get_input_tensor_by_name(request, "cart_items").as_numpy()[0]]
        k = int(pb.get_input_tensor_by_name(request, "k").as_numpy()[0])
        left = [item.encode() for item in ITEMS if item not in cart][:k]
        lines = np.array([[0.5 if line in ITEMS else 0.25 for line in cart]], dtype=np.float32)
        left += [b""] * (k - len(left))
        tensors = [("items", np.array([left], dtype=object)), ("scores", np.ones((1, k), dtype=np.float32)),
                   ("line_probability", lines), ("cart_probability", np.array([[0.75]], dtype=np.float32))]
        return pb.InferenceResponse([pb.Tensor(*pair) for pair in tensors])
'''

_SIMILAR = '''
import numpy as np
import triton_python_backend_utils as pb

ITEMS = %(items)r


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        item = pb.get_input_tensor_by_name(request, "item_id").as_numpy()[0, 0].decode()
        k = int(pb.get_input_tensor_by_name(request, "k").as_numpy()[0])
        left = [other.encode() for other in ITEMS if other != item][:k]
        left += [b""] * (k - len(left))
        scores = np.full((1, k), 1.0 if item in ITEMS else 0.0, dtype=np.float32)
        return pb.InferenceResponse([pb.Tensor("items", np.array([left], dtype=object)), pb.Tensor("scores", scores)])
'''

_QUERY_INPUTS = {"user_id": "STRING [-1, 1]", "recent_items": "STRING [-1, -1]", "timestamp": "INT64 [-1, 1]", "k": "INT32 [1]"}
_ITEM_OUTPUTS = {"items": "STRING [-1, -1]", "scores": "FP32 [-1, -1]"}


def write_tiny_repository(folder: Path, id_type: str = "int64") -> Path:
    """Write the repository and return its folder."""
    parameters = {"user_id_type": id_type, "item_id_type": id_type, "max_k": str(MAX_K), "catalogue_size": str(len(ITEMS))}
    write_model(
        folder / "recommend",
        _RECOMMEND % {"items": ITEMS, "max_k": MAX_K},
        {**_QUERY_INPUTS, "exclude": "STRING [-1, -1]", "diversity": "FP32 [1]"},
        {**_ITEM_OUTPUTS, "reason": "INT32 [-1, -1]", "reason_item": "STRING [-1, -1]", "echo": "INT64 [-1, 1]"},
        parameters,
    )
    write_model(
        folder / "cart",
        _CART % {"items": ITEMS},
        {**_QUERY_INPUTS, "cart_items": "STRING [-1, -1]"},
        {**_ITEM_OUTPUTS, "line_probability": "FP32 [-1, -1]", "cart_probability": "FP32 [-1, 1]"},
        parameters,
    )
    write_model(
        folder / "similar_items",
        _SIMILAR % {"items": ITEMS},
        {"item_id": "STRING [-1, 1]", "k": "INT32 [1]"},
        _ITEM_OUTPUTS,
        parameters,
    )
    return folder


def write_model(
    folder: Path, code: str, inputs: dict[str, str], outputs: dict[str, str], parameters: dict[str, str] | None = None
) -> None:
    """Write one Python model with a complete configuration."""
    lines = [f'name: "{folder.name}"', 'backend: "python"', "max_batch_size: 0", "instance_group [{ kind: KIND_CPU count: 1 }]"]
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for name, description in tensors.items():
            dtype, _, dims = description.partition(" ")
            optional = " optional: true" if kind == "input" else ""
            lines.append(f'{kind} {{ name: "{name}" data_type: TYPE_{dtype} dims: {dims}{optional} }}')
    lines += [
        f'parameters {{ key: "{key}" value: {{ string_value: {json.dumps(value)} }} }}' for key, value in (parameters or {}).items()
    ]
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(code, encoding="utf-8")
    (folder / "config.pbtxt").write_text("\n".join(lines) + "\n", encoding="utf-8")
