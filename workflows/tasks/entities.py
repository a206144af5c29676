"""Who a task is about, in a log: ids of the entities, and the moments at which each feature family is asked."""

from __future__ import annotations

import numpy as np
import polars as pl

from cartwheel.core.errors import ConfigError
from workflows.events.asof import Ints
from workflows.events.event_log import EventLog
from workflows.features.column import Owner
from workflows.features.family import FeatureFamily, Moments
from workflows.tasks.task import Entity

OWNERS = {
    Entity.USER: (Owner.SHOPPER, Owner.MOMENT),
    Entity.ITEM: (Owner.ITEM, Owner.MOMENT),
    Entity.SESSION: (Owner.SESSION, Owner.SHOPPER, Owner.MOMENT),
    Entity.ROW: (),
}
"""Entity of a task -> the owners of the features that it can see."""


def check_owner(family: FeatureFamily, entity: Entity, task: str) -> None:
    """Refuse a family that has nothing to say about the entity.

    Raises:
        ConfigError: naming both.
    """
    if family.owner not in OWNERS[entity]:
        raise ConfigError(
            f"[tasks.{task}]: the feature family {family.name!r} belongs to the {family.owner.value}, and the task asks about each "
            f"{entity.value}.",
            f"Leave it out of features; families of the {' or the '.join(owner.value for owner in OWNERS[entity])} can be seen.",
        )


def moments_of(owner: Owner, entity: Entity, log: EventLog, at: Moments) -> Moments:
    """Return the moments at which a family is asked: a session's shopper for what belongs to a shopper, else the entity itself."""
    if entity is Entity.SESSION and owner is Owner.SHOPPER:
        return Moments(log.key[at.entity], at.anchor)
    return at


def ids_of(entity: Entity, log: EventLog, codes: Ints) -> pl.Series:
    """Return the ids of users, items or sessions by their codes [Q]: String."""
    if entity is Entity.USER:
        return log.users.gather(codes)
    if entity is Entity.ITEM:
        return log.items.gather(codes)
    return log.sessions.gather(log.session[codes])


def everyone(entity: Entity, log: EventLog) -> Ints:
    """Return the codes of all users, or items, that the log has: int64."""
    if entity is Entity.USER:
        return np.flatnonzero((log.users != "").to_numpy()).astype(np.int64)
    return np.arange(len(log.items), dtype=np.int64)
