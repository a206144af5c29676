"""Which settings each stage of a run reads, field by field: a stage runs again where one of these changed, and not where another did.

A stage is handed nothing but what it declares (``handed``), so a field that is read without being declared is an error at once and not a
stage that is skipped although it would write something else. That every declared field is read, the tests record.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from cartwheel.config import RunSettings
from workflows.settings import IDENTITY

SIMULATED: Final = "simulated"
"""``source.kind`` of a shop that is simulated rather than read."""
PATHS: Final = (
    ("source", "path"),
    ("features", "keep_ids_of"),
    ("two_tower", "start_from"),
    ("ranking", "start_from"),
    ("cart", "start_from"),
)
"""Settings that point out of the run, beside the paths of tables: what lies there counts, and not where it lies."""


@dataclass(frozen=True)
class Reads:
    """Fields that a stage reads.

    Attributes:
        fields: ``section.field``, or ``seed``.
        where: under which settings it reads them; None is under all.
    """

    fields: tuple[str, ...]
    where: Callable[[RunSettings], bool] | None = None


def every(section: str, but: Collection[str] = ()) -> tuple[str, ...]:
    """Return the fields of a section, those that it will have one day included, without those of ``but``."""
    fields = type(getattr(RunSettings(), section)).model_fields
    return tuple(f"{section}.{name}" for name in fields if name not in but)


def is_simulated(settings: RunSettings) -> bool:
    """Whether the shop is simulated rather than read from files."""
    return settings.source.kind == SIMULATED


def _is_read(settings: RunSettings) -> bool:
    return not is_simulated(settings)


def has_identity(settings: RunSettings) -> bool:
    """Whether a table says which visitor is which customer."""
    return IDENTITY in getattr(settings, "tables", {})


def _has_own_features(settings: RunSettings) -> bool:
    return bool(settings.features.own)


def _has_tasks(settings: RunSettings) -> bool:
    return bool(settings.tasks)


def _splits_by_shares(settings: RunSettings) -> bool:
    return settings.prepare.valid_from is None


def _splits_by_dates(settings: RunSettings) -> bool:
    return not _splits_by_shares(settings)


def _has_two_tower(settings: RunSettings) -> bool:
    return settings.retrieval.model == "two_tower"


def _has_factors(settings: RunSettings) -> bool:
    return not _has_two_tower(settings)


_SIZE: Final = ("shoppers", "items", "days")
READ_FROM_FILES: Final = every("source", but=("kind", *_SIZE))
"""What files of events need and a simulated shop has no use for."""
_SHARES: Final = ("valid_share", "test_share")
_SAMPLE: Final = "evaluate.max_two_stage_anchors"

READS: Final[Mapping[str, tuple[Reads, ...]]] = {
    "events": (
        Reads(("source.kind", *every("events"))),
        Reads(("seed", *(f"source.{name}" for name in _SIZE)), is_simulated),
        Reads(READ_FROM_FILES, _is_read),
        Reads((f"tables.{IDENTITY}",), has_identity),
    ),
    "tables": (
        Reads(("tables", "features.own")),
        Reads(("seed", "prepare.valid_from", "prepare.session_gap_minutes"), _has_own_features),
        Reads(("prepare.test_from",), lambda settings: _has_own_features(settings) and _splits_by_dates(settings)),
        Reads(
            tuple(f"prepare.{name}" for name in _SHARES),
            lambda settings: _has_own_features(settings) and _splits_by_shares(settings),
        ),
    ),
    "tasks": (
        Reads(("tasks",)),
        Reads(
            ("seed", "features.engine", "prepare.valid_from", "prepare.session_gap_minutes", "prepare.interaction_types"),
            _has_tasks,
        ),
        Reads(("prepare.test_from",), lambda settings: _has_tasks(settings) and _splits_by_dates(settings)),
        Reads(
            tuple(f"prepare.{name}" for name in _SHARES), _has_tasks
        ),  # a task that does not fit into the dates is split by them
    ),
    "task_models": (Reads(("tasks",)), Reads(("seed",), _has_tasks)),
    "task_evaluation": (Reads(("tasks",)), Reads(("seed", "evaluate.bootstrap"), _has_tasks)),
    "examples": (
        Reads(("seed", "features.families", *every("recommend"), *every("prepare", but=(*_SHARES, "test_from")))),
        Reads(("prepare.test_from",), _splits_by_dates),
        Reads(tuple(f"prepare.{name}" for name in _SHARES), _splits_by_shares),
    ),
    "features": (Reads(every("features", but=("own", "families"))),),
    "retrieval": (
        Reads(("seed", "retrieval.model")),
        Reads(every("two_tower"), _has_two_tower),
        Reads(("retrieval.parameters",), _has_factors),
    ),
    "item_to_item": (Reads(("seed", "retrieval.model", *every("item_to_item"), _SAMPLE)),),
    "ranker": (Reads(("seed", *every("ranker"), "evaluate.candidates", "item_to_item.neighbours")),),
    "ranking": (
        Reads(("seed", "retrieval.model", *every("ranking"), "evaluate.candidates", _SAMPLE)),
        Reads(("two_tower.temperature",), _has_two_tower),
    ),
    "cart": (Reads(("seed", *every("cart"))),),
    "evaluate": (Reads(("seed", "source.kind", *every("evaluate"))),),
    "export": (Reads((*every("export"), "evaluate.candidates")),),
}
"""Stage -> what it reads of the configuration itself; what the stages before it read, it depends on by their keys."""

_JUDGED: Final = ("examples", "features", "retrieval", "item_to_item", "ranker", "ranking", "cart")
_ALSO_JUDGED: Final = ("evaluate.baseline_parameters",)
_WRITES_THE_SAME: Final = ("features.engine", "features.keep_ids_of", _SAMPLE)


def fields_read(stage: str, settings: RunSettings) -> tuple[str, ...]:
    """Return the fields that a stage reads under these settings, sorted."""
    found = (reads.fields for reads in READS[stage] if reads.where is None or reads.where(settings))
    return tuple(sorted({name for fields in found for name in fields}))


def fields_judged(settings: RunSettings) -> tuple[str, ...]:
    """Return the fields that decide what evaluation judges, sorted; how it judges, as by more resamples, is left out."""
    found = {name for stage in _JUDGED for name in fields_read(stage, settings)} | set(_ALSO_JUDGED)
    return tuple(sorted(found.difference(_WRITES_THE_SAME)))


def values_of(settings: RunSettings, fields: Collection[str]) -> dict[str, Any]:
    """Return the values of ``fields`` as JSON, section -> field -> value; of a path its last part, so that it stays true when moved."""
    content = settings.model_dump(mode="json")
    for holder, name in _path_places(content):
        if holder.get(name) is not None:
            holder[name] = Path(holder[name]).name
    values: dict[str, Any] = {}
    for field in fields:
        section, _, name = field.partition(".")
        if name:
            values.setdefault(section, {})[name] = content[section][name]
        else:
            values[section] = content[section]
    return values


def without_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``values_of`` gave, without what settings that point out of the run hold."""
    found: dict[str, Any] = copy.deepcopy(dict(values))
    for holder, name in _path_places(found):
        holder.pop(name, None)
    return found


def _path_places(content: Mapping[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Return the mappings of settings, as JSON values, that hold a path out of the run, and its name there."""
    single = [(content[section], name) for section, name in PATHS if section in content]
    return [*single, *((table, "path") for table in content.get("tables", {}).values())]


def handed(settings: RunSettings, fields: Collection[str]) -> RunSettings:
    """Return settings that hold ``fields`` and nothing else: to read another one raises ``AttributeError``."""
    whole = settings.model_copy()
    for name in RunSettings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            section = value.model_copy()
            _keep(section, [field.partition(".")[2] for field in fields if field.startswith(f"{name}.")])
            whole.__dict__[name] = section
        elif isinstance(value, dict) and name not in fields:
            whole.__dict__[name] = {key: entry for key, entry in value.items() if f"{name}.{key}" in fields}
    sections = [field.partition(".")[0] for field in fields]
    _keep(whole, sections)
    return whole


def _keep(settings: BaseModel, names: Collection[str]) -> None:
    for name in set(type(settings).model_fields).difference(names):
        del settings.__dict__[name]
