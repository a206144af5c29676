"""The golden run: what the small shop's run holds, as digests and numbers stored in ``golden.json``.

It is held while the code is rearranged: a change of structure must change none of it. After a change that is meant to change a
result, ``python tests/end_to_end/golden.py`` writes the file anew, and its diff shows which tables, columns and metrics changed.

What is compared, and how closely:

- Tables (events, examples, features, the snapshot): columns of strings, instants, integers and floats that hold whole numbers,
  by digests, exactly: everything before training is a function of the seed. Other floats within 1e-6, since NumPy's and Polars'
  kernels add and take logarithms in an order and a precision that depend on the processor.
- Metrics of what TensorFlow does not train, within 1e-6.
- Metrics of trained models, and those of lists that a trained model retrieved, within 1e-4: oneDNN, Eigen and OpenBLAS choose
  their kernels by the processor, and each step of training passes the difference on. Without oneDNN, with kernels for SSE and on
  one core, weights of the two towers differ by 1e-7, of the ranking model by 2e-6 and of the cart model by 8e-3, for Adam scales
  small gradients up. The cart model's metrics, on 129 lines, then differ by up to 2e-3: they are held within 1e-2, and neither
  their intervals nor their p-values are.
- Metrics of lists whose order is a learned sum of retrievers, within 1e-3: two of its scores can lie closer together than processors
  round alike. One pair that changed places in one of the known users' lists moved their NDCG by 2e-4, MAP by 3e-4 and the average
  popularity by 6e-4 of itself between two kinds of processor.
- Served answers of models with fixed weights (the synthetic run of the serving tests), within 1e-5: one pass in single precision.
  Answers of the trained models have no numbers here; the parity checks of the export hold them against the models' offline scores.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import math
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

FILE: Final = Path(__file__).with_name("golden.json")
EXACT: Final = 1e-6
"""Largest relative difference of a float that no training precedes."""
SERVED: Final = 1e-5
"""Largest difference of a served score of fixed models, absolute or relative."""
TRAINED: Final = 1e-4
"""Largest difference of a metric that depends on trained weights."""
SUMMED: Final = 1e-3
"""Largest difference of a metric of lists that a learned sum of retrievers orders."""
SMALL_SAMPLE: Final = 1e-2
"""Largest difference of a metric of the trained cart model, which is judged on some hundred lines."""

_TABLES: Final = ("events", "examples", "snapshot", "features")
_BLOCKS: Final = 256
"""Largest number of blocks of rows that a table's digest tells apart; one letter each."""
_SUMS: Final = 8
"""Number of blocks of rows whose sums stand for a column of floats."""
_MISSING: Final = "\x1e"
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_SUM: Final = "item_to_item"
_TRAINED_PARTS: Final = ("two_tower", "dlrm", "logistic_regression")
_BESIDE: Final = ("low", "high", "p_value", "p_holm")

Content = dict[str, Any]


def take(run: Path, scratch: Path) -> Content:
    """Return the content of ``golden.json`` for a finished run of the small shop.

    Args:
        run: the run directory.
        scratch: an empty folder for the run with fixed models.
    """
    return {"tables": _tables(run), "metrics": _metrics(run), "answers": _answers(scratch)}


def differences(stored: Content, found: Content) -> Iterator[str]:
    """Yield a sentence for each table, group of metrics and answer that differs, in the order of the stages."""
    yield from _table_differences(stored["tables"], found["tables"])
    yield from _metric_differences(stored["metrics"], found["metrics"])
    yield from _answer_differences(stored["answers"], found["answers"])


# Tables.


def _tables(run: Path) -> Content:
    paths = [path for folder in _TABLES for path in sorted((run / folder).rglob("*.parquet"))]
    return {_name(path.relative_to(run)): describe(pl.read_parquet(path)) for path in paths}


def _name(path: Path) -> str:
    return str(path.parent if path.stem == "part.0" else path.with_suffix(""))


def describe(frame: pl.DataFrame) -> Content:
    """Return the number of rows, column -> type and digest, and one letter for each block of rows."""
    texts = [_text(column) for column in frame if _is_exact(column)]
    columns = {column.name: f"{_kind(column)} {_digest(column)}" for column in frame}
    return {"rows": frame.height, "columns": columns, "blocks": _letters(pl.DataFrame(texts), frame.height)}


def _is_exact(column: pl.Series) -> bool:
    """Whether the values do not depend on rounding: no floats, or whole numbers alone."""
    return not column.dtype.is_float() or bool((column.is_null() | (column == column.round())).all())


def _kind(column: pl.Series) -> str:
    kind = str(column.dtype).replace(" ", "").replace("(time_unit='us',time_zone='UTC')", "")
    return f"{kind}:whole" if column.dtype.is_float() and _is_exact(column) else kind


def _text(column: pl.Series) -> pl.Series:
    """Return the values as texts that no release of Polars writes otherwise."""
    if isinstance(column.dtype, pl.List):
        return column.cast(pl.List(pl.String)).list.eval(pl.element().fill_null(_MISSING)).list.join("\x1f").fill_null(_MISSING)
    if column.dtype.is_float() or column.dtype.is_temporal():
        column = column.cast(pl.Int64)
    return column.cast(pl.String).fill_null(_MISSING)


def _digest(column: pl.Series) -> str:
    if _is_exact(column):
        return _short("\n".join(_text(column).to_list()))
    values = column.fill_null(0).to_numpy().astype(np.float64)
    sums = np.array([part.sum() for part in np.array_split(values * _weights(len(values)), _SUMS)], np.float32)
    missing = _short(column.is_null().to_numpy().tobytes(), 4) if column.null_count() else ""
    return f"{base64.b64encode(sums.astype('<f4').tobytes()).decode()}{missing}"


def _weights(count: int) -> np.ndarray:
    """Return a weight in [1, 2) for each row, so that rows that change places are noticed."""
    return 1 + (np.arange(count) * 0.6180339887) % 1


def _short(content: str | bytes, digits: int = 10) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()[:digits]


def _size(rows: int) -> int:
    """Return how many rows a block has."""
    return max(1, math.ceil(rows / _BLOCKS))


def _letters(texts: pl.DataFrame, rows: int) -> str:
    lines = ["\t".join(row) for row in texts.rows()]
    blocks = ("\n".join(lines[start : start + _size(rows)]) for start in range(0, rows, _size(rows)))
    return "".join(_LETTERS[zlib.crc32(block.encode()) % len(_LETTERS)] for block in blocks)


def _table_differences(stored: Content, found: Content) -> Iterator[str]:
    for name in _either(stored, found):
        if name not in found or name not in stored:
            yield f"{name}: {'no such table any more' if name in stored else 'a table that the golden run does not have'}."
            continue
        then, now = stored[name], found[name]
        if list(then["columns"]) != list(now["columns"]):
            yield f"{name}: its columns are {_order(then['columns'], now['columns'])}."
        elif then["rows"] != now["rows"]:
            yield f"{name}: {now['rows']} rows; the golden run has {then['rows']}{_first_row(then, now)}."
        else:
            columns = (
                (column, _column_difference(then["columns"][column], now["columns"][column], now)) for column in now["columns"]
            )
            differing = [(column, where) for column, where in columns if where is not None]
            if differing:
                [(column, where), *others] = differing
                more = f" ({len(others)} more columns of it differ: {', '.join(other for other, _ in others)})" if others else ""
                yield f"{name}: column {column!r} differs{where or _first_row(then, now)}{more}."


def _either(stored: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [*stored, *(name for name in found if name not in stored)]


def _order(then: Sequence[str] | Mapping[str, Any], now: Sequence[str] | Mapping[str, Any]) -> str:
    place = next(i for i, (a, b) in enumerate(zip([*then, ""], [*now, ""], strict=False)) if a != b)
    held, wanted = ([*names, "nothing"][place] for names in (now, then))
    return f"others: at place {place} it has {held!r}, the golden run {wanted!r}"


def _first_row(then: Content, now: Content) -> str:
    size = _size(now["rows"])
    for block, (letter, other) in enumerate(zip(then["blocks"], now["blocks"], strict=False)):
        if letter != other:
            return (
                f", first in row {block}"
                if size == 1
                else f", first in one of the rows {block * size} to {block * size + size - 1}"
            )
    return ""


def _column_difference(then: str, now: str, table: Content) -> str | None:
    """Return where a column differs: ``""`` if the table's letters know, None if it does not differ."""
    if then == now:
        return None
    (kind, digest), (other_kind, other) = then.split(" "), now.split(" ")
    if kind != other_kind:
        return f", which holds {other_kind} and not {kind}"
    if not kind.startswith("Float") or kind.endswith(":whole"):
        return ""
    if digest[44:] != other[44:]:
        return " in which values are missing"
    sums, others = (np.frombuffer(base64.b64decode(each[:44]), "<f4").astype(np.float64) for each in (digest, other))
    rows = [len(part) for part in np.array_split(np.arange(table["rows"]), _SUMS)]
    # A sum of n values that are each right to 1e-6 of their size; standardised values have a size of about 1.
    allowed = EXACT * np.maximum(np.abs(sums), np.maximum(rows, 1))
    wrong = np.flatnonzero(~(np.abs(sums - others) <= allowed))
    if not len(wrong):
        return None
    start = sum(rows[: wrong[0]])
    return f" by {abs(sums - others)[wrong[0]]:.3g} in the sum of the rows {start} to {start + rows[wrong[0]] - 1}"


# Metrics.


def _metrics(run: Path) -> Content:
    """Return "task model" -> a digest of its protocols, metric -> value, and the sums of its intervals' ends and of its p-values."""
    groups: Content = {}
    for record in json.loads((run / "evaluation" / "metrics.json").read_text()):
        group = groups.setdefault(f"{record['task']} {record['model']}", {"protocols": [], "values": {}})
        name = record["metric"] if record["k"] is None else f"{record['metric']}@{record['k']}"
        group["values"][name] = None if record["value"] is None else float(f"{record['value']:.7g}")
        protocol = {key: value for key, value in record["protocol"].items() if key != "remark"}  # which tells fitted numbers
        group["protocols"].append([name, record["n"], protocol, record["reason"], record["role"]])
        for place, key in enumerate(_BESIDE):
            group.setdefault("sums", [0.0] * len(_BESIDE))[place] += record[key] or 0.0
    for group in groups.values():
        group["protocols"] = _short(json.dumps(group["protocols"], sort_keys=True))
        group["sums"] = [float(f"{number:.9g}") for number in group["sums"]]
    return groups


def _tolerance(group: str) -> float:
    task, _, model = group.partition(" ")
    if model == "dlrm" and task.startswith("cart"):
        return SMALL_SAMPLE
    if _SUM in model:
        return SUMMED
    return TRAINED if task == "two_stage" or any(part in model for part in _TRAINED_PARTS) else EXACT


def _metric_differences(stored: Content, found: Content) -> Iterator[str]:
    for group in _either(stored, found):
        if group not in found or group not in stored:
            yield f"metrics of {group}: {'missing' if group in stored else 'not in the golden run'}."
            continue
        then, now, tolerance = stored[group], found[group], _tolerance(group)
        a, b = then["values"], now["values"]
        metrics = [name for name in _either(a, b) if not (name in a and name in b and _close(a[name], b[name], tolerance))]
        if metrics:
            [name, *others] = metrics
            more = f"; so do {len(others)} more of its metrics" if others else ""
            yield f"metrics of {group}: {name} differs by more than {tolerance:g}: {a.get(name)} -> {b.get(name)}{more}."
        elif then["protocols"] != now["protocols"]:
            yield f"metrics of {group}: numbers of rows, protocols, reasons or roles differ."
        elif tolerance < SMALL_SAMPLE and not _close_sums(then["sums"], now["sums"], tolerance * len(a)):
            yield f"metrics of {group}: the sums of {', '.join(_BESIDE)} differ: {then['sums']} -> {now['sums']}."


def _close_sums(then: Sequence[float], now: Sequence[float], tolerance: float) -> bool:
    return all(_close(a, b, tolerance) for a, b in zip(then, now, strict=True))


def _close(a: float | None, b: float | None, tolerance: float) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)


# Served answers.


def _answers(scratch: Path) -> Content:
    """Return request -> output -> values of a repository of models with fixed weights, run in this process."""
    from serving.export.repository import write_repository
    from serving.local import LocalRepository
    from serving.settings import ExportSettings

    run = _synthetic_run().write_synthetic_run(scratch / "synthetic")
    local = LocalRepository(write_repository(run, ExportSettings()))
    return {
        f"{ensemble} {number}": {name: _rounded(value[0]) for name, value in local.ask(ensemble, **request).items()}
        for ensemble, requests in _REQUESTS.items()
        for number, request in enumerate(requests)
    }


_ASKED: Final[Mapping[str, Any]] = {"timestamp": [[1_700_006_400_000_000]]}
_REQUESTS: Final[Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "recommend": (
        {**_ASKED, "user_id": [["u0"]], "k": [8]},
        {**_ASKED, "user_id": [["u7"]], "k": [8], "recent_items": [["1003", "1011"]], "diversity": [0.3]},
        {**_ASKED, "user_id": [["stranger"]], "k": [8]},
        {**_ASKED, "user_id": [[""]], "k": [8], "recent_items": [["1005", "1006", "1007"]], "exclude": [["1001", "1002"]]},
    ),
    "cart": (
        {**_ASKED, "user_id": [["u3"]], "cart_items": [["1004"]]},
        {**_ASKED, "user_id": [["u5"]], "cart_items": [["1004", "1030", "1012"]], "recent_items": [["1009"]]},
        {**_ASKED, "user_id": [[""]], "cart_items": [["1008", "1002"]]},
    ),
    "similar_items": ({"item_id": [["1010"]], "k": [8]}, {"item_id": [["1049"]], "k": [8]}),
}


def _synthetic_run() -> Any:
    path = Path(__file__).resolve().parents[1] / "serving" / "synthetic_run.py"
    spec = importlib.util.spec_from_file_location("synthetic_run", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _rounded(values: np.ndarray) -> list[Any]:
    flat = np.ravel(values).tolist()
    flat = [value.decode() if isinstance(value, bytes) else value for value in flat]
    return [float(f"{value:.7g}") if isinstance(value, float) else value for value in flat]


def _answer_differences(stored: Content, found: Content) -> Iterator[str]:
    for request in _either(stored, found):
        then, now = stored.get(request, {}), found.get(request, {})
        for output in _either(then, now):
            a, b = then.get(output, []), now.get(output, [])
            wrong = [place for place, pair in enumerate(zip(a, b, strict=False)) if not _same(*pair)]
            if len(a) != len(b) or wrong:
                where = f"{a[wrong[0]]} -> {b[wrong[0]]} at place {wrong[0]}" if wrong else f"{len(a)} -> {len(b)} values"
                yield f"answer to {request}: {output} differs: {where}."
                break


def _same(a: Any, b: Any) -> bool:
    return _close(a, b, SERVED) if isinstance(a, float) and isinstance(b, float) else a == b


def write() -> None:
    """Run the small shop and write ``golden.json``."""
    from shop_runs import cartwheel, small_shop

    with tempfile.TemporaryDirectory() as folder:
        config = small_shop(Path(folder))
        result = cartwheel("run", config, timeout=1800)
        if result.returncode:
            sys.exit(result.stderr)
        store(take(config.parent / "run", Path(folder)))
    print(f"wrote {FILE}")


def store(content: Content) -> None:
    """Write ``golden.json``, one table, group of metrics or answer a line, so that a diff shows what changed."""
    parts = []
    for part, entries in content.items():
        told = {name: json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for name, entry in entries.items()}
        lines = ",\n".join(f"  {json.dumps(name)}: {entry}" for name, entry in told.items())
        parts.append(f" {json.dumps(part)}: {{\n{lines}\n }}")
    FILE.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def read() -> Content:
    """Read ``golden.json``."""
    content: Content = json.loads(FILE.read_text(encoding="utf-8"))
    return content


if __name__ == "__main__":
    write()
