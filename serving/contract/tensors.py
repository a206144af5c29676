"""The tensor contract: every model of the repository, its inputs and outputs, and how the ensembles join them.

The ensembles declare theirs (``serving.ensembles``), and ``config.pbtxt`` (``serving.contract.triton_config``), the in-process runner
(``serving.local``) and the table of the README come from those declarations, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

import numpy as np

Element = Literal[
    "string", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"
]

REQUEST_TYPES: Final[Mapping[str, str]] = {
    "string": "BYTES",
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float32": "FP32",
    "float64": "FP64",
}
"""Names of the element types in a request."""
TRITON_TYPES: Final[Mapping[str, str]] = {
    element: "TYPE_STRING" if name == "BYTES" else f"TYPE_{name}" for element, name in REQUEST_TYPES.items()
}
NUMPY_TYPES: Final[Mapping[str, Any]] = {
    element: np.dtype(object if element == "string" else element) for element in REQUEST_TYPES
}
"""Types of their arrays; strings are objects."""

DEFAULT_K: Final = 10
EARLIEST_TIMESTAMP: Final = 10**13
"""Unix microseconds below which a timestamp can only be a mistake of unit (April 1970)."""
HIGHEST_DIVERSITY: Final = 1e6
"""Beyond it float32 scores would not keep what they differ in."""
HIGHEST_PRICE: Final = 1e30
"""Far below what single precision holds, so that sums of prices stay numbers."""
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
        alone: whether it is all that its ensemble consists of, so that requests come to it as their clients gave them.
        trim: output -> input whose width it takes back after padding.
        lengths: input that tells the lengths of lists -> the input that holds the lists, which are as long as it is wide where they are
            not told.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batched: bool = True
    first: bool = False
    alone: bool = False
    trim: Mapping[str, str] = field(default_factory=dict)
    lengths: Mapping[str, str] = field(default_factory=dict)


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
        own_ids: how many own columns of the shopper are ids.
        own_numbers: how many of them are numbers.
    """

    recents: int
    candidates: int
    neighbours: int
    max_k: int
    has_cart: bool
    own_ids: int = 0
    own_numbers: int = 0


@dataclass(frozen=True)
class Contract:
    """All models of one repository."""

    models: tuple[StepModel, ...]
    ensembles: tuple[Ensemble, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the contract as JSON values, as a repository keeps it."""
        return asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Contract:
        """Return the contract that ``to_json`` described.

        Raises:
            KeyError, TypeError: if it described none.
        """
        return Contract(
            tuple(StepModel(**{**model, **_tensors(model, "inputs", "outputs")}) for model in content["models"]),
            tuple(
                Ensemble(
                    **{
                        **ensemble,
                        **_tensors(ensemble, "inputs", "outputs"),
                        "steps": tuple(Join(**step) for step in ensemble["steps"]),
                    }
                )
                for ensemble in content["ensembles"]
            ),
        )


def _tensors(content: Mapping[str, Any], *roles: str) -> dict[str, tuple[Tensor, ...]]:
    return {role: tuple(Tensor(**{**tensor, "shape": tuple(tensor["shape"])}) for tensor in content[role]) for role in roles}


USER_ID: Final = Tensor(
    "user_id",
    "string",
    ("B", 1),
    'the shopper; "" or an unknown id is a stranger',
    optional=True,
)
RECENT_ITEMS: Final = Tensor(
    "recent_items",
    "string",
    ("B", "R"),
    "items viewed since the snapshot, latest last; they extend the stored ones",
    optional=True,
)
EXCLUDE: Final = Tensor("exclude", "string", ("B", "M"), "items to exclude", optional=True)
EVENTS: Final = (
    Tensor(
        "events_item",
        "string",
        ("B", "E"),
        'what the shopper did since the snapshot, one event each: its item; "" pads',
        optional=True,
    ),
    Tensor(
        "events_type",
        "string",
        ("B", "E"),
        'their types, such as view or purchase; "" or absent means that of a recent item',
        optional=True,
    ),
    Tensor(
        "events_time",
        "int64",
        ("B", "E"),
        "their timestamps, Unix microseconds; 0 or absent means the microsecond before the request",
        optional=True,
        allowed={
            "low": EARLIEST_TIMESTAMP,
            "high": LATEST_TIMESTAMP,
            "zero": True,
            "sentence": "give Unix microseconds (seconds times 1,000,000), or 0 for the microsecond before the request",
        },
    ),
    Tensor(
        "events_price",
        "float32",
        ("B", "E"),
        "the prices shown or paid; NaN or absent means the item's price in the snapshot",
        optional=True,
        allowed={"low": 0.0, "high": HIGHEST_PRICE, "nan": True, "sentence": "give a price of at least 0, or NaN for none"},
    ),
)
"""What a request gives of a shopper's events; those that the snapshot knows already, and those after the request, count for nothing."""
BARRED: Final = Tensor(
    "barred",
    "int32",
    ("B", "G"),
    "items excluded by the gateway's rules: one number for eight adjacent items of the catalogue,"
    " 256 times the index of the group plus one bit per item; 0 pads",
    optional=True,
    allowed={"low": 0, "high": 2**31 - 1, "sentence": "give numbers of at least 0, each 256 times a group plus its bits"},
)
PRICED: Final = Tensor(
    "priced",
    "int32",
    ("B", "P"),
    "items whose price the shop has set since the export: catalogue index plus 1; 0 pads",
    optional=True,
    allowed={"low": 0, "high": 2**31 - 1, "sentence": "give numbers of at least 0, each 1 more than a place in the catalogue"},
)
PRICES: Final = Tensor(
    "prices",
    "float32",
    ("B", "P"),
    "their current prices; NaN if unknown",
    optional=True,
    allowed={"low": 0.0, "high": HIGHEST_PRICE, "nan": True, "sentence": "give a price of at least 0, or NaN for none"},
)
PRICED_NOW: Final = Tensor("priced_now", "int32", ("B", "P"))
PRICES_NOW: Final = Tensor("prices_now", "float32", ("B", "P"))
"""The prices of a request as steps hand them on: always there, so that a step that reads them has no optional input and is batched."""
GATEWAYS_OWN: Final = (BARRED.name, PRICED.name, PRICES.name)
"""Inputs that the gateway gives, and takes from nobody."""
CART_ITEMS: Final = Tensor("cart_items", "string", ("B", "N"), 'the lines of the cart, each counted once; "" pads')
TIMESTAMP: Final = Tensor(
    "timestamp",
    "int64",
    ("B", 1),
    "time of the request, Unix microseconds; 0 or absent means the time of the snapshot, or just after the last of the events if later",
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
    "score penalty for each better item of the same category; absent means the exported setting",
    optional=True,
    allowed={
        "low": 0.0,
        "high": HIGHEST_DIVERSITY,
        "sentence": f"give a number of at least 0 and at most {HIGHEST_DIVERSITY:,.0f}; 0 orders by score alone",
    },
)
ITEM_ID: Final = Tensor("item_id", "string", ("B", 1), "the item; for an unknown one, popular items with scores 0 are returned")

ITEMS_OUT: Final = Tensor("items", "string", ("B", "k"), 'item ids, best first; "" if no more items remain')
SCORES_OUT: Final = Tensor("scores", "float32", ("B", "k"), "the score they are sorted by; -inf if no more items remain")
REASON_OUT: Final = Tensor(
    "reason",
    "int32",
    ("B", "k"),
    "the reason: 0 popular, 1 because of the recent item `reason_item`, 2 the taste of a known user;"
    " by the gateway's rules 3 pinned, 4 promoted",
)
REASON_ITEM_OUT: Final = Tensor("reason_item", "string", ("B", "k"), 'the recent item that explains reason 1, else ""')
RETRIEVERS_OUT: Final = Tensor(
    "retrievers",
    "int32",
    ("B", "k"),
    "the retrievers that found it, one bit for each of the parameter `retrievers`, the first one lowest; 0 if unknown",
)
LINES_OUT: Final = Tensor("line_probability", "float32", ("B", "N"), 'probability that each line is bought; NaN for "" lines')
CART_OUT: Final = Tensor("cart_probability", "float32", ("B", 1), "probability that any line is bought; 0 for an empty cart")

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
        f"number of items to return, 1 to {max_k}; absent means {DEFAULT_K}",
        optional=True,
        allowed={
            "low": 1,
            "high": max_k,
            "sentence": f"ask for 1 to {max_k} items (max_k is set when the repository is exported)",
        },
    )
