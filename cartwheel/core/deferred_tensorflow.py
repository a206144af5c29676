"""Lets NVTabular be imported without TensorFlow, which its dtypes and its tensor tables would load for nothing but to know of it.

Encoding, auditing and looking at a workflow need no TensorFlow, whose import takes two thirds of NVTabular's. ``defer`` puts stand-ins in
the place of the two modules of merlin-core that import it, until something else imports TensorFlow; then they are imported themselves.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

_DTYPES: Final = "merlin.dtypes.mappings.tf"
_COMPAT: Final = "merlin.core.compat.tensorflow"
_TENSORFLOW: Final = "tensorflow"


class _Later:
    """TensorFlow, imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(_TENSORFLOW), name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the stand-ins, and TensorFlow itself, whose import ends the deferral."""

    def __init__(self) -> None:
        self.stand_ins: list[str] = []
        self.loader: importlib.abc.Loader | None = None
        self.mapped = 0
        """How many mappings of dtypes stand before TensorFlow's: the first that matches counts, and Triton's match any integer."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname in (_DTYPES, _COMPAT):
            return importlib.machinery.ModuleSpec(fullname, self)
        return self._spec_of_tensorflow() if fullname == _TENSORFLOW else None

    def _spec_of_tensorflow(self) -> importlib.machinery.ModuleSpec | None:
        """Return where TensorFlow is found, with this as its loader; who only asks whether there is one changes nothing."""
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(_TENSORFLOW, None) for finder in others)), None)
        if spec is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec) if spec.name == _TENSORFLOW and self.loader else None

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ in (_DTYPES, _COMPAT):
            self.stand_ins.append(module.__name__)
            if module.__name__ == _COMPAT:
                module.__dict__.update(tensorflow=_Later(), __getattr__=_of_the_module_itself)
            else:
                self.mapped = len(_mappings())
            return
        assert self.loader is not None
        assert module.__spec__ is not None
        sys.meta_path.remove(self)
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        before = list(_mappings())[: self.mapped]
        for name in self.stand_ins:
            del sys.modules[name]
            importlib.import_module(name)
        _put_first(_mappings(), [*before, "tf", "tensorflow"])


def _mappings() -> dict[str, Any]:
    """Return merlin-core's mappings of dtypes by name, in the order in which they are tried."""
    mappings: dict[str, Any] = importlib.import_module("merlin.dtypes.registry")._dtype_registry.mappings
    return mappings


def _put_first(mappings: dict[str, Any], names: Sequence[str]) -> None:
    for name in [*(name for name in names if name in mappings), *(name for name in mappings if name not in names)]:
        mappings[name] = mappings.pop(name)


def _of_the_module_itself(name: str) -> Any:
    """Serve any other name of merlin-core's module, such as ``tf_ops``, which needs TensorFlow."""
    if name.startswith("__"):
        raise AttributeError(name)
    importlib.import_module(_TENSORFLOW)
    return getattr(importlib.import_module(_COMPAT), name)


def defer() -> None:
    """Defer TensorFlow from here on; no effect where it, or what imports it, is imported already; safe to call again."""
    imported = {_TENSORFLOW, _DTYPES, _COMPAT} & set(sys.modules)
    if not imported and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
