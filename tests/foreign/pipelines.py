"""Pipelines as a user of NVTabular and Merlin Models writes them: nothing here is of Cartwheel but that Merlin runs on current parts."""

from __future__ import annotations

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


def movielens(folder: Path, kind: str = "dlrm", rows: int = 1200) -> Pipeline:
    """MovieLens as in Merlin's examples: genres by a join, ids, the mean rating of a user, normalised numbers; DLRM or DCN."""
    import nvtabular.ops as ops
    from merlin.schema import Tags

    generator = seeded()
    ratings, movies = movielens_table(generator, rows)
    joined = ["userId", "movieId"] >> ops.JoinExternal(movies, on=["movieId"])
    ids = joined["userId", "movieId", "genres"] >> ops.Categorify(out_path=str(folder))
    numbers = joined["year"] >> ops.FillMissing(fill_val=1990.0) >> ops.Normalize()
    means = ["userId"] >> ops.TargetEncoding("rating", kfold=1, p_smooth=20, out_path=str(folder)) >> ops.Normalize()
    age = ["age"] >> ops.FillMedian() >> ops.LogOp() >> ops.Normalize()
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
    elif kind == "deepfm":
        model = mm.DeepFMModel(schema, embedding_dim=8, deep_block=mm.MLPBlock([16]), prediction_tasks=output)
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
