"""The data sets of the leaderboard: where each lies, how it is split, and the settings of its run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import polars as pl

from benchmarks.leaders.leave_one_out import Clocked, on_clock
from benchmarks.leaders.logs import SEQUENCES, read_amazon_beauty, read_movielens
from benchmarks.leaders.made import KINDS, SEASONS, STRANGERS, Maker, retailrocket_purchases, shop
from cartwheel.config import RunSettings, parse_settings
from cartwheel.core.errors import UsageError
from workflows.tasks.split import told_split

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT: Final = Path(__file__).resolve().parents[2]
CLOCKED: Final = "events.parquet"
_LEFT_OUT: Final = (
    "leave-one-out: of each user asked the last interaction tests, the one before validates, the rest trains; {asked:,} of {users:,} "
    "users are asked"
)
_NOT_FIGURES: Final[dict[str, Any]] = {"run": True, "export": True, "serve": True, "source": {"path", "kind"}}
"""Settings that decide no figure, or that the report tells otherwise."""

Content = dict[str, Any]
"""What a configuration file holds."""


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Attributes:
        name: how the command calls it.
        title: how the report calls it.
        path: where it lies in the folder of the data; None where it is made.
        config: its configuration file, from the root of the checkout; None is the demo's.
        read: reads the interactions of one that is evaluated leave-one-out; None where the configuration says how to read it.
        needs: what must be in ``path`` where that is a folder.
        order: where the order of a user's interactions comes from, where it is not from the times alone.
        make: writes the log that is evaluated; None where it is there, or the configuration simulates it.
        by_name: whether it is evaluated only where it is named, for it takes hours.
    """

    name: str
    title: str
    path: str | None
    config: str | None
    read: Callable[[Path], pl.DataFrame] | None = None
    needs: str = ""
    order: str = ""
    make: Maker | None = None
    by_name: bool = False

    def found(self, data: Path) -> bool:
        """Whether its data is in the folder ``data``."""
        return self.path is None or (data / self.path / self.needs).exists()


DATA_SETS: Final = (
    DataSet("retailrocket", "RetailRocket", "retailrocket/events.csv", "configs/retailrocket.toml"),
    DataSet("online_retail", "UCI Online Retail", "online_retail/online_retail.parquet", "configs/online_retail.toml"),
    DataSet(
        "movielens",
        "MovieLens latest-small",
        "movielens-latest-small",
        "benchmarks/leaders/movielens.toml",
        read_movielens,
        "ratings.csv",
        "ratings of one user at one second, a third of all, stay in the order of the file, by film number",
    ),
    DataSet(
        "amazon_beauty",
        "Amazon Beauty",
        "amazon-beauty",
        "benchmarks/leaders/amazon_beauty.toml",
        read_amazon_beauty,
        SEQUENCES,
        "the order is the publisher's",
    ),
    DataSet("rees46", "REES46", "rees46/2019-Oct.csv", "configs/rees46.toml"),
    DataSet("yoochoose", "YooChoose", "yoochoose", "benchmarks/leaders/yoochoose.toml"),
    DataSet(
        "complete_journey",
        "Complete Journey",
        "complete-journey/transactions_sample.parquet",
        "benchmarks/leaders/complete_journey.toml",
    ),
    DataSet(
        "retailrocket_purchases",
        "RetailRocket, purchases only",
        "retailrocket/events.csv",
        "benchmarks/leaders/made.toml",
        make=retailrocket_purchases,
    ),
    DataSet("movielens_by_time", "MovieLens by time", "movielens-latest-small", "configs/movielens.toml", needs="ratings.csv"),
    DataSet(
        "movielens_with_seen",
        "MovieLens by time, with what was seen",
        "movielens-latest-small",
        "benchmarks/leaders/movielens_with_seen.toml",
        needs="ratings.csv",
    ),
    DataSet("simulated", "The simulated shop", None, None),
    DataSet("shop_of_strangers", "A shop of strangers", None, "benchmarks/leaders/made.toml", make=shop(STRANGERS)),
    DataSet("shop_of_seasons", "A shop of seasons", None, "benchmarks/leaders/made.toml", make=shop(SEASONS)),
    DataSet("shop_of_many_events", "A shop of many events", None, "benchmarks/leaders/made.toml", make=shop(KINDS)),
    DataSet("simulated_large", "The large simulated shop", None, "benchmarks/leaders/simulated_large.toml", by_name=True),
)
"""In the order of the report."""

QUICK: Final[Content] = {
    "two_tower": {"epochs": 2, "dimension": 16, "embedding_dimension": 16, "hidden": [32]},
    "ranking": {"epochs": 1},
    "cart": {"epochs": 1},
    "evaluate": {"bootstrap": 100, "candidates": 50},
}
_QUICK_SHOP: Final[Content] = {"source": {"shoppers": 400, "items": 300, "days": 30}}


@dataclass(frozen=True)
class Plan:
    """A run that is ready to be started.

    Attributes:
        data_set: of what.
        settings: of the run.
        clocked: the log of one that is evaluated leave-one-out, already written; None where it is split by time.
    """

    data_set: DataSet
    settings: RunSettings
    clocked: Clocked | None

    @property
    def split(self) -> str:
        """How it is split, in words."""
        prepare = self.settings.prepare
        if self.clocked is None:
            return told_split(prepare)
        log = self.clocked
        told = [_LEFT_OUT.format(asked=log.asked, users=log.users)]
        if log.too_few:
            told.append(f"{log.too_few:,} with too few interactions to be asked only train")
        if prepare.max_eval_anchors < log.asked:
            told.append(f"of those asked {prepare.max_eval_anchors:,} are drawn")
        told += [self.data_set.order] if self.data_set.order else []
        return "; ".join(told)

    @property
    def changed(self) -> dict[str, Any]:
        """The settings that decide the figures and are not the defaults: ``section.key`` -> value."""
        usual, mine = (_flat(each.model_dump(mode="json", exclude=_NOT_FIGURES)) for each in (RunSettings(), self.settings))
        return {key: value for key, value in mine.items() if value != usual.get(key)}


def planned(data_set: DataSet, data: Path, work: Path, changes: Mapping[str, Any], *, quick: bool) -> Plan:
    """Read the settings of a data set, and put its log on the clock where it is evaluated leave-one-out.

    Args:
        data_set: which.
        data: the folder of all data.
        work: the folder of all runs; this one goes into ``<work>/<name>``.
        changes: section -> key -> value, from the command line; they win.
        quick: whether at a tiny size.

    Raises:
        ConfigError: if a setting is not known or not accepted.
        DataError: if the log cannot be read.
    """
    run = work / data_set.name
    content = _read_config(data_set)
    content.pop("run", None)
    if quick:
        content = merged(content, QUICK)
    if data_set.make is not None:
        folder = work / "logs" / data_set.name
        made = data_set.make(data / (data_set.path or ""), folder, int(changes.get("seed", RunSettings().seed)), quick)
        content = merged(content, {"source": {"path": str(made.absolute())}})
    elif data_set.path is None:
        content = merged(content, _QUICK_SHOP if quick else {})
    elif data_set.read is None:
        content = merged(content, {"source": {"path": str((data / data_set.path).absolute())}})
    clocked = None
    if data_set.read is not None and data_set.path is not None:
        parse_settings(
            merged(content, changes), data_set.name, ROOT
        )  # a setting that is not accepted is told before the log is read
        clocked = on_clock(data_set.read(data / data_set.path))
        file = work / "logs" / data_set.name / CLOCKED
        clocked.write(file)
        content = merged(merged(clocked.settings(), {"source": {"path": str(file.absolute())}}), content)
    settings = parse_settings({**merged(content, changes), "run": str(run.absolute())}, data_set.name, ROOT)
    _require_cutoff(settings)
    return Plan(data_set, settings, clocked)


def chosen(names: Sequence[str]) -> list[DataSet]:
    """Return the data sets of those names, in the order of the report; without names all but those that have to be named.

    Raises:
        UsageError: if there is none of a name.
    """
    known = [each.name for each in DATA_SETS]
    for name in names:
        if name not in known:
            raise UsageError(f"--only {name}: there is no such data set.", f"There are {', '.join(known)}.")
    return [each for each in DATA_SETS if each.name in names or not (names or each.by_name)]


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Content:
    """Return ``below`` with the values of ``above`` put over it, section by section.

    >>> merged({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}, "b": 4})
    {'a': {'x': 1, 'y': 3}, 'b': 4}
    """
    result = dict(below)
    for key, value in above.items():
        held = result.get(key)
        result[key] = merged(held, value) if isinstance(held, Mapping) and isinstance(value, Mapping) else value
    return result


def parse_changes(told: Sequence[str]) -> Content:
    """Read ``section.key=value`` settings, values as TOML writes them; what is no TOML is text.

    >>> parse_changes(["two_tower.temperature=0.2", "two_tower.hidden=[64, 32]", "features.engine=polars"])
    {'two_tower': {'temperature': 0.2, 'hidden': [64, 32]}, 'features': {'engine': 'polars'}}

    Raises:
        UsageError: if one has no ``=`` or no key.
    """
    result: Content = {}
    for each in told:
        path, equals, text = each.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not equals or not all(keys):
            raise UsageError(f"--set {each}: no setting.", "Write section.key=value, for example two_tower.temperature=0.2.")
        try:
            value: Any = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        for key in reversed(keys):
            value = {key: value}
        result = merged(result, value)
    return result


def _read_config(data_set: DataSet) -> Content:
    if data_set.config is None:
        text = resources.files("cartwheel").joinpath("demo.toml").read_text(encoding="utf-8")
    else:
        text = (ROOT / data_set.config).read_text(encoding="utf-8")
    content = tomllib.loads(text)
    content.pop("tasks", None)  # the leaderboard is of recommendations
    return content


def _require_cutoff(settings: RunSettings) -> None:
    if 10 not in settings.evaluate.cutoffs:
        raise UsageError(
            f"evaluate.cutoffs is {list(settings.evaluate.cutoffs)}, without the 10 that the leaderboard is sorted by.", "Add it."
        )


def _flat(content: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{above}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return flat
