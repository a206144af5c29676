"""Settings of events, examples and features."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from typing_extensions import Self

from cartwheel.core.settings import Settings

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_DATE: Final = re.compile(r"\s*\d{4}-\d{2}-\d{2}")


def _require_iso(value: Any) -> Any:
    """Let only what names a date through: numbers, which would be taken for Unix time, are more likely a year or a typing error."""
    if isinstance(value, date) or (isinstance(value, str) and _DATE.match(value)):  # a datetime is a date
        return value
    raise ValueError("expected an ISO 8601 date or instant, such as 2024-03-31 or 2024-03-31T18:00:00Z")


def _in_utc(value: datetime) -> datetime:
    """Return the instant in UTC, in which one without an offset already is."""
    try:
        return value.astimezone(timezone.utc) if value.tzinfo else value.replace(tzinfo=timezone.utc)
    except OverflowError:
        raise ValueError("expected an instant between the years 1 and 9999 of UTC") from None


def _known_codec(value: str) -> str:
    """Let only encodings of text through, which ``hex`` and the like are not."""
    try:
        info = codecs.lookup(value)
        "".encode(info.name)
    except (LookupError, TypeError, ValueError):
        raise ValueError("expected the name of an encoding, such as utf-8, cp1252 or utf-16") from None
    return info.name


def _one_mark(value: str) -> str:
    """Let one ASCII character through that can mark something, or none."""
    if len(value) > 1 or not value.isascii() or (value in "\r\n" and value):
        raise ValueError("expected one character of ASCII, or an empty string for none")
    return value


def _known_zone(value: str) -> str:
    """Let only names of the IANA time zone database through; abbreviations that it has for old times' sake mean too many things."""
    try:
        ZoneInfo(value)
    except (OSError, ValueError, LookupError):
        value = ""
    if "/" not in value and value not in ("UTC", "GMT"):
        raise ValueError("expected a time zone by its IANA name, such as Europe/Berlin, America/New_York or UTC")
    return value


def _plain_name(value: str) -> str:
    """Let names through that can also be those of files and of tensors."""
    if not _NAME.fullmatch(value):
        raise ValueError("expected a name of letters, digits and underscores that begins with a letter")
    return value


NULL_VALUES: Final = (
    *("NULL", "Null", "null", "(NULL)", "(null)", "[NULL]", "\\N", "undefined"),
    *(
        "NaN",
        "nan",
        "NAN",
        "-NaN",
        "-nan",
        "NA",
        "N/A",
        "n/a",
        "#N/A",
        "#NA",
        "#N/A N/A",
        "None",
        "none",
        "NONE",
        "nil",
        "<NA>",
        "NaT",
    ),
    *("1.#QNAN", "-1.#QNAN", "1.#IND", "-1.#IND", "nan(ind)", "-nan(ind)"),
    *("#NULL!", "#VALUE!", "#REF!", "#DIV/0!", "#NAME?", "#NUM!"),
)
"""How databases, their tools, browsers, programming languages, pandas, R and spreadsheets write a missing value or one that they failed to
compute."""
TABLE_NULL_VALUES: Final = tuple(value for value in NULL_VALUES if value != "none")
"""Of tables: an attribute may well be ``none`` (no offer, no colour), where no shopper and no item is called so."""

Encoding = Annotated[str, AfterValidator(_known_codec)]
Mark = Annotated[str, AfterValidator(_one_mark)]
ColumnName = Annotated[str, Field(min_length=1)]
Name = Annotated[str, AfterValidator(_plain_name)]
Zone = Annotated[str, AfterValidator(_known_zone)]
EventType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
LeaveOut = Literal["recent", "purchased", "interacted", "nothing"]
Instant = Annotated[datetime, BeforeValidator(_require_iso), AfterValidator(_in_utc)]


class SourceSettings(Settings):
    """Where the events come from and how to read them."""

    kind: str = "simulated"
    """Name of a source: ``simulated``, ``rees46``, ``retailrocket``, ``online_retail``, ``movielens`` or ``table``."""
    path: Path | None = None
    """A file, a folder or a glob; relative paths are resolved against the folder of the configuration file."""
    columns: dict[str, str] = Field(default_factory=dict)
    """``table`` only: canonical column name -> column name in the file."""
    event_types: dict[str, str] = Field(default_factory=dict)
    """``table`` only: value in the file -> canonical event type; empty if the file already uses the canonical names."""
    default_event_type: str | None = None
    """``table`` only: the type of every row if the file has no such column."""
    encoding: Encoding | None = None
    """The encoding of text files, such as ``cp1252``, ``latin-1`` or ``utf-16``; None means UTF-8, or the encoding detected from the
    file."""
    separator: Annotated[str, Field(min_length=1, max_length=4)] | None = None
    """The separator between the fields of a text file, such as ``";"``; None detects it from the first records. A blank matches any number
    of blanks, and those around a record belong to no field."""
    quote: Mark | None = None
    """The quote character; empty if quotation marks are ordinary characters; None means ``"``, or ``'`` if the header uses it."""
    escape: Mark | None = None
    """The escape character, usually ``\\``; empty for none; None means a backslash if some quotation marks of the file require one, and
    then only within quoted fields."""
    header: bool | tuple[ColumnName, ...] = True
    """Whether the first record of a text file names the columns. ``false``: the columns are named "1", "2" and so on, by position; a list:
    there is no such record, and these are the names."""
    default_item_id: Annotated[str, Field(min_length=1)] | None = None
    """``table`` only: the item of every row if the file has no such column, as in a log of orders."""
    timestamp_format: str | None = None
    """``table`` only: a strptime pattern, or ``s``, ``ms``, ``us``, ``ns`` for Unix time; None means ISO 8601."""
    timezone: Zone | None = None
    """IANA name of the zone, such as ``Europe/Berlin``, of times without an offset; None means UTC. When clocks are set back, the first of
    the two hours is used; when they are set forward, the offset from before applies. The affected rows are counted and reported."""
    null_values: tuple[str, ...] = NULL_VALUES
    """Cells that mean "missing", in every column, whatever blanks stand around them; a list of your own takes the place of this one."""
    exact_ids: bool = False
    """Whether ids are kept exactly as in the file: by default, surrounding blanks are trimmed and ``1288.0`` becomes ``1288``, which is
    reported."""
    decimal: Literal[".", ","] | None = None
    """The decimal sign of prices and quantities in text files; None detects it for each file."""
    shoppers: Annotated[int, Field(gt=0)] = 4000
    """``simulated`` only: how many shoppers the shop ever has."""
    items: Annotated[int, Field(gt=0)] = 2000
    """``simulated`` only: how many items the shop ever sells."""
    days: Annotated[int, Field(gt=6)] = 60
    """``simulated`` only: how many days the log covers."""


class EventSettings(Settings):
    """How strictly events are validated."""

    max_bad_share: Share = 0.01
    """Maximum share of quarantined rows; above it the run fails."""
    repeats: Literal["auto", "keep", "sum", "refuse"] = "auto"
    """What rows that agree in all columns become. ``keep``: events of their own. ``sum``: one event with the sum of their quantities, a
    missing one counting 1. ``refuse``: duplicates in the quarantine, as are rows that agree in user, item, type, time and session alone.
    ``auto``: purchases and refunds are summed; so are cart events, and the others kept, where a file has whole minutes, hours or days for
    times; other rows are refused, and so are rows that an earlier file has too, where two files overlap."""
    extra_types: tuple[EventType, ...] = ()
    """Event types of the shop's own, in lower case, in addition to the built-in ones; ``prepare.interaction_types`` may name them."""
    latest: date | None = None
    """Events after the end of this UTC day are "in the future"; None means the moment of the run."""


class PrepareSettings(Settings):
    """How point-in-time examples are built from the log."""

    valid_share: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share of the events in the validation split: the latest before the test split."""
    test_share: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share of the events in the test split: the latest of all."""
    valid_from: Instant | None = None
    """Where validation begins: a date (midnight) or a time, ISO 8601, UTC unless it has an offset. Together with ``test_from`` it replaces
    the shares."""
    test_from: Instant | None = None
    """Where validation ends and test begins, likewise."""
    session_gap_minutes: Annotated[int, Field(gt=0)] = 30
    """A pause longer than this starts a new session if the log has no session ids."""
    interaction_types: tuple[str, ...] = ("view", "cart", "purchase", "rating")
    """Event types that express a shopper's interest in an item."""
    recent_items: Annotated[int, Field(gt=0, le=200)] = 20
    """Number of most recent distinct items in a query."""
    state_minutes: Annotated[int, Field(gt=0)] = 1440
    """Minutes between refreshes of item statistics; a feature uses the last refresh before its anchor."""
    popularity_days: Annotated[float, Field(gt=0.0)] = 7.0
    """Window of an item's recent popularity."""
    horizon_days: Annotated[float, Field(gt=0.0)] = 7.0
    """How far after the anchor an interaction counts as true in validation and test."""
    cart_window_hours: Annotated[float, Field(gt=0.0)] = 24.0
    """How long an item stays a line of the cart, and how long after the anchor its purchase counts as true."""
    request_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.25
    """Share of the training carts that are also used in the form of a request: of a stranger or of a user as of the last refresh, with or
    without recent items. Without such rows (0) no request resembles the training data."""
    negatives: Annotated[int, Field(gt=0, le=100)] = 4
    """Sampled negatives per positive in the training data of the ranking model."""
    max_train_examples: Annotated[int, Field(gt=0)] = 1_000_000
    """Maximum number of training anchors; the latest are kept."""
    max_eval_anchors: Annotated[int, Field(gt=0)] = 5_000
    """Maximum number of anchors in validation and in test, sampled with the seed."""
    windows: Annotated[int, Field(ge=0, le=52)] = 2
    """Number of windows before validation, each of the same length, whose candidates train the candidate ranker; 0 disables it. At least a
    quarter of the events must lie before a window."""
    max_window_anchors: Annotated[int, Field(gt=0)] = 750
    """Maximum number of anchors in each window, sampled with the seed."""

    @model_validator(mode="after")
    def _dates_are_two_and_in_order(self) -> Self:
        found = {"valid_from": self.valid_from, "test_from": self.test_from}
        given = {name: value.isoformat() for name, value in found.items() if value is not None}
        if len(given) == 1:
            ((name, value),) = given.items()
            (other,) = found.keys() - given.keys()
            raise ValueError(f"{name} is {value} and {other} is not there; set both, or neither to split by the shares")
        if self.valid_from is not None and self.test_from is not None and self.valid_from >= self.test_from:
            raise ValueError(
                f"valid_from is {given['valid_from']} and test_from {given['test_from']}, but test comes after validation; "
                "set test_from to a later instant than valid_from"
            )
        return self


IDENTITY: Final = "identity"
"""The table that says which visitor is which customer; it changes the users of the events and gives no features."""
TABLE_OF: Final[Mapping[str, str]] = {
    "items": "item",
    "users": "user",
    "sessions": "session",
    "calendar": "date",
    IDENTITY: "user",
}
"""Name of a table -> what its key names, where ``on`` does not say otherwise."""
DEFAULT_KEYS: Final[Mapping[str, str]] = {
    "item": "item_id",
    "user": "user_id",
    "session": "session_id",
    "date": "date",
    "category": "category",
    "brand": "brand",
}
"""What a key names -> the column that holds it, where ``key`` does not say otherwise."""
OwnKind = Literal["category", "tags", "number", "amount", "text", "vector", "date", "boolean"]
OwnOwner = Literal["item", "user", "session", "moment"]


class TableSettings(Settings):
    """``[tables.<name>]``: a side table, and how its rows are joined to the events."""

    path: Path
    """A file, a folder or a glob: Parquet, CSV or JSON lines; relative paths are resolved against the folder of the configuration file."""
    on: Literal["item", "user", "session", "date", "category", "brand"] | None = None
    """What the key names: an item, a user, a session, a day (UTC, of the moment that is asked about), the category or the brand of an item.
    Not needed for tables named ``items``, ``users``, ``sessions``, ``calendar`` and ``identity``."""
    key: ColumnName | None = None
    """The column of the file that holds the key; None means ``item_id``, ``user_id``, ``session_id``, ``date``,
    ``category``, ``brand`` or, of ``identity``, ``visitor_id``."""
    valid_from: ColumnName | None = None
    """The column of the file with the time from which a row is valid; an entity may then have several rows, and a moment uses the last one
    that was valid strictly before it. None assumes that every row is always known, and warns."""
    customer: ColumnName = "customer_id"
    """``identity`` only: the column of the file that holds the customer that the visitor is."""
    before_login: Literal["visitor", "customer"] = "visitor"
    """``identity`` with ``valid_from`` only: to whom a visitor's events before the login belong. ``customer`` assigns them to the customer,
    so that examples from before the login use information that was not available then; the run warns about it."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Name of a column -> its name in the file; columns without an entry keep their names."""
    encoding: Encoding | None = None
    """The encoding of text files; None means UTF-8, or the encoding detected from the file."""
    separator: Annotated[str, Field(min_length=1, max_length=4)] | None = None
    """The separator between the fields of a text file; None detects it from the first records."""
    quote: Mark | None = None
    """The quote character, as in ``[source]``."""
    escape: Mark | None = None
    """The escape character, as in ``[source]``."""
    header: bool | tuple[ColumnName, ...] = True
    """Whether the first record of a text file names the columns, as in ``[source]``."""
    timestamp_format: str | None = None
    """How ``valid_from`` and dates are written: a strptime pattern, or ``s``, ``ms``, ``us``, ``ns`` for Unix time; None means ISO 8601."""
    timezone: Zone | None = None
    """IANA name of the time zone of times without an offset; None means UTC."""
    null_values: tuple[str, ...] = TABLE_NULL_VALUES
    """Cells that mean "missing", in every column."""
    exact_ids: bool = False
    """Whether keys are kept exactly as in the file; must equal ``source.exact_ids``, or keys and ids do not match."""
    decimal: Literal[".", ","] = "."
    """The decimal sign of numbers in text files."""
    max_bad_share: Share = 0.01
    """Maximum share of quarantined rows; above it the run fails."""

    def as_source(self) -> SourceSettings:
        """Return how the files are laid out, as a source of events says it."""
        return SourceSettings(
            kind="table",
            path=self.path,
            encoding=self.encoding,
            separator=self.separator,
            quote=self.quote,
            escape=self.escape,
            header=self.header,
            null_values=self.null_values,
            exact_ids=self.exact_ids,
        )


class OwnFeatureSettings(Settings):
    """``[features.own.<name>]``: a column of the shop's own, of a table or of the events, as a feature."""

    model_config = ConfigDict(populate_by_name=True)

    owner: OwnOwner | None = None
    """What the value describes: ``item``, ``user``, ``session``, or ``moment`` for a calendar; None means the entity of the table."""
    kind: OwnKind
    """The kind of value, which determines its encoding: ``category``, ``tags`` (a list of categories), ``number``, ``amount`` (not negative
    and spanning orders of magnitude, such as money), ``text``, ``vector``, ``date`` or ``boolean``."""
    origin: str = Field(default="", alias="from")
    """``table.column``, or ``events.column`` for an own column of the events; empty for the column with the feature's name, which must then
    exist in exactly one of them."""
    separator: Annotated[str, Field(min_length=1, max_length=4)] | None = None
    """The separator between tags, or the numbers of a vector, in a single text; None means ``|`` for tags, and a comma, semicolon or blank
    for vectors."""
    decimal: Literal[".", ","] = "."
    """The decimal sign of numbers stored as text in an own column of the events; tables have their own setting."""
    min_events: Annotated[int, Field(gt=0)] = 1
    """Minimum number of training occurrences of a value that gets an id of its own."""
    width: Annotated[int, Field(gt=0, le=512)] = 16
    """The longest list of tags, and the length to which texts and vectors are reduced."""
    embedding: str = ""
    """``text`` only: a model of model2vec (extra ``text``), by its folder or name; empty means TF-IDF and a truncated singular value
    decomposition."""


LEAVE_OUT: Final[LeaveOut] = "interacted"
"""The rule where a shop gives none: what a shopper knows is no news, whatever is sold."""


class RecommendSettings(Settings):
    """Which items may be recommended again."""

    leave_out: LeaveOut = LEAVE_OUT
    """Items of the shopper's history that are never recommended, and neither ranked nor counted as true in evaluation: ``interacted`` is
    everything of ``prepare.interaction_types``, ``purchased`` what was bought and not returned, ``recent`` the last
    ``prepare.recent_items`` items, and ``nothing`` lets all of it come back, as suits what is used up and bought again."""


class FeatureSettings(Settings):
    """How features are encoded."""

    min_user_events: Annotated[int, Field(ge=0)] = 2
    """Users with fewer training events share the out-of-vocabulary id."""
    min_item_events: Annotated[int, Field(ge=0)] = 2
    """Items with fewer training events share the out-of-vocabulary id and are represented by their features."""
    engine: Literal["polars", "polars-gpu", "nvtabular"] = "polars"
    """What fits and encodes: Polars; the same on an NVIDIA GPU (extra ``polars-gpu``); or NVTabular, on pandas or (extra ``gpu``) cuDF."""
    keep_ids_of: Path | None = None
    """An earlier run whose ids are kept: its users, items, categories and brands keep their ids and new ones are appended, so that its
    trained embeddings stay valid; relative paths are resolved against the folder of the configuration file."""
    families: tuple[str, ...] = ()
    """Your own feature families of shoppers or items, added to the built-in columns of the recommender, such as
    ``my_shop.features:BasketMood`` in a file beside the configuration. A declared task names its own."""
    own: dict[Name, OwnFeatureSettings] = Field(default_factory=dict)
    """``[features.own.<name>]``: the shop's own columns as features; `cartwheel features suggest` proposes them."""
