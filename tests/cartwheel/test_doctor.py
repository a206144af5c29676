"""The doctor finds what is fit, and names the port that is not."""

import io
import socket

from rich.console import Console

from cartwheel.cli.doctor import Finding, State, examine, show


def test_every_finding_that_is_not_fit_says_what_to_do() -> None:
    findings = examine()
    assert {finding.subject for finding in findings} >= {
        "python",
        "machine",
        "triton",
        "gpu",
        "serving packages",
        "training packages",
    }
    assert all(finding.fix for finding in findings if finding.state is not State.FIT)
    assert all(finding.state is not State.UNFIT for finding in findings)


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        [finding] = [finding for finding in examine(port) if finding.subject == f"port {port}"]
    assert finding.state is State.NOTE
    assert "--grpc-port" in finding.fix


def test_brackets_survive_the_table() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    show([Finding("gpu", State.NOTE, "none", "pip install '.[gpu]'")], console)
    assert ".[gpu]" in console.export_text()
