"""How often a test split has been evaluated, and with how many configurations.

A metric on the test split is an unbiased estimate for the first configuration that is evaluated on it. Selecting the best of several means
selecting on the test split, and the best metric is then too optimistic (Cawley and Talbot, JMLR 2010,
https://jmlr.org/papers/v11/cawley10a.html). Cartwheel cannot know what was kept, so it counts, and says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cartwheel.core.errors import RunError
from cartwheel.core.files import sha256, write_json
from cartwheel.core.run_layout import RELATIVE, RunLayout
from cartwheel.core.tables import read_json
from models.questions.run_log import split_start

FILE: Final = RELATIVE.test_set_usage


@dataclass(frozen=True)
class Touches:
    """The evaluations of one test split.

    Attributes:
        configurations: hash of each configuration that was evaluated -> how often.
    """

    configurations: Mapping[str, int]

    @property
    def is_clean(self) -> bool:
        """Whether at most one configuration has been evaluated."""
        return len(self.configurations) <= 1

    @property
    def sentence(self) -> str:
        """A sentence for readers of the metrics.

        >>> Touches({"5e7a": 1}).sentence
        'The test split has been evaluated once, with one configuration: nothing was selected on it.'
        """
        times = sum(self.configurations.values())
        often = {1: "once", 2: "twice"}.get(times, f"{times} times")
        if not times:
            return "The test split has not been evaluated."
        if self.is_clean:
            return f"The test split has been evaluated {often}, with one configuration: nothing was selected on it."
        return (
            f"The test split has been evaluated {often}, with {len(self.configurations)} configurations. If one was selected by its "
            "metrics here, these metrics are too optimistic; select by `cartwheel tune`, which uses only the validation split."
        )


def configuration_hash(settings: Mapping[str, Any]) -> str:
    """Return the hash of settings given as JSON values."""
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()[:16]


def record_touch(run: Path, configuration: str) -> Touches:
    """Write into ``evaluation/touched.json`` that a configuration has been evaluated on the test split.

    Args:
        run: run directory after evaluation.
        configuration: ``configuration_hash`` of what was evaluated.

    Returns:
        All that was evaluated on this split.

    Raises:
        RunError: if the file is there but cannot be read.
    """
    split, judged = _split(run), _read(run / FILE)
    configurations = judged.setdefault(split, {})
    configurations[configuration] = configurations.get(configuration, 0) + 1
    others = {other: found for other, found in judged.items() if other != split}
    write_json(run / FILE, {"split": split, "configurations": configurations, "other_splits": others})
    return Touches(configurations)


def read_touches(run: Path) -> Touches:
    """Read the evaluations of the test split of a run.

    Raises:
        RunError: if the file is there but cannot be read.
    """
    return Touches(_read(run / FILE).get(_split(run), {}))


def _split(run: Path) -> str:
    """Return the identity of the test split, which depends on the log and the start of the split only."""
    events = sha256(RunLayout(run).events)
    return hashlib.sha256(f"{events} {split_start(run, 'test')}".encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, dict[str, int]]:
    """Return split -> configuration -> number of evaluations."""
    if not path.exists():
        return {}
    content = read_json(path)
    try:
        return {**content["other_splits"], content["split"]: content["configurations"]}
    except (KeyError, TypeError) as error:
        raise RunError(f"{path} has no valid record of evaluations ({error!r}).", "Delete it to restart the count.") from error
