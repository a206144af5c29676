"""A real Triton model with the tensors of the ``cart`` ensemble: a known line has the chance 0.5, an unknown one 0.25."""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb

ITEMS = [str(number) for number in range(101, 113)]


class TritonPythonModel:
    def execute(self, requests: list[Any]) -> list[Any]:
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        cart = [value.decode() for value in pb.get_input_tensor_by_name(request, "cart_items").as_numpy()[0]]
        k = int(pb.get_input_tensor_by_name(request, "k").as_numpy()[0])
        left = [item.encode() for item in ITEMS if item not in cart][:k]
        left += [b""] * (k - len(left))
        chances = {"": np.nan, **dict.fromkeys(ITEMS, 0.5)}
        return pb.InferenceResponse(
            [
                pb.Tensor("items", np.array([left], dtype=object)),
                pb.Tensor("scores", np.ones((1, k), dtype=np.float32)),
                pb.Tensor("line_probability", np.array([[chances.get(line, 0.25) for line in cart]], dtype=np.float32)),
                pb.Tensor("cart_probability", np.array([[0.75 if any(cart) else 0.0]], dtype=np.float32)),
            ]
        )
