"""The name of a version: a hash of the content of an export."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from cartwheel import __version__

METADATA: Final = "cartwheel.json"
CONFIG: Final = "config.pbtxt"
_DIGITS: Final = 12


def version_of(repository: Path) -> str:
    """Return the first digits of a SHA-256 over an export.

    ``cartwheel.json`` holds the SHA-256 of every other file; a repository that was written by hand has none, and its configurations
    must do.

    Raises:
        OSError: if a file cannot be read.
    """
    metadata = repository / METADATA
    digest = hashlib.sha256()
    for path in [metadata] if metadata.is_file() else sorted(repository.glob(f"*/{CONFIG}")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:_DIGITS]


def told_writer(repository: Path) -> str:
    """Return ": " and a clause that names the Cartwheel that wrote an export, where it is another; "" where it is this or is not told."""
    try:
        writer = json.loads((repository / METADATA).read_text(encoding="utf-8"))["cartwheel"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return "" if writer == __version__ else f": it was written by Cartwheel {writer}, and this is Cartwheel {__version__}"
