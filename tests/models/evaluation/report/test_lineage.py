"""The lineage of a run puts together what its stages know of the settings, each its own fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cartwheel.core.files import write_json
from evaluation.report.lineage import read_lineage


def stage(**settings: Any) -> dict[str, Any]:
    return {"key": "k", "settings": settings, "seconds": 1.0, "files": {}}


def test_the_fields_of_a_section_that_several_stages_read_are_put_together(tmp_path: Path) -> None:
    stages = {
        "events": stage(seed=3, source={"kind": "table"}),
        "item_to_item": stage(seed=3, evaluate={"max_two_stage_anchors": 9}, item_to_item={"neighbours": 5}),
        "ranking": stage(seed=3, evaluate={"candidates": 7, "max_two_stage_anchors": 9}),
        "unknown": stage(seed=4, evaluate={"bootstrap": 1}),
    }
    write_json(tmp_path / "manifest.json", {"cartwheel": "1", "packages": {}, "stages": stages})
    lineage = read_lineage(tmp_path)
    assert lineage.seed == 3
    assert lineage.settings == {
        "source": {"kind": "table"},
        "item_to_item": {"neighbours": 5},
        "evaluate": {"candidates": 7, "max_two_stage_anchors": 9},
    }


def test_a_run_without_a_manifest_has_no_settings(tmp_path: Path) -> None:
    lineage = read_lineage(tmp_path)
    assert (lineage.seed, lineage.settings, lineage.keys) == (None, {}, {})
