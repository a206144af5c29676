"""What the command line does with an interruption."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CONFIG = """
[source]
kind = "simulated"
shoppers = 60000
items = 20000
days = 90
"""


@pytest.mark.parametrize("numbers", [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGINT, signal.SIGINT, signal.SIGTERM)])
def test_an_interrupted_run_says_that_it_goes_on_from_there(tmp_path: Path, numbers: tuple[signal.Signals, ...]) -> None:
    config = tmp_path / "shop.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "cartwheel.cli.main", "prepare", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 30
            while not (tmp_path / "runs" / "shop").exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(0.5)
            for number in numbers:
                process.send_signal(number)
                time.sleep(0.02)
            said = process.communicate(timeout=30)[1]
        finally:
            process.kill()  # a test that fails would wait for it for ever
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == "cartwheel: Stopped. Finished stages are kept: the same command resumes from there."
