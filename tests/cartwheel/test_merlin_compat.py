from __future__ import annotations

import subprocess
import sys

import pytest


def test_merlin_imports_in_silence() -> None:
    code = "from cartwheel.merlin_compat import mm, tf; mm.DLRMModel; print(tf.__version__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240)
    assert result.stdout.startswith("2.")
    assert result.stderr == ""


def test_old_names_are_the_same_modules() -> None:
    from cartwheel import merlin_compat

    merlin_compat.install()
    merlin_compat.install()  # again, to no effect
    import importlib

    assert importlib.import_module("keras.engine") is importlib.import_module("tf_keras.src.engine")
    assert importlib.import_module("keras.engine").__spec__.name == "tf_keras.src.engine"
    assert sum(type(finder).__name__ == "_AliasFinder" for finder in sys.meta_path) == 1


def test_a_metric_serializes_as_a_layer() -> None:
    from cartwheel.merlin_compat import tf

    metric = tf.keras.layers.serialize(tf.keras.metrics.AUC(name="auc"))
    assert metric["config"]["name"] == "auc"
    assert tf.keras.layers.serialize(tf.keras.layers.Dense(1))["class_name"] == "Dense"


def test_layers_rebuild_from_tuples() -> None:
    from cartwheel.merlin_compat import tf

    layer = tf.keras.layers.Dense(2)
    layer.build_from_config({"input_shape": (None, 3)})
    assert layer.built


def test_nothing_else_is_exported() -> None:
    from cartwheel import merlin_compat

    with pytest.raises(AttributeError):
        _ = merlin_compat.torch
