"""Data of the report beyond the records: ``evaluation/details.json``, stored so that the report can be redrawn without models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from cartwheel.core.errors import RunError
from cartwheel.core.files import write_json
from cartwheel.core.run_layout import RELATIVE
from evaluation.figures import Role

DETAILS_FILE: Final = RELATIVE.details
NO_DETAILS: Final = "The evaluation has no details. Delete evaluation/metrics.json and run cartwheel evaluate to write both."
"""What the page says where there is no such file."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SegmentFigure(_Frozen):
    """One scorer's metric in one segment."""

    model: str
    role: Role
    value: float | None
    low: float | None
    high: float | None


class SegmentDifference(_Frozen):
    """The model's metric minus a baseline's in one segment, paired by anchor."""

    model: str
    baseline: str
    value: float | None
    low: float | None
    high: float | None
    p_holm: float | None
    """Corrected for all differences of all segments."""


class SegmentRow(_Frozen):
    """A kind of shopper or of item."""

    about: str
    """``shopper`` or ``item``."""
    name: str
    anchors: int
    figures: tuple[SegmentFigure, ...]
    differences: tuple[SegmentDifference, ...]


class SegmentTable(_Frozen):
    """One metric in every segment."""

    metric: str
    k: int
    strongest: str
    """The baseline that leads over all anchors, its lead found on the very anchors that it is compared on."""
    rows: tuple[SegmentRow, ...]


class LineSegment(_Frozen):
    """Cart lines of one kind of shopper, or of one form of request."""

    name: str
    rows: int
    positives: int
    roc_auc: SegmentFigure
    """Of the model."""
    log_loss: tuple[SegmentFigure, ...]
    """Of the model and of the base rate."""
    difference: SegmentDifference
    """Of the model's log loss from the base rate's: below 0 the model is better."""
    calibration_error: SegmentFigure | None = None
    """Of the model, where it is told."""
    remark: str = ""
    """What else a reader should know of the model's figures."""


class Calibration(_Frozen):
    """Said and seen in the bins that hold a row, by ascending probability."""

    rows: tuple[int, ...]
    said: tuple[float, ...]
    seen: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


class ChanceCurve(_Frozen):
    """The curves of one forecast."""

    model: str
    role: Role
    calibration: Calibration | None
    """None where the model gives no probabilities."""
    asked: tuple[float, ...]
    """Share of the rows taken, highest score first; ascending from 0 to 1."""
    found: tuple[float, ...]
    """Share of the positive rows among those taken."""


class ProbabilityCurves(_Frozen):
    """The curves of a task whose answers are probabilities."""

    task: str
    rows: int
    positives: int
    curves: tuple[ChanceCurve, ...]


class Item(_Frozen):
    """What a reader can recognise an item by."""

    item_id: str
    title: str | None = None
    category: str | None = None
    brand: str | None = None
    price: float | None = None
    interactions: int = 0
    """Before the split began; 0 for an item that was not sold yet."""


class Example(_Frozen):
    """One moment of the test split at which a shopper was recommended something."""

    recent: tuple[Item, ...]
    """The shopper's last items, the latest first."""
    recommended: tuple[Item, ...]
    """Best first."""
    turned_to: tuple[Item, ...]
    """What came true."""
    hits: tuple[str, ...]
    """Ids of the recommended items that came true."""


class Timeline(_Frozen):
    """Events a day."""

    days: tuple[str, ...]
    """ISO dates (UTC), without a gap."""
    counts: dict[str, tuple[int, ...]]
    """Event type -> events of each day."""


class RetrieverShare(_Frozen):
    """How many of the true items a retriever has among its first candidates, as shares of all true items."""

    retriever: str
    found: float
    only: float
    """Of these, those that no other has."""


class RetrieverTable(_Frozen):
    """What each retriever of a sum finds by itself."""

    candidates: int
    """How many of each are looked at."""
    truth: int
    """True items, in the catalogue or not."""
    shares: tuple[RetrieverShare, ...]
    sum: RetrieverShare
    """The sum of all; ``only`` is what none of them finds by itself."""
    none: float
    """Share of the true items that neither one of them nor the sum finds."""


class Details(_Frozen):
    """All that is kept for the report."""

    segments: SegmentTable | None = None
    lines: tuple[LineSegment, ...] = ()
    """Cart lines by the shopper's history; none where the log has no carts."""
    requests: tuple[LineSegment, ...] = ()
    """Cart lines as each form of request asks for them."""
    chances: tuple[ProbabilityCurves, ...] = ()
    examples: tuple[Example, ...] = ()
    timeline: Timeline | None = None
    retrievers: RetrieverTable | None = None

    def write(self, run: Path) -> None:
        """Write ``evaluation/details.json``; equal bytes for equal content."""
        write_json(run / DETAILS_FILE, self.model_dump(mode="json"))

    @staticmethod
    def read(run: Path) -> Details | None:
        """Read ``evaluation/details.json``; None where an earlier version evaluated the run and left none.

        Raises:
            RunError: if the file holds something else.
        """
        path = run / DETAILS_FILE
        try:
            return Details.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, ValidationError) as error:
            first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise RunError(
                f"{path} does not contain the details of an evaluation: {first}.", "Run `cartwheel evaluate` again."
            ) from None
