"""What was fitted must come from the training examples alone: vocabularies, medians, means and deviations, found again and compared.

It is run where features are fitted, in every run, before the workflow is written. The training rows are read from the run once more, so
that rows which reached the fit by another way show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Final

import polars as pl

from cartwheel.core.errors import LeakageError
from cartwheel.core.frames import read_frame
from cartwheel.core.run_layout import RELATIVE, RunLayout
from workflows.audit.examples import Audited
from workflows.compiler.lists import leaves
from workflows.compiler.operators.categorify import Lookup
from workflows.compiler.operators.fill import Fill
from workflows.compiler.operators.normalize import Standardize
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.graph import Plan
from workflows.compiler.plan.read import read_plan
from workflows.encoding.encode import load_workflow
from workflows.encoding.vocabulary import choose_vocabularies
from workflows.features.column import Column
from workflows.features.columns import CALENDAR, CART, CROSS, SHARED_VOCABULARY
from workflows.features.feature_set import FeatureSet, read_feature_set
from workflows.settings import FeatureSettings

_TOLERANCE: Final = 1e-5
_MEDIAN_SLACK: Final[Mapping[str, float]] = {"nvtabular": 0.05}
"""Engine -> how far from the middle, as a share of the rows, its median may lie: NVTabular's is an approximation."""
_FIX: Final = "Fit features on examples/train alone; if Cartwheel itself fitted them, report it, and do not train on them."


def fitted_on(features: FeatureSet) -> dict[str, tuple[str, ...]]:
    """Return, for each table of training examples and the workflow of its name, the numbers that are fitted on it."""
    return {"recommend": features.query_continuous + features.item_continuous, "ranking": CROSS, "cart": CART}


def check_fitted(run: Path, plans: Mapping[str, Plan], medians: Sequence[str], settings: FeatureSettings) -> Audited:
    """Hold what was fitted to the training examples of the run.

    Args:
        run: the run directory, with its examples.
        plans: workflow -> its plan.
        medians: the columns whose missing values a median fills.
        settings: how the features were fitted.

    Returns:
        ``vocabulary_keys_checked``, ``statistics_recomputed`` and ``keys_of_an_earlier_run`` (kept by ``keep_ids_of``, in no training
        example, and yet met in validation or test), and a warning where there are any of these.

    Raises:
        LeakageError: a key, its place, a median, a mean or a deviation is not what the training examples give.
    """
    audited = Audited()
    features = read_feature_set(RunLayout(run))
    train = read_frame(RunLayout(run).examples("train", "recommend"))
    earlier = _earlier(settings)
    fitted = _vocabularies(plans["recommend"])
    audited.counts["vocabulary_keys_checked"] = sum(len(keys) for keys in fitted.values())
    for domain, keys in fitted.items():
        _check_known(run, domain, keys, train, earlier.get(domain, []))
    _check_order(fitted, train, settings, earlier, features.own)
    _check_shared(fitted, plans)
    kept = _kept(run, fitted, train)
    audited.counts["keys_of_an_earlier_run"] = sum(kept.values())
    if any(kept.values()):
        told = ", ".join(f"{count} of {domain}" for domain, count in kept.items() if count)
        audited.warnings.append(
            f"Of the ids that keep_ids_of brought, {told} are in no training example and are met in validation or test. The ids alone tell "
            f"nothing; but a model that starts from that run's embeddings may have been trained on what is now held out."
        )
    slack = _MEDIAN_SLACK.get(settings.engine, 0.0)
    audited.counts["statistics_recomputed"] = sum(
        _check_numbers(read_frame(RunLayout(run).examples("train", name), columns), plans[name], name, medians, slack)
        for name, columns in fitted_on(features).items()
        if name in plans
    )
    return audited


def _vocabularies(plan: Plan) -> dict[str, list[str | int]]:
    """Return the keys of each vocabulary of a plan, in the order of their ids."""
    steps = {step.domain: step for column in plan for step in plan.steps(column) if isinstance(step, Lookup)}
    return {domain: step.inverse()[step.first :].to_list() for domain, step in steps.items()}


def _earlier(settings: FeatureSettings) -> dict[str, list[str | int]]:
    if settings.keep_ids_of is None:
        return {}
    return _vocabularies(read_plan(load_workflow(RunLayout(settings.keep_ids_of).workflow("recommend"))))


def _values(table: pl.DataFrame, domain: str) -> pl.Series:
    """Return every value of a domain that a table mentions, those in lists included."""
    columns = [table[domain]]
    columns += [leaves(table[column]).alias(domain) for column, shared in SHARED_VOCABULARY.items() if shared == domain]
    return pl.concat(columns).unique()


def _check_known(run: Path, domain: str, keys: Sequence[str | int], train: pl.DataFrame, earlier: Sequence[str | int]) -> None:
    allowed = {*_values(train, domain).to_list(), *earlier}
    for place, key in enumerate(keys):
        if key not in allowed:
            raise LeakageError(
                f"workflow, vocabulary {domain}: key {place + 1} of {len(keys)} is {key!r}, which is in no row of "
                f"examples/train/recommend.parquet, {_found_in(run, domain, key)}; only what training has seen may have an id.",
                _FIX,
            )


def _found_in(run: Path, domain: str, key: str | int) -> str:
    """Say where a key is met that training has not seen."""
    for split in ("valid", "test"):
        path = RELATIVE.examples(split, "recommend")
        if (run / path).is_file() and key in _values(read_frame(run / path), domain):
            return f"but is in {path.as_posix()}"
    return "and is in no other split either"


def _check_order(
    fitted: Mapping[str, Sequence[str | int]],
    train: pl.DataFrame,
    settings: FeatureSettings,
    earlier: Mapping[str, Sequence[str | int]],
    own: Sequence[Column],
) -> None:
    """Check that the ids of strings follow from how often training has them."""
    before = {domain: [str(key) for key in keys] for domain, keys in earlier.items() if domain not in CALENDAR}
    for domain, expected in choose_vocabularies(train, settings, before, own).items():
        both = list(zip_longest(fitted[domain], expected))
        place = next((place for place, (found, wanted) in enumerate(both) if found != wanted), None)
        if place is not None:
            found, wanted = both[place]
            raise LeakageError(
                f"workflow, vocabulary {domain}: it has {len(fitted[domain])} keys, number {place + 1} is {found!r}; the counts of "
                f"examples/train/recommend.parquet give {len(expected)} keys and there {wanted!r}.",
                _FIX,
            )


def _check_shared(fitted: Mapping[str, Sequence[str | int]], plans: Mapping[str, Plan]) -> None:
    """Check that all workflows have the same vocabularies, so that what holds for one holds for each."""
    for name, plan in plans.items():
        for domain, keys in _vocabularies(plan).items():
            if keys != fitted[domain]:
                raise LeakageError(
                    f"workflow/{name}, vocabulary {domain}: it has {len(keys)} keys that differ from the {len(fitted[domain])} of "
                    f"workflow/recommend, which were fitted on training.",
                    _FIX,
                )


def _kept(run: Path, fitted: Mapping[str, Sequence[str | int]], train: pl.DataFrame) -> dict[str, int]:
    """Count, by domain, the keys that no training example has and another split does; only an earlier run can have brought them."""
    unseen = {domain: set(keys) - set(_values(train, domain).to_list()) for domain, keys in fitted.items()}
    if not any(unseen.values()):
        return dict.fromkeys(fitted, 0)
    paths = [RunLayout(run).examples(split, "recommend") for split in ("valid", "test")]
    others = [read_frame(path) for path in paths if path.is_file()]
    met = {domain: {value for table in others for value in _values(table, domain).to_list()} for domain in fitted}
    return {domain: len(unseen[domain] & met[domain]) for domain in fitted}


def _check_numbers(train: pl.DataFrame, plan: Plan, name: str, medians: Sequence[str], slack: float) -> int:
    """Compute medians, means and deviations again from the training rows; return how many there are."""
    ends = {column: plan.nodes[plan.place(column)] for column in train.columns}
    scaled = {column: node for column, node in ends.items() if isinstance(node.step, Standardize)}
    filled = [column for column in medians if column in ends]
    for column in filled:
        by = next((step.by for step in plan.steps(column) if isinstance(step, Fill)), None)
        if isinstance(by, (int, float)):
            _check_median(train[column].drop_nulls(), by, slack, f"workflow/{name}, column {column}", name)
    # What goes into each standardisation, by the plan itself up to there.
    until = replace(plan, outputs={column: node.inputs[0] for column, node in scaled.items()})
    values = compile_polars(until, train.lazy(), list(scaled)).collect()
    for column, node in scaled.items():
        assert isinstance(node.step, Standardize)
        _check_moments(values[column], node.step, f"workflow/{name}, column {column}", name)
    return 2 * len(scaled) + len(filled)


def _check_median(known: pl.Series, fitted: float, slack: float, where: str, name: str) -> None:
    if known.is_empty():
        return
    below, upto = (share.sum() / len(known) for share in (known < fitted, known <= fitted))
    if below > 0.5 + slack or upto < 0.5 - slack:
        raise LeakageError(
            f"{where}: it was fitted to the median {fitted:.6g}, but {below:.1%} of the {len(known)} known values of "
            f"examples/train/{name}.parquet are below that and {upto:.1%} are not above it.",
            _FIX,
        )


def _check_moments(values: pl.Series, fitted: Standardize, where: str, name: str) -> None:
    known = values.cast(pl.Float64).drop_nans().drop_nulls()
    mean = float(known.mean() or 0.0)  # type: ignore[arg-type]
    std = float(known.std() or 0.0)  # type: ignore[arg-type]
    allowed = _TOLERANCE * (std + abs(mean)) + 1e-12
    # A column that never varies is given the deviation 0; rounding may leave a little of one here.
    same = abs(fitted.mean - mean) <= allowed and abs(fitted.std - std) <= allowed
    if not same:
        raise LeakageError(
            f"{where}: it was fitted to the mean {fitted.mean:.6g} and the standard deviation {fitted.std:.6g}, but the {len(known)} "
            f"rows of examples/train/{name}.parquet have {mean:.6g} and {std:.6g}.",
            _FIX,
        )
