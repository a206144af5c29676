"""Merlin's lazy Adam with quicker writing: new rows are put in place, for taking a difference away row by row locks each of them.

Imported only where a model is trained, because it needs TensorFlow and Merlin.
"""

from __future__ import annotations

from typing import Any

from cartwheel.merlin_compat import mm, tf


class LazyAdam(mm.LazyAdam):  # type: ignore[misc]
    """``mm.LazyAdam``, to the last bit."""

    def _resource_apply_sparse(self, grad: Any, var: Any, indices: Any) -> Any:
        """Change the rows of an embedding table that a batch has touched.

        Args:
            grad: ``[U, D]`` the gradient of each of them.
            var: the table.
            indices: ``[U]`` the rows, each once.
        """
        kind = var.dtype.base_dtype
        first, second = (self._get_hyper(name, kind) for name in ("beta_1", "beta_2"))
        step = tf.cast(self.iterations + 1, kind)
        rate = self._decayed_lr(kind) * tf.math.sqrt(1 - tf.math.pow(second, step)) / (1 - tf.math.pow(first, step))
        means, squares = self.get_slot(var, "m"), self.get_slot(var, "v")
        mean = first * tf.gather(means, indices) + (1 - first) * grad
        square = second * tf.gather(squares, indices) + (1 - second) * tf.math.square(grad)
        row = tf.gather(var, indices) - rate * mean / (tf.math.sqrt(square) + self.epsilon)
        return tf.group(*(_put(*each, indices) for each in ((means, mean), (squares, square), (var, row))))


def _put(variable: Any, rows: Any, indices: Any) -> Any:
    return tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=indices, updates=rows)
