"""Families that learn from rows, by name; a shop's own is named ``module:Class``.

A family is named here and imported when it is asked for: those that are not tried need not be installed.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from cartwheel.core.errors import ConfigError
from models.families.family import Fitted, Learner
from workflows.tasks.task import Answer

RULES: Final = ("base_rate", "one_feature")
"""The simple rules that stand beside every model."""

FAMILIES: Final[Mapping[str, str]] = {
    "base_rate": "models.families.rows.base_rate:BaseRateLearner",
    "one_feature": "models.families.rows.one_feature:OneFeatureLearner",
    "logistic_regression": "models.families.rows.linear:LogisticRegressionLearner",
    "poisson_regression": "models.families.rows.linear:PoissonRegressionLearner",
    "lightgbm": "models.families.rows.lightgbm:LightGBMLearner",
    "mlp": "models.families.rows.mlp:MLPLearner",
    "dlrm": "models.families.rows.dlrm:RowDLRMLearner",
    "sequence": "models.families.rows.sequence:SequenceLearner",
}
"""Name -> module and class, from simple to complex."""

ON_REQUEST: Final = frozenset({"sequence"})
"""Families that take long to train, and are tried only where a task names them."""

_REFERENCE: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def family(name: str, where: str = "learners") -> type[Learner[Any]]:
    """Return the family of a name, or of a ``module:Class`` of the shop.

    Args:
        name: the name.
        where: the setting that holds it, for messages.

    Raises:
        ConfigError: if there is none.
    """
    reference = FAMILIES.get(name, name)
    if not _REFERENCE.fullmatch(reference):
        raise ConfigError(
            f"{where}: {name!r} is no model family.", f"Give one of {', '.join(FAMILIES)}, or module:Class of your own."
        )
    module, _, attribute = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise ConfigError(
            f"{where}: {name!r} cannot be imported ({type(error).__name__}: {error}).", "Correct the name or the module."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Learner)):
        raise ConfigError(f"{where}: {name!r} is no cartwheel.Learner.", "Derive the class from Learner.")
    return found


def make_learner(name: str, settings: Mapping[str, Any] | None = None, where: str = "learners") -> Learner[Any]:
    """Make a learner, some of its settings given.

    Raises:
        ConfigError: if there is none of that name, or a setting is not known or not accepted.
    """
    made = family(name, where)
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
    answer: Answer, names: Sequence[str] = (), settings: Mapping[str, Mapping[str, Any]] | None = None, where: str = "learners"
) -> tuple[Learner[Any], ...]:
    """Return the learners of a task: the simple rules, and the named ones or all that give its answer.

    Args:
        answer: of the task.
        names: the learners that are tried; empty for all that can answer, but for ``ON_REQUEST``.
        settings: name -> settings that are not the defaults.
        where: the setting that holds the names, for messages.

    Raises:
        ConfigError: if a name is not known, named twice, or cannot give the answer.
    """
    can = [name for name in FAMILIES if answer in family(name).tags.answers]
    for name in names:
        if answer not in family(name, where).tags.answers:
            raise ConfigError(f"{where}: {name!r} does not answer with a {answer.value}.", f"Give some of {', '.join(can)}.")
    wanted = dict.fromkeys([*RULES, *(names or (name for name in can if name not in ON_REQUEST))])
    return tuple(make_learner(name, (settings or {}).get(name), where) for name in wanted)


def load_fitted(name: str, folder: Path) -> Fitted:
    """Read a fitted model of a family, without its settings.

    Raises:
        ConfigError: if there is no such family.
        RunError: if a file is missing or cannot be read.
    """
    return make_learner(name).load(folder)
