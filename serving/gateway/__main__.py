"""``python -m serving.gateway OPTIONS``: the gateway that ``cartwheel serve`` starts."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cartwheel.core.errors import CartwheelError
from serving.gateway.options import Options


def main() -> None:
    """Serve as the options say; an error that was foreseen ends in one sentence."""
    from serving.gateway.process import run

    try:
        asyncio.run(run(Options.read(Path(sys.argv[1]))))
    except CartwheelError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
