"""What evaluation judges, by name: its tasks, its split, and the scorers that stand in several of them."""

from __future__ import annotations

from typing import Final

SPLIT: Final = "test"
"""The split that figures are of."""
VALID: Final = "valid"
"""The split that thresholds are chosen on."""

RETRIEVAL: Final = "retrieval"
TWO_STAGE: Final = "two_stage"
RANKING: Final = "ranking"
"""The task, and the table and the model that it is about."""
CART_LINE: Final = "cart_line"
CART: Final = "cart"
"""The task of whole carts, and the table and the model of their lines."""
JUST_ADDED: Final = "cart_line_just_added"

DLRM: Final = "dlrm"
ORACLE: Final = "oracle"
"""The name, and the role, of the truth of a simulated shop."""
