"""Patches that make Merlin's packages of 2023 run, unmodified, on current dependencies; each with its reason.

NVTabular, merlin-core and merlin-dataloader 23.8 and Merlin Models 23.12 were written for pandas 1.5, Keras up to 2.12 and the Dask of
their day. Nothing of them is copied here: names are redirected, each to the one object that the current part already has, or wrapped.

``prepare`` is cheap and imports none of them: ``workflows`` calls it before anything else is imported. TensorFlow and Merlin Models are
taken from here (``from cartwheel.merlin_compat import mm, tf``), the first use of which calls ``install``.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Final

from cartwheel.core.deferred_tensorflow import defer
from cartwheel.core.errors import MissingDependencyError
from cartwheel.core.packages import INSTALL

_DASK_SETTINGS: Final = {
    "dataframe.query-planning": False,  # Merlin builds its task graphs by hand, for the collections before query planning
    "dataframe.convert-string": False,  # with pandas 2, Dask would turn columns of lists (dtype object) into Arrow strings
}
_MOVED_IN_KERAS: Final = (  # below src since Keras 2.13
    "engine",
    "engine.compile_utils",
    "layers.preprocessing",
    "layers.preprocessing.preprocessing_utils",
    "utils.control_flow_util",
    "utils.generic_utils",
    "utils.layer_utils",
    "utils.losses_utils",
    "utils.metrics_utils",
    "utils.tf_inspect",
)
_KERAS: Final = "tf_keras"
"""Keras 2 lives on under this name beside TensorFlow 2.16 and later, whose own ``keras`` is Keras 3."""
_TRACKABLE: Final = "tensorflow.python.trackable"
_ALIASES: Final = (
    {"keras": _KERAS, "keras.utils": f"{_KERAS}.utils", "keras.saving": f"{_KERAS}.saving"}
    | {f"{root}.{name}": f"{_KERAS}.src.{name}" for root in ("keras", _KERAS) for name in _MOVED_IN_KERAS}
    | {  # moved in TensorFlow 2.11
        "tensorflow.python.training.tracking": _TRACKABLE,
        "tensorflow.python.training.tracking.data_structures": f"{_TRACKABLE}.data_structures",
    }
)
_NOISY_LOGGERS: Final = ("absl", "merlin_models", "numba", "tensorflow", "tf2onnx")
_NOISY_MODULES: Final = ("keras", "tf_keras", "merlin", "tensorflow", "tf2onnx", "nvtabular", "google", "cudf", "dask")
_START_UP_LINES: Final = re.compile(rb"WARNING: All log messages before absl::InitializeLog|[IW]0000 .*\.cc:\d+\] ")


class _AliasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves a module's old name as an alias of the module at its present place."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        return importlib.machinery.ModuleSpec(fullname, self) if fullname in _ALIASES else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(_ALIASES[spec.name])
        spec.loader_state = module.__spec__  # the import system overwrites __spec__ next
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        module.__spec__ = spec.loader_state  # already executed under its own name


def prepare() -> None:
    """Set what must be set before Dask, NVTabular and TensorFlow are imported; safe to call again."""
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # or tf.keras is Keras 3, and Merlin Models is written for Keras 2
    for name, value in _DASK_SETTINGS.items():
        os.environ.setdefault(f"DASK_{name.replace('.', '__').replace('-', '_').upper()}", str(value))
    if "dask" in sys.modules:
        importlib.import_module("dask.config").set(_DASK_SETTINGS)
    defer()


def install() -> None:
    """Install the aliases and the repairs that Merlin Models needs; safe to call again.

    Raises:
        MissingDependencyError: if TensorFlow or its Keras 2 is not installed, or Keras 3 was taken from TensorFlow before.
    """
    if any(isinstance(finder, _AliasFinder) for finder in sys.meta_path):
        return
    prepare()
    silence()
    try:
        tensorflow = import_tensorflow()
        python = importlib.import_module("tensorflow.python")
        importlib.import_module(_KERAS)
    except ImportError as error:
        raise MissingDependencyError(
            f"Training needs TensorFlow and tf-keras, which cannot be imported ({error}).",
            INSTALL.format("train"),
        ) from error
    if not tensorflow.keras.__name__.startswith((_KERAS, "keras.api._v2")):
        raise MissingDependencyError(
            f"TensorFlow runs with Keras {tensorflow.keras.__version__} in this process, and Merlin Models needs Keras 2.",
            "Import cartwheel before tensorflow, and leave the environment variable TF_USE_LEGACY_KERAS unset or at 1.",
        )
    sys.meta_path.insert(0, _AliasFinder())
    for name in ("to_dlpack", "from_dlpack"):  # gone from tensorflow.python in 2.13
        if not hasattr(python, name):
            setattr(python, name, getattr(tensorflow.experimental.dlpack, name))
    for api in ("tensorflow.keras", f"{_KERAS}.api._v2.keras"):
        _let_layers_serialize_take_metrics(api)
    _accept_tuples_in_build_from_config()


def import_tensorflow() -> ModuleType:
    """Import TensorFlow without the lines that its C++ parts write before they read ``TF_CPP_MIN_LOG_LEVEL``.

    Raises:
        ImportError: if it cannot be imported.
    """
    prepare()
    silence()
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    with _without_lines(_START_UP_LINES):
        return importlib.import_module("tensorflow")


@contextlib.contextmanager
def _without_lines(beginnings: re.Pattern[bytes]) -> Iterator[None]:
    """Hold back what the process writes to standard error meanwhile, and then write the lines that ``beginnings`` do not match."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held:
                if not beginnings.match(line):
                    os.write(2, line)


def install_cudf() -> None:
    """Give cuDF 24.12, the last with Dask's old collections, the three names of 2023 that NVTabular asks it for; safe to call again."""
    if not all(importlib.util.find_spec(name) for name in ("cudf", "dask_cudf")):
        return
    column = importlib.import_module("cudf.core.column")
    dask_cudf = importlib.import_module("dask_cudf")
    if not hasattr(column, "build_categorical_column"):  # merlin.io imports it, and calls it with cuDF before 22.02 only
        column.build_categorical_column = None  # type: ignore[attr-defined]
    if not hasattr(dask_cudf, "from_dask_dataframe"):  # Dataset(a pandas table) on a GPU
        dask_cudf.from_dask_dataframe = lambda table: table.to_backend("cudf")  # type: ignore[attr-defined]
    if not hasattr(dask_cudf.DataFrame, "to_dask_dataframe"):  # Dataset.to_cpu()
        dask_cudf.DataFrame.to_dask_dataframe = lambda table: table.to_backend("pandas")


def silence() -> None:
    """Keep the C++ and Python start-up messages of TensorFlow and Merlin off standard error; call before their first import."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    for module in _NOISY_MODULES:
        warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
    warnings.filterwarnings("ignore", message="The legacy Dask DataFrame implementation")  # see _DASK_SETTINGS


def _let_layers_serialize_take_metrics(api: str) -> None:
    """Merlin's top-k aggregator serialises metrics as layers, which Keras refuses since 2.13."""
    layers: Any = importlib.import_module(f"{api}.layers")
    metrics: Any = importlib.import_module(f"{api}.metrics")
    original = layers.serialize

    @functools.wraps(original)
    def serialize(layer: Any, use_legacy_format: bool = False) -> Any:
        chosen = metrics.serialize if isinstance(layer, metrics.Metric) else original
        return chosen(layer, use_legacy_format=use_legacy_format)

    layers.serialize = serialize


def _accept_tuples_in_build_from_config() -> None:
    """Keras since 2.13 rebuilds layers with plain tuples where Merlin needs a TensorShape."""
    layer: Any = importlib.import_module(f"{_KERAS}.src.engine.base_layer").Layer
    tf_utils: Any = importlib.import_module(f"{_KERAS}.src.utils.tf_utils")

    def build_from_config(self: Any, config: dict[str, Any]) -> None:
        if config["input_shape"] is not None:
            self.build(tf_utils.convert_shapes(config["input_shape"], to_tuples=False))

    layer.build_from_config = build_from_config


def _share_gpus(tensorflow: Any) -> None:
    """Take GPU memory as it is needed rather than all of it, so that a server can run beside training."""
    for device in tensorflow.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # TensorFlow is in use already, with settings of its own
            tensorflow.config.experimental.set_memory_growth(device, True)


def __getattr__(name: str) -> Any:
    """Import ``tf`` (TensorFlow) or ``mm`` (``merlin.models.tf``) on first use, repaired."""
    if name not in {"tf", "mm"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    install()
    module = importlib.import_module("tensorflow" if name == "tf" else "merlin.models.tf")
    if name == "tf":
        _share_gpus(module)
    globals()[name] = module
    return module
