"""The logs that are evaluated leave-one-out, read into each user's interactions in order."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Final

import polars as pl

from cartwheel.core.errors import DataError
from evaluation.reproduce.reading import read_sequences
from workflows.events.sources import open_source
from workflows.settings import SourceSettings

SEQUENCES: Final = "Beauty.txt"
ATTRIBUTES: Final = "Beauty_item2attributes.json"


def read_amazon_beauty(folder: Path) -> pl.DataFrame:
    """Read the sequences and, where it lies beside them, what is known of each item.

    An item's attributes are numbers: its brand, where it has a frequent one, then its categories from the widest to the narrowest
    (https://github.com/RUCAIBox/CIKM2020-S3Rec, how the data was made). A number that only ever stands first is taken for a brand; the
    narrowest category is the item's.

    Args:
        folder: holds ``Beauty.txt`` and, perhaps, ``Beauty_item2attributes.json``.

    Returns:
        ``user_id`` and ``item_id``, Int64, in order; ``category`` and ``brand``, String, where the attributes are there.

    Raises:
        DataError: if a file is not what it should be.
    """
    events = read_sequences(folder / SEQUENCES).select("user_id", "item_id")
    path = folder / ATTRIBUTES
    if not path.is_file():
        return events
    return events.join(_items(path), on="item_id", how="left", maintain_order="left")


def read_movielens(folder: Path) -> pl.DataFrame:
    """Read the ratings: all of them count as interactions, whatever their stars.

    Args:
        folder: holds one of the publisher's layouts.

    Returns:
        ``user_id``, ``item_id`` and ``category`` (the film's first genre), String, by time and, of equal times, by their place in the file.

    Raises:
        DataError: if a rating has no user, no film or no time, or the file cannot be read.
    """
    raw = open_source(SourceSettings(kind="movielens", path=folder.absolute()), folder).scan().collect()
    ratings = raw.with_columns(pl.col("timestamp").cast(pl.Int64, strict=False))
    needed = ("user_id", "item_id", "timestamp")
    lacking = ratings.with_row_index("row", offset=1).filter(pl.any_horizontal(pl.col(needed).is_null()))
    if not lacking.is_empty():
        raise DataError(
            f"{folder}: rating {lacking['row'][0]} lacks its user, its film or its time in whole seconds, as do {len(lacking) - 1} more.",
            "Give the publisher's file, unchanged.",
        )
    return ratings.sort("timestamp", maintain_order=True).select("user_id", "item_id", "category")


def _items(path: Path) -> pl.DataFrame:
    """Return ``item_id``, ``category`` and ``brand`` of every item that has attributes."""
    try:
        attributes = {int(item): [int(number) for number in numbers] for item, numbers in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); expected an object of item -> list of attribute numbers.",
            "Give the publisher's file, unchanged, or remove it to go without.",
        ) from error
    inner = Counter(number for numbers in attributes.values() for number in numbers[1:])
    rows = []
    for item, numbers in attributes.items():
        brand = next((number for number in numbers[:1] if number not in inner), None)
        path_of = [number for number in numbers if number != brand]
        rows.append((item, str(path_of[-1]) if path_of else None, None if brand is None else str(brand)))
    return pl.DataFrame(rows, schema={"item_id": pl.Int64, "category": pl.String, "brand": pl.String}, orient="row")
