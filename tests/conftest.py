"""What all tests share: those that take minutes run where they are asked for, and two processes share the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_SWITCH = "CARTWHEEL_THOROUGH"
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what must stay in one process, and skip what is marked ``thorough``, loudly, unless the environment asks for it.

    The end-to-end tests share shops that take a minute to make, and the folder ``runs``; elsewhere the tests of a file share what it makes.
    """
    for item in items:
        folder = item.path.relative_to(_HERE).parts[0]
        item.add_marker(pytest.mark.xdist_group(folder if folder == "end_to_end" else str(item.path)))
    if os.environ.get(_SWITCH):
        return
    skipped = pytest.mark.skip(reason=f"LOUD: takes a minute or more; {_SWITCH}=1 runs it")
    for item in items:
        if item.get_closest_marker("thorough"):
            item.add_marker(skipped)
