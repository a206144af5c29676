"""A cache of fitted recommenders, so that stages with the same model and interactions fit it once."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.files import atomic_path
from models.families.recommender import Recommender
from models.questions.interactions import Interactions

Arrays = Mapping[str, npt.NDArray[Any]]
_ABOUT: Final = "about"


class Keepable(Recommender):
    """A recommender, a dataclass of its parameters, whose learning can be kept."""

    def parameters(self, interactions: Interactions) -> dict[str, Any]:  # noqa: ARG002  a limit may bind or not
        """Return what decides what it learns from some interactions, beside them; JSON values."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}  # type: ignore[arg-type]

    @abstractmethod
    def learnt(self) -> Arrays:
        """Return what ``fit`` has learnt and what takes long to learn."""

    @abstractmethod
    def recall(self, learnt: Arrays, interactions: Interactions) -> None:
        """Do what ``fit`` does with these interactions, but for what was learnt from them before.

        Args:
            learnt: what ``learnt`` returned.
            interactions: the same that it was learnt from.
        """


def keep(path: Path, model: Keepable, interactions: Interactions) -> None:
    """Write what a model has learnt from some interactions to an ``.npz`` file, atomically."""
    about = np.frombuffer(_about(model, interactions).encode(), np.uint8)
    with atomic_path(path) as aside, aside.open("wb") as stream:
        np.savez(stream, **{_ABOUT: about}, **model.learnt())


def fit_or_recall(path: Path, model: Recommender, interactions: Interactions) -> None:
    """Fit a model, or have it recall what one of the same parameters has learnt from the same interactions.

    Args:
        path: where that may be; a file that is not there, or cannot be read, or is of something else, costs time alone.
        model: not yet fitted.
        interactions: to learn from.
    """
    if isinstance(model, Keepable) and path.is_file():
        found = _read(path, _about(model, interactions))
        if found is not None:
            model.recall(found, interactions)
            return
    model.fit(interactions)


def _read(path: Path, about: str) -> Arrays | None:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            if stored[_ABOUT].tobytes().decode() != about:
                return None
            return {name: stored[name] for name in stored.files if name != _ABOUT}
    except Exception:  # noqa: BLE001  zipfile, numpy and the file system each raise their own, and fitting anew answers all of them
        return None


def _about(model: Keepable, interactions: Interactions) -> str:
    digest = blake2b(digest_size=16)
    for array in (interactions.user, interactions.item, interactions.time, interactions.session, interactions.weight):
        digest.update(np.ascontiguousarray(array).data)
    sizes = [interactions.users, interactions.items]
    told = {"model": model.name, "parameters": model.parameters(interactions), "sizes": sizes, "log": digest.hexdigest()}
    return json.dumps(told, sort_keys=True)
