"""Pipelines as a user of NVTabular and Merlin Models writes them: nothing here is of Cartwheel but that Merlin runs on current parts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cartwheel.merlin_compat import mm, tf


@dataclass(frozen=True)
class Pipeline:
    """A fitted workflow and a trained model, and raw rows with Merlin's own answers.

    Attributes:
        workflow: folder of the workflow.
        model: folder of the model.
        rows: raw rows of a request, without labels.
        answers: output -> Merlin's answers, [rows, n].
    """

    workflow: Path
    model: Path
    rows: dict[str, list[Any]]
    answers: dict[str, np.ndarray]


def inside(folder: Path, make: Callable[[Path], Pipeline]) -> Pipeline:
    """Make a pipeline while its folder is the working directory, for Merlin writes files beside where it runs."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return make(folder)
    finally:
        os.chdir(before)


def seeded(seed: int = 0) -> np.random.Generator:
    tf.keras.utils.set_random_seed(seed)
    return np.random.default_rng(seed)


def fitted(graph: Any, table: pd.DataFrame, folder: Path, cpu_parts: int = 1) -> tuple[Any, Any]:
    """Fit and save a workflow, and return it with the encoded table as Merlin's notebooks pass it to a model."""
    import nvtabular as nvt
    from merlin.io import Dataset

    workflow = nvt.Workflow(graph)
    workflow.fit(Dataset(table, npartitions=cpu_parts))
    workflow.save(str(folder / "workflow"))
    workflow.transform(Dataset(table)).to_parquet(str(folder / "train"))
    return workflow, Dataset(str(folder / "train" / "*.parquet"), engine="parquet", schema=workflow.output_schema)


def merlins_answers(workflow: Any, model: Any, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return what Merlin itself answers: its loader and its model, eagerly."""
    from merlin.io import Dataset

    loader = mm.Loader(workflow.transform(Dataset(table)), batch_size=len(table), shuffle=False)
    inputs, _ = next(iter(loader))
    found = model(inputs, training=False)
    if not isinstance(found, dict):
        return {"": np.asarray(found)}
    return {name: np.asarray(value) for name, value in found.items()}


def movielens_table(generator: np.random.Generator, rows: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    genres = np.array(["Drama", "Comedy", "Action", "Sci-Fi", "Noir"])
    movies = pd.DataFrame(
        {
            "movieId": np.arange(1, 61),
            "genres": [list(generator.choice(genres, generator.integers(1, 4), replace=False)) for _ in range(60)],
            "year": generator.integers(1950, 2020, 60).astype("float32"),
        }
    )
    ratings = pd.DataFrame({"userId": generator.integers(1, 80, rows), "movieId": generator.integers(1, 61, rows)})
    ratings["age"] = generator.normal(35, 10, rows).astype("float32")
    ratings["rating"] = ((ratings.userId % 5 + ratings.movieId % 7) > 4).astype("int64")
    return ratings, movies


def movielens(folder: Path, kind: str = "dlrm", rows: int = 1200, floats: str | None = None) -> Pipeline:
    """MovieLens as in Merlin's examples: genres by a join, ids, the mean rating of a user, normalised numbers; DLRM or DCN.

    ``floats`` is the type of what is normalised: NVTabular's float64 where it is left out.
    """
    import nvtabular.ops as ops
    from merlin.schema import Tags

    generator = seeded()
    ratings, movies = movielens_table(generator, rows)
    joined = ["userId", "movieId"] >> ops.JoinExternal(movies, on=["movieId"])
    ids = joined["userId", "movieId", "genres"] >> ops.Categorify(out_path=str(folder))
    numbers = joined["year"] >> ops.FillMissing(fill_val=1990.0) >> ops.Normalize(out_dtype=floats)
    means = (
        ["userId"] >> ops.TargetEncoding("rating", kfold=1, p_smooth=20, out_path=str(folder)) >> ops.Normalize(out_dtype=floats)
    )
    age = ["age"] >> ops.FillMedian() >> ops.LogOp() >> ops.Normalize(out_dtype=floats)
    label = ["rating"] >> ops.AddMetadata(tags=[Tags.BINARY_CLASSIFICATION, Tags.TARGET])
    workflow, train = fitted(ids + numbers + means + age + label, ratings, folder)
    schema = train.schema
    output = mm.BinaryOutput("rating")
    if kind == "dlrm":
        model = mm.DLRMModel(
            schema, embedding_dim=8, bottom_block=mm.MLPBlock([16, 8]), top_block=mm.MLPBlock([16]), prediction_tasks=output
        )
    elif kind == "dcn":
        model = mm.DCNModel(schema, depth=2, deep_block=mm.MLPBlock([16]), prediction_tasks=output)
    elif kind == "deepfm":  # whose wide part takes no lists
        model = mm.DeepFMModel(
            schema.excluding_by_name(["genres"]), embedding_dim=8, deep_block=mm.MLPBlock([16]), prediction_tasks=output
        )
    else:
        wide = schema.select_by_name(["userId", "movieId"])
        model = mm.WideAndDeepModel(
            schema,
            wide_schema=wide,
            deep_schema=schema,
            deep_block=mm.MLPBlock([16]),
            wide_preprocess=mm.CategoryEncoding(wide, output_mode="multi_hot", sparse=True),
            prediction_tasks=output,
        )
    model.compile(optimizer="adam", run_eagerly=False)
    model.fit(train, batch_size=400, epochs=1, verbose=0)
    asked = ratings.head(40)
    answers = merlins_answers(workflow, model, asked)
    model.save(str(folder / kind))
    rows_asked = {name: asked[name].tolist() for name in ("userId", "movieId", "age")}
    return Pipeline(folder / "workflow", folder / kind, rows_asked, answers)


def criteo(folder: Path, rows: int = 1500) -> Pipeline:
    """A Criteo-like table: hashed ids, buckets, a cross, two columns that share a vocabulary, counts of groups; DCN."""
    import nvtabular.ops as ops
    from merlin.schema import Tags

    generator = seeded()
    table = pd.DataFrame({f"I{place}": generator.lognormal(1, 1, rows).astype("float32") for place in (1, 2)})
    table["C1"] = generator.integers(0, 10**9, rows)
    table["C2"], table["C3"] = generator.integers(0, 40, rows), generator.integers(0, 40, rows)
    table["C4"] = generator.integers(0, 15, rows)
    table["label"] = ((table.C2 + table.C4) % 3 == 0).astype("int64")
    graph = (
        ["C1"]
        >> ops.HashBucket({"C1": 50})
        >> ops.AddMetadata([Tags.CATEGORICAL], {"domain": {"min": 0, "max": 49, "name": "C1"}})
    )
    graph += [["C2", "C3"]] >> ops.Categorify(encode_type="joint", out_path=str(folder))
    crossed = {"domain": {"min": 0, "max": 29, "name": "crossed"}}
    graph += [["C3", "C4"]] >> ops.HashedCross(30) >> ops.AddMetadata([Tags.CATEGORICAL], crossed)
    graph += ["C4"] >> ops.Categorify(num_buckets=8, freq_threshold=60, out_path=str(folder))
    graph += ["I1"] >> ops.Bucketize({"I1": [1.0, 2.0, 5.0]}) >> ops.Normalize() >> ops.Rename(postfix="_bucket")
    graph += ["I1", "I2"] >> ops.Clip(min_value=0.0, max_value=20.0) >> ops.LogOp() >> ops.NormalizeMinMax()
    graph += ["C2"] >> ops.JoinGroupby(cont_cols=["I2"], stats=["count", "mean"], out_path=str(folder)) >> ops.Normalize()
    graph += ["label"] >> ops.AddMetadata(tags=[Tags.BINARY_CLASSIFICATION, Tags.TARGET])
    workflow, train = fitted(graph, table, folder)
    model = mm.DCNModel(train.schema, depth=2, deep_block=mm.MLPBlock([16]), prediction_tasks=mm.BinaryOutput("label"))
    model.compile(optimizer="adam", run_eagerly=False)
    model.fit(train, batch_size=500, epochs=1, verbose=0)
    # NVTabular mixes the place of a row in its table into a hash: each row is asked by itself, as in a request.
    asked = table.head(12)
    single = [asked.iloc[place : place + 1].reset_index(drop=True) for place in range(len(asked))]
    each = [merlins_answers(workflow, model, row) for row in single]
    answers = {name: np.concatenate([one[name] for one in each]) for name in each[0]}
    model.save(str(folder / "dcn"))
    return Pipeline(folder / "workflow", folder / "dcn", asked.drop(columns="label").to_dict("list"), answers)


def mmoe(folder: Path, rows: int = 1200) -> Pipeline:
    """Two tasks over the same shoppers and films, by a mixture of experts."""
    import nvtabular.ops as ops
    from merlin.schema import Tags

    generator = seeded()
    table, _ = movielens_table(generator, rows)
    table["watched"] = (table.movieId % 3 == 0).astype("int64")
    graph = ["userId", "movieId"] >> ops.Categorify(out_path=str(folder))
    graph += ["age"] >> ops.Normalize()
    graph += ["rating", "watched"] >> ops.AddMetadata(tags=[Tags.BINARY_CLASSIFICATION, Tags.TARGET])
    workflow, train = fitted(graph, table, folder)
    schema = train.schema
    outputs = mm.OutputBlock(schema)
    experts = mm.MMOEBlock(outputs, expert_block=mm.MLPBlock([16]), num_experts=3, gate_block=mm.MLPBlock([8]))
    model = mm.Model(mm.InputBlockV2(schema), experts, outputs)
    model.compile(optimizer="adam", run_eagerly=False)
    model.fit(train, batch_size=400, epochs=1, verbose=0)
    asked = table.head(40)
    answers = merlins_answers(workflow, model, asked)
    model.save(str(folder / "mmoe"))
    return Pipeline(folder / "workflow", folder / "mmoe", asked[["userId", "movieId", "age"]].to_dict("list"), answers)


@dataclass(frozen=True)
class Towers(Pipeline):
    """Two towers.

    Attributes:
        items: Parquet file of raw items.
        item_tower: folder of the tower of items.
        vectors: Parquet file of the items' vectors under encoded ids, as Merlin writes them.
    """

    items: Path
    item_tower: Path
    vectors: Path


def two_towers(folder: Path, rows: int = 1200) -> Towers:
    """Retrieval: a tower of shoppers, one of films, and the vectors of all films."""
    import nvtabular.ops as ops
    from merlin.io import Dataset
    from merlin.schema import Tags

    generator = seeded()
    table, movies = movielens_table(generator, rows)
    movies = movies[["movieId", "year"]]
    table = table.merge(movies, on="movieId")
    graph = ["userId"] >> ops.Categorify(out_path=str(folder)) >> ops.TagAsUserID()
    graph += ["age"] >> ops.Normalize() >> ops.TagAsUserFeatures()
    graph += ["movieId"] >> ops.Categorify(out_path=str(folder)) >> ops.TagAsItemID()
    graph += ["year"] >> ops.Normalize() >> ops.TagAsItemFeatures()
    workflow, train = fitted(graph, table, folder)
    schema = train.schema
    shopper = mm.Encoder(schema.select_by_tag(Tags.USER), mm.MLPBlock([16, 8], no_activation_last_layer=True))
    film = mm.Encoder(schema.select_by_tag(Tags.ITEM), mm.MLPBlock([16, 8], no_activation_last_layer=True))
    model = mm.TwoTowerModelV2(shopper, film)
    model.compile(optimizer="adam", run_eagerly=False)
    model.fit(train, batch_size=400, epochs=1, verbose=0)
    model.query_encoder.save(str(folder / "query"))
    model.candidate_encoder.save(str(folder / "film"))
    films = workflow.transform(Dataset(movies.assign(userId=1, age=np.float32(30)))).to_ddf().compute().drop_duplicates("movieId")
    item_schema = schema.select_by_tag(Tags.ITEM)
    vectors = np.asarray(
        film({name: tf.constant(films[name].to_numpy(), _type(item_schema, name)) for name in item_schema.column_names})
    )
    found = pd.DataFrame(vectors, columns=[str(place) for place in range(vectors.shape[1])])
    found["movieId"] = films["movieId"].to_numpy()
    found.to_parquet(folder / "vectors.parquet")
    movies.to_parquet(folder / "films.parquet")
    asked = table.head(30)
    encoded = workflow.transform(Dataset(asked)).to_ddf().compute()
    users = schema.select_by_tag(Tags.USER)
    query = np.asarray(shopper({name: tf.constant(encoded[name].to_numpy(), _type(users, name)) for name in users.column_names}))
    scores = query @ vectors.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    keys = movies["movieId"].to_numpy()  # films are in the order of the raw table
    answers = {"top_items": keys[order], "top_scores": np.take_along_axis(scores, order, axis=1)}
    return Towers(
        folder / "workflow",
        folder / "query",
        asked[["userId", "age"]].to_dict("list"),
        answers,
        folder / "films.parquet",
        folder / "film",
        folder / "vectors.parquet",
    )


def _type(schema: Any, name: str) -> Any:
    return tf.float32 if str(schema[name].dtype.name).startswith("float") else tf.int64


def sessions(folder: Path, rows: int = 600) -> Pipeline:
    """The next item of a session by an LSTM of Keras, over lists that NVTabular encodes, cuts and fills up."""
    import nvtabular.ops as ops

    generator = seeded()
    names = np.array([f"item {place}" for place in range(25)])
    table = pd.DataFrame({"items": [list(generator.choice(names, generator.integers(1, 9))) for _ in range(rows)]})
    table["seconds"] = [generator.exponential(30, len(items)).astype("float32").tolist() for items in table["items"]]
    graph = ["items"] >> ops.Categorify(out_path=str(folder)) >> ops.ListSlice(0, 6, pad=True, pad_value=0)
    graph += ["seconds"] >> ops.LogOp() >> ops.Normalize(out_dtype="float32") >> ops.ListSlice(0, 6, pad=True, pad_value=0)
    workflow, _ = fitted(graph, table, folder)
    encoded = workflow.transform(table)

    def padded(name: str, kind: str) -> np.ndarray:
        matrix = np.zeros((len(table), 6), kind)
        for place, row in enumerate(encoded[name]):
            matrix[place, : len(row)] = row
        return matrix

    inputs = {"items": tf.keras.Input((6,), dtype=tf.int64, name="items"), "seconds": tf.keras.Input((6,), name="seconds")}
    embedded = tf.keras.layers.Embedding(28, 12, mask_zero=True)(inputs["items"])
    both = tf.keras.layers.Concatenate()([embedded, tf.keras.layers.Reshape((6, 1))(inputs["seconds"])])
    state = tf.keras.layers.LSTM(16)(both, mask=tf.keras.layers.Lambda(lambda ids: ids > 0)(inputs["items"]))
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(28, name="next_item")(state))
    feeds = {"items": padded("items", "int64"), "seconds": padded("seconds", "float32")}
    model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(feeds, feeds["items"][:, 0], batch_size=200, epochs=1, verbose=0)
    model.save(str(folder / "session"), save_format="tf")
    scores = np.array(model({name: value[:30] for name, value in feeds.items()}))
    scores[:, :3] = -np.inf  # padding, null and unknown are no items
    order = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    keys = np.array(
        ["", "", "", *pd.read_parquet(folder / "workflow/categories/unique.items.parquet")["items"].dropna()], dtype=object
    )
    answers = {"top_items": keys[order], "top_scores": np.take_along_axis(scores, order, axis=1)}
    return Pipeline(folder / "workflow", folder / "session", table.head(30).to_dict("list"), answers)


def grouped_sessions(folder: Path, sessions_: int = 200) -> Pipeline:
    """Sessions as Transformers4Rec's examples make them: events in the order of their instants, grouped, cut; a GRU of Keras."""
    import nvtabular.ops as ops

    generator = seeded()
    events = pd.DataFrame({"session": np.repeat(np.arange(sessions_), generator.integers(1, 9, sessions_))})
    events["when"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(generator.permutation(len(events)), unit="s")
    events["item"] = generator.integers(100, 130, len(events))
    events["price"] = generator.lognormal(1, 1, len(events)).astype("float32")
    encoded = ["item"] >> ops.Categorify(out_path=str(folder))
    encoded += ["price"] >> ops.LogOp() >> ops.Normalize(out_dtype="float32")
    encoded += ["session", "when"]
    grouped = encoded >> ops.Groupby(
        groupby_cols=["session"], sort_cols=["when"], aggs={"item": ["list", "last", "count"], "price": ["list"]}
    )
    cut = grouped["item_list", "price_list"] >> ops.ListSlice(0, 5, pad=True, pad_value=0)
    workflow, _ = fitted(cut + grouped["item_last", "item_count"], events, folder)
    table = workflow.transform(events)

    def padded(name: str, kind: str) -> np.ndarray:
        matrix = np.zeros((len(table), 5), kind)
        for place, row in enumerate(table[name]):
            matrix[place, : len(row)] = row
        return matrix

    items, prices = tf.keras.Input((5,), dtype=tf.int64, name="item_list"), tf.keras.Input((5,), name="price_list")
    last = tf.keras.Input((1,), dtype=tf.int64, name="item_last")
    count = tf.keras.Input((1,), dtype=tf.int32, name="item_count")
    table_of_items = tf.keras.layers.Embedding(33, 8)
    steps = tf.keras.layers.Concatenate()([table_of_items(items), tf.keras.layers.Reshape((5, 1))(prices)])
    whole = [tf.keras.layers.GRU(8)(steps), tf.keras.layers.Flatten()(table_of_items(last)), tf.cast(count, tf.float32)]
    model = tf.keras.Model([items, prices, last, count], tf.keras.layers.Dense(1, name="buys")(tf.concat(whole, axis=1)))
    feeds = [padded("item_list", "int64"), padded("price_list", "float32")]
    feeds += [table[name].to_numpy().reshape(-1, 1) for name in ("item_last", "item_count")]
    model.save(str(folder / "grouped"), save_format="tf")
    answers = {"buys": np.asarray(model(feeds))[:20]}
    rows = events.sort_values("when").groupby("session")[["item", "price"]].agg(list).head(20)
    return Pipeline(folder / "workflow", folder / "grouped", rows.to_dict("list"), answers)
