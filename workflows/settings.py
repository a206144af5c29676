"""What a shop may decide about its events, examples and features."""

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
    """A file, a folder or a glob; relative paths start at the folder of the configuration file."""
    columns: dict[str, str] = Field(default_factory=dict)
    """``table`` only: canonical column name -> column name in the file."""
    event_types: dict[str, str] = Field(default_factory=dict)
    """``table`` only: value in the file -> canonical event type; empty where the file already uses the canonical names."""
    default_event_type: str | None = None
    """``table`` only: the type of every row where the file has no such column."""
    encoding: Encoding | None = None
    """The encoding of text files, such as ``cp1252``, ``latin-1`` or ``utf-16``; None means UTF-8, or what the file itself proves."""
    separator: Annotated[str, Field(min_length=1, max_length=4)] | None = None
    """What stands between the fields of a text file, such as ``";"``; None means what the first records show. A blank stands for any
    number of them, and those around a record belong to no field."""
    quote: Mark | None = None
    """What fields may stand in; empty where quotation marks are ordinary characters; None means ``"``, or ``'`` where the header
    uses it."""
    escape: Mark | None = None
    """What takes the special meaning from the character after it, mostly ``\\``; empty for none; None means a backslash where the
    file has quotation marks that can only be read so, and only within quoted fields."""
    header: bool | tuple[ColumnName, ...] = True
    """Whether the first record of a text file names the columns. ``false``: they are called "1", "2" and so on, by position; a list:
    there is no such record, and these are the names."""
    default_item_id: Annotated[str, Field(min_length=1)] | None = None
    """``table`` only: the item of every row where the file has no such column, as in a log of orders."""
    timestamp_format: str | None = None
    """``table`` only: a strptime pattern, or ``s``, ``ms``, ``us``, ``ns`` for Unix time; None means ISO 8601."""
    timezone: Zone | None = None
    """IANA name of the zone, such as ``Europe/Berlin``, of times that come without an offset; None means UTC. Where clocks are set back
    the first of the two hours is taken, where they are set forward the offset from before holds; the rows that it concerns are counted
    and reported."""
    null_values: tuple[str, ...] = NULL_VALUES
    """Cells that mean "missing", in every column, whatever blanks stand around them; a list of your own takes the place of this one."""
    exact_ids: bool = False
    """Whether ids stay as they stand in the file: by default outer blanks are trimmed and ``1288.0`` is ``1288``, which is reported."""
    decimal: Literal[".", ","] | None = None
    """The decimal sign of prices and quantities in text files; None means what each file as a whole proves."""
    shoppers: Annotated[int, Field(gt=0)] = 4000
    """``simulated`` only: how many shoppers the shop ever has."""
    items: Annotated[int, Field(gt=0)] = 2000
    """``simulated`` only: how many items the shop ever sells."""
    days: Annotated[int, Field(gt=6)] = 60
    """``simulated`` only: how many days the log covers."""


class EventSettings(Settings):
    """How strictly events are checked."""

    max_bad_share: Share = 0.01
    """The run fails when more than this share of the rows is quarantined."""
    repeats: Literal["auto", "keep", "sum", "refuse"] = "auto"
    """What rows that agree in everything become. ``keep``: events of their own. ``sum``: one event with the sum of their quantities, a
    missing one counting 1. ``refuse``: duplicates in the quarantine, as are rows that agree in user, item, type, time and session alone.
    ``auto``: purchases and refunds are summed; so are cart events, and the others kept, where a file has whole minutes, hours or days for
    times; other rows are refused, and so are rows that an earlier file has too, where two files overlap."""
    extra_types: tuple[EventType, ...] = ()
    """Event types of the shop's own, in lower case, beside those that Cartwheel knows; ``prepare.interaction_types`` may name them."""
    latest: date | None = None
    """Events after the end of this UTC day are "in the future"; None means the moment of the run."""


class PrepareSettings(Settings):
    """How examples are cut out of the log."""

    valid_share: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share of the events, the latest before the test split, that validate."""
    test_share: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share of the events, the latest of all, that test."""
    valid_from: Instant | None = None
    """Where validation begins: a date (midnight) or an instant, ISO 8601, UTC unless it says otherwise. With ``test_from`` it splits
    the log in place of the shares, which are then not used."""
    test_from: Instant | None = None
    """Where validation ends and test begins, likewise."""
    session_gap_minutes: Annotated[int, Field(gt=0)] = 30
    """A pause longer than this starts a new session where the log names none."""
    interaction_types: tuple[str, ...] = ("view", "cart", "purchase", "rating")
    """Event types that say that a shopper took an interest in an item."""
    recent_items: Annotated[int, Field(gt=0, le=200)] = 20
    """How many distinct last items a query looks back on."""
    state_minutes: Annotated[int, Field(gt=0)] = 1440
    """Item statistics are refreshed this often; a feature sees the last refresh before its anchor."""
    popularity_days: Annotated[float, Field(gt=0.0)] = 7.0
    """Window of the "recent popularity" of an item."""
    horizon_days: Annotated[float, Field(gt=0.0)] = 7.0
    """How far after the anchor an interaction counts as true in validation and test."""
    cart_window_hours: Annotated[float, Field(gt=0.0)] = 24.0
    """How long an item stays a line of the cart, and how long after the anchor its purchase counts as true."""
    request_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.25
    """Share of the training carts that are learnt from once more as a request would ask for them: of a stranger or of a user as the last
    refresh knew them, with or without recent items. Without such rows (0) no request looks like anything in training."""
    negatives: Annotated[int, Field(gt=0, le=100)] = 4
    """Sampled non-interactions beside each interaction that the ranking model learns from."""
    max_train_examples: Annotated[int, Field(gt=0)] = 1_000_000
    """Training anchors kept, the latest first."""
    max_eval_anchors: Annotated[int, Field(gt=0)] = 5_000
    """Anchors kept in validation and in test, sampled with the seed."""
    windows: Annotated[int, Field(ge=0, le=52)] = 2
    """Windows before validation, each as long as it, from whose candidates a ranker learns; 0 for no such ranker. A window must leave a
    quarter of the events before it."""
    max_window_anchors: Annotated[int, Field(gt=0)] = 750
    """Anchors kept in each window, sampled with the seed."""

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
    """``[tables.<name>]``: a table beside the events, and how its rows are joined to them."""

    path: Path
    """A file, a folder or a glob: Parquet, CSV or JSON lines; relative paths start at the folder of the configuration file."""
    on: Literal["item", "user", "session", "date", "category", "brand"] | None = None
    """What the key names: an item, a user, a session, a day (UTC, of the moment that is asked about), the category or the brand of an
    item. Tables called ``items``, ``users``, ``sessions``, ``calendar`` and ``identity`` need not say it."""
    key: ColumnName | None = None
    """The column of the file that holds the key; None means ``item_id``, ``user_id``, ``session_id``, ``date``,
    ``category``, ``brand`` or, of ``identity``, ``visitor_id``."""
    valid_from: ColumnName | None = None
    """The column of the file that holds the instant from which on a row is known; an entity may then have several rows, and a moment sees
    the last one that was valid strictly before it. None takes every row as always known, and warns."""
    customer: ColumnName = "customer_id"
    """``identity`` only: the column of the file that holds the customer that the visitor is."""
    before_login: Literal["visitor", "customer"] = "visitor"
    """``identity`` with ``valid_from`` only: whose the events are that a visitor did before it was known who it is. ``customer`` gives them
    to the customer it turned out to be, so that examples from before the login know what nobody knew then; the run warns of that."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Own name of a column -> its name in the file; columns without an entry keep the name that they have."""
    encoding: Encoding | None = None
    """The encoding of text files; None means UTF-8, or what the file itself proves."""
    separator: Annotated[str, Field(min_length=1, max_length=4)] | None = None
    """What stands between the fields of a text file; None means what the first records show."""
    quote: Mark | None = None
    """What fields may stand in, as in ``[source]``."""
    escape: Mark | None = None
    """What takes the special meaning from the character after it, as in ``[source]``."""
    header: bool | tuple[ColumnName, ...] = True
    """Whether the first record of a text file names the columns, as in ``[source]``."""
    timestamp_format: str | None = None
    """How ``valid_from`` and dates are written: a strptime pattern, or ``s``, ``ms``, ``us``, ``ns`` for Unix time; None means ISO 8601."""
    timezone: Zone | None = None
    """IANA name of the zone of instants that come without an offset; None means UTC."""
    null_values: tuple[str, ...] = TABLE_NULL_VALUES
    """Cells that mean "missing", in every column."""
    exact_ids: bool = False
    """Whether keys stay as they stand in the file; must be what ``source.exact_ids`` is, or the two do not meet."""
    decimal: Literal[".", ","] = "."
    """The decimal sign of numbers in text files."""
    max_bad_share: Share = 0.01
    """The run fails when more than this share of the rows is quarantined."""

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
    """Whose value it is: ``item``, ``user``, ``session``, or ``moment`` for a calendar; None means what the table is about."""
    kind: OwnKind
    """What a value means, and so how it is encoded: ``category`` (one of several names), ``tags`` (a list of them), ``number``, ``amount``
    (not negative, of very different sizes, such as money), ``text``, ``vector``, ``date`` or ``boolean``."""
    origin: str = Field(default="", alias="from")
    """``table.column``, or ``events.column`` for an own column of the events; empty for the column of the feature's own name, which must
    then be in one of them alone."""
    separator: Annotated[str, Field(min_length=1, max_length=4)] | None = None
    """What stands between the tags, or the numbers of a vector, that come as one text; None means ``|`` for tags, and a comma, semicolon
    or blank for vectors."""
    decimal: Literal[".", ","] = "."
    """The decimal sign of numbers that an own column of the events holds as text; tables have their own setting."""
    min_events: Annotated[int, Field(gt=0)] = 1
    """How often a name must be seen in training to get an id of its own."""
    width: Annotated[int, Field(gt=0, le=512)] = 16
    """The longest list of tags, and the length to which texts and vectors are reduced."""
    embedding: str = ""
    """``text`` only: a model of model2vec (extra ``text``), by its folder or name; empty means TF-IDF and a truncated singular value
    decomposition."""


LEAVE_OUT: Final[LeaveOut] = "interacted"
"""The rule where a shop gives none: what a shopper knows is no news, whatever is sold."""


class RecommendSettings(Settings):
    """What a recommendation is: what may come back."""

    leave_out: LeaveOut = LEAVE_OUT
    """What ``recommend`` never answers and evaluation neither ranks nor counts as true, of all that the shopper did before: ``interacted``
    is everything of ``prepare.interaction_types``, ``purchased`` what was bought and not returned, ``recent`` the last
    ``prepare.recent_items`` items, and ``nothing`` lets all of it come back, as suits what is used up and bought again."""


class FeatureSettings(Settings):
    """How features are encoded."""

    min_user_events: Annotated[int, Field(ge=0)] = 2
    """Users seen less often in training share the out-of-vocabulary id."""
    min_item_events: Annotated[int, Field(ge=0)] = 2
    """Items seen less often in training share the out-of-vocabulary id and are known by their features."""
    engine: Literal["polars", "polars-gpu", "nvtabular"] = "polars"
    """What fits and encodes: Polars; the same on an NVIDIA GPU (extra ``polars-gpu``); or NVTabular, on pandas or (extra ``gpu``) cuDF."""
    keep_ids_of: Path | None = None
    """An earlier run whose ids are kept: its users, items, categories and brands stay where they were, and new ones get the ids behind
    them, so that its trained embeddings stay valid; relative paths start at the folder of the configuration file."""
    families: tuple[str, ...] = ()
    """Feature families of the shop's own, of a shopper or of an item, that the recommender reads beside the built-in columns, such as
    ``my_shop.features:BasketMood`` in a file beside the configuration. A declared task names its own."""
    own: dict[Name, OwnFeatureSettings] = Field(default_factory=dict)
    """``[features.own.<name>]``: the shop's own columns as features; `cartwheel features suggest` proposes them."""
