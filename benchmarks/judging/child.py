"""Measures an evaluation in a process of its own, of any Python: the peer's library needs another environment than Cartwheel's."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.encoding.child import ROOT, Stage, measure
from cartwheel.core.errors import RunError


def run_child(python: Path, function: str, environment: Mapping[str, str], **arguments: Any) -> dict[str, Stage]:
    """Run the stages that a function makes, in a new process.

    Args:
        python: the interpreter.
        function: ``module:function``; called with ``arguments`` it returns ``benchmarks.encoding.child.Stages``.
        environment: variables that are set for the process, beside those of this one.
        arguments: what JSON can carry.

    Returns:
        Stage -> what it took. The first, ``start``, has no work in it: it tells what imports and inputs hold.

    Raises:
        RunError: if the child fails.
    """
    command = [str(python), "-m", "benchmarks.judging.child", function, json.dumps(arguments)]
    variables = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RunError(f"{python} cannot be run: {error}.", "Give the Python of a virtual environment.") from error
    if done.returncode:
        raise RunError(f"{function} failed under {python}:\n{done.stderr[-4000:]}", "Mend it; nothing is reported.")
    return {name: Stage(**stage) for name, stage in json.loads(done.stdout.splitlines()[-1]).items()}


def _main() -> None:
    module, _, function = sys.argv[1].partition(":")
    stages = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2]))
    print(json.dumps({name: asdict(stage) for name, stage in measure(stages).items()}))


if __name__ == "__main__":
    _main()
