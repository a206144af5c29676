"""Detects user files and folders that shadow one of Cartwheel's top-level packages."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Final

from cartwheel.core.errors import UsageError

ROOMS: Final = ("workflows", "models", "evaluation", "serving")
_HOME: Final = Path(__file__).resolve().parents[2]


def check_rooms() -> None:
    """Check that each top-level package of Cartwheel is the one that Python finds by its name.

    Raises:
        UsageError: naming the file or folder that hides one.
    """
    for room in ROOMS:
        found = sys.modules.get(room)
        origin = getattr(found, "__file__", None) if found else getattr(importlib.util.find_spec(room), "origin", None)
        if origin is None or Path(origin).resolve().parent != _HOME / room:
            where = origin or _folder(room)
            raise UsageError(
                f"Python imports {where} as {room!r}, which shadows the package of Cartwheel with that name.",
                f"Rename it, or work in a folder that has no file or folder called {room}.",
            )


def _folder(room: str) -> str:
    """Return a folder without ``__init__.py`` that Python takes for a package."""
    spec = importlib.util.find_spec(room)
    places = list(spec.submodule_search_locations or []) if spec else []
    return places[0] if places else "nothing"
