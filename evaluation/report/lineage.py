"""Provenance of the metrics: the data, rejected rows, the audit, versions, settings and content hashes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cartwheel.core.errors import RunError
from cartwheel.core.files import sha256
from cartwheel.core.run_layout import RELATIVE
from evaluation.figures import METRICS_FILE
from evaluation.test_set_usage import FILE, Touches, read_touches

SUMMARY: Final = RELATIVE.events_summary
EXAMPLES: Final = RELATIVE.examples_report
FEATURES: Final = RELATIVE.features_report
MANIFEST: Final = RELATIVE.manifest
EVENTS: Final = RELATIVE.events
STAGES: Final = ("events", "examples", "features", "retrieval", "item_to_item", "ranking", "cart")
"""The inputs of the metrics, in the order of a run. Later stages are left out, so that writing the report again gives equal bytes."""


@dataclass(frozen=True)
class FileLine:
    """One file of the run."""

    stage: str
    path: str
    rows: int | None
    size: int
    sha256: str


@dataclass(frozen=True)
class Lineage:
    """Everything about the run except metrics; what a file lacks is empty."""

    summary: dict[str, Any] = field(default_factory=dict)
    """``events/summary.json``."""
    examples: dict[str, Any] = field(default_factory=dict)
    """``examples/report.json``."""
    audit: dict[str, int] = field(default_factory=dict)
    """Check of the leakage audit, of examples and of what is fitted -> how much it looked at or found."""
    warnings: tuple[str, ...] = ()
    """What the audit lets pass and a reader should know."""
    touches: Touches | None = None
    """How often the test split was evaluated; None where that was not counted."""
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    """Section of the configuration -> its settings."""
    seed: int | None = None
    keys: dict[str, str] = field(default_factory=dict)
    """Stage -> hash of its settings, versions and what it builds on."""
    files: tuple[FileLine, ...] = ()
    metrics_sha256: str = ""


def read_lineage(run: Path) -> Lineage:
    """Read the lineage of a run.

    Raises:
        RunError: if a file of it is there but cannot be read.
    """
    manifest = _read(run / MANIFEST)
    stages = manifest.get("stages", {})
    finished = {name: stages[name] for name in STAGES if name in stages}
    settings: dict[str, Any] = {}
    seed = None
    for stage in finished.values():
        for section, fields in stage.get("settings", {}).items():
            if section == "seed":
                seed = fields
            else:
                settings[section] = settings.get(section, {}) | fields
    metrics = run / METRICS_FILE
    audits = [_read(run / EXAMPLES), _read(run / FEATURES)]
    return Lineage(
        summary=_read(run / SUMMARY),
        examples=audits[0],
        audit={name: int(count) for told in audits for name, count in told.get("audit", {}).items()},
        warnings=tuple(str(text) for told in audits for text in told.get("warnings", ())),
        touches=read_touches(run) if all((run / name).is_file() for name in (FILE, EVENTS, EXAMPLES)) else None,
        versions=({"cartwheel": manifest["cartwheel"]} if "cartwheel" in manifest else {}) | manifest.get("packages", {}),
        settings=settings,
        seed=seed,
        keys={name: stage.get("key", "") for name, stage in finished.items()},
        files=tuple(
            FileLine(name, path, file.get("rows"), file["bytes"], file["sha256"])
            for name, stage in finished.items()
            for path, file in sorted(stage.get("files", {}).items())
        ),
        metrics_sha256=sha256(metrics) if metrics.is_file() else "",
    )


def _read(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty where the file is missing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}.", "Run the stage that writes it again.") from error
    if not isinstance(content, dict):
        raise RunError(
            f"{path} contains {type(content).__name__}, expected a JSON object.", "Run the stage that writes it again."
        )
    return content
