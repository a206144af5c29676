"""The registry of model families for rows; a shop's own is named ``module:Class``.

A family is named here and imported when it is asked for: those that are not tried need not be installed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from cartwheel.core.errors import ConfigError
from cartwheel.core.hooks import load_hook
from models.families.family import Fitted, Learner
from workflows.tasks.task import Answer

RULES: Final = ("base_rate", "one_feature")
"""The simple rules that stand beside every model of a declared task; of a ranking there are none here."""
SERIES_RULES: Final = ("recent_mean", "seasonal_naive")
"""Those that stand beside models of a quantity whose past windows the task sees."""
BASELINES: Final = (*RULES, *SERIES_RULES)
"""All that are no models."""

FAMILIES: Final[Mapping[str, str]] = {
    "base_rate": "models.families.rows.base_rate:BaseRateLearner",
    "one_feature": "models.families.rows.one_feature:OneFeatureLearner",
    "recent_mean": "models.families.rows.series:RecentMeanLearner",
    "seasonal_naive": "models.families.rows.series:SeasonalNaiveLearner",
    "logistic_regression": "models.families.rows.linear:LogisticRegressionLearner",
    "poisson_regression": "models.families.rows.linear:PoissonRegressionLearner",
    "lightgbm": "models.families.rows.lightgbm:LightGBMLearner",
    "buy_till_you_die": "models.families.rows.buy_till_you_die:BuyTillYouDieLearner",
    "s_linear": "models.families.rows.effects:LinearSLearner",
    "t_linear": "models.families.rows.effects:LinearTLearner",
    "x_linear": "models.families.rows.effects:LinearXLearner",
    "s_trees": "models.families.rows.effects:TreeSLearner",
    "t_trees": "models.families.rows.effects:TreeTLearner",
    "x_trees": "models.families.rows.effects:TreeXLearner",
    "mlp": "models.families.rows.mlp:MLPLearner",
    "dlrm": "models.families.rows.dlrm:RowDLRMLearner",
    "isolation_forest": "models.families.rows.isolation_forest:IsolationForestLearner",
    "autoencoder": "models.families.rows.autoencoder:AutoencoderLearner",
    "sequence": "models.families.rows.sequence:SequenceLearner",
}
"""Name -> module and class, from simple to complex."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
ON_REQUEST: Final = frozenset({"buy_till_you_die", "sequence", "isolation_forest", "autoencoder"})
"""Families that take long to train or suit few tasks, and are tried only where a task names them."""


def family(name: str, where: str = "learners", folder: Path | None = None) -> type[Learner[Any]]:
    """Return the family of a name, or of a ``module:Class`` of the shop.

    Args:
        name: the name.
        where: the setting that holds it, for messages.
        folder: where the shop's modules lie, mostly that of the configuration file.

    Raises:
        ConfigError: if there is none, or its module raises.
    """
    if name not in FAMILIES and ":" not in name:
        raise ConfigError(
            f"{where}: {name!r} is not a model family.", f"Give one of {', '.join(FAMILIES)}, or module:Class of your own."
        )
    found = load_hook(FAMILIES.get(name, name), where, folder)
    if not (isinstance(found, type) and issubclass(found, Learner)):
        raise ConfigError(f"{where}: {name!r} is not a model family.", "Derive the class from cartwheel.Learner.")
    lacking = [each for each in ("name", "title", "complexity", "tags", "settings") if not hasattr(found, each)]
    if lacking or inspect.isabstract(found):
        what = f"has no {lacking[0]}" if lacking else f"does not define {', '.join(sorted(found.__abstractmethods__))}"
        raise ConfigError(f"{where}: the model family {name!r} {what}.", "Add it to the class.")
    if not _NAME.fullmatch(found.name):
        raise ConfigError(
            f"{where}: the model family {name!r} is called {found.name!r}, which cannot be the name of a folder.",
            "Use lower-case letters, digits and underscores.",
        )
    return found


def make_learner(
    name: str, settings: Mapping[str, Any] | None = None, where: str = "learners", folder: Path | None = None
) -> Learner[Any]:
    """Make a learner, some of its settings given.

    Raises:
        ConfigError: if there is none of that name, or a setting is not known or not accepted.
    """
    made = family(name, where, folder)
    try:
        return made(made.settings(**(settings or {})))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or name
        raise ConfigError(
            f"{where}.{name}.{key} = {first['input']!r} is not accepted: {first['msg']}.",
            f"Known keys here: {', '.join(made.settings.model_fields) or 'none'}.",
        ) from error


def learners_for(
    answer: Answer,
    names: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    where: str = "learners",
    folder: Path | None = None,
) -> tuple[Learner[Any], ...]:
    """Return the learners of a task: the simple rules, and the named ones or all that give its answer.

    Args:
        answer: of the task.
        names: the learners that are tried; empty for all that can answer, but for ``ON_REQUEST``.
        settings: name -> settings that are not the defaults.
        where: the setting that holds the names, for messages.
        folder: where the shop's modules lie.

    Raises:
        ConfigError: if a name is not known or cannot give the answer, two families have one name, or settings are of a learner that is
            not tried.
    """
    can = [name for name in FAMILIES if answer in family(name).tags.answers]
    for name in names:
        if answer not in family(name, where, folder).tags.answers:
            raise ConfigError(f"{where}: {name!r} does not answer with a {answer.value}.", f"Give some of {', '.join(can)}.")
    rules = [name for name in BASELINES if name in can]
    wanted = dict.fromkeys([*rules, *(names or (name for name in can if name not in ON_REQUEST))])
    strange = [name for name in settings or {} if name not in wanted]
    if strange:
        raise ConfigError(f"{where}: there are settings of {strange[0]!r}, which is not tried.", f"Tried: {', '.join(wanted)}.")
    made = tuple(make_learner(name, (settings or {}).get(name), where, folder) for name in wanted)
    seen: dict[str, str] = {}
    for name, learner in zip(wanted, made, strict=True):
        if learner.name in seen:
            raise ConfigError(
                f"{where}: {seen[learner.name]!r} and {name!r} are both called {learner.name!r}.", "Rename your own family."
            )
        seen[learner.name] = name
    return made


def load_fitted(name: str, folder: Path) -> Fitted:
    """Read a fitted model of a family, without its settings.

    Raises:
        ConfigError: if there is no such family.
        RunError: if a file is missing or cannot be read.
    """
    return make_learner(name).load(folder)
