"""NVTabular runs without noise and leaves nothing changed behind it."""

import logging
import sys
import warnings

import pytest

from cartwheel.core.errors import MissingDependencyError
from workflows.compiler.quiet import quiet_nvtabular


def test_noise_is_silenced_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("nvtabular")
    before = logger.level
    with warnings.catch_warnings(record=True) as caught, quiet_nvtabular():
        import dask

        assert dask.config.get("scheduler") == "synchronous"
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logger.error("a traceback")
    assert caught == []
    assert caplog.records == []
    assert logger.level == before


def test_an_error_inside_leaves_levels_as_they_were() -> None:
    before = logging.getLogger("merlin").level
    with pytest.raises(ZeroDivisionError), quiet_nvtabular():
        _ = 1 / 0
    assert logging.getLogger("merlin").level == before


def test_a_missing_nvtabular_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(MissingDependencyError, match=r"\.\[train\]"), quiet_nvtabular():
        pass
