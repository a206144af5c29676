"""A real Triton model with the tensors of the ``similar_items`` ensemble: the other items, 1 near a known item and 0 else."""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb

ITEMS = [str(number) for number in range(101, 113)]


class TritonPythonModel:
    def execute(self, requests: list[Any]) -> list[Any]:
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        item = pb.get_input_tensor_by_name(request, "item_id").as_numpy()[0, 0].decode()
        k = int(pb.get_input_tensor_by_name(request, "k").as_numpy()[0])
        left = [other.encode() for other in ITEMS if other != item][:k]
        left += [b""] * (k - len(left))
        scores = np.full((1, k), 1.0 if item in ITEMS else 0.0, dtype=np.float32)
        return pb.InferenceResponse([pb.Tensor("items", np.array([left], dtype=object)), pb.Tensor("scores", scores)])
