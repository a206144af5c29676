"""Writes ``serving/contract/shop.desc``, what protoc makes of ``shop.proto`` beside it; needs the package ``grpcio-tools``.

python scripts/shop_descriptor.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

CONTRACT: Final = Path(__file__).resolve().parents[1] / "serving" / "contract"


def main() -> int:
    """Write the file and return protoc's exit code."""
    try:
        from grpc_tools import protoc
    except ModuleNotFoundError:
        print("Install grpcio-tools first: it brings protoc.", file=sys.stderr)
        return 1
    arguments = ["protoc", f"--proto_path={CONTRACT}", f"--descriptor_set_out={CONTRACT / 'shop.desc'}", "shop.proto"]
    return int(protoc.main(arguments))


if __name__ == "__main__":
    sys.exit(main())
