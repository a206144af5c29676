"""The command line, a small shop and its server, as the end-to-end tests use them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CARTWHEEL = (sys.executable, "-m", "cartwheel.cli.main")

SMALL_SHOP = """
run = "{run}"
seed = 3

[source]
kind = "simulated"
shoppers = 400
items = 300
days = 30

[two_tower]
epochs = 4
batch_size = 512
dimension = 16
embedding_dimension = 16
hidden = [32]

[ranking]
epochs = 2

[cart]
epochs = 2

[evaluate]
baselines = ["item_knn", "markov_next_item"]
bootstrap = 100
candidates = 50

[export]
max_k = 40
parity_rows = 100
"""

QUICK = """
[two_tower]
epochs = 2
refit = false
[ranking]
epochs = 2
[evaluate]
baselines = ["item_knn"]
bootstrap = 100
"""
"""Training and evaluation cut short; all else is as a configuration has it."""


def cartwheel(*arguments: str | Path, timeout: float = 900, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would."""
    command = [*CARTWHEEL, *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160", **environment},
    )


def small_shop(folder: Path) -> Path:
    """Write the configuration of the small shop into ``folder``."""
    config = folder / "shop.toml"
    config.write_text(SMALL_SHOP.format(run=folder / "run"))
    return config


@contextlib.contextmanager
def serving(run: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Serve ``run`` by the command line; yield the process and its endpoint."""
    endpoint = run / "server.json"
    endpoint.unlink(missing_ok=True)
    command = [*CARTWHEEL, "serve", str(run), "--grpc-port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            deadline = time.monotonic() + 90
            while not endpoint.is_file():
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline, "the server did not become ready"
                time.sleep(0.05)
            yield process, json.loads(endpoint.read_text())
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)
