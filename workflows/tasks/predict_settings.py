"""``[tasks.<name>.predict]``: what counts as true."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from typing_extensions import Self

from cartwheel.core.settings import Settings
from workflows.tasks.future_events import How


def _several(value: Any) -> Any:
    """Take one name for a list of one."""
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_several)]
Days = Annotated[float, Field(gt=0.0, le=3660.0)]


class PredictSettings(Settings):
    """The label of a task."""

    model_config = ConfigDict(populate_by_name=True)

    event: Annotated[Names, Field(min_length=1)]
    """The event type to predict, such as ``"purchase"``, or a list of several."""
    within_days: Days | None = None
    """Length of the label window: ``anchor <= time < anchor + within_days``. In a task about sessions the default is the rest of the
    session; other tasks need it."""
    as_: Annotated[How, Field(alias="as")] = "any"
    """``any`` and ``none``: the probability that there is such an event, or none. ``count``: how many. ``sum`` and ``distinct``: the sum,
    or the number of distinct values, of ``column``. ``value``: ``column`` of the first such event; rows without one are left out."""
    column: str = ""
    """Of ``sum`` and ``value``: ``quantity``, ``price``, ``revenue`` or an own column of numbers. Of ``distinct``: ``item``, ``user``,
    ``session``, ``category``, ``brand`` or an own column."""

    windows: Annotated[int, Field(ge=1, le=400)] = 1
    """Number of consecutive windows of ``within_days`` to predict, each on its own: 28 with ``within_days = 1`` predicts each of the next
    28 days. Such a task uses the feature family ``windows_ahead``, which identifies the window of an example."""

    @model_validator(mode="after")
    def _a_column_where_one_is_read(self) -> Self:
        needs = self.as_ in ("sum", "distinct", "value")
        if needs and not self.column:
            raise ValueError(
                f'as = "{self.as_}" needs a column; write column = "{"item" if self.as_ == "distinct" else "quantity"}", say'
            )
        if self.column and not needs:
            raise ValueError(f'as = "{self.as_}" reads no column; leave column out, or write as = "sum"')
        if self.windows > 1 and self.within_days is None:
            raise ValueError(f"windows = {self.windows} needs windows of days; write within_days = 1, say")
        return self
