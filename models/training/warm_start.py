"""Where training starts from what an earlier run learnt: its weights, with a row for every id that is new since.

The earlier run's ids must be the first ones of this run (``features.keep_ids_of``). What validation judges starts from weights that have
not seen the validation rows, and what is tested from weights that have not seen the test rows; :func:`require_earlier` holds the two runs
to that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.errors import DataError, RunError
from cartwheel.core.run_layout import ModelLayout, RunLayout
from models.training.loop import assign
from models.training.tables import FIRST_ID, Array, Table

_LEAVE_OUT: Final = "leave start_from out for a model that is trained from the start"


def start_where_earlier_ended(
    folder: Path, variables: Sequence[Any], vocabularies: Sequence[str], sizes: Mapping[str, int], rows: Table
) -> None:
    """Give a model the weights of an earlier one of its form; ids that are new get the mean of those that are most like them.

    A new item begins as the mean of the known items of its category, every other id as the mean of all known ones.

    Args:
        folder: of the earlier model.
        variables: of the new model, in its order.
        vocabularies: of each variable, the column whose ids its rows are, "" of one that is no embedding.
        sizes: ids of each categorical column.
        rows: training rows; what they say of the category of a new item counts.

    Raises:
        RunError: if there is no such model, or it is of another form.
    """
    values = _values(folder)
    shapes = [tuple(variable.shape) for variable in variables]
    if len(values) != len(shapes):
        raise _of_another_form(folder, f"it has {len(values)} arrays of weights, expected {len(shapes)}")
    started = []
    for value, shape, vocabulary in zip(values, shapes, vocabularies, strict=True):
        if value.shape == shape:
            started.append(value)
        elif vocabulary and value.shape[1:] == shape[1:] and value.shape[0] < shape[0]:
            started.append(_grown(value, shape[0], _categories(rows, sizes) if vocabulary == "item_id" else None))
        else:
            raise _of_another_form(folder, f"it has weights of the shape {list(value.shape)}, expected {list(shape)}")
    assign(variables, started)


def require_earlier(run: RunLayout, earlier: RunLayout) -> None:
    """Check that a run may start from what an earlier one learnt.

    Raises:
        RunError: if the earlier run lacks its examples or its ids, or its ids are not the first ones of the run.
        DataError: if the earlier run's models have seen what this run validates or tests with.
    """
    from workflows.prepare.features import vocabularies_of

    for name in ("t_valid", "t_test"):
        before, now = _instant(earlier, name), _instant(run, name)
        if now < before:
            raise DataError(
                f"The models of {earlier.path} have learnt from events up to {before.isoformat()}, but this run"
                f" {'validates' if name == 't_valid' else 'tests'} from {now.isoformat()} on.",
                f"Continue with a log that goes on after that run's, or {_LEAVE_OUT}.",
            )
    require_same_ids(
        vocabularies_of(earlier.workflow("recommend")), vocabularies_of(run.workflow("recommend")), f"those of {earlier.path}"
    )


def require_same_ids(known: Mapping[str, Sequence[str]], ids: Mapping[str, Sequence[str]], whose: str) -> None:
    """Check that known vocabularies are the beginning of others.

    Args:
        known: vocabulary -> its values in the order of their ids.
        ids: the same of the run that is trained.
        whose: names the known ones in the error.

    Raises:
        RunError: if they are not.
    """
    for domain, values in known.items():
        if list(ids.get(domain, ()))[: len(values)] != list(values):
            raise RunError(
                f"The ids of {domain} are not {whose}, from which training should start.",
                f"Set features.keep_ids_of to that run too, and prepare again, or {_LEAVE_OUT}.",
            )


def _values(folder: Path) -> list[Array]:
    path = ModelLayout(folder).weights
    try:
        with np.load(path) as stored:
            return [stored[name] for name in sorted(stored.files)]
    except Exception as error:  # zipfile, numpy and the file system each raise their own
        raise RunError(
            f"{path}, from which training should start, cannot be read ({error}).",
            f"Name a run whose model is trained, or {_LEAVE_OUT}.",
        ) from error


def _of_another_form(folder: Path, why: str) -> RunError:
    return RunError(
        f"Training cannot start from {folder}: {why}.",
        f"Give the model the settings and columns that it had there, or {_LEAVE_OUT}.",
    )


def _grown(value: Array, size: int, groups: Array | None) -> Array:
    """Return the rows of known ids, followed by those of new ones.

    Args:
        value: ``[N, D]`` rows of known ids, of which the first ``FIRST_ID`` are reserved.
        size: of all.
        groups: int ``[size]``: ids of one group are alike; 0 is none. None makes all alike.
    """
    known = value[FIRST_ID:]
    common = known.mean(axis=0) if len(known) else value.mean(axis=0)
    new = np.repeat(common[None], size - len(value), axis=0).astype(value.dtype)
    if groups is not None:
        of_known, of_new = groups[FIRST_ID : len(value)], groups[len(value) :]
        for group in np.unique(of_new[of_new > 0]):
            alike = known[of_known == group]
            if len(alike):
                new[of_new == group] = alike.mean(axis=0)
    return np.concatenate([value, new])


def _categories(rows: Table, sizes: Mapping[str, int]) -> Array:
    """Return the category id of each item id, 0 where the rows do not tell it or tell none; int64 ``[ids]``."""
    categories = np.zeros(sizes["item_id"], dtype=np.int64)
    told = np.asarray(rows["item_category"]).ravel()
    categories[np.asarray(rows["item_id"]).ravel()] = np.where(told >= FIRST_ID, told, 0)
    return categories


def _instant(run: RunLayout, name: str) -> datetime:
    try:
        return datetime.fromisoformat(json.loads(run.examples_report.read_text(encoding="utf-8"))[name])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{run.examples_report} does not tell {name} ({type(error).__name__}: {error}).", "Run `cartwheel prepare` there."
        ) from None
