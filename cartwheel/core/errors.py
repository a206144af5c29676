"""Every error that Cartwheel raises on purpose, each with its exit code and gRPC status.

A message answers four questions in one or two sentences: where (file, row, column or field), what was found, what was
expected, and what to do. The command line prints it without a traceback and exits with ``exit_code``; the server answers
with ``grpc_status`` (names of the gRPC status codes, https://grpc.io/docs/guides/status-codes/).

Exit codes 2 to 12 are stable; 1 is left to what nobody foresaw.
"""

from __future__ import annotations

from typing import ClassVar


class CartwheelError(Exception):
    """Base of the taxonomy; catch it to catch everything that Cartwheel raises on purpose.

    Args:
        found: where and what is wrong, one sentence.
        fix: what the reader should do about it, one sentence.
    """

    exit_code: ClassVar[int] = 1
    grpc_status: ClassVar[str] = "INTERNAL"

    def __init__(self, found: str, fix: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.fix = fix

    def __str__(self) -> str:
        """Join what was found with what to do."""
        return f"{self.found} {self.fix}".strip()


class UsageError(CartwheelError):
    """An argument, option or request field that cannot be honoured."""

    exit_code = 2
    grpc_status = "INVALID_ARGUMENT"


class ConfigError(CartwheelError):
    """A configuration file that cannot be read, or a key or value in it that is not known."""

    exit_code = 3
    grpc_status = "INVALID_ARGUMENT"


class DataError(CartwheelError):
    """Input data that is missing, empty, of the wrong shape, or worse than the allowed share of bad rows."""

    exit_code = 4
    grpc_status = "INVALID_ARGUMENT"


class LeakageError(CartwheelError):
    """An example that could have looked at its own future."""

    exit_code = 5
    grpc_status = "FAILED_PRECONDITION"


class RunError(CartwheelError):
    """A run directory that is corrupt, incomplete for the stage asked for, or in use by another process."""

    exit_code = 6
    grpc_status = "FAILED_PRECONDITION"


class MissingDependencyError(CartwheelError):
    """A package, extra or binary that this stage needs and the environment lacks."""

    exit_code = 7
    grpc_status = "UNIMPLEMENTED"


class NotCompilableError(CartwheelError):
    """A feature operator that has no exact ONNX form."""

    exit_code = 8
    grpc_status = "UNIMPLEMENTED"


class ParityError(CartwheelError):
    """Serving answers that differ from offline answers; the export is refused."""

    exit_code = 9
    grpc_status = "FAILED_PRECONDITION"


class ServerError(CartwheelError):
    """A server that cannot be started, reached in time, or that broke while answering."""

    exit_code = 10
    grpc_status = "UNAVAILABLE"


class ReproductionError(CartwheelError):
    """A published table whose figures came out otherwise than its tolerance allows."""

    exit_code = 11
    grpc_status = "FAILED_PRECONDITION"


class ComparisonError(CartwheelError):
    """Figures that do not compare, for they came about under different protocols."""

    exit_code = 12
    grpc_status = "FAILED_PRECONDITION"
