"""Python hooks of a shop: imported by ``module:name`` and checked before use."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from pathlib import Path
from typing import Any, Final, TypeVar

from cartwheel.core.errors import ConfigError

_REFERENCE: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
T = TypeVar("T")


def load_hook(reference: str, where: str, folder: Path | None = None) -> Any:
    """Import ``module:name``.

    Args:
        reference: such as ``my_shop.tasks:churn``.
        where: the setting that names it, for messages.
        folder: where the shop's modules lie beside those that are installed, mostly the folder of the configuration file.

    Raises:
        ConfigError: it is no such reference, there is no such module or name, or the module raises.
    """
    if not _REFERENCE.fullmatch(reference):
        raise ConfigError(f"{where} is {reference!r}, which is not a Python reference.", 'Write it as "my_shop.tasks:churn".')
    module_name, _, name = reference.partition(":")
    module = _import(module_name, where, folder)
    if not hasattr(module, name):
        close = difflib.get_close_matches(name, [key for key in vars(module) if not key.startswith("_")], n=1)
        hint = f"did you mean {close[0]!r}?" if close else "define it there."
        raise ConfigError(f"{where} is {reference!r}, but the module {module_name} has no {name!r}:", hint)
    return getattr(module, name)


def module_file(reference: str, where: str, folder: Path | None = None) -> Path:
    """Return the file of the module of ``module:name``; arguments and errors as ``load_hook``."""
    load_hook(reference, where, folder)
    file = sys.modules[reference.partition(":")[0]].__file__
    if file is None:
        raise ConfigError(f"{where} is {reference!r}, whose module has no file.", "Write it in a Python file.")
    return Path(file)


def called(hook: Any, where: str, kind: type[T], *arguments: Any) -> T:
    """Return ``hook`` if it is a ``kind``, else what it gives when it is called.

    Raises:
        ConfigError: it raises, or gives something else.
    """
    if isinstance(hook, kind):
        return hook
    if not callable(hook):
        raise ConfigError(f"{where} is a {type(hook).__name__}, where a {kind.__name__} is expected.", f"Give a {kind.__name__}.")
    try:
        made = hook(*arguments)
    except Exception as error:
        raise ConfigError(f"{where} raised {described(error)}.", "Correct it; nothing was written.") from error
    if not isinstance(made, kind):
        raise ConfigError(
            f"{where} gave a {type(made).__name__}, where a {kind.__name__} is expected.", f"Return a {kind.__name__}."
        )
    return made


def described(error: BaseException) -> str:
    """Describe an error of a shop's own code in one line: its type, its message and where it arose."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    at = f" ({Path(place.tb_frame.f_code.co_filename).name}, line {place.tb_lineno})" if place else ""
    message = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}{': ' if message else ''}{message}{at}"


def _import(module_name: str, where: str, folder: Path | None) -> Any:
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"{where}: the module {module_name} raised {described(error)}.", "Install what it imports."
            ) from error
        beside = f" or in {folder}" if folder else ""
        raise ConfigError(
            f"{where}: there is no module {error.name!r} among the installed packages{beside}.",
            "Put its file beside the configuration file, or install it.",
        ) from None
    except Exception as error:
        raise ConfigError(f"{where}: the module {module_name} raised {described(error)}.", "Correct it.") from error
