"""What each stage and command does, by calling the rooms; they are imported where they are used, so that the command line stays quick."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console

from cartwheel.config import RunSettings
from cartwheel.core.errors import ConfigError, RunError
from cartwheel.core.files import sha256
from cartwheel.core.run_layout import EventsLayout, RunLayout
from cartwheel.pipeline.reads import READ_FROM_FILES, SIMULATED, fields_judged, has_identity, is_simulated, values_of
from cartwheel.pipeline.run_directory import stamps
from workflows.settings import IDENTITY, PrepareSettings, SourceSettings


def source_files(settings: RunSettings) -> list[Path]:
    """Return the files from outside the run that the events are read from.

    Raises:
        ConfigError: if the source cannot be opened, or events, or how to read them, are given to a simulated shop, which would ignore
            them.
        DataError: if there are no files to read.
    """
    if is_simulated(settings):
        _check_nothing_to_read(settings.source)
        return []
    from workflows.events.sources import open_source

    return open_source(settings.source, settings.run, settings.events.extra_types).inputs()


def _check_nothing_to_read(source: SourceSettings) -> None:
    default = SourceSettings()
    for field in READ_FROM_FILES:
        name = field.partition(".")[2]
        value = getattr(source, name)
        if value != getattr(default, name):
            raise ConfigError(
                f"{field} is {value}, but source.kind is {SIMULATED!r}, which reads no files.",
                f"Name the kind of those files in source.kind ('table' for your own), or leave the {name} out to simulate a shop.",
            )


def events_from(settings: RunSettings) -> object:
    """Return what identifies the files that the events are read from; raises as ``source_files``."""
    events = stamps(source_files(settings))
    if not has_identity(settings):
        return events
    from workflows.events.side_tables import table_inputs

    return [events, stamps(table_inputs(IDENTITY, settings.tables[IDENTITY]))]


def ids_from(settings: RunSettings) -> object:
    """Return what identifies the earlier run whose ids are kept: the content of the workflow that holds them.

    Raises:
        RunError: if that run has no such workflow.
    """
    earlier = settings.features.keep_ids_of
    if earlier is None:
        return None
    workflow = RunLayout(earlier).workflow("recommend")
    if not workflow.is_dir():
        raise RunError(
            f"features.keep_ids_of is {earlier}, which has no fitted workflow ({workflow} is not there).",
            "Name an earlier run that has been prepared, or leave keep_ids_of out for new ids.",
        )
    return sha256(workflow)


def weights_from(model: str) -> Callable[[RunSettings], object]:
    """Return what identifies the earlier model that the training of ``model`` starts from: its weights.

    What it returns raises RunError if there is no such model.
    """

    def of(settings: RunSettings) -> object:
        earlier: Path | None = getattr(settings, model).start_from
        if earlier is None or (model == "two_tower" and settings.retrieval.model != model):
            return None
        folder = RunLayout(earlier).model(model)
        if not folder.weights.is_file():
            raise RunError(
                f"{model}.start_from is {earlier}, which has no trained model ({folder.weights} is not there).",
                "Name an earlier run that has been trained, or leave start_from out to train from the start.",
            )
        return [sha256(each.weights) for each in (folder, folder.validation) if each.weights.is_file()]

    return of


def _check_start(run: Path, earlier: Path | None) -> None:
    """Check that training may start from an earlier run; see :func:`models.training.warm_start.require_earlier`."""
    if earlier is not None:
        from models.training.warm_start import require_earlier

        require_earlier(RunLayout(run), RunLayout(earlier))


def simulate_shop(out: Path, shoppers: int, items: int, days: int, seed: int) -> int:
    """Simulate a shop into ``out`` and return how many events it wrote."""
    import polars as pl

    from workflows.simulate import SimulateSettings, simulate

    simulate(SimulateSettings(shoppers=shoppers, items=items, days=days), seed, out)
    return int(pl.scan_parquet(out / "events.parquet").select(pl.len()).collect().item())


def events(run: Path, settings: RunSettings) -> None:
    """Read the events from their source, or simulate them, and check them."""
    layout = RunLayout(run)
    from workflows.events.sources import open_source
    from workflows.events.validate import check_events

    source = settings.source
    if is_simulated(settings):
        simulate_shop(layout.simulation, source.shoppers, source.items, source.days, settings.seed)
        source = SourceSettings(kind="table", path=layout.simulated_events)
    summary = check_events(open_source(source, run, settings.events.extra_types), settings.events, layout.events_folder)
    if has_identity(settings):
        from workflows.events.identity import join_identity

        summary = join_identity(EventsLayout(layout.events_folder), summary, settings.tables[IDENTITY])
    Console(stderr=True).print(
        f"{summary.rows:,} events of {summary.users:,} users and {summary.items:,} items, {summary.first[:10]} to {summary.last[:10]}"
    )
    warn(summary.remarks)
    if summary.quarantined:
        told = ", ".join(f"{reason} {count:,}" for reason, count in summary.reasons.items())
        Console(stderr=True).print(
            f"{summary.quarantined:,} rows quarantined ({told}), see {run / 'events' / 'quarantine.parquet'}"
        )


def tables_from(settings: RunSettings) -> object:
    """Return what identifies the files of the side tables.

    Raises:
        DataError: if there are no files to read.
    """
    from workflows.events.side_tables import table_inputs

    return {name: stamps(table_inputs(name, table)) for name, table in settings.tables.items()}


def tables(run: Path, settings: RunSettings) -> None:
    """Check the side tables, and read the shop's own columns that are declared as features."""
    from workflows.prepare.tables import build_tables

    own = settings.features.own
    prepare, seed = (settings.prepare, settings.seed) if own else (PrepareSettings(), 0)
    warn(build_tables(run, settings.tables, own, prepare, seed))


def families_from(settings: RunSettings) -> object:
    """Return what identifies the modules of the shop's own feature families.

    Raises:
        ConfigError: if one cannot be imported.
    """
    from workflows.prepare.known_shop import family_files

    return stamps(family_files(settings.features.families, settings.folder))


def examples(run: Path, settings: RunSettings) -> None:
    """Cut point-in-time examples and the serving snapshot out of the events."""
    from workflows.prepare.examples import build_examples
    from workflows.prepare.known_shop import read_known_shop

    known = read_known_shop(run, settings.features.families, settings.folder)
    report = build_examples(RunLayout(run).events, run, settings.prepare, settings.seed, settings.recommend.leave_out, known)
    warn(report.warnings)


def features(run: Path, settings: RunSettings) -> None:
    """Fit the NVTabular workflows on train, encode every split and compile them to ONNX."""
    from workflows.prepare.features import fit_features

    warn(fit_features(run, settings.features).warnings)


def warn(warnings: Iterable[str]) -> None:
    """Print warnings, one a line."""
    for warning in warnings:
        Console(stderr=True).print(f"warning: {warning}", style="yellow", markup=False, highlight=False)


def check_parameters(settings: RunSettings) -> None:
    """Check the parameters of the retrieval model before anything is prepared for it.

    Raises:
        ConfigError: if one is not known or not accepted.
    """
    if settings.retrieval.parameters:
        from models.families.factors.train import unfitted

        unfitted(settings.retrieval, settings.seed)


def retrieval(run: Path, settings: RunSettings) -> None:
    """Train the retrieval model; no model that retrieved before it must be served."""
    from models.retrieval.retriever import TWO_TOWER, forget_others

    forget_others(run, settings.retrieval.model)
    if settings.retrieval.model == TWO_TOWER:
        from models.families.two_tower.train import train_two_tower

        _check_start(run, settings.two_tower.start_from)
        train_two_tower(run, settings.two_tower, settings.seed)
    else:
        from models.families.factors.train import train_factors

        train_factors(run, settings.retrieval, settings.seed)


def item_to_item(run: Path, settings: RunSettings) -> None:
    """Learn which items go together, and how much that counts beside the retrieval model."""
    from evaluation.report.names import model_name
    from models.retrieval.choose_neighbours import fit_item_to_item

    alone = f"{model_name(settings.retrieval.model)} alone"

    chosen = fit_item_to_item(run, settings.item_to_item, settings.evaluate, settings.seed)
    told = f"retrieval by {alone}" if chosen.blend.alone else f"retrieval {chosen.blend.sentence}"
    if chosen.alone:
        told += f": NDCG@10 on validation {chosen.ndcg:.4f} ({alone}: {chosen.alone:.4f})"
    Console(stderr=True).print(told, highlight=False)


def ranker(run: Path, settings: RunSettings) -> None:
    """Fit the candidate ranker on windows before validation."""
    from models.retrieval.ranker.fit_ranker import fit_ranker

    told = fit_ranker(run, settings.ranker, settings.evaluate.candidates, settings.item_to_item.neighbours, settings.seed)
    Console(stderr=True).print(f"candidate ranker {told}", highlight=False)


def ranking(run: Path, settings: RunSettings) -> None:
    """Train the ranking DLRM, and choose on validation whether retrieval, trees, the DLRM or all of them order candidates."""
    from evaluation.report.names import model_name
    from models.families.dlrm.train import train_dlrm
    from models.retrieval.choose_fusion import default_fusion_weight
    from models.retrieval.fusion import Fusion, write_fusion
    from models.retrieval.retriever import TWO_TOWER
    from models.retrieval.two_stage import served_name, tune_fusion

    two_tower = settings.two_tower if settings.retrieval.model == TWO_TOWER else None
    weight = default_fusion_weight(two_tower, settings.retrieval.model)
    _check_start(run, settings.ranking.start_from)
    train_dlrm(run, "ranking", settings.ranking, settings.seed, lambda folder: write_fusion(folder, Fusion(weight)))
    fusion = tune_fusion(run, settings.evaluate, settings.seed)
    if not fusion.used:
        warn([f"{model_name(served_name(run, fusion))} {fusion.sentence}"])


def train_cart(run: Path, settings: RunSettings) -> None:
    """Train the cart DLRM, where the log has carts; where it has none, no model of an earlier log must be served."""
    layout = RunLayout(run)
    from cartwheel.core.tables import read_json
    from models.families.dlrm.train import train_dlrm

    if layout.examples("train", "cart").is_file():
        _check_start(run, settings.cart.start_from)
        train_dlrm(run, "cart", settings.cart, settings.seed)
    else:
        shutil.rmtree(layout.model("cart").path, ignore_errors=True)
        Console(stderr=True).print(read_json(layout.examples_report)["no_cart"], markup=False, highlight=False)


def evaluate(run: Path, settings: RunSettings) -> None:
    """Measure the models beside their baselines and, on simulated data, the oracle; draw the report."""
    from evaluation.evaluate import evaluate_run
    from evaluation.report.page import write_report
    from evaluation.test_set_usage import record_touch
    from workflows.simulate.truth import Truth

    truth = RunLayout(run).simulation
    evaluate_run(run, settings.evaluate, settings.seed, Truth.load(truth) if is_simulated(settings) else None)
    record_touch(run, judged_configuration(settings))
    Console(stderr=True).print(f"report: {write_report(run)}", soft_wrap=True)


def judged_configuration(settings: RunSettings) -> str:
    """Return the hash of the settings that decide what is evaluated; how it is evaluated, as by more resamples, is left out."""
    from evaluation.test_set_usage import configuration_hash

    return configuration_hash(values_of(settings, fields_judged(settings)))


def export(run: Path, settings: RunSettings) -> None:
    """Write the model repository, check its answers against the offline ones, and file it as a version."""
    from serving.export.repository import write_repository
    from serving.versions.store import VersionStore

    repository = write_repository(run, settings.export, settings.evaluate.candidates)
    VersionStore(run).add(repository, settings.export.keep_versions)


def show_evaluation(run: Path, console: Console, *, whole: bool = True) -> None:
    """Print ``evaluation/metrics.json`` as tables: every figure with its protocol, or the headlines alone."""
    from evaluation.figures import Evaluation
    from evaluation.report.terminal import headlines, report
    from evaluation.test_set_usage import read_touches

    evaluation = Evaluation.read(run)
    console.print(report(evaluation) if whole else headlines(evaluation))
    for metrics in sorted(RunLayout(run).task_evaluation_folder.glob("*.json")):
        from evaluation.report.task_tables import task_report
        from evaluation.task_metrics import TaskEvaluation

        console.print(task_report(TaskEvaluation.read(RunLayout(run).task(metrics.stem))))
    touches = read_touches(run)
    console.print(touches.sentence, style=None if touches.is_clean else "yellow", markup=False, highlight=False)
