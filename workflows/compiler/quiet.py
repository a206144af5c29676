"""Runs NVTabular without its noise: one thread of Dask, no deprecation warnings of its old dependencies, no logged tracebacks."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

from cartwheel.core.errors import MissingDependencyError
from cartwheel.core.packages import INSTALL, refuse_colliding
from cartwheel.merlin_compat import install_cudf
from workflows.compiler.file_digests import watch_nvtabular

watch_nvtabular()  # where NVTabular is imported before Cartwheel, and perhaps fitted before any of this runs


@contextlib.contextmanager
def quiet_nvtabular() -> Iterator[None]:
    """Import and run NVTabular inside this; restores warnings, logging levels and Dask's scheduler afterwards.

    Raises:
        MissingDependencyError: if NVTabular or what it needs cannot be imported.
    """
    refuse_colliding()
    loggers = [logging.getLogger(name) for name in ("nvtabular", "merlin", "tensorflow", "distributed")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            install_cudf()
            import dask
            import nvtabular.ops  # noqa: F401

            watch_nvtabular()
            with dask.config.set(scheduler="synchronous"):
                yield
        except ImportError as error:
            raise MissingDependencyError(
                f"Features need NVTabular, which cannot be imported ({error}).", INSTALL.format("train")
            ) from error
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
