"""ONNX files of a run."""

from __future__ import annotations

from pathlib import Path

import onnx

from cartwheel.core.errors import RunError


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        RunError: if it is missing or no ONNX.
    """
    try:
        return onnx.load(path)
    except FileNotFoundError:
        raise RunError(f"{path} is missing.", "Run `cartwheel prepare` and `cartwheel train` first.") from None
    except Exception as error:  # protobuf's decoding errors share no public base
        raise RunError(f"{path} is no ONNX model: {error}.", "Run the stage that writes it again.") from error
