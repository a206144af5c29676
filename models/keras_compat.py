"""The one place where Merlin Models 23.12, written against Keras <= 2.12, is made to run on TensorFlow 2.15.

Take TensorFlow and Merlin from here (``from models.keras_compat import mm, tf``): the first use silences their start-up
noise and installs the repairs before Merlin is imported. Only the module names below are redirected, each to the one module
object that Keras already has, so that no Keras class exists twice.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.abc
import importlib.machinery
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

from cartwheel.errors import MissingDependencyError

_MOVED_IN_KERAS: Final = (
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
_TRACKABLE: Final = "tensorflow.python.trackable"
_ALIASES: Final = {f"keras.{name}": f"keras.src.{name}" for name in _MOVED_IN_KERAS} | {
    "tensorflow.python.training.tracking": _TRACKABLE,
    "tensorflow.python.training.tracking.data_structures": f"{_TRACKABLE}.data_structures",
}
_NOISY_LOGGERS: Final = ("absl", "merlin_models", "numba", "tensorflow", "tf2onnx")


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


def install() -> None:
    """Install the aliases and the three repairs; safe to call again.

    Raises:
        MissingDependencyError: if TensorFlow is not installed.
    """
    if any(isinstance(finder, _AliasFinder) for finder in sys.meta_path):
        return
    silence()
    try:
        tf_python = importlib.import_module("tensorflow.python")
        dlpack = importlib.import_module("tensorflow").experimental.dlpack
    except ImportError as error:
        raise MissingDependencyError(
            f"Training needs TensorFlow, which cannot be imported ({error}).", 'Install it with pip install ".[train]".'
        ) from error
    sys.meta_path.insert(0, _AliasFinder())
    for name in ("to_dlpack", "from_dlpack"):  # gone from tensorflow.python in 2.13
        if not hasattr(tf_python, name):
            setattr(tf_python, name, getattr(dlpack, name))
    for api in ("tensorflow.keras", "keras.api._v2.keras"):
        _let_layers_serialize_take_metrics(api)
    _accept_tuples_in_build_from_config()


def silence() -> None:
    """Keep the C++ and Python start-up messages of TensorFlow and Merlin off standard error; call before their first import."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    for module in ("keras", "merlin", "tensorflow", "tf2onnx", "nvtabular", "google", "cudf", "dask"):
        warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")


def _let_layers_serialize_take_metrics(api: str) -> None:
    """Merlin's top-k aggregator serialises metrics as layers, which Keras 2.13 refuses."""
    layers: Any = importlib.import_module(f"{api}.layers")
    metrics: Any = importlib.import_module(f"{api}.metrics")
    original = layers.serialize

    @functools.wraps(original)
    def serialize(layer: Any, use_legacy_format: bool = False) -> Any:
        chosen = metrics.serialize if isinstance(layer, metrics.Metric) else original
        return chosen(layer, use_legacy_format=use_legacy_format)

    layers.serialize = serialize


def _accept_tuples_in_build_from_config() -> None:
    """Keras 2.13 to 2.15 rebuilds layers with plain tuples where Merlin needs a TensorShape."""
    from keras.src.engine.base_layer import Layer
    from keras.src.utils import tf_utils

    def build_from_config(self: Any, config: dict[str, Any]) -> None:
        if config["input_shape"] is not None:
            self.build(tf_utils.convert_shapes(config["input_shape"], to_tuples=False))

    Layer.build_from_config = build_from_config


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
