"""Which state of the checkout made a figure."""

from __future__ import annotations

import subprocess
from pathlib import Path


def checkout(root: Path) -> str:
    """Return the commit of a checkout and its day, and whether files differ from it; "unknown" where git does not tell."""
    try:
        told = [_git(root, *words) for words in (("log", "-1", "--format=%h of %cs"), ("status", "--porcelain", "-uno"))]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{told[0]}, with changes" if told[1] else told[0]


def _git(root: Path, *words: str) -> str:
    found = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)  # noqa: S607
    return found.stdout.strip()
