"""Where the two-tower begins: at a factor model of all interactions, those included that are too old to be training examples.

The item embeddings are the item factors of implicit alternating least squares (``models.families.factors.als``), which the item tower
passes through. The query of a history in that model is a ridge regression on the factors of its items; a tower that pools them can only map
their mean linearly, so the first weights are the linear map and the bias that come nearest to it on training examples. What the factors
are multiplied by, so that their dot products are logits, is chosen by the loss of the next item on some of these.

So training starts near the factor model whatever the number of examples an item has, and learns what that knows nothing of: order,
recency, prices, categories.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import check_aligned
from models.families.factors.als import ALS
from models.questions.interactions import Floats, Interactions, Ints
from models.questions.run_log import catalogue_codes, read_interactions, split_start
from models.training.tables import FIRST_ID, PADDING_ID, Array, Table, read_table

ITERATIONS: Final = 10
"""Of the factor model: a start need not have converged."""
HELD_BACK: Final = 0.03
"""Factor for the first weights of all that is not the factor model: with more, the columns that it does not know drown its scores."""
EXAMPLES: Final = 20_000
"""Training examples that the first map of the query tower is fitted on."""
SCALED_BY: Final = 2_000
"""Of these, so many decide what the factors are multiplied by."""
SCALES: Final = tuple(2.0 ** (step / 2) for step in range(-6, 15))
_RIDGE: Final = 1e-3
"""Share of the inputs' mean square that is added to it, so that factors that hardly vary get no weight."""
_AT_ONCE: Final = 2_048


def start_from_factors(tower: Any, train: Table, run: RunLayout, before: str | int, seed: int) -> int:
    """Give a fresh two-tower the first weights that make it a factor model of what happened before an instant.

    Args:
        tower: ``models.two_tower.TwoTower`` with fresh weights.
        train: ``item_id`` and ``recent_items`` of the training examples.
        run: the run, of whose events the factor model learns.
        before: the instant in microseconds since 1970 UTC, or ``valid`` or ``test`` for the start of that split; nothing from then on is
            read.
        seed: fixes the factors and the draw of examples.

    Returns:
        How many items have factors; 0 where none has, and the weights are left as they are.

    Raises:
        RunError: if a file of the run is missing.
        DataError: if the events cannot be read.
    """
    log = read_interactions(run.path)
    codes = item_codes(run, log, tower.sizes)
    known = log.take(log.time < (split_start(run.path, before) if isinstance(before, str) else before))
    if not len(known):
        return 0
    model = ALS(factors=tower.settings.embedding_dimension, iterations=ITERATIONS, seed=seed)
    model.fit(known)
    factors = np.zeros((len(codes), tower.settings.embedding_dimension), np.float32)
    factors[codes >= 0] = model.item_factors[codes[codes >= 0]]
    return begin_at(tower, train, model, factors, seed)


def item_codes(run: RunLayout, log: Interactions, sizes: Any) -> Ints:
    """Return the code in ``log`` of each encoded item id, -1 where it is not one item's; int64 ``[sizes["item_id"]]``."""
    catalogue, features = run.snapshot("items"), run.features("snapshot", "items")
    ids, code = read_table(features, ("item_id",), sizes)["item_id"], catalogue_codes(catalogue, log)
    check_aligned(features, len(ids), catalogue, len(code))
    result: Ints = np.full(sizes["item_id"], -1, np.int64)
    own = ids >= FIRST_ID
    result[ids[own]] = code[own]
    return result


def begin_at(tower: Any, train: Table, model: ALS, factors: Array, seed: int) -> int:
    """Give a fresh two-tower the weights that make it ``model``; see ``start_from_factors``.

    Args:
        tower: the two-tower.
        train: ``item_id`` and ``recent_items`` of the training examples.
        model: a fitted factor model.
        factors: float32 ``[ids, width]``, the model's factors of each encoded item id; zeros where it has none.
        seed: draws the examples.
    """
    from threadpoolctl import threadpool_limits

    items = np.flatnonzero(factors.any(axis=1))
    with threadpool_limits(1, "blas"):  # sums in one order
        recent, target = _some(train, seed)
        if not len(items) or not len(recent):
            return 0
        mean = _mean(factors, recent)
        kernel, bias = _nearest_map(mean, folded_in(factors[recent], model))
        scale = _scale((mean @ kernel + bias)[:SCALED_BY], factors, items, target[:SCALED_BY], tower.settings.temperature)
    width = factors.shape[1]
    (query_inputs, query_layers), (item_inputs, item_layers) = (each.layers[:2] for each in (tower.query, tower.item))
    table = item_inputs.tables["item_id"].table.embeddings
    first = table.numpy()
    stretch = first[items].std() / factors[items].std()
    first[items] = stretch * factors[items]
    table.assign(first)
    item_layers.pass_through(item_inputs.begins("item_id"), width, HELD_BACK)
    at_mean, at_last = query_inputs.begins("recent_items")
    query_layers.map_through(
        {at_mean: kernel * scale / stretch**2, at_last: np.zeros_like(kernel)}, bias * scale / stretch, HELD_BACK
    )
    return len(items)


def folded_in(listed: Array, model: ALS) -> Array:
    """Return the factors of shoppers with given histories, float64 ``[N, width]``, as ``model`` finds them.

    Args:
        listed: ``[N, L, width]`` factors of their items; zeros for padding.
        model: of its penalty, its confidence and its item factors.
    """
    every = model.item_factors.astype(np.float64)
    base = every.T @ every + model.l2 * np.eye(every.shape[1])
    parts = []
    for begin in range(0, len(listed), _AT_ONCE):
        part = listed[begin : begin + _AT_ONCE].astype(np.float64)
        confident = base + (model.alpha - 1.0) * np.matmul(part.transpose(0, 2, 1), part)
        parts.append(np.linalg.solve(confident, model.alpha * part.sum(axis=1)[..., None])[..., 0])
    return np.concatenate(parts)


def _some(train: Table, seed: int) -> tuple[Array, Array]:
    """Return recent items and targets of some training examples that have recent items."""
    rows = np.flatnonzero((train["recent_items"] != PADDING_ID).any(axis=1))
    drawn = np.random.default_rng(seed).permutation(rows)[:EXAMPLES]
    return train["recent_items"][drawn], train["item_id"][drawn]


def _mean(factors: Array, recent: Array) -> Array:
    held = np.count_nonzero(recent != PADDING_ID, axis=1)
    result: Array = factors[recent].sum(axis=1) / held[:, None]
    return result


def _nearest_map(mean: Array, wanted: Array) -> tuple[Array, Array]:
    """Return the kernel ``[width, width]`` and the bias ``[width]`` that take means nearest to what is wanted."""
    inputs = np.column_stack([mean, np.ones(len(mean))])
    width = mean.shape[1]
    ridge = _RIDGE * np.square(mean).sum() / width * np.eye(width + 1)
    ridge[-1, -1] = 0.0
    solved = np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ wanted)
    return solved[:-1], solved[-1]


def _scale(queries: Array, factors: Array, items: Array, target: Array, temperature: float) -> float:
    """Return that of ``SCALES`` with which a softmax over all items gives the targets the greatest likelihood."""
    place = np.full(len(factors), -1)
    place[items] = np.arange(len(items))
    known = np.flatnonzero(place[target] >= 0)
    if not len(known):
        return 1.0
    losses: Floats = np.zeros(len(SCALES))
    for rows in np.array_split(known, max(1, len(known) * len(items) // 4_000_000)):
        scores = queries[rows] @ factors[items].T.astype(np.float64) / temperature
        scores -= scores.max(axis=1, keepdims=True)
        own = scores[np.arange(len(rows)), place[target[rows]]]
        losses += [np.sum(np.log(np.exp(scale * scores).sum(axis=1)) - scale * own) for scale in SCALES]
    best: float = SCALES[int(np.argmin(losses))]
    return best
