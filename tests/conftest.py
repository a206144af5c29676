"""What all tests share: those that take minutes run where they are asked for."""

from __future__ import annotations

import os

import pytest

_SWITCH = "CARTWHEEL_THOROUGH"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked ``thorough``, loudly, unless the environment asks for it."""
    if os.environ.get(_SWITCH):
        return
    skipped = pytest.mark.skip(reason=f"LOUD: takes a minute or more; {_SWITCH}=1 runs it")
    for item in items:
        if item.get_closest_marker("thorough"):
            item.add_marker(skipped)
