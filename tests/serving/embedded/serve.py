"""Serve a repository as ``cartwheel serve`` does: ``python serve.py REPOSITORY ENDPOINT LOG``."""

import sys
from pathlib import Path

from cartwheel.errors import CartwheelError
from serving.server import EmbeddedServer

if __name__ == "__main__":
    repository, endpoint, log = map(Path, sys.argv[1:])
    try:
        EmbeddedServer(repository, log=log).serve_forever(on_ready=lambda ready: ready.write(endpoint))
    except CartwheelError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
