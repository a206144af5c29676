"""What is served is what was exported: every file is held against its checksum before Triton starts, and nothing else is handed to it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cartwheel.core.errors import RunError
from cartwheel.core.files import sha256
from serving.contract.limits import PARAMETER, STORED, Limits, with_limits
from serving.local import METADATA
from serving.server.model_folders import checked_repository, staged_repository, workspace
from serving.server.server import EmbeddedServer
from serving.settings import ServeSettings


@pytest.fixture
def repository(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run / "repository", tmp_path / "repository"))


def damaged(path: Path) -> None:
    """One bit of the file, as a bad disk would have it."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        "recommend_score/1/recommend_encode.onnx",
        "recommend_score/1/recommend_rank.onnx",
        "cart_score/1/model.py",
        "recommend/config.pbtxt",
        "recommend/1/.keep",
    ],
)
def test_a_changed_file_is_refused_with_what_was_found_and_expected(repository: Path, name: str) -> None:
    expected = sha256(repository / name)
    path = repository / name
    if path.stat().st_size:
        damaged(path)
    else:
        path.write_bytes(b"x")
    with pytest.raises(RunError) as refused:
        EmbeddedServer(repository)
    for words in (str(path), sha256(path), expected, "cartwheel export"):
        assert words in str(refused.value)


def test_a_missing_file_is_refused(repository: Path) -> None:
    (repository / "similar_items_score/1/similar_items_order.onnx").unlink()
    with pytest.raises(
        RunError, match=r"similar_items_score/1/similar_items_order\.onnx is missing, which `cartwheel export` wrote"
    ):
        EmbeddedServer(repository)


def test_a_model_that_the_export_did_not_write_is_refused(repository: Path) -> None:
    shutil.copytree(repository / "cart_score", repository / "backdoor")
    with pytest.raises(RunError, match=r"backdoor/1/model\.onnx was not written by `cartwheel export`"):
        EmbeddedServer(repository)


@pytest.mark.parametrize("files", [None, {}, [], {"../outside": "0"}, {"/etc/passwd": "0"}])
def test_a_list_of_files_that_tells_nothing_is_refused(repository: Path, files: object) -> None:
    content = json.loads((repository / METADATA).read_text())
    (repository / METADATA).write_text(json.dumps({**content, "files": files}))
    with pytest.raises(RunError, match=r"cartwheel\.json does not tell the SHA-256"):
        EmbeddedServer(repository)


def test_what_python_and_the_desktop_leave_behind_is_neither_refused_nor_served(repository: Path, tmp_path: Path) -> None:
    compiled = repository / "cart_score/1/__pycache__/model.cpython-311.pyc"
    compiled.parent.mkdir()
    for path in (compiled, repository / ".DS_Store", repository / "cart_score/.hidden", repository / "notes.txt"):
        path.write_text("of no use")
    staged = staged_repository(checked_repository(repository), tmp_path / "staged", ServeSettings())
    served = {path.name for path in staged.rglob("*") if path.is_file()}
    assert not served & {compiled.name, ".DS_Store", ".hidden"}
    assert {"model.onnx", "model.py", ".keep"} <= served


def test_limits_of_the_server_stand_in_the_configurations_that_triton_reads(repository: Path, tmp_path: Path) -> None:
    before = sha256(repository)
    settings = ServeSettings(max_rows=3, max_message_bytes=1000, max_cart_items=5, max_recent_items=6, max_exclude=7)
    staged = staged_repository(checked_repository(repository), tmp_path / "staged", settings)
    for config in sorted(staged.glob("*/config.pbtxt")):
        (line,) = (line for line in config.read_text().splitlines() if line.startswith(f'parameters {{ key: "{PARAMETER}"'))
        value = json.loads(json.loads(line.partition("string_value: ")[2].removesuffix(" } }")))
        assert (value["rows"], value["batch"], value["bytes"]) == (3, 64, 1000)
        assert value["widths"]["cart_items"] == value["widths"]["cart_index"] == [5, "serve.max_cart_items"]
        assert value["widths"]["excluded"][0] >= 5 + 6 + 7
    assert Limits.of(ServeSettings(max_rows=500), 64).rows == 64, "no more than the steps answer together"
    assert sha256(repository) == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "tiny").rename(root / "a$(touch PWN)b"), r"names 'a\$\(touch PWN\)b'; Triton hands the names"),
        (lambda root: (root / "tiny").rename(root / "two words"), "names 'two words'"),
        (
            lambda root: (root / "tiny/config.pbtxt").write_text(
                'backend: "python"\ndefault_model_filename: "m.py; touch PWN"\n'
            ),
            "names 'm.py; touch PWN'",
        ),
        (
            lambda root: (root / "tiny/config.pbtxt").write_text(
                'backend: "python"\nparameters: { key: "EXECUTION_ENV_PATH" value: { string_value: "x;y" } }\n'
            ),
            "names an EXECUTION_ENV_PATH",
        ),
    ],
)
def test_names_that_a_shell_would_read_are_refused(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    (tmp_path / "tiny" / "1").mkdir(parents=True)
    (tmp_path / "tiny" / "config.pbtxt").write_text('backend: "python"\n')
    (tmp_path / "tiny" / "1" / "model.py").touch()
    checked_repository(tmp_path)
    spoil(tmp_path)
    with pytest.raises(RunError, match=message):
        checked_repository(tmp_path)


def test_the_folder_of_a_server_has_a_plain_path_whatever_tmpdir_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "a b$(touch PWN)é"
    odd.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    folder = workspace("cartwheel-test")
    try:
        assert not set(str(folder)) & set(" $()é")
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        folder.rmdir()


def test_a_long_history_is_left_out_however_little_a_request_may_exclude(own_run: Path) -> None:
    """What the snapshot stores is no part of a request, and no limit of requests refuses it."""
    lists = pq.read_table(own_run / "snapshot/users.parquet")["left_out"].to_pylist()
    assert max(map(len, lists)) == 47
    for path in (own_run / "repository").glob("*/config.pbtxt"):
        config = with_limits(path.read_text(), ServeSettings(max_exclude=1))
        found = re.search(r'key: "limits" value: \{ string_value: (".*") \}', config)
        assert found is not None
        assert json.loads(json.loads(found[1]))["widths"]["excluded"][0] >= 47 + STORED + 1
