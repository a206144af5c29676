"""What all tests share: those that take minutes run where they are asked for, and several processes may share the others."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# A machine that is busy with something else must not break a law.
settings.register_profile("cartwheel", deadline=None)
settings.load_profile("cartwheel")

_SWITCH = "CARTWHEEL_THOROUGH"
_TOGETHER = "tests/end_to_end/"


class _ByFile(LoadScopeScheduling):
    """Keeps the tests of a file in one process, for what the file makes is made once, and all end-to-end tests.

    Those share shops that take a minute to make, and the folder ``runs``.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _TOGETHER if nodeid.startswith(_TOGETHER) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFile:
    """Say how tests are shared where there are several processes (``-n``)."""
    return _ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked ``thorough``, loudly, unless the environment asks for it."""
    if os.environ.get(_SWITCH):
        return
    skipped = pytest.mark.skip(reason=f"LOUD: takes a minute or more; {_SWITCH}=1 runs it")
    for item in items:
        if item.get_closest_marker("thorough"):
            item.add_marker(skipped)
