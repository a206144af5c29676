"""A real Triton model with the tensors of the ``recommend`` ensemble and trivial logic: the items in the order of their numbers."""

import os
import pathlib
import signal
import time
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

ITEMS = [str(number) for number in range(101, 113)]
MAX_K = 20


class TritonPythonModel:
    def execute(self, requests: list[Any]) -> list[Any]:
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        k = number(request, "k", 10)
        if not 1 <= k <= MAX_K:
            error = pb.TritonError(f"k is {k}; ask for 1 to {MAX_K} items.", pb.TritonError.INVALID_ARG)
            return pb.InferenceResponse(error=error)
        users, recents, excludes = (texts(request, name) for name in ("user_id", "recent_items", "exclude"))
        if users:
            obey(users[0][0])
        rows = [len(given) for given in (users, recents, excludes, texts(request, "timestamp")) if given is not None]
        answers = [
            order(k, users and users[row][0], recents[row] if recents else [], excludes[row] if excludes else [])
            for row in range(rows[0] if rows else 1)
        ]
        items, scores, reasons, because = zip(*answers, strict=True)
        return pb.InferenceResponse(
            [
                pb.Tensor("items", np.array(items, dtype=object)),
                pb.Tensor("scores", np.array(scores, dtype=np.float32)),
                pb.Tensor("reason", np.array(reasons, dtype=np.int32)),
                pb.Tensor("reason_item", np.array(because, dtype=object)),
            ]
        )


def order(k: int, user: str | None, recents: list[str], excludes: list[str]) -> tuple[list[Any], ...]:
    """Return the items, scores, reasons and reason items of one row, filled up to ``k``."""
    recents = [item for item in recents if item in ITEMS]
    dropped = {*excludes, *recents}
    left = [item for item in ITEMS if item not in dropped][:k]
    reason, because = (1, recents[-1]) if recents else (2 if user == "7" else 0, "")
    rest = k - len(left)
    return (
        [item.encode() for item in left] + [b""] * rest,
        [1.0 / (1 + place) for place in range(len(left))] + [-np.inf] * rest,
        [reason] * len(left) + [0] * rest,
        [because.encode()] * len(left) + [b""] * rest,
    )


def obey(user: str) -> None:
    """Misbehave as the user id says, for the tests of what can go wrong."""
    if user.startswith("sleep "):
        _, seconds, *begun = user.split(" ", 2)
        for path in begun:
            pathlib.Path(path).touch()
        time.sleep(float(seconds))
    elif user == "break":
        raise ValueError("the model broke")
    elif user == "kill the server":
        os.kill(os.getppid(), signal.SIGKILL)


def texts(request: Any, name: str) -> list[list[str]] | None:
    tensor = pb.get_input_tensor_by_name(request, name)
    if tensor is None:
        return None
    return [[value.decode() if isinstance(value, bytes) else str(value) for value in row] for row in tensor.as_numpy()]


def number(request: Any, name: str, otherwise: int) -> int:
    tensor = pb.get_input_tensor_by_name(request, name)
    return otherwise if tensor is None else int(tensor.as_numpy().ravel()[0])
