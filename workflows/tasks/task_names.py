"""Names of the evaluation's tasks, split and scorers."""

from __future__ import annotations

from typing import Final

from workflows.features.columns import FORMS

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

CART_LINE_OF: Final = {form: f"cart_line_of_{form.replace(' ', '_')}" for form in FORMS}
"""Form of request -> the task of the lines that it asks for."""
CART_OF: Final = {form: f"cart_of_{form.replace(' ', '_')}" for form in FORMS}
"""Form of request -> the task of the whole carts that it asks for."""
RECOMMEND_OF: Final = {form: f"recommend_of_{form.replace(' ', '_')}" for form in FORMS}
"""Form of request -> the task of the lists that it asks for."""
OF_FORMS: Final = frozenset({*CART_LINE_OF.values(), *CART_OF.values(), *RECOMMEND_OF.values()})
