"""What all tests share: those that take minutes run where they are asked for, and several processes may share the others."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# Threads of OpenMP that wait for the next loop burn the core that the other process of ``-n 2`` needs. Read when a library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A machine that is busy with something else must not break a law.
settings.register_profile("cartwheel", deadline=None)
settings.load_profile("cartwheel")

_SWITCH = "CARTWHEEL_THOROUGH"
_TOGETHER = "tests/end_to_end/"
_APART = ("tests/end_to_end/test_readme.py", "tests/end_to_end/test_real_data.py")
"""End-to-end tests that make shops of their own, so that another process may take them."""


class _ByFile(LoadScopeScheduling):
    """Keeps the tests of a file in one process, for what the file makes is made once, and the end-to-end tests that share a shop."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return _TOGETHER if file.startswith(_TOGETHER) and file not in _APART else file


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
