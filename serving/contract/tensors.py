"""The tensor contract: every model of the repository, its inputs and outputs, and how the ensembles join them.

One typed table from which ``config.pbtxt`` (``serving.contract.triton_config``), the in-process runner (``serving.local``) and the table of
the README come, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from workflows.features.columns import QUERY_CATEGORICAL, QUERY_CONTINUOUS

Element = Literal["string", "int64", "int32", "float32"]

TRITON_TYPES: Final[Mapping[str, str]] = {
    "string": "TYPE_STRING",
    "int64": "TYPE_INT64",
    "int32": "TYPE_INT32",
    "float32": "TYPE_FP32",
}
REQUEST_TYPES: Final[Mapping[str, str]] = {"string": "BYTES", "int64": "INT64", "int32": "INT32", "float32": "FP32"}
"""Names of the element types in a request."""

DEFAULT_K: Final = 10
EARLIEST_TIMESTAMP: Final = 10**13
"""Unix microseconds below which a timestamp can only be a mistake of unit (April 1970)."""
HIGHEST_DIVERSITY: Final = 1e6
"""Beyond it float32 scores would not keep what they differ in."""
LATEST_TIMESTAMP: Final = 4_102_444_800_000_000
"""Unix microseconds at the year 2100; nanoseconds lie far above."""


@dataclass(frozen=True)
class Tensor:
    """One input or output.

    Attributes:
        name: its name in a request.
        dtype: element type.
        shape: sizes; a name is a size that varies, ``"B"`` in front is the number of requests asked at once.
        meaning: one clause for the README.
        optional: whether a request may leave it out.
        allowed: what numbers it may hold, as ``{"low": .., "high": .., "zero": bool, "sentence": ..}``; None allows all.
    """

    name: str
    dtype: Element
    shape: tuple[int | str, ...]
    meaning: str = ""
    optional: bool = False
    allowed: Mapping[str, Any] | None = None

    @property
    def batched(self) -> bool:
        """Whether the first size is the number of requests asked at once."""
        return bool(self.shape) and self.shape[0] == "B"

    @property
    def varies(self) -> bool:
        """Whether a size other than the batch differs from request to request."""
        return any(isinstance(size, str) for size in self.shape[1 if self.batched else 0 :])


@dataclass(frozen=True)
class StepModel:
    """One model of the repository that computes.

    Attributes:
        name: model name.
        inputs: what it reads.
        outputs: what it gives.
        batched: whether requests of different clients may be answered together.
        first: whether every request comes to it first, as its client gave it.
        trim: output -> input whose width it takes back after padding.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batched: bool = True
    first: bool = False
    trim: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Join:
    """One step of an ensemble: a model and the ensemble's names of its tensors.

    Attributes:
        model: the model that runs.
        inputs: input of the model -> tensor of the ensemble.
        outputs: output of the model -> tensor of the ensemble.
    """

    model: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Ensemble:
    """What a client asks for by name.

    Attributes:
        name: name of the ensemble.
        meaning: one sentence for the README.
        inputs: tensors of a request.
        outputs: tensors of an answer.
        steps: the models that compute it, in an order that works.
    """

    name: str
    meaning: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    steps: tuple[Join, ...]


@dataclass(frozen=True)
class Sizes:
    """The sizes that are fixed when a repository is written.

    Attributes:
        recents: how many recent items a query looks back on (L).
        candidates: how many items are ranked (C).
        neighbours: how many similar items are found (K).
        max_k: the most items that one answer can hold.
        has_cart: whether the run has a cart model.
    """

    recents: int
    candidates: int
    neighbours: int
    max_k: int
    has_cart: bool


@dataclass(frozen=True)
class Contract:
    """All models of one repository."""

    models: tuple[StepModel, ...]
    ensembles: tuple[Ensemble, ...]


def contract(sizes: Sizes) -> Contract:
    """Return the tensor contract of a repository of the given sizes."""
    steps = _Steps(sizes)
    models = [steps.encode(), steps.retrieve(), steps.rank(), steps.order(), steps.neighbours(), steps.similar()]
    if sizes.has_cart:
        models.append(steps.cart())
    ensembles = (_recommend(sizes), _cart(sizes), _similar_items(sizes))
    return Contract(tuple(models), ensembles)


def markdown(sizes: Sizes) -> str:
    """Return the table, in docs/tensors.md, of what each ensemble takes and gives."""
    lines = ["| ensemble | tensor | type | shape | meaning |", "|---|---|---|---|---|"]
    for ensemble in contract(sizes).ensembles:
        for arrow, tensors in (("in", ensemble.inputs), ("out", ensemble.outputs)):
            for tensor in tensors:
                shape = ", ".join(str(size) for size in tensor.shape)
                need = "" if arrow == "out" or tensor.optional else " (required)"
                kind = REQUEST_TYPES[tensor.dtype]
                lines.append(f"| `{ensemble.name}` {arrow} | `{tensor.name}` | {kind} | [{shape}] | {tensor.meaning}{need} |")
    return "\n".join(lines) + "\n"


USER_ID: Final = Tensor(
    "user_id",
    "string",
    ("B", 1),
    'who asks; "" or an unknown id is a stranger',
    optional=True,
)
RECENT_ITEMS: Final = Tensor(
    "recent_items",
    "string",
    ("B", "R"),
    "items looked at since the snapshot, the latest last; they add to the stored ones",
    optional=True,
)
EXCLUDE: Final = Tensor("exclude", "string", ("B", "M"), "items that must not be answered", optional=True)
CART_ITEMS: Final = Tensor("cart_items", "string", ("B", "N"), 'the lines of the cart, each counted once; "" pads')
TIMESTAMP: Final = Tensor(
    "timestamp",
    "int64",
    ("B", 1),
    "when it is asked, Unix microseconds; 0 or absent means the instant of the snapshot",
    optional=True,
    allowed={
        "low": EARLIEST_TIMESTAMP,
        "high": LATEST_TIMESTAMP,
        "zero": True,
        "sentence": "give Unix microseconds (seconds times 1,000,000), or 0 for the instant of the snapshot",
    },
)
DIVERSITY: Final = Tensor(
    "diversity",
    "float32",
    (1,),
    "score taken off for each better item of the same category; absent means the exported setting",
    optional=True,
    allowed={
        "low": 0.0,
        "high": HIGHEST_DIVERSITY,
        "sentence": f"give a number of at least 0 and at most {HIGHEST_DIVERSITY:,.0f}; 0 orders by score alone",
    },
)
ITEM_ID: Final = Tensor("item_id", "string", ("B", 1), "the item; an unknown one is answered with popular items, scores 0")

ITEMS_OUT: Final = Tensor("items", "string", ("B", "k"), 'item ids, the best first; "" where no more items remain')
SCORES_OUT: Final = Tensor("scores", "float32", ("B", "k"), "the score that orders them; -inf where no more items remain")
REASON_OUT: Final = Tensor(
    "reason", "int32", ("B", "k"), "why: 0 popular, 1 because of the recent item `reason_item`, 2 the taste of a known user"
)
REASON_ITEM_OUT: Final = Tensor("reason_item", "string", ("B", "k"), 'the recent item that explains reason 1, else ""')
LINES_OUT: Final = Tensor("line_probability", "float32", ("B", "N"), 'chance that each line is bought; NaN for "" lines')
CART_OUT: Final = Tensor("cart_probability", "float32", ("B", 1), "chance that any line is bought; 0 for an empty cart")

AFTER: Final = Tensor(
    "after", "float32", ("B", "A"), "not read; an ensemble that gives it has the step wait for it", optional=True
)
"""Steps of one request must not run side by side. Where one of them is cancelled or refused while another is under way, Triton 2.51
completes the request a second time, in memory that it has given back, and ends with signal 11."""


def k_tensor(max_k: int) -> Tensor:
    """Return the input that says how many items to answer."""
    return Tensor(
        "k",
        "int32",
        (1,),
        f"how many items to answer, 1 to {max_k}; absent means {DEFAULT_K}",
        optional=True,
        allowed={
            "low": 1,
            "high": max_k,
            "sentence": f"ask for 1 to {max_k} items (max_k is set when the repository is exported)",
        },
    )


class _Steps:
    """The step models; the tensors that pass between them are declared once here."""

    def __init__(self, sizes: Sizes) -> None:
        self.k = k_tensor(sizes.max_k)
        width = sizes.recents
        self.categorical = Tensor("query_categorical", "int64", ("B", len(QUERY_CATEGORICAL)))
        self.continuous = Tensor("query_continuous", "float32", ("B", len(QUERY_CONTINUOUS)))
        self.lists = Tensor("query_lists", "int64", ("B", 3 * width))
        self.recents = Tensor("recents", "int64", ("B", 3 * width))
        self.mean_price = Tensor("user_mean_price", "float32", ("B", 1))
        self.known = Tensor("known_user", "int64", ("B", 1))
        self.form = Tensor("form", "int64", ("B", 1))
        self.excluded = Tensor("excluded", "int64", ("B", "X"))
        self.cart_index = Tensor("cart_index", "int64", ("B", "N"))
        self.cart_counts = Tensor("cart_counts", "int64", ("B", "N"))
        self.candidates = Tensor("candidates", "int64", ("B", sizes.candidates))
        self.similarity = Tensor("retrieval_scores", "float32", ("B", sizes.candidates))
        self.ranked = Tensor("ranking_scores", "float32", ("B", sizes.candidates))
        self.near = Tensor("neighbours", "int64", ("B", sizes.neighbours))
        self.cosines = Tensor("cosines", "float32", ("B", sizes.neighbours))

    def encode(self) -> StepModel:
        cart_items = Tensor("cart_items", "string", ("B", "N"), CART_ITEMS.meaning, optional=True)
        outputs = (
            self.categorical, self.continuous, self.lists, self.recents, self.mean_price, self.known, self.excluded, self.cart_index,
            self.cart_counts, self.form,
        )  # fmt: skip
        inputs = (USER_ID, RECENT_ITEMS, EXCLUDE, cart_items, TIMESTAMP)
        return StepModel("recommend_encode", inputs, outputs, trim={"cart_index": "cart_items", "cart_counts": "cart_items"})

    def retrieve(self) -> StepModel:
        inputs = (self.categorical, self.continuous, self.lists, self.recents, self.excluded)
        return StepModel("recommend_retrieve", inputs, (self.candidates, self.similarity))

    def rank(self) -> StepModel:
        inputs = (self.categorical, self.continuous, self.recents, self.mean_price, self.candidates, self.similarity)
        return StepModel("recommend_rank", inputs, (self.ranked,))

    def order(self) -> StepModel:
        inputs = (self.candidates, self.ranked, self.recents, self.known, self.k, DIVERSITY)
        outputs = (ITEMS_OUT, SCORES_OUT, REASON_OUT, REASON_ITEM_OUT)
        return StepModel("recommend_order", inputs, outputs, batched=False)

    def cart(self) -> StepModel:
        inputs = (
            self.categorical, self.continuous, self.recents, self.mean_price, self.cart_index, self.cart_counts, self.form, AFTER,
        )  # fmt: skip
        return StepModel("cart_score", inputs, (LINES_OUT, CART_OUT), trim={"line_probability": "cart_index"})

    def neighbours(self) -> StepModel:
        return StepModel("similar_items_retrieve", (ITEM_ID,), (self.near, self.cosines))

    def similar(self) -> StepModel:
        return StepModel("similar_items_order", (self.near, self.cosines, self.k), (ITEMS_OUT, SCORES_OUT), batched=False)


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_ENCODED = ("query_categorical", "query_continuous", "recents", "user_mean_price")
_OF_CART: Final = ("cart_index", "cart_counts", "form")
_RETRIEVE: Final = Join(
    "recommend_retrieve",
    _same("query_categorical", "query_continuous", "query_lists", "recents", "excluded"),
    _same("candidates", "retrieval_scores"),
)
_RANK: Final = Join("recommend_rank", _same(*_ENCODED, "candidates", "retrieval_scores"), _same("ranking_scores"))


def _recommend(sizes: Sizes) -> Ensemble:
    asked = replace(USER_ID, optional=False)  # Triton cannot run a first step that is given no input at all
    inputs = (asked, RECENT_ITEMS, EXCLUDE, TIMESTAMP, k_tensor(sizes.max_k), DIVERSITY)
    outputs = (ITEMS_OUT, SCORES_OUT, REASON_OUT, REASON_ITEM_OUT)
    encode = Join(
        "recommend_encode",
        _same("user_id", "recent_items", "exclude", "timestamp"),
        _same(*_ENCODED, "query_lists", "known_user", "excluded"),
    )
    order = Join(
        "recommend_order",
        _same("candidates", "ranking_scores", "recents", "known_user", "k", "diversity"),
        _same("items", "scores", "reason", "reason_item"),
    )
    return Ensemble("recommend", "The items that suit a shopper best.", inputs, outputs, (encode, _RETRIEVE, _RANK, order))


def _cart(sizes: Sizes) -> Ensemble:
    inputs = (USER_ID, RECENT_ITEMS, CART_ITEMS, TIMESTAMP, k_tensor(sizes.max_k))
    encode = Join(
        "recommend_encode",
        _same("user_id", "recent_items", "cart_items", "timestamp"),
        _same(*_ENCODED, "query_lists", "known_user", "excluded", *(_OF_CART if sizes.has_cart else ())),
    )
    order = Join("recommend_order", _same("candidates", "ranking_scores", "recents", "known_user", "k"), _same("items", "scores"))
    given = {**_same(*_ENCODED, *_OF_CART), AFTER.name: SCORES_OUT.name}
    score = Join("cart_score", given, _same("line_probability", "cart_probability"))
    steps = (encode, _RETRIEVE, _RANK, order, *((score,) if sizes.has_cart else ()))
    outputs = (*((LINES_OUT, CART_OUT) if sizes.has_cart else ()), ITEMS_OUT, SCORES_OUT)
    return Ensemble("cart", "What of a cart will be bought, and what completes it.", inputs, outputs, steps)


def _similar_items(sizes: Sizes) -> Ensemble:
    steps = (
        Join("similar_items_retrieve", _same("item_id"), _same("neighbours", "cosines")),
        Join("similar_items_order", _same("neighbours", "cosines", "k"), _same("items", "scores")),
    )
    inputs = (ITEM_ID, k_tensor(sizes.max_k))
    return Ensemble("similar_items", "The nearest items.", inputs, (ITEMS_OUT, SCORES_OUT), steps)
