"""NVTabular's GPU path is imported, module by module, where cuDF is installed; no GPU is needed for that."""

import importlib.util
import os
import subprocess
import sys

import pytest

PYTHON = os.environ.get("CARTWHEEL_GPU_PYTHON", sys.executable)

pytestmark = pytest.mark.skipif(
    "CARTWHEEL_GPU_PYTHON" not in os.environ and importlib.util.find_spec("cudf") is None,
    reason="LOUD: cuDF is not installed; CARTWHEEL_GPU_PYTHON names the Python of an environment with the extra gpu",
)

IMPORTS = """
import importlib, pkgutil, warnings
warnings.simplefilter("ignore")
from cartwheel.merlin_compat import import_tensorflow, install_cudf, prepare
prepare()
import merlin.core.has_gpu
merlin.core.has_gpu.HAS_GPU = True  # there is none, and so cuDF would not be imported
import_tensorflow()
install_cudf()
install_cudf()  # again, to no effect
import dask_cudf, merlin.core.compat, merlin.core.dispatch, nvtabular
assert merlin.core.compat.cudf.__name__ == merlin.core.dispatch.cudf.__name__ == "cudf"
assert not dask_cudf.QUERY_PLANNING_ON
assert callable(dask_cudf.from_dask_dataframe) and callable(dask_cudf.DataFrame.to_dask_dataframe)
imported, failed = 0, []
for root in ("merlin.core", "merlin.dag", "merlin.io", "merlin.schema", "nvtabular.ops", "nvtabular.workflow", "nvtabular.tools"):
    for module in pkgutil.walk_packages(importlib.import_module(root).__path__, root + "."):
        try:
            importlib.import_module(module.name)
            imported += 1
        except Exception as error:
            if getattr(error, "name", "") == "uavro":  # merlin.io.avro alone asks for it
                continue
            failed.append(f"{module.name}: {error!r}")
print(imported, failed)
"""


def test_every_module_of_the_gpu_path_is_imported() -> None:
    environment = {**os.environ, "RAPIDS_NO_INITIALIZE": "1"}  # or cuDF asks for a driver as it is imported
    result = subprocess.run([PYTHON, "-c", IMPORTS], capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    count, _, failed = result.stdout.partition(" ")
    assert int(count) > 60
    assert failed.strip() == "[]"
