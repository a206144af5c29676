"""Fits the feature workflows on the training examples alone, saves them, encodes every table, and compiles them to ONNX.

Three NVTabular workflows share fitted operators (see ``workflows.encoding.feature_graph``): ``recommend`` (QUERY and ITEM),
``ranking`` (QUERY
without its lists, ITEM, CROSS) and ``cart`` (the same and CART). The plan of each saved workflow encodes the tables (Polars) and becomes
the ONNX models that encode requests; both are checked against NVTabular's own transform on rows of every split, and a difference fails
the run.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import onnx
import polars as pl

from cartwheel.core.errors import DataError
from cartwheel.core.files import atomic_path, write_json
from cartwheel.core.frames import read_frame, scan_frame
from cartwheel.core.progress import progress
from cartwheel.core.run_layout import RELATIVE, SNAPSHOT, RunLayout, WorkflowLayout
from workflows.audit.fitted import check_fitted
from workflows.compiler.operators.categorify import OUT_OF_VOCABULARY, Lookup
from workflows.compiler.operators.normalize import Standardize
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.graph import Plan
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.parity import check_parity, unpadded
from workflows.compiler.plan.read import read_plan
from workflows.compiler.quiet import quiet_nvtabular
from workflows.encoding.encode import check_columns, encode, encode_slices, load_workflow
from workflows.encoding.schema import build_schema, load_schema, write_schema
from workflows.encoding.vocabulary import choose_vocabularies
from workflows.features.columns import (
    CALENDAR,
    CART,
    CROSS,
)
from workflows.features.feature_set import BUILT_IN, FeatureSet, ranking_columns, read_feature_set
from workflows.prepare.windows import read_windows
from workflows.settings import FeatureSettings
from workflows.tasks.cart_requests import CART_REQUESTS
from workflows.tasks.recommend import REFIT
from workflows.tasks.recommend_requests import RECOMMEND_REQUESTS

__all__ = ["FeatureReport", "fit_features", "load_schema", "load_workflow", "vocabularies_of"]

SPLITS: Final = ("train", "valid", "test")
PARITY_ROWS: Final = 256
_TOLD: Final = ("target_items", "given_items", "cart_items")
"""Columns that are neither features nor passed through."""


@dataclass(frozen=True)
class Table:
    """A table to encode: the raw file, the folder of the encoded one, and which columns of which workflow; both relative to the run."""

    source: Path
    target: Path
    workflow: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class FeatureReport:
    """What was fitted and written.

    Attributes:
        workflows: names of the fitted workflows; ``cart`` is missing where the log has no carts.
        cardinalities: categorical column -> number of ids, 3 of them reserved.
        constant: continuous columns that never vary in training; they encode to their difference from that one value.
        rows: encoded table, for example ``train/ranking`` -> rows.
        unknown: encoded table -> share of its ``item_id`` that is out of vocabulary.
        audit: what the leakage audit looked at -> how many; see ``workflows.audit.fitted``.
        warnings: what the reader should know.
    """

    workflows: tuple[str, ...]
    cardinalities: Mapping[str, int]
    constant: tuple[str, ...]
    rows: Mapping[str, int]
    unknown: Mapping[str, float]
    audit: Mapping[str, int]
    warnings: tuple[str, ...]


def workflow_columns(features: FeatureSet) -> dict[str, tuple[str, ...]]:
    """Return the columns that each workflow encodes."""
    return {
        "recommend": features.recommend,
        "ranking": ranking_columns(features),
        "cart": ranking_columns(features, CART),
    }


def graph_columns(features: FeatureSet) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return, for each ONNX file, the workflow that it is compiled from and its columns."""
    return {
        "query": ("recommend", features.query),
        "item": ("recommend", features.item),
        "cross": ("ranking", CROSS),
        "cart": ("cart", CART),
    }


def fit_features(run: Path, settings: FeatureSettings) -> FeatureReport:
    """Fit, save, encode and compile the features of a run.

    Reads ``examples/`` and ``snapshot/``; writes ``workflow/`` (whole or not at all) and ``features/`` (each table whole or not at all,
    and the report as ``report.json``).

    Args:
        run: the run directory, after the examples are written.
        settings: frequency thresholds, engine, and an earlier run whose ids are kept.

    Returns:
        What was written.

    Raises:
        RunError: if a table of examples is missing or cannot be read.
        DataError: if a table has not the columns of the contract, or there is nothing to train on.
        NotCompilableError: if the feature graph has an operator without an ONNX form.
        LeakageError: if anything was fitted on more than the training examples; nothing is written then.
        ParityError: if the compiled graph differs from NVTabular; nothing is written then.
    """
    columns_of = read_feature_set(RunLayout(run))
    tables = list_tables(run)
    with progress("features", 2 + len(tables)) as advance:
        with atomic_path(RunLayout(run).workflow_folder) as folder:
            names = _fit_and_save(run, settings, folder, columns_of)
            advance(1, "fitted")
            made = WorkflowLayout(folder)
            plans = {name: read_plan(load_workflow(made.workflow(name))) for name in names}
            audited = check_fitted(run, plans, _medians(columns_of), settings)
            for name, (workflow, columns) in graph_columns(columns_of).items():
                if workflow in plans:
                    model = compile_onnx(plans[workflow], columns, name)
                    _check(run, made.workflow(workflow), plans[workflow], model, columns, columns_of)
                    onnx.save_model(model, str(made.graph(name)))
            advance(1, "compiled and checked")
        cardinalities = _cardinalities(plans)
        rows, unknown = {}, {}
        for table in tables:
            name = table.target.relative_to(RELATIVE.features_folder).as_posix()
            rows[name], unknown[name] = _encode_table(run, table, plans[table.workflow], settings, cardinalities, columns_of)
            advance(1, name)
    written = {table.target for table in tables}
    for stale in {RELATIVE.features(split, name) for split in SPLITS for name in ("cart", CART_REQUESTS)} - written:
        shutil.rmtree(run / stale, ignore_errors=True)  # of an earlier log that had carts
    held = {table.target.parent for table in tables}
    for folder in RunLayout(run).features_folder.glob("window_*"):
        if folder.relative_to(run) not in held:
            shutil.rmtree(folder, ignore_errors=True)  # of settings with more windows
    report = FeatureReport(
        names, cardinalities, _constants(plans), rows, unknown, audit=audited.counts, warnings=tuple(audited.warnings)
    )
    write_json(RunLayout(run).features_report, asdict(report))
    return report


def list_tables(run: Path) -> list[Table]:
    """List the tables of a run that get encoded; those of carts only where training has them."""
    layout, features = RunLayout(run), read_feature_set(RunLayout(run))
    workflows, carts = workflow_columns(features), layout.examples("train", "cart").is_file()
    tables = [
        Table(RELATIVE.examples(split, name), RELATIVE.features(split, name), name, columns)
        for split in SPLITS
        for name, columns in workflows.items()
        if name != "cart" or (carts and layout.examples(split, "cart").is_file())
    ]
    asked = [split for split in SPLITS if carts and layout.examples(split, CART_REQUESTS).is_file()]
    tables += [
        Table(RELATIVE.examples(split, CART_REQUESTS), RELATIVE.features(split, CART_REQUESTS), "cart", workflows["cart"])
        for split in asked
    ]
    tables += [
        Table(RELATIVE.examples(split, "catalogue"), RELATIVE.features(split, "catalogue"), "recommend", features.item)
        for split in SPLITS[1:]
    ]
    if layout.examples("test", RECOMMEND_REQUESTS).is_file():  # a run of an earlier release has none
        paths = RELATIVE.examples("test", RECOMMEND_REQUESTS), RELATIVE.features("test", RECOMMEND_REQUESTS)
        tables.append(Table(*paths, "recommend", workflows["recommend"]))
    tables.append(
        Table(RELATIVE.examples("valid", REFIT), RELATIVE.features("valid", REFIT), "recommend", workflows["recommend"])
    )
    for window in read_windows(layout):
        for name, columns in (("recommend", workflows["recommend"]), ("catalogue", features.item)):
            tables.append(Table(RELATIVE.examples(window, name), RELATIVE.features(window, name), "recommend", columns))
    tables.append(Table(RELATIVE.snapshot("items"), RELATIVE.features(SNAPSHOT, "items"), "recommend", features.item))
    tables.append(Table(RELATIVE.snapshot("queries"), RELATIVE.features(SNAPSHOT, "queries"), "recommend", features.query))
    tables.append(Table(RELATIVE.snapshot("requests"), RELATIVE.features(SNAPSHOT, "requests"), "recommend", features.query))
    return tables


def read_table(path: Path, columns: Sequence[str], features: FeatureSet = BUILT_IN, *, only: bool = False) -> pl.DataFrame:
    """Read a table of examples and check its raw feature columns.

    Args:
        path: a Parquet file.
        columns: the raw features wanted of it.
        features: the columns of the run.
        only: whether to read those columns and no others.

    Returns:
        The table.

    Raises:
        RunError: if it is missing or no Parquet file.
        DataError: if columns are missing or of another type.
    """
    held = scan_frame(path).collect_schema().names() if only else ()
    frame = read_frame(path, [column for column in held if column in columns] if only else None)
    check_columns(frame, columns, path, features)
    return frame


def _fit_and_save(run: Path, settings: FeatureSettings, folder: Path, features: FeatureSet) -> tuple[str, ...]:
    """Fit the blocks on the training tables and save the workflows that they make up; return their names."""
    workflows = workflow_columns(features)
    recommend = _training_table(run, "recommend", features)
    scratch = folder / ".fitting"
    scratch.mkdir(parents=True)
    with quiet_nvtabular():
        from workflows.encoding import feature_graph

        previous = None if settings.keep_ids_of is None else RunLayout(settings.keep_ids_of).workflow("recommend")
        fitting = feature_graph.Fitting(scratch, settings.engine)
        growing = feature_graph.Fitting(scratch, settings.engine, previous)
        earlier = vocabularies_of(previous) if previous else {}
        chosen = choose_vocabularies(recommend, settings, earlier, features.own)
        chains = [
            *feature_graph.categorical_block(chosen, scratch),
            *feature_graph.fit_calendar(recommend.select(CALENDAR), growing),
            *feature_graph.fit_numbers(recommend.select(features.query_continuous), fitting, features.columns),
            *feature_graph.fit_numbers(recommend.select(features.item_continuous), fitting, features.columns),
        ]
        for name, columns in workflows.items():
            if name == "ranking":
                chains += feature_graph.fit_numbers(_training_table(run, name, features).select(CROSS), fitting)
            if name == "cart":
                if not RunLayout(run).examples("train", "cart").is_file():
                    continue
                chains += feature_graph.fit_numbers(_training_table(run, name, features).select(CART), fitting)
            feature_graph.compose(chains, columns, features).save(str(folder / name))
    shutil.rmtree(scratch)
    return tuple(name for name in workflows if (folder / name).is_dir())


def vocabularies_of(workflow: Path) -> dict[str, Sequence[str]]:
    """Return the vocabularies of the strings of a saved workflow: domain -> its values in the order of their ids."""
    plan = read_plan(load_workflow(workflow))
    steps = [step for column in plan for step in plan.steps(column) if isinstance(step, Lookup)]
    return {step.domain: step.keys.columns[0].cast(pl.String).to_list() for step in steps if step.domain not in CALENDAR}


def _training_table(run: Path, name: str, features: FeatureSet) -> pl.DataFrame:
    path = RunLayout(run).examples("train", name)
    frame = read_table(path, workflow_columns(features)[name], features)
    if not frame.height:
        raise DataError(
            f"{path} has no rows to fit features on.",
            "Give prepare a longer log, smaller valid_share and test_share, or a later valid_from.",
        )
    return frame


def _check(run: Path, folder: Path, plan: Plan, model: onnx.ModelProto, columns: Sequence[str], features: FeatureSet) -> None:
    """Check both back ends on rows of every split against the saved workflow."""
    workflow = load_workflow(folder, columns, features)
    session = open_session(model)
    for split in SPLITS:
        path = RunLayout(run).examples(split, folder.name)
        if path.is_file():
            raw = read_table(path, columns, features, only=True)
            raw = raw.gather_every(max(1, raw.height // PARITY_ROWS)).head(PARITY_ROWS)
            if raw.height:
                expected = encode(workflow, raw, features=features)
                check_parity(plan, raw, expected, compile_polars(plan, raw.lazy(), columns).collect(), ("NVTabular", "Polars"))
                check_parity(plan, raw, expected, unpadded(encode_onnx(session, raw), expected), ("NVTabular", "ONNX"))


def _encode_table(
    run: Path, table: Table, plan: Plan, settings: FeatureSettings, cardinalities: Mapping[str, int], features: FeatureSet
) -> tuple[int, float]:
    """Encode one table; return its rows and the share of its items that are out of vocabulary."""
    frame = read_table(run / table.source, table.columns, features)
    encoded_columns = {*(column.name for column in features.columns), *_TOLD}
    kept = [column for column in frame.columns if column not in encoded_columns]
    if settings.engine == "nvtabular":
        encoded = encode_slices(
            load_workflow(RunLayout(run).workflow(table.workflow), table.columns, features), frame, features
        ).select(table.columns)
    else:
        engine: Literal["gpu", "streaming"] = "gpu" if settings.engine == "polars-gpu" else "streaming"
        encoded = compile_polars(plan, frame.lazy(), table.columns).collect(engine=engine)
    unknown = int((encoded["item_id"] == OUT_OF_VOCABULARY).sum()) if "item_id" in table.columns else 0
    with atomic_path(run / table.target) as folder:
        folder.mkdir()
        pl.DataFrame([*frame.select(kept).get_columns(), *encoded.get_columns()]).write_parquet(folder / "part.0.parquet")
        write_schema(build_schema([*kept, *table.columns], cardinalities, features), folder)
    return frame.height, unknown / max(frame.height, 1)


def encode_as(run: Path, source: Path, target: Path, *, settings: FeatureSettings) -> None:
    """Encode a table of questions of another run with the workflow of this one.

    Args:
        run: the run whose ``recommend`` workflow encodes.
        source: raw questions, absolute.
        target: folder of the encoded table, absolute, which is replaced.
        settings: which engine encodes.

    Raises:
        RunError, DataError: if the workflow or the questions are missing, or the questions have not the columns of the run.
    """
    features = read_feature_set(RunLayout(run))
    plan = read_plan(load_workflow(RunLayout(run).workflow("recommend")))
    _encode_table(
        run, Table(source, target, "recommend", features.query), plan, settings, _cardinalities({"recommend": plan}), features
    )


def _medians(features: FeatureSet) -> tuple[str, ...]:
    """Return the columns whose missing values a median fills."""
    with quiet_nvtabular():
        from workflows.encoding import feature_graph
    return tuple(c.name for c in features.columns if c.kind in feature_graph.NUMBERS and feature_graph.fill_value(c) is None)


def _cardinalities(plans: Mapping[str, Plan]) -> dict[str, int]:
    lookups = {name: step for plan in plans.values() for name in plan for step in plan.steps(name) if isinstance(step, Lookup)}
    return {name: step.cardinality for name, step in lookups.items()}


def _constants(plans: Mapping[str, Plan]) -> tuple[str, ...]:
    columns = {name: plan.steps(name) for plan in plans.values() for name in plan}
    return tuple(
        name for name, steps in columns.items() if any(isinstance(step, Standardize) and not step.std > 0 for step in steps)
    )
