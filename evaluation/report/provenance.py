"""The parts of the page about where the metrics come from: the data, its quality, protocols and lineage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from evaluation.report import probability_drawings
from evaluation.report.details import Details
from evaluation.report.html import Child, Html, table, tag
from evaluation.report.lineage import Lineage
from evaluation.report.names import ABSENT, GLOSSARY, metric_name, task_name
from evaluation.report.views import TaskView


def data(lineage: Lineage, details: Details | None) -> list[Html]:
    """Return the summary of the data and of its quality."""
    summary, report = lineage.summary, lineage.examples
    if not summary and not report:
        return [tag("p", "The run has neither events/summary.json nor examples/report.json.", class_="missing")]
    parts: list[Html] = []
    if summary:
        sizes = f"{summary['rows']:,} events of {summary['users']:,} users and {summary['items']:,} items"
        days = f"{summary['first'][:10]} to {summary['last'][:10]}"
        parts.append(tag("p", f"{sizes}, {days}, read as {summary['source']} from {', '.join(summary['files'])}."))
    if details is not None and details.timeline is not None:
        cuts = {
            name: date.fromisoformat(report[key][:10])
            for name, key in (("validation", "t_valid"), ("test", "t_test"))
            if report.get(key)
        }
        parts.append(probability_drawings.days(details.timeline, cuts))
    if "rows" in report:
        told = [tag("p", f"Split {report['split']}.")] if report.get("split") else []
        parts += [tag("h3", "Splits"), *told, _splits(lineage)]
    parts += [tag("h3", "Rejected and dropped rows"), *_refused(lineage), tag("h3", "Leakage audit"), *_audit(lineage)]
    return parts


def _splits(lineage: Lineage) -> Html:
    report = lineage.examples
    kinds = [
        name for name in ("recommend", "ranking", "cart", "catalogue") if any(name in split for split in report["rows"].values())
    ]
    begins = {"train": lineage.summary.get("first", ""), "valid": report.get("t_valid", ""), "test": report.get("t_test", "")}
    rows = [
        [
            name,
            str(begins[name])[:16].replace("T", " "),
            *(
                f"{report['rows'].get(name, {}).get(kind, 0):,}" if kind in report["rows"].get(name, {}) else ABSENT
                for kind in kinds
            ),
        ]
        for name in ("train", "valid", "test")
    ]
    heads = {
        "recommend": "recommendation queries",
        "ranking": "rows to rank",
        "cart": "cart lines",
        "catalogue": "items on sale",
    }
    return table(["split", "begins (UTC)", *(heads[kind] for kind in kinds)], rows)


def _refused(lineage: Lineage) -> list[Html]:
    summary, dropped = lineage.summary, lineage.examples.get("dropped", {})
    reasons = [["row of the log", reason, f"{count:,}"] for reason, count in sorted(summary.get("reasons", {}).items())]
    reasons += [
        [f"example ({split})", reason.replace("_", " "), f"{count:,}"]
        for split, counts in sorted(dropped.items())
        for reason, count in sorted(counts.items())
        if count
    ]
    sentence = "The run has no summary of its events."
    if summary:
        refused = f"{summary['quarantined']:,} of {summary['rows_read']:,} rows of the log were rejected"
        sentence = (
            f"{refused}; they are in events/quarantine.parquet with their reasons." if summary["quarantined"] else f"{refused}."
        )
    return [tag("p", sentence), *([table(["what", "why", "rows"], reasons, numbers_from=2)] if reasons else [])]


def _audit(lineage: Lineage) -> list[Html]:
    if not lineage.audit:
        return [tag("p", "The run has no audit.", class_="missing")]
    rows = [[name.replace("_", " "), f"{count:,}"] for name, count in sorted(lineage.audit.items())]
    warnings = [tag("li", warning) for warning in lineage.warnings]
    return [
        tag("p", "Every check passed: a leak stops the run before anything is trained."),
        table(["check", "checked or found"], rows),
        *([tag("p", "Findings that are not leaks:"), tag("ul", warnings)] if warnings else []),
    ]


def lineage_part(lineage: Lineage, views: Sequence[TaskView]) -> list[Html]:
    """Return protocols, versions, settings and content hashes."""
    parts = [tag("p", *_test_set_usage(lineage)), tag("details", tag("summary", "Protocols by hash"), _protocols(views))]
    if not lineage.keys:
        return [*parts, tag("p", "The run has no manifest, so versions, settings and hashes are unknown.", class_="missing")]
    parts += [
        tag("h3", "Versions and seed"),
        tag(
            "p",
            f"Seed {lineage.seed}. " + ", ".join(f"{name} {version}" for name, version in sorted(lineage.versions.items())) + ".",
        ),
        tag("h3", "Stages"),
        table(
            ["stage", "key: hash of its settings, versions and inputs"],
            [[name, tag("code", key)] for name, key in lineage.keys.items()],
            numbers_from=9,
        ),
        tag("details", tag("summary", "Settings"), _settings(lineage)),
        tag("details", tag("summary", f"Content hashes of {len(lineage.files)} files"), _hashes(lineage)),
    ]
    return parts


def _test_set_usage(lineage: Lineage) -> list[Child]:
    once = (
        "Epochs, the weights of the sum, the weight of the retrieval score, calibration and thresholds were "
        "chosen on validation. If the retrieval model was then trained again, its training data includes "
        "validation. Only the evaluation reads the test split. "
    )
    if lineage.touches is None:
        return [once, "The number of evaluations was not recorded."]
    return [once, tag("span" if lineage.touches.is_clean else "b", lineage.touches.sentence)]


def _protocols(views: Sequence[TaskView]) -> Html:
    rows: dict[str, list[str]] = {}
    for view in views:
        for record in view.records:
            about = record.protocol
            rows.setdefault(about.hash, [about.hash, task_name(view.task), about.tie_rule, about.excluded, about.data])
    return table(["hash", "task", "ties", "left out", "rows requested"], rows.values(), numbers_from=9)


def _settings(lineage: Lineage) -> Html:
    rows = [
        [section, name, tag("code", str(value))]
        for section, told in sorted(lineage.settings.items())
        for name, value in (sorted(told.items()) if isinstance(told, dict) else [("", told)])
    ]
    return table(["section", "setting", "value"], rows, numbers_from=9)


def _hashes(lineage: Lineage) -> Html:
    rows = [
        [
            file.stage,
            file.path,
            ABSENT if file.rows is None else f"{file.rows:,}",
            f"{file.size:,}",
            tag("code", file.sha256[:16]),
        ]
        for file in lineage.files
    ]
    rows.append(["evaluate", "evaluation/metrics.json", ABSENT, ABSENT, tag("code", lineage.metrics_sha256[:16])])
    return table(["stage", "file", "rows", "bytes", "SHA-256"], rows, numbers_from=2)


def glossary(views: Sequence[TaskView]) -> Html:
    """Return what each metric of the report means."""
    held = {record.metric for view in views for record in view.records}
    return tag("dl", [(tag("dt", metric_name(metric)), tag("dd", text)) for metric, text in GLOSSARY.items() if metric in held])
