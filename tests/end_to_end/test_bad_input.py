"""Whatever a user gets wrong ends in one clear sentence and an exit code of its own, never in a traceback."""

import gzip
import socket
import subprocess
from pathlib import Path

import polars as pl
import pytest
from shop_runs import cartwheel

TABLE = """
run = "{run}"
[source]
kind = "table"
path = "{path}"
{more}
"""
HEADER = "user_id,item_id,event_type,timestamp,price\n"
ROW = "u1,i1,view,2025-01-01T10:00:00Z,9.5\n"


def refused(result: subprocess.CompletedProcess[str], code: int, *sentences: str) -> None:
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("cartwheel: ")
    for sentence in sentences:
        assert sentence in last


def prepare(tmp_path: Path, events: Path, more: str = "") -> subprocess.CompletedProcess[str]:
    config = tmp_path / "shop.toml"
    config.write_text(TABLE.format(run=tmp_path / "run", path=events, more=more))
    return cartwheel("prepare", config)


def test_a_missing_file(tmp_path: Path) -> None:
    refused(prepare(tmp_path, tmp_path / "absent.csv"), 4, "absent.csv")


def test_an_empty_file(tmp_path: Path) -> None:
    events = tmp_path / "events.csv"
    events.write_text("")
    refused(prepare(tmp_path, events), 4, "events.csv", "empty")


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    events = tmp_path / "events.csv"
    events.write_text(HEADER.replace("item_id", "item") + ROW)
    refused(prepare(tmp_path, events), 4, "events.csv", "item_id")


def test_a_type_that_cannot_be_read(tmp_path: Path) -> None:
    events = tmp_path / "events.csv"
    events.write_text(HEADER + "u1,i1,view,yesterday,9.5\n" * 3)
    refused(prepare(tmp_path, events), 4, "none of the 3 rows can be used", "time")


def test_a_torn_archive(tmp_path: Path) -> None:
    events = tmp_path / "events.csv.gz"
    events.write_bytes(gzip.compress((HEADER + ROW * 1000).encode())[:-20])
    refused(prepare(tmp_path, events), 4, "events.csv.gz")


def test_too_many_bad_rows_fail_the_run_and_nothing_is_lost(tmp_path: Path) -> None:
    events = tmp_path / "events.csv"
    rows = "".join(f"u{i},i{i},view,2025-01-01T10:00:{i:02d}Z,9.5\n" for i in range(50))
    events.write_text(HEADER + rows + ",i1,view,2025-01-01T10:00:00Z,9.5\n" * 5)
    refused(prepare(tmp_path, events), 4, "max_bad_share")
    quarantine = pl.read_parquet(tmp_path / "run" / "events" / "quarantine.parquet")
    assert quarantine.height == 5


def test_unknown_event_types_are_named_with_the_cure(tmp_path: Path) -> None:
    events = tmp_path / "events.csv"
    events.write_text(HEADER + ROW + "u1,i1,basket,2025-01-01T10:00:01Z,9.5\n" * 2 + "u1,i1,wish,2025-01-01T10:00:01Z,9.5\n")
    refused(prepare(tmp_path, events), 4, "unknown event types 'basket' (2), 'wish' (1) may be mapped", "source.event_types")


def test_too_little_data(tmp_path: Path) -> None:
    events = tmp_path / "events.csv"
    events.write_text(HEADER + ROW)
    refused(prepare(tmp_path, events), 4)


def test_an_unknown_option_and_an_unknown_command() -> None:
    for arguments in (("run", "--confg"), ("trian",)):
        result = cartwheel(*arguments)
        assert result.returncode == 2
        assert "Traceback" not in result.stderr
        assert "No such" in result.stderr


def test_a_misspelt_key(tmp_path: Path) -> None:
    config = tmp_path / "shop.toml"
    config.write_text("[two_towr]\n")
    refused(cartwheel("run", config), 3, "did you mean 'two_tower'?")


def test_an_unknown_source(tmp_path: Path) -> None:
    config = tmp_path / "shop.toml"
    config.write_text('[source]\nkind = "rees47"\npath = "x"\n')
    refused(cartwheel("run", config), 3, "rees46")


def test_a_stage_whose_input_is_not_there(tmp_path: Path) -> None:
    config = tmp_path / "shop.toml"
    config.write_text("")
    refused(cartwheel("train", config), 6, "cartwheel prepare")


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_corrupt_run_directory(tmp_path: Path, content: str) -> None:
    config = tmp_path / "shop.toml"
    config.write_text('run = "run"\n')
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text(content)
    refused(cartwheel("run", config), 6, "corrupt")


def test_a_run_without_a_repository(tmp_path: Path) -> None:
    refused(cartwheel("serve", tmp_path), 6, "cartwheel export")


def test_a_taken_port(run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = cartwheel("serve", run, "--grpc-port", str(port))
    refused(result, 10, str(port))


def test_a_dead_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    refused(cartwheel("recommend", "--server", f"127.0.0.1:{port}", "--user", "u1"), 10, str(port))


def test_no_server_named(tmp_path: Path) -> None:
    refused(cartwheel("recommend", "--user", "u1"), 2, "--server")
    refused(cartwheel("recommend", "--run", tmp_path), 10, "cartwheel serve")


@pytest.mark.parametrize("k", ["0", "-1", "100000"])
def test_a_k_that_cannot_be(server: str, k: str) -> None:
    refused(cartwheel("recommend", "--server", server, "-k", k), 2, "k")


def test_an_empty_cart(server: str) -> None:
    refused(cartwheel("cart", "", "--server", server), 2, "cart")
