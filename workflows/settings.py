"""What a shop may decide about its events, examples and features."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cartwheel.settings import Settings

Share = Annotated[float, Field(ge=0.0, lt=1.0)]


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
    timestamp_format: str | None = None
    """``table`` only: a strptime pattern, or ``s``, ``ms``, ``us``, ``ns`` for Unix time; None means ISO 8601."""
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
    latest: date | None = None
    """Events after the end of this UTC day are "in the future"; None means the moment of the run."""


class PrepareSettings(Settings):
    """How examples are cut out of the log."""

    valid_share: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share of the events, the latest before the test split, that validate."""
    test_share: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.1
    """Share of the events, the latest of all, that test."""
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
    exclude_recent: bool = True
    """Whether ``recommend`` leaves out what is among the shopper's recent items (as candidates and as truth)."""
    horizon_days: Annotated[float, Field(gt=0.0)] = 7.0
    """How far after the anchor an interaction counts as true in validation and test."""
    cart_window_hours: Annotated[float, Field(gt=0.0)] = 24.0
    """How long an item stays a line of the cart, and how long after the anchor its purchase counts as true."""
    negatives: Annotated[int, Field(gt=0, le=100)] = 4
    """Sampled non-interactions beside each interaction that the ranking model learns from."""
    max_train_examples: Annotated[int, Field(gt=0)] = 1_000_000
    """Training anchors kept, the latest first."""
    max_eval_anchors: Annotated[int, Field(gt=0)] = 5_000
    """Anchors kept in validation and in test, sampled with the seed."""


class FeatureSettings(Settings):
    """How features are encoded."""

    min_user_events: Annotated[int, Field(ge=0)] = 2
    """Users seen less often in training share the out-of-vocabulary id."""
    min_item_events: Annotated[int, Field(ge=0)] = 2
    """Items seen less often in training share the out-of-vocabulary id and are known by their features."""
    engine: Literal["polars", "polars-gpu", "nvtabular"] = "polars"
    """What fits and encodes: Polars; the same on an NVIDIA GPU (extra ``gpu``); or NVTabular itself, on pandas or, where it is, cuDF."""
    keep_ids_of: Path | None = None
    """An earlier run whose ids are kept: its users, items, categories and brands stay where they were, and new ones get the ids behind
    them, so that its trained embeddings stay valid; relative paths start at the folder of the configuration file."""
