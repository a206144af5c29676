"""One place names the files of a run, and nothing else does."""

import re
from pathlib import Path

from cartwheel.core.run_layout import RELATIVE, SNAPSHOT, ModelLayout, RunLayout

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = "simulation|events|examples|snapshot|workflow|features|models|evaluation|repository|tuning"
JOINED = re.compile(rf'\b(run|path|target|data|settings\.run|self\.path|\w+\.run) / f?"(?:{FOLDERS})["/]')
"""A path of a run that is put together by hand."""
LAYOUT = "cartwheel/core/run_layout.py"


def test_the_names_are_those_that_earlier_releases_wrote() -> None:
    run = RunLayout(Path("shop"))
    assert [path.as_posix() for path in (run.events, run.examples("test", "cart"), run.features(SNAPSHOT, "items"))] == [
        "shop/events/events.parquet",
        "shop/examples/test/cart.parquet",
        "shop/features/snapshot/items",
    ]
    assert run.model("ranking").scores == Path("shop/models/ranking/model.onnx")
    assert run.graph("query") == Path("shop/workflow/query.onnx")
    assert run.snapshot("users") == Path("shop/snapshot/users.parquet")
    assert RELATIVE.metrics.as_posix() == "evaluation/metrics.json"
    assert RELATIVE.item_to_item.neighbours(SNAPSHOT, "ease").as_posix() == "models/item_to_item/snapshot_ease.npz"


def test_no_two_names_are_one_path() -> None:
    for layout in (RELATIVE, ModelLayout(Path("models/cart"))):
        own = [name for name, value in vars(type(layout)).items() if isinstance(value, property)]
        paths = [getattr(layout, name) for name in own]
        assert len({str(getattr(path, "path", path)) for path in paths}) == len(own)


def test_nothing_else_joins_the_paths_of_a_run() -> None:
    files = [file for room in ("cartwheel", "workflows", "models", "serving") for file in sorted((ROOT / room).rglob("*.py"))]
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in files
        if file.relative_to(ROOT).as_posix() != LAYOUT
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if JOINED.search(line)
    ]
    assert not found, "\n".join(found)
