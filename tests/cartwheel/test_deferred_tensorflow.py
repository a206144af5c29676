"""NVTabular comes without TensorFlow, and with all of it as soon as anything asks for it."""

from __future__ import annotations

import subprocess
import sys

ALONE = """
import importlib.util, sys, warnings
warnings.simplefilter("ignore")
import workflows
from workflows.compiler.quiet import quiet_nvtabular
with quiet_nvtabular():
    import nvtabular
    assert importlib.util.find_spec("tensorflow")
assert "tensorflow" not in sys.modules, "NVTabular imported it"
assert importlib.util.find_spec("tensorflow").name == "tensorflow"
"""
MAPPINGS = "from merlin.dtypes.registry import _dtype_registry as registry; import merlin.dtypes as dtypes\n"
ASKED = "from merlin.core.compat.tensorflow import tf_ops; assert tf_ops.__name__.startswith('tensorflow.')"
"""A name that merlin-core's data loader takes; its tensor tables are asked afterwards, by the stand-in that they were imported with."""


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=240)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_whoever_asks_for_tensorflow_gets_what_merlin_would_have_imported_at_once() -> None:
    """The order of the mappings counts: the first that matches is taken, and Triton's match TensorFlow's numbers."""
    told = run(
        f"{ALONE}{ASKED}\n{MAPPINGS}import tensorflow as tf, merlin.core.compat.tensorflow as compat\n"
        "from merlin.table import TensorTable\n"
        "assert compat.tensorflow is tf and tf.__spec__.loader is tf.__loader__ and tf.__loader__.get_source('tensorflow')\n"
        "print(TensorTable({'a': tf.constant([1, 2])})['a'].dtype.name, *(dtypes.dtype(getattr(tf, n)).name for n in "
        "('int32', 'int64', 'float32', 'bool')), *registry.mappings)"
    )
    assert told.split()[:5] == ["int32", "int32", "int64", "float32", "bool"]
    assert told.split()[5:] == ["merlin", "numpy", "pandas", "python", "tf", "tensorflow", "triton"]
