"""The configuration of a run: ``cartwheel.toml``."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel, Field, PrivateAttr, ValidationError

from cartwheel.core.errors import ConfigError
from cartwheel.core.settings import Settings
from evaluation.settings import EvaluateSettings
from models.families.dlrm.settings import CART_DEFAULTS, DLRMSettings
from models.families.neighbours.settings import ItemToItemSettings
from models.families.settings import RetrievalSettings
from models.families.two_tower.settings import TwoTowerSettings
from models.retrieval.ranker.settings import RankerSettings
from models.training.settings import TrainingSettings
from serving.settings import DeploySettings, ExportSettings, ServeSettings
from workflows.events.schema import EVENT_TYPES
from workflows.settings import (
    EventSettings,
    FeatureSettings,
    Name,
    PrepareSettings,
    RecommendSettings,
    SourceSettings,
    TableSettings,
)
from workflows.tasks.settings import TaskSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


_REPLACED: Final = {
    "prepare.exclude_recent": 'its place was taken by leave_out under [recommend]: write leave_out = "recent" for true, or "nothing" for '
    'false; "interacted" and "purchased" look at the whole history.',
}
"""Keys of earlier releases -> what to write instead."""


_TRAINED: Final = ("two_tower", "ranking", "cart")
"""Sections of models whose training may start from an earlier run."""


class RunSettings(Settings):
    """The whole of ``cartwheel.toml``; every section may be left out."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    """Seed of simulation, sampling, initial weights and intervals: two runs with the same seed give the same metrics."""
    run: Path = Path("runs")
    """The run directory; a relative path is resolved against the folder of the configuration file."""
    source: SourceSettings = SourceSettings()
    """``[source]``: where the events come from."""
    events: EventSettings = EventSettings()
    """``[events]``: how strictly they are checked."""
    tables: dict[Name, TableSettings] = Field(default_factory=dict)
    """``[tables.<name>]``: the shop's other tables: its items, its users, a calendar."""
    prepare: PrepareSettings = PrepareSettings()
    """``[prepare]``: how examples are cut out of them."""
    recommend: RecommendSettings = RecommendSettings()
    """``[recommend]``: what may come back to a shopper who knows it."""
    features: FeatureSettings = FeatureSettings()
    """``[features]``: how features are encoded."""
    retrieval: RetrievalSettings = RetrievalSettings()
    """``[retrieval]``: which model finds the candidates."""
    two_tower: TwoTowerSettings = TwoTowerSettings()
    """``[two_tower]``: that model, unless another one is named."""
    item_to_item: ItemToItemSettings = ItemToItemSettings()
    """``[item_to_item]``: the items that go together, which are added to the scores of the retrieval model with what is popular."""
    ranker: RankerSettings = RankerSettings()
    """``[ranker]``: trees that order candidates, learnt from those of earlier windows."""
    ranking: DLRMSettings = DLRMSettings()
    """``[ranking]``: the DLRM that ranks what was retrieved."""
    cart: DLRMSettings = CART_DEFAULTS
    """``[cart]``: the DLRM that predicts purchases of cart lines."""
    tasks: dict[str, TaskSettings] = Field(default_factory=dict)
    """``[tasks.<name>]``: questions of the shop's own, each answered by an ensemble of its name."""
    evaluate: EvaluateSettings = EvaluateSettings()
    """``[evaluate]``: how models are evaluated."""
    export: ExportSettings = ExportSettings()
    """``[export]``: how the model repository is written."""
    serve: ServeSettings = ServeSettings()
    """``[serve]``: where the embedded server listens."""
    deploy: DeploySettings = DeploySettings()
    """``[deploy]``: how a new version is brought in."""
    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @property
    def folder(self) -> Path:
        """Where relative paths start and the shop's own modules lie: the folder of the configuration file."""
        return self._folder


def load_settings(path: Path) -> RunSettings:
    """Read and check a configuration file.

    Args:
        path: a TOML file. Relative paths inside it start at its folder; ``run`` defaults to ``runs/<name of the file>``.

    Returns:
        The settings, with every path absolute.

    Raises:
        ConfigError: if the file is missing, is not TOML, or has a key or value that is not known. The message names each one.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"There is no configuration file {path}.", "Give the path of one, or run `cartwheel demo` to see a complete run."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration file {path} cannot be read: {error}.", "Give a readable UTF-8 text file.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.", "Fix that line; see https://toml.io for the syntax.") from None
    content.setdefault("run", f"runs/{path.stem}")
    return parse_settings(content, str(path), path.resolve().parent)


def parse_settings(content: Mapping[str, Any], name: str, folder: Path) -> RunSettings:
    """Check settings that are already a mapping.

    Args:
        content: what a TOML file holds.
        name: what to call it in messages.
        folder: where relative paths start.

    Raises:
        ConfigError: as ``load_settings``.
    """
    try:
        settings = RunSettings.model_validate(content)
    except ValidationError as error:
        raise _config_error(error, name) from None
    _check_event_types(settings, name)
    settings._folder = folder
    source = settings.source
    tables = {
        table: section.model_copy(update={"path": folder / section.path.expanduser()})
        for table, section in settings.tables.items()
    }
    if source.path is not None:
        source = source.model_copy(update={"path": folder / source.path})
    features = settings.features
    if features.keep_ids_of is not None:
        features = features.model_copy(update={"keep_ids_of": folder / features.keep_ids_of})
    models = {name: _from_folder(getattr(settings, name), folder) for name in _TRAINED}
    paths = {"run": folder / settings.run, "source": source, "tables": tables, "features": features}
    return settings.model_copy(update={**paths, **models})


def _from_folder(section: TrainingSettings, folder: Path) -> TrainingSettings:
    """Return the section of a model with its path from the folder in which relative ones start."""
    return section if section.start_from is None else section.model_copy(update={"start_from": folder / section.start_from})


def _check_event_types(settings: RunSettings, name: str) -> None:
    known = (*EVENT_TYPES, *settings.events.extra_types)
    unknown = [kind for kind in settings.prepare.interaction_types if kind not in known]
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(
            f"{name}: prepare.interaction_types names {unknown[0]!r}, which is not an event type.{hint}",
            f"Event types are {', '.join(known)}; events.extra_types adds the shop's own.",
        )


def _config_error(error: ValidationError, name: str) -> ConfigError:
    problems = [_problem(dict(detail)) for detail in error.errors()]
    return ConfigError(f"{name}: {' '.join(problems)}", "Correct the file and run the same command again.")


def _problem(detail: Mapping[str, Any]) -> str:
    location: Sequence[Any] = detail["loc"]
    key = ".".join(str(part) for part in location)
    if detail["type"] != "extra_forbidden":
        return f"{key} = {detail['input']!r} is not accepted: {detail['msg'][0].lower()}{detail['msg'][1:]}."
    if key in _REPLACED:
        return f"{key} is no longer a key; {_REPLACED[key]}"
    known = _known_keys(location[:-1])
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known keys here: {', '.join(known)}."
    return f"{key} is not a known key; {hint}"


def _known_keys(section: Sequence[Any]) -> list[str]:
    model: Any = RunSettings
    for part in section:
        if get_origin(model) is dict:
            model = get_args(model)[1]
            continue
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        annotation = field.annotation if field else None
        model = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [info.alias or name for name, info in model.model_fields.items()]
