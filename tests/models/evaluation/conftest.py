"""A small run directory made by hand: shoppers who like one category, and models of a few nodes that know it."""

import json
import shutil
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest

from workflows.compiler.onnx_graph import ENCODED_SUFFIX, GraphBuilder
from workflows.features.columns import (
    CART,
    CROSS,
    FORMS,
    ITEM,
    ITEM_CATEGORICAL,
    ITEM_CONTINUOUS,
    QUERY,
    QUERY_CATEGORICAL,
    QUERY_CONTINUOUS,
    QUERY_LISTS,
    QUERY_SCALARS,
)

# importmode=importlib leaves sys.path alone; the conformance suite lies beside the tests that inherit it.
sys.path.insert(0, str(Path(__file__).parent))

ITEMS, ANCHORS, USERS, CATEGORIES, LENGTH = 60, 120, 40, 5, 4
START = datetime(2024, 3, 1, tzinfo=timezone.utc)


def item_frame(generator: np.random.Generator) -> pl.DataFrame:
    recent = generator.integers(0, 6, ITEMS).astype(np.float32)  # few values, so that popularity ties
    price = generator.uniform(5, 50, ITEMS).astype(np.float32)
    return pl.DataFrame(
        {
            "item_id": [f"item{number:03d}" for number in range(ITEMS)],
            "item_category": [f"category{number % CATEGORIES}" if number % 11 else "" for number in range(ITEMS)],
            "item_brand": [f"brand{number % 3}" for number in range(ITEMS)],
            "item_price": pl.Series(
                [None if number % 13 == 0 else value for number, value in enumerate(price)], dtype=pl.Float32
            ),
            "item_price_ratio": np.ones(ITEMS, np.float32),
            "item_recent_events": recent,
            "item_events": recent * 3,
            "item_purchases": recent // 2,
            "item_age_days": generator.uniform(1, 90, ITEMS).astype(np.float32),
        }
    )


def query_frame(generator: np.random.Generator, items: pl.DataFrame, rows: int) -> pl.DataFrame:
    users = generator.integers(0, USERS, rows)
    columns: dict[str, object] = {
        "user_id": ["" if user == 0 else f"user{user:02d}" for user in users],
        "hour": generator.integers(0, 24, rows),
        "weekday": generator.integers(1, 8, rows),
    }
    columns |= {name: generator.uniform(0, 5, rows).astype(np.float32) for name in QUERY_CONTINUOUS}
    recents = [
        generator.choice(np.arange(user % CATEGORIES, ITEMS, CATEGORIES), n, replace=False)
        for user, n in zip(users, generator.integers(0, LENGTH + 1, rows), strict=True)
    ]
    for name in QUERY_LISTS:
        values = items[
            "item_id"
            if name == "recent_items"
            else name.replace("recent_categories", "item_category").replace("recent_brands", "item_brand")
        ].to_list()
        columns[name] = pl.Series([[values[item] for item in some] for some in recents], dtype=pl.List(pl.String))
    frame = pl.DataFrame(columns).select(QUERY)
    head = pl.DataFrame(
        {
            "example_id": np.arange(rows),
            "user_key": ["session:s0" if user == 0 else f"user{user:02d}" for user in users],
            "anchor": [START + timedelta(minutes=int(minute)) for minute in range(rows)],
        }
    )
    favourite = pl.Series("favourite", users % CATEGORIES)
    return head.hstack(frame).hstack([favourite])


def with_targets(generator: np.random.Generator, queries: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    names = items["item_id"].to_list()
    targets = []
    for favourite, recent in zip(queries["favourite"], queries["recent_items"].to_list(), strict=True):
        liked = np.arange(favourite, ITEMS, CATEGORIES)
        drawn = [int(generator.choice(liked)) if generator.random() < 0.8 else int(generator.integers(ITEMS)) for _ in range(3)]
        wanted = [name for name in dict.fromkeys(names[item] for item in drawn) if name not in recent]
        targets.append([*wanted, "unseen"] if generator.random() < 0.1 else wanted)
    first = [names.index(some[0]) if some and some[0] != "unseen" else 0 for some in targets]
    labelled = queries.with_columns(pl.Series("target_items", targets, dtype=pl.List(pl.String)), left_out="recent_items")
    return labelled.hstack(items[first]).drop("favourite")


def pair_frame(generator: np.random.Generator, queries: pl.DataFrame, items: pl.DataFrame, each: int) -> pl.DataFrame:
    """Rows of the ranking or the cart table: each query with ``each`` items, likelier true in the favourite category."""
    row = np.repeat(np.arange(len(queries)), each)
    item = generator.integers(0, ITEMS, len(row))
    liked = queries["favourite"].to_numpy()[row] == item % CATEGORIES
    cross = pl.DataFrame({name: np.where(liked, 0.8, 0.1).astype(np.float32) for name in CROSS})
    label = (generator.random(len(row)) < np.where(liked, 0.7, 0.2)).astype(np.int8)
    kept = queries[row].select("example_id", "user_key", "anchor", *QUERY_SCALARS)
    return kept.hstack(items[item]).hstack(cross).hstack([pl.Series("label", label)])


def encoded(frame: pl.DataFrame) -> pl.DataFrame:
    """Encode ids as their number + 3 and floats as themselves."""

    def code(name: str) -> pl.Expr:
        return pl.col(name).str.extract(r"(\d+)$").cast(pl.Int64).fill_null(-2) + 3

    out = []
    for name in frame.columns:
        if name in ("user_id", *ITEM_CATEGORICAL):
            out.append(code(name))
        elif name in QUERY_LISTS:
            out.append(pl.col(name).list.eval(pl.element().str.extract(r"(\d+)$").cast(pl.Int64).fill_null(-2) + 3))
        elif name in (*QUERY_CONTINUOUS, *ITEM_CONTINUOUS, *CROSS, *CART):
            out.append(pl.col(name).fill_null(0.0).cast(pl.Float32))
        else:
            out.append(pl.col(name))
    return frame.select(out)


def builder_with(inputs: dict[str, str]) -> GraphBuilder:
    builder = GraphBuilder("small")
    for name, dtype in inputs.items():
        builder.input(name, dtype, ["B", LENGTH if name in QUERY_LISTS else 1])
    return builder


def types(names: tuple[str, ...]) -> dict[str, str]:
    floats = (*QUERY_CONTINUOUS, *ITEM_CONTINUOUS, *CROSS, *CART)
    return {name: "float32" if name in floats else "int64" for name in names}


def towers(popularity: float = 0.05) -> dict[str, onnx.ModelProto]:
    """Both towers give the category as a one-hot vector; the item's vector adds a little of its popularity."""
    table = np.zeros((CATEGORIES + 3, CATEGORIES + 1), np.float32)
    table[3:, :CATEGORIES] = np.eye(CATEGORIES)
    query = builder_with(types(QUERY))
    taste = query.add(
        "ReduceSum", query.add("Gather", query.constant(table), "recent_categories"), query.constant([1], np.int64), keepdims=0
    )
    popular = np.zeros(CATEGORIES + 1, np.float32)
    popular[-1] = popularity
    query.output(query.add("Add", taste, query.constant(popular)), "query_vector", "float32", ["B", CATEGORIES + 1])
    item = builder_with(types(ITEM))
    category = item.add(
        "Gather", item.constant(table[:, :-1]), item.add("Squeeze", "item_category", item.constant([1], np.int64))
    )
    item.output(item.add("Concat", category, "item_recent_events", axis=1), "item_vector", "float32", ["B", CATEGORIES + 1])
    return {"query": query.model(), "item": item.model()}


def ranker(names: tuple[str, ...], popularity: float, age: float = 0.0) -> onnx.ModelProto:
    """logit = 3 * category_affinity - 1.5 + popularity * item_recent_events + age * item_age_days."""
    builder = builder_with(types(names))
    affinity = builder.add("Mul", "category_affinity", builder.constant(3.0, np.float32))
    recent = builder.add("Mul", "item_recent_events", builder.constant(popularity, np.float32))
    old = builder.add("Mul", "item_age_days", builder.constant(age, np.float32))
    total = builder.add("Sub", builder.add("Sum", affinity, recent, old), builder.constant(1.5, np.float32))
    builder.output(total, "logit", "float32", ["B", 1])
    return builder.model()


def cross_encoder() -> onnx.ModelProto:
    builder = builder_with(types(CROSS))
    for name in CROSS:
        known = builder.add("Where", builder.add("IsNaN", name), builder.constant(0.0, np.float32), name)
        builder.output(known, name + ENCODED_SUFFIX, "float32", ["B", 1])
    return builder.model()


def write(run: Path, path: str, frame: pl.DataFrame) -> None:
    target = run / path
    target.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(target)


def write_split(run: Path, split: str, generator: np.random.Generator, items: pl.DataFrame) -> None:
    queries = query_frame(generator, items, ANCHORS)
    recommend = with_targets(generator, queries, items)
    ranking = pair_frame(generator, queries, items, 5).drop("user_key")
    cart = pair_frame(generator, queries, items, 3).rename({"example_id": "cart_id"})
    cart = cart.with_columns(
        pl.format("cart{}", "cart_id").alias("cart_id"),
        pl.lit(3.0, pl.Float32).alias("cart_lines"),
        pl.col("item_price").fill_null(0.0).alias("cart_value"),
        pl.col("label").max().over("cart_id").alias("cart_label"),
    )
    # Every third cart of requests has one line alone.
    short = pl.int_range(pl.len()).over("cart_id").eq(0) | pl.col("cart_id").str.slice(4).cast(pl.Int64).mod(3).ne(0)
    told = cart.filter(short).with_columns(pl.col("label").max().over("cart_id").alias("cart_label"))
    asked = [
        told.with_columns(pl.format("{} {}", "cart_id", pl.lit(form)).alias("cart_id"), pl.lit(form).alias("form"))
        for form in FORMS
    ]
    tables = {"recommend": recommend, "ranking": ranking, "cart": cart, "cart_requests": pl.concat(asked)}
    if split != "train":
        tables["catalogue"] = items
    if split == "test":
        tables["recommend_requests"] = pl.concat([asked_as(form, recommend) for form in FORMS])
    for name, frame in tables.items():
        write(run, f"examples/{split}/{name}.parquet", frame)
        kept = encoded(frame).drop("target_items", "left_out", strict=False)
        write(run, f"features/{split}/{name}/part_0.parquet", kept)


def asked_as(form: str, recommend: pl.DataFrame) -> pl.DataFrame:
    """The questions as requests of a form: a known user with recent items is the shopper of the log, others lack id, items or both."""
    lists = pl.lit([], pl.List(pl.String))
    known = recommend if form in FORMS[2:] else recommend.with_columns(user_id=pl.lit(""))
    told = known if form in FORMS[1::2] else known.with_columns(lists.alias(name) for name in QUERY_LISTS)
    return told.with_columns(left_out="recent_items").with_columns(pl.lit(form).alias("form"))


def event_log(queries: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """The event of each test anchor, what the shoppers did on the days before, and one look at each item that nobody else touched."""
    own = [
        {"user": key, "item_id": item, "session_id": f"s{row // 4}", "timestamp": START + timedelta(minutes=row)}
        for row, (key, item) in enumerate(zip(queries["user_key"], queries["item_id"], strict=True))
    ]
    before = [
        {"user": key, "item_id": item, "session_id": f"old{row}", "timestamp": START - timedelta(minutes=600 - 4 * row - place)}
        for row, (key, recent) in enumerate(zip(queries["user_key"], queries["recent_items"], strict=True))
        for place, item in enumerate(recent)
    ]
    untouched = items.filter(~pl.col("item_id").is_in([each["item_id"] for each in (*own, *before)]))["item_id"]
    looked = [
        {"user": "stocktaker", "item_id": item, "session_id": "stock", "timestamp": START - timedelta(minutes=599)}
        for item in untouched
    ]
    frame = pl.DataFrame([*own, *before, *looked])
    return (
        frame.with_columns(
            user_id=pl.when(~pl.col("user").str.starts_with("session:")).then("user"),
            session_id=pl.when(pl.col("user").str.starts_with("session:")).then(pl.lit("s0")).otherwise("session_id"),
            event_type=pl.lit("view"),
            quantity=pl.lit(None, pl.Float64),
            timestamp=pl.col("timestamp").dt.cast_time_unit("us"),
        )
        .join(
            items.select("item_id", category="item_category", brand="item_brand", price=pl.col("item_price").cast(pl.Float64)),
            on="item_id",
            how="left",
            maintain_order="left",
        )
        .drop("user")
    )


def build_run(run: Path) -> Path:
    generator = np.random.default_rng(5)
    items = item_frame(generator)
    for split in ("train", "valid", "test"):
        write_split(run, split, generator, items)
    models = {
        "workflow/cross.onnx": cross_encoder(),
        # Unlike the retrieval model, it does not like what is popular: no score can be forgotten unnoticed.
        "models/ranking/model.onnx": ranker(QUERY_SCALARS + ITEM + CROSS, -0.3, 0.01),
        "models/cart/model.onnx": ranker(QUERY_SCALARS + ITEM + CROSS + CART, 0.01),
    }
    models |= {f"models/two_tower/{name}.onnx": model for name, model in towers().items()}
    for path, model in models.items():
        (run / path).parent.mkdir(parents=True, exist_ok=True)
        onnx.save_model(model, str(run / path))
    documents = {
        "snapshot/state.json": {
            "recent_items": LENGTH,
            "leave_out": "recent",
            "session_gap_us": 30 * 60_000_000,
            "interaction_types": ["view"],
        },
        "examples/report.json": {"t_valid": (START - timedelta(hours=1)).isoformat(), "t_test": START.isoformat()},
        "models/ranking/fusion.json": {"retrieval_weight": 0.5},
        "models/cart/calibration.json": {
            "slope": 1.1,
            "intercept": -0.1,
            "forms": {
                form: {
                    "one line": {"slope": float(place), "intercept": -0.2},
                    "several lines": {"slope": float(place > 1) * place, "intercept": -0.1},
                }
                for place, form in enumerate(FORMS)
            },
        },
        "models/cart/head.json": {
            "weights": [1.0, 0.2, 0.1],
            "bias": 0.1,
            "forms": {form: {"weights": [float(place), 0.2 * (place > 0), 0.0], "bias": 0.1} for place, form in enumerate(FORMS)},
        },
    }
    for path, content in documents.items():
        (run / path).parent.mkdir(parents=True, exist_ok=True)
        (run / path).write_text(json.dumps(content))
    write(run, "events/events.parquet", event_log(pl.read_parquet(run / "examples/test/recommend.parquet"), items))
    assert set(QUERY_CATEGORICAL) < set(QUERY)
    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run after prepare and train; do not change it."""
    return build_run(tmp_path_factory.mktemp("evaluated") / "run")


@pytest.fixture
def popular_is_true(own_run: Path) -> Callable[[float], Path]:
    """Makes a run in which shoppers turn to what is popular in their category, and the second stage likes it as much as is said."""

    def made(popularity: float) -> Path:
        onnx.save_model(ranker(QUERY_SCALARS + ITEM + CROSS, popularity), str(own_run / "models/ranking/model.onnx"))
        for name, model in towers(popularity=0.005).items():
            onnx.save_model(model, str(own_run / f"models/two_tower/{name}.onnx"))
        for split in ("valid", "test"):
            items = pl.read_parquet(own_run / f"examples/{split}/catalogue.parquet").sort("item_recent_events", descending=True)
            path = own_run / f"examples/{split}/recommend.parquet"
            queries = pl.read_parquet(path)
            targets = []
            for recent, kinds in zip(queries["recent_items"], queries["recent_categories"], strict=True):
                liked = items.filter(pl.col("item_category").is_in(kinds) & ~pl.col("item_id").is_in(recent))["item_id"]
                targets.append(liked.head(2).to_list())
            queries.with_columns(target_items=pl.Series(targets, dtype=pl.List(pl.String))).write_parquet(path)
        return own_run

    return made


@pytest.fixture
def own_run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to damage."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))
