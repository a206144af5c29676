"""New data since a run: files of the source that are not in its log, and files of ``cartwheel land``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cartwheel.config import RunSettings
from cartwheel.core.errors import ConfigError, RunError
from cartwheel.core.files import write_json
from cartwheel.core.run_layout import EventsLayout, RunLayout
from cartwheel.pipeline.reads import has_identity, is_simulated
from cartwheel.pipeline.run_directory import RunDirectory, digest
from cartwheel.pipeline.work import events_from, source_files
from workflows.settings import IDENTITY, SourceSettings

Stamps = list[list[Any]]
"""Path, size and time of change of each file, as JSON keeps them."""


@dataclass(frozen=True)
class Arrivals:
    """Files whose events may be new.

    Attributes:
        source: of the configuration's source.
        landed: that ``cartwheel land`` wrote.
        all: stamps of every file of either kind, known or new.
    """

    source: tuple[Path, ...]
    landed: tuple[Path, ...]
    all: Stamps

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.source or self.landed)


def find_arrivals(settings: RunSettings, run: Path, landed: Path | None) -> Arrivals:
    """Return the files that a run's log does not hold; a file that has changed is a new one.

    Args:
        settings: the configuration.
        run: the run that goes on.
        landed: folder that ``cartwheel land`` wrote; None is ``landed`` of the configuration's run, where there is one.

    Raises:
        ConfigError: if a folder is named that is not there.
        DataError: if the source has no files.
    """
    if landed is not None and not landed.is_dir():
        raise ConfigError(
            f"--landed is {landed}, which is not a folder.", "Give the folder that `cartwheel land --out` wrote to."
        )
    folder = landed or RunLayout(settings.run).landed
    of_source, of_landed = _stamps(source_files(settings)), _stamps(sorted(folder.glob("events-*.parquet")))
    known = _known(settings, run, of_source)
    new = [[Path(stamp[0]) for stamp in stamps if stamp not in known] for stamps in (of_source, of_landed)]
    return Arrivals(tuple(new[0]), tuple(new[1]), [*of_source, *of_landed])


def arrivals_from(settings: RunSettings, base: Path, arrivals: Arrivals) -> str:
    """Return what identifies the log that comes of a base and what has arrived since."""
    record = RunDirectory(base).manifest().stages["events"]
    files = {name: file.sha256 for name, file in record.files.items()}
    identity = None
    if has_identity(settings):
        from workflows.events.side_tables import table_inputs

        identity = _stamps(table_inputs(IDENTITY, settings.tables[IDENTITY]))
    new = [stamp for stamp in arrivals.all if Path(stamp[0]) in (*arrivals.source, *arrivals.landed)]
    return digest([files, new, identity])


def append(run: Path, settings: RunSettings, base: Path, arrivals: Arrivals) -> tuple[int, int]:
    """Check what has arrived and write the log of a run: that of its base and the new events.

    Returns:
        How many events are new, and how many of them are no later than the last one of the base.

    Raises:
        ConfigError, DataError: as when events are read for the first time, or if they have another schema.
    """
    from workflows.events.append import Batch, append_events
    from workflows.events.sources import open_source
    from workflows.events.sources.base import FileSource
    from workflows.events.validate import check_events

    layout = RunLayout(run)
    target, batches = EventsLayout(layout.events_folder), list[Batch]()
    target.path.mkdir(parents=True, exist_ok=True)
    if arrivals.source:
        source = open_source(settings.source, run, settings.events.extra_types)
        if isinstance(source, FileSource) and any(file.path in arrivals.source for file in source.files):
            checked = EventsLayout(target.path / "source")
            batches.append(Batch(checked, check_events(source.only(arrivals.source), settings.events, checked.path), whole=True))
    if arrivals.landed:
        read = SourceSettings(kind="table", path=arrivals.landed[0].parent / "events-*.parquet")
        tracked = open_source(read, run, settings.events.extra_types)
        assert isinstance(tracked, FileSource)
        checked = EventsLayout(target.path / "landed")
        batches.append(Batch(checked, check_events(tracked.only(arrivals.landed), settings.events, checked.path), whole=False))
    appended = append_events(EventsLayout(RunLayout(base).events_folder), batches, target)
    if has_identity(settings):
        from workflows.events.identity import join_identity

        join_identity(target, appended.summary, settings.tables[IDENTITY])
    write_json(layout.inputs, arrivals.all)
    return appended.new, appended.late


def _stamps(paths: list[Path]) -> Stamps:
    return [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def _known(settings: RunSettings, run: Path, of_source: Stamps) -> Stamps:
    """Return the stamps of files whose events are in the log of a run already; of a first run those of its source, or none."""
    path = RunLayout(run).inputs
    if path.is_file():
        try:
            found: Stamps = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path} cannot be read ({error}).", "Delete it; every file of the source is then read again."
            ) from None
        return found
    if is_simulated(settings):
        return []
    record = RunDirectory(run).manifest().stages["events"]
    return of_source if record.outside == digest(events_from(settings)) else []
