"""Serve a repository as ``cartwheel serve`` does, without the gateway unless the settings say otherwise.

``python serve.py REPOSITORY ENDPOINT LOG [SETTINGS as JSON]``
"""

import json
import sys
from functools import partial
from pathlib import Path

from cartwheel.core.errors import CartwheelError
from serving.server.server import EmbeddedServer
from serving.settings import ServeSettings

if __name__ == "__main__":
    repository, endpoint, log = map(Path, sys.argv[1:4])
    settings = ServeSettings(**{"gateway": "off", **json.loads(sys.argv[4] if len(sys.argv) > 4 else "{}")})
    say = partial(print, file=sys.stderr, flush=True)
    try:
        EmbeddedServer(repository, settings, log=log, say=say).serve_forever(on_ready=lambda ready: ready.write(endpoint))
    except CartwheelError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
