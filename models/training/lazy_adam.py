"""Merlin's lazy Adam with the rows of all embedding tables changed together, and written in place.

Table by table, an update is some twenty small operations, of which summing the gradients of the rows that a batch has more than once
takes longest; taking a difference away row by row locks each of them. Imported only where a model is trained, because it needs
TensorFlow and Merlin.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

from cartwheel.merlin_compat import mm, tf


class LazyAdam(mm.LazyAdam):  # type: ignore[misc]
    """``mm.LazyAdam``, to the last bit."""

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]], **options: Any) -> Any:
        """Change the variables by their gradients; arguments and result are those of ``mm.LazyAdam``."""
        pairs = [(gradient, variable) for gradient, variable in grads_and_vars if gradient is not None]
        with tf.init_scope():
            self._create_all_weights([variable for _, variable in pairs])  # in their order, as Merlin's does
        tables: dict[int, list[tuple[Any, Any]]] = {}
        others: list[tuple[Any, Any]] = []
        for gradient, variable in pairs:
            is_table = isinstance(gradient, tf.IndexedSlices) and len(variable.shape) == 2
            (tables.setdefault(int(variable.shape[1]), []) if is_table else others).append((gradient, variable))
        for together in tables.values():  # before the step is counted
            self._change_rows([gradient for gradient, _ in together], [variable for _, variable in together])
        return super().apply_gradients(others, **options)

    def _change_rows(self, gradients: Sequence[Any], tables: Sequence[Any]) -> None:
        """Change the rows of embedding tables of one width D that a batch has touched.

        Args:
            gradients: of each table, those of its rows, which may come more than once.
            tables: float32 variables ``[rows, D]``.
        """
        kind = tables[0].dtype.base_dtype
        first, second = (self._get_hyper(name, kind) for name in ("beta_1", "beta_2"))
        step = tf.cast(self.iterations + 1, kind)
        rate = self._decayed_lr(kind) * tf.math.sqrt(1 - tf.math.pow(second, step)) / (1 - tf.math.pow(first, step))
        rows, sizes, grad = _summed(gradients, [int(table.shape[0]) for table in tables])
        kept = [[self.get_slot(table, name) for table in tables] for name in ("m", "v")] + [list(tables)]
        means, squares, before = (tf.concat([tf.gather(*each) for each in zip(one, rows, strict=True)], 0) for one in kept)
        mean = first * means + (1 - first) * grad
        square = second * squares + (1 - second) * tf.math.square(grad)
        after = before - rate * mean / (tf.math.sqrt(square) + self.epsilon)
        for variables, values in zip(kept, (mean, square, after), strict=True):
            for variable, indices, updates in zip(variables, rows, tf.split(values, sizes, num=len(tables)), strict=True):
                tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=indices, updates=updates)


def _summed(gradients: Sequence[Any], lengths: Sequence[int]) -> tuple[list[Any], Any, Any]:
    """Return of each table the rows that have a gradient, each once, how many these are, and the sum of each one's, table after table.

    Args:
        gradients: of each table, ``tf.IndexedSlices``.
        lengths: rows of each table.
    """
    ends = list(accumulate(lengths))
    kind = tf.int32 if ends[-1] < tf.int32.max else tf.int64
    starts = [end - length for end, length in zip(ends, lengths, strict=True)]
    numbered = tf.concat([tf.cast(each.indices, kind) + start for each, start in zip(gradients, starts, strict=True)], 0)
    rows, places = tf.unique(numbered, out_idx=tf.int64)  # in the order in which they come: table after table
    count, found = tf.size(numbered, tf.int64), tf.size(rows, tf.int64)
    # A product with zeros and ones: it adds in the same order as a sum by segments does, in a third of the time.
    summed = tf.raw_ops.SparseTensorDenseMatMul(
        a_indices=tf.stack([places, tf.range(count)], axis=1),
        a_values=tf.ones([count], gradients[0].values.dtype),
        a_shape=tf.stack([found, count]),
        b=tf.concat([each.values for each in gradients], 0),
    )
    until = tf.reduce_sum(tf.cast(rows[:, None] < tf.constant(ends, kind)[None, :], tf.int32), axis=0)
    sizes = until - tf.concat([[0], until[:-1]], 0)
    parts = tf.split(rows, sizes, num=len(lengths))
    return [part - start for part, start in zip(parts, starts, strict=True)], sizes, summed
