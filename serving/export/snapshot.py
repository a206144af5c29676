"""The state of the shop as of the last event, read from a run directory into plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json, read_table
from models.retrieval.retriever import retrieval_model
from serving.export.run_files import encoded, flattened, floats, integers, microseconds, padded_rows, strings
from serving.pieces.state import SHOPPER_NUMBERS, Catalogue, Days, OwnValues, Shoppers, Snapshot, State
from workflows.features.column import CATEGORICAL, CONTINUOUS, Owner
from workflows.features.columns import QUERY_LISTS
from workflows.features.feature_set import FeatureSet, read_feature_set

if TYPE_CHECKING:
    import pyarrow as pa

_STRANGER: Final = tuple(np.nan if name == "user_mean_price" else 0.0 for name in SHOPPER_NUMBERS)


def read_snapshot(run: Path, unknown: tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]) -> Snapshot:
    """Read the snapshot of a run.

    Args:
        run: run directory after ``prepare`` and ``train``.
        unknown: the encoded ids and numbers of an item that training never saw.

    Raises:
        RunError: if a file is missing or its rows do not match the others.
        MissingDependencyError: if PyArrow is not installed.
    """
    state = read_state(run)
    items = read_table(RunLayout(run).snapshot("items"))
    users = read_table(RunLayout(run).snapshot("users"))
    categories = _vocabulary(items["item_category"], users["recent_categories"])
    brands = _vocabulary(items["item_brand"], users["recent_brands"])
    catalogue = _catalogue(run, items, categories, brands, unknown)
    own = _own_of_shoppers(run, users, catalogue.features)
    shoppers = _shoppers(users, catalogue, state.recent_items, own)
    return Snapshot(state, catalogue, shoppers, _days(run, catalogue.features))


def read_state(run: Path) -> State:
    """Read ``snapshot/state.json``.

    Raises:
        RunError: if it is missing or lacks a key.
    """
    content = read_json(RunLayout(run).state)
    try:
        # A run of before events were given to requests does not have it, and then none at or before the snapshot is new.
        known = {"last_event_us": content["as_of_us"], **content}
        return State(**{name: known[name] for name in State.__dataclass_fields__})
    except KeyError as error:
        raise RunError(f"{run / 'snapshot' / 'state.json'} has no key {error}.", "Run `cartwheel prepare` again.") from None


def _vocabulary(single: pa.ChunkedArray, lists: pa.ChunkedArray) -> list[str]:
    names = {name for name in single.unique().to_pylist() if name}
    names.update(name for name in flattened(lists)[0].unique().to_pylist() if name)
    return ["", *sorted(names)]


def _codes(column: pa.ChunkedArray, vocabulary: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the place of each value in the vocabulary, -1 where it is not there."""
    import pyarrow as pa

    places = {text: place for place, text in enumerate(vocabulary)}
    coded = column.combine_chunks().dictionary_encode()
    table = np.array([places.get(text, -1) for text in [*coded.dictionary.to_pylist(), None]], dtype=np.int64)
    codes: npt.NDArray[np.int64] = table[integers(pa.chunked_array([coded.indices]), len(coded.dictionary))]
    return codes


def _list_codes(column: pa.ChunkedArray, vocabulary: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the places of the values of all lists, one list after the other, and the length of each list."""
    values, lengths = flattened(column)
    return _codes(values, vocabulary), lengths


def _catalogue(
    run: Path,
    items: pa.Table,
    categories: list[str],
    brands: list[str],
    unknown: tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]],
) -> Catalogue:
    columns = read_feature_set(RunLayout(run))
    features = read_table(RunLayout(run).features("snapshot", "items"))
    vectors_file = retrieval_model(run).item_vectors
    vectors = _vectors(vectors_file)
    for path, rows in ((RunLayout(run).features("snapshot", "items"), len(features)), (vectors_file, len(vectors))):
        if rows != len(items):
            raise RunError(
                f"{path} has {rows} rows and {run / 'snapshot' / 'items.parquet'} has {len(items)}; they must be equal.",
                "Run `cartwheel prepare` and `cartwheel train` again, in this order.",
            )
    return Catalogue(
        ids=strings(items["item_id"]),
        categories=categories,
        brands=brands,
        category_codes=np.append(np.maximum(_codes(items["item_category"], categories), 0), 0),
        brand_codes=np.append(np.maximum(_codes(items["item_brand"], brands), 0), 0),
        prices=np.append(floats(items["item_price"]), np.float32(np.nan)),
        popularity=np.append(np.nan_to_num(floats(items["item_recent_events"])), np.float32(0)),
        categorical=np.concatenate([encoded(features, columns.item_categorical, np.int64), unknown[0][None]]),
        continuous=np.concatenate([encoded(features, columns.item_continuous, np.float32), unknown[1][None]]),
        vectors=vectors,
        features=columns,
        given_usual=_usual_prices(items, np.maximum(_codes(items["item_category"], categories), 0)),
    )


def _usual_prices(items: pa.Table, categories: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the mean price of each item's category, of which the snapshot has the ratio of the item's own; NaN where unknown."""
    prices, ratios = floats(items["item_price"]).astype(np.float64), floats(items["item_price_ratio"]).astype(np.float64)
    usual = np.full(int(categories.max(initial=0)) + 1, np.nan)
    known = (categories > 0) & (prices > 0) & (ratios > 0)
    usual[categories[known]] = prices[known] / ratios[known]
    return np.append(usual[categories], np.nan).astype(np.float32)


def _vectors(path: Path) -> npt.NDArray[np.float32]:
    try:
        vectors = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise RunError(f"{path} is missing.", "Run `cartwheel train` first.") from None
    except ValueError as error:
        raise RunError(f"{path} is not a NumPy array: {error}.", "Run `cartwheel train` again.") from None
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise RunError(f"{path} must hold finite numbers of shape [items, dimension].", "Run `cartwheel train` again.")
    return np.asarray(vectors, dtype=np.float32)


def _own_values(table: pa.Table, features: FeatureSet, owner: Owner) -> OwnValues:
    """Return own columns of a table, whose first row is the one of whom nothing is known."""
    names = features.own_names(CATEGORICAL | CONTINUOUS, owner)
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise RunError(f"The snapshot lacks the own column {missing[0]!r}.", "Run `cartwheel prepare` again.")
    ids, figures = features.own_names(CATEGORICAL, owner), features.own_names(CONTINUOUS, owner)
    texts = {name: sorted({*strings(table[name]), ""}) for name in ids}
    codes = [_codes(table[name], vocabulary) for name, vocabulary in texts.items()]
    numbers = [floats(table[name]) for name in figures]
    return OwnValues(
        ids=ids,
        codes=np.stack(codes, axis=1) if codes else np.zeros((len(table), 0), np.int64),
        texts=tuple(texts.values()),
        figures=figures,
        numbers=np.stack(numbers, axis=1) if numbers else np.zeros((len(table), 0), np.float32),
    )


def _own_of_shoppers(run: Path, users: pa.Table, features: FeatureSet) -> OwnValues | None:
    """Return the own columns of a stranger, who stands last in ``snapshot/queries.parquet``, and of the users."""
    import pyarrow as pa

    names = [name for name in features.own_names(CATEGORICAL | CONTINUOUS, Owner.SHOPPER) if name in users.column_names]
    if not features.own_names(CATEGORICAL | CONTINUOUS, Owner.SHOPPER):
        return None
    queries = read_table(RunLayout(run).snapshot("queries"))
    stranger = queries.slice(len(queries) - 1).select(names).cast(users.select(names).schema)
    return _own_values(pa.concat_tables([stranger, users.select(names)]), features, Owner.SHOPPER)


def _days(run: Path, features: FeatureSet) -> Days | None:
    if not features.own_names(CATEGORICAL | CONTINUOUS, Owner.MOMENT):
        return None
    table = read_table(RunLayout(run).snapshot("days"))
    return Days(integers(table["day"])[1:], _own_values(table, features, Owner.MOMENT))


def _shoppers(users: pa.Table, catalogue: Catalogue, width: int, own: OwnValues | None) -> Shoppers:
    numbers = np.stack([floats(users[name]) for name in SHOPPER_NUMBERS], axis=1)
    times = np.stack([microseconds(users[name]) for name in ("last_seen", "session_start")], axis=1)
    vocabularies = ((catalogue.ids, -1), (catalogue.categories, 0), (catalogue.brands, 0))
    lists = [
        padded_rows(*_list_codes(users[name], vocabulary), width, filler, np.int32)
        for name, (vocabulary, filler) in zip(QUERY_LISTS, vocabularies, strict=True)
    ]
    left_out, lengths = flattened(users["left_out"])
    indices = integers(left_out)
    if len(indices) and not 0 <= indices.min() <= indices.max() < len(catalogue.ids):
        raise RunError(
            "snapshot/users.parquet leaves out items that are no rows of snapshot/items.parquet.",
            "Run `cartwheel prepare` again.",
        )
    nobody = np.repeat(np.array([[-1, 0, 0]], np.int32), width, axis=1)
    return Shoppers(
        ids=strings(users["user_id"]),
        numbers=np.concatenate([np.array([_STRANGER], np.float32), numbers]),
        times=np.concatenate([np.zeros((1, 2), np.int64), times]),
        recents=np.concatenate([nobody, np.concatenate(lists, axis=1)]),
        left_out=indices.astype(np.int32),
        left_out_starts=np.concatenate([[0, 0], np.cumsum(lengths)]).astype(np.int64),
        own=own,
        left_out_times=_left_out_times(users, len(indices)),
    )


def _left_out_times(users: pa.Table, count: int) -> npt.NDArray[np.int32] | None:
    if "left_out_times" not in users.column_names:
        return None
    times = integers(flattened(users["left_out_times"])[0]).astype(np.int32)
    if len(times) != count:
        raise RunError(
            f"snapshot/users.parquet has {count} items left out and {len(times)} numbers of purchases; they must be equal.",
            "Run `cartwheel prepare` again.",
        )
    return times
