"""Runs the ONNX files of one program inside Triton's Python backend.

This file is copied as ``model.py`` into the version folder of each program of an embedded repository, so it stands alone: it
imports nothing of Cartwheel. What it must know of its program lies in the model's ``config.pbtxt``. Where that names several
files, each reads inputs of the program and outputs of the files before it.

Requests that Triton hands over together are padded to the longest and answered by one run of the graphs. A request that cannot
be answered gets an error of its own and spoils no other. Sizes are looked at before anything is read, and strings are read only
then, not when Triton's interface unpacks the requests.

The program before all others has no files: it checks what a client gives and hands it on in rows, strings as they came.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

Feeds = dict[str, npt.NDArray[Any]]

WIDE = 1024
"""A request with a longer list than this runs alone: padding its companions to it would cost more than batching saves."""
_CHEAP = {"barred", "priced", "prices", "priced_now", "prices_now"}
"""Those of such lists that many requests give alike; they are answered with one another."""
_DTYPES: Mapping[str, Any] = {
    "TYPE_STRING": object,
    "TYPE_BOOL": np.bool_,
    **{f"TYPE_{sign}INT{bits}": np.dtype(f"{sign.lower()}int{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)},
    "TYPE_FP32": np.float32,
    "TYPE_FP64": np.float64,
}
_BLANKS: Mapping[str, Any] = {"TYPE_STRING": "", "TYPE_FP32": float("nan"), "TYPE_FP64": float("nan")}
_FILLERS: Mapping[str, Any] = {**dict.fromkeys(_DTYPES, 0), **_BLANKS, "TYPE_INT64": -1}
"""What pads a list, by type; -1 is "no item", NaN "not known"."""
_ABSENT: Mapping[str, Any] = {**_FILLERS, "TYPE_INT64": 0}
"""What stands for an input that one request of a batch leaves out."""
_NONE: Mapping[str, Any] = {"TYPE_INT32": 0, "TYPE_FP32": float("nan")}
"""What stands in a column for an input of one value that the request leaves out."""

_ASKED = "asked"
_KINDS = 8
"""Slots of the ledger for each process that reads."""
_LENGTH = struct.Struct("<I")
_TOO_LARGE = "The request holds {found:,} bytes; this server reads at most {limit:,} (serve.max_message_bytes)."
_TOO_MANY_ROWS = "The input {name!r} has {found:,} rows; this server answers at most {limit:,} at once (serve.max_rows)."
_TOO_WIDE = "The input {name!r} has lists of {found:,}; this server reads at most {limit:,} ({setting})."


class BadRequestError(Exception):
    """A request that the caller must correct."""


class RefusedError(Exception):
    """A request that the server does not take now."""


class StoppingError(RefusedError):
    """A request that came when the server had been told to stop."""

    def __init__(self) -> None:
        super().__init__("The server is stopping; ask again, and another will answer.")


class _Queue:
    """Bounds what waits for the programs that compute, in number and time, without a word of Triton's.

    Who reads requests notes when, and gives that and a slot of the ledger with the request; who computes them notes in the slot the
    latest that it took up. What is read before that, in the same process and asking for the same, waits no longer.

    Args:
        instance: name of the process that reads, which ends with its number.
    """

    def __init__(self, instance: str) -> None:
        path = os.environ.get("CARTWHEEL_LEDGER", "")
        self._ledger = np.memmap(path, np.int64, "r+") if path else np.zeros(_KINDS, np.int64)
        self._size = int(os.environ.get("CARTWHEEL_QUEUE_SIZE", 2**31))
        self._longest = round(float(os.environ.get("CARTWHEEL_QUEUE_SECONDS", 10**6)) * 10**9)
        self._first_slot = int(instance.rpartition("_")[2] or 0) * _KINDS % len(self._ledger)
        self._read: dict[tuple[str, ...], deque[int]] = {}

    def join(self, kind: tuple[str, ...]) -> tuple[int, int]:
        """Return the instant and the slot of a request that is read now.

        Raises:
            RefusedError: if as many of its kind wait as may.
        """
        now = time.monotonic_ns()
        waiting = self._read.setdefault(kind, deque())
        slot = self._first_slot + list(self._read).index(kind) % _KINDS
        past = max(int(self._ledger[slot]), now - self._longest)
        while waiting and waiting[0] <= past:
            waiting.popleft()
        if len(waiting) >= self._size:
            raise RefusedError(f"Exceeds maximum queue size: {len(waiting)} requests wait (serve.queue_size); ask again.")
        waiting.append(now)
        return now, slot

    def leave(self, asked: int, slot: int) -> None:
        """Note that a request waits no longer.

        Raises:
            RefusedError: if it has waited too long.
        """
        now = time.monotonic_ns()
        if 0 <= slot < len(self._ledger):
            self._ledger[slot] = max(int(self._ledger[slot]), min(asked, now))
        if now - asked > self._longest:
            raise RefusedError("Request timeout expired: it has waited too long (serve.queue_seconds); ask again.")


class _Step:
    """One ONNX file."""

    def __init__(self, path: str, threads: int) -> None:
        import onnxruntime  # not where requests are only read

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        # Spinning threads would take the cores from the other steps.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._reads = [tensor.name for tensor in self._session.get_inputs()]
        self._reads += [tensor.name for tensor in self._session.get_overridable_initializers()]  # inputs with a default
        self._gives = [tensor.name for tensor in self._session.get_outputs()]

    def run(self, tensors: Feeds) -> dict[str, npt.NDArray[Any]]:
        """Return the outputs for those of the tensors that the graph reads."""
        feeds = {name: tensors[name] for name in self._reads if name in tensors}
        return dict(zip(self._gives, self._session.run(self._gives, feeds), strict=True))


class TritonPythonModel:
    """The interface that Triton's Python backend looks for by this name."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the graphs that lie beside this file."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self._name: str = config["name"]
        self._batching: bool = config["max_batch_size"] > 0
        self._types: dict[str, str] = {tensor["name"]: tensor["data_type"] for tensor in config["input"]}
        self._is_first: bool = json.loads(parameters["first"])
        self._required: list[str] = json.loads(parameters["required"])
        self._limits: dict[str, Any] = json.loads(parameters["limits"])
        self._shapes: dict[str, list[int | str]] = json.loads(parameters["shapes"])
        self._allowed: dict[str, dict[str, Any]] = json.loads(parameters["allowed"])
        self._trim: dict[str, str] = json.loads(parameters["trim"])
        self._columns: dict[str, str] = json.loads(parameters["columns"])
        self._lengths: dict[str, str] = json.loads(parameters.get("lengths", "{}"))
        self._queue = _Queue(args["model_instance_name"])
        folder = f"{args['model_repository']}/{args['model_version']}"
        threads = int(os.environ.get("CARTWHEEL_THREADS", parameters["intra_op_threads"]))
        self._steps = [_Step(f"{folder}/{file}", threads) for file in json.loads(parameters["files"])]
        self._only_reads = self._is_first and not self._steps

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests, in their order."""
        responses: list[Any] = [None] * len(requests)
        readable: list[tuple[int, Feeds]] = []
        for place, request in enumerate(requests):
            feeds, responses[place] = self._read_safely(request)
            if responses[place] is None:
                readable.append((place, feeds))
        for group in self._groups(readable):
            self._answer(group, requests, responses)
        return responses

    def _read_safely(self, request: Any) -> tuple[Feeds, Any]:
        """Return the inputs of a request, or none and the answer that says what is wrong with it."""
        try:
            if self._is_first:
                _let_in(request)
            return self._queued(request, self._read(request)), None
        except RefusedError as error:
            return {}, _error(str(error), pb_utils.TritonError.UNAVAILABLE)
        except BadRequestError as error:
            return {}, _error(str(error), pb_utils.TritonError.INVALID_ARG)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one request must not reach the others
            return {}, _error(f"{self._name} cannot read the request: {error}", pb_utils.TritonError.INTERNAL)

    def _queued(self, request: Any, feeds: Feeds) -> Feeds:
        """Return the inputs of a request that the bounds of the queue let wait, or that has waited within them.

        Raises:
            RefusedError: if it is beyond them.
        """
        if self._only_reads:
            asked = self._queue.join(tuple(sorted(request.requested_output_names())))
            feeds[_ASKED] = np.full((self._rows(feeds), 2), asked, dtype=np.int64)
        elif _ASKED in feeds:
            self._queue.leave(*feeds.pop(_ASKED)[0].tolist())
        return feeds

    def _groups(self, readable: list[tuple[int, Feeds]]) -> Iterator[list[tuple[int, Feeds]]]:
        """Yield requests that are worth running together."""
        together: dict[tuple[bytes, ...], list[tuple[int, Feeds]]] = {}
        for place, feeds in readable:
            wide = {name for name, value in feeds.items() if value.ndim > 1 and value.shape[1] > WIDE}
            if not self._batching or wide - _CHEAP:
                yield [(place, feeds)]
            else:
                agreed = (*(feeds[name].tobytes()[: feeds[name].itemsize] for name in self._columns), *(b"wide" for _ in wide))
                together.setdefault(agreed, []).append((place, feeds))
        yield from together.values()

    def _answer(self, group: list[tuple[int, Feeds]], requests: Sequence[Any], responses: list[Any]) -> None:
        try:
            answers = self._run([feeds for _, feeds in group])
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no public base
            if len(group) > 1:
                for alone in group:
                    self._answer([alone], requests, responses)
            else:
                responses[group[0][0]] = _error(f"{self._name} failed: {error}", pb_utils.TritonError.INTERNAL)
            return
        for (place, _), answer in zip(group, answers, strict=True):
            wanted = requests[place].requested_output_names()
            tensors = [pb_utils.Tensor(name, value) for name, value in answer.items() if name in wanted]
            responses[place] = pb_utils.InferenceResponse(output_tensors=tensors)

    def _read(self, request: Any) -> Feeds:
        """Return the inputs that the request gives, checked; sizes first, so that what is too large costs nothing more.

        Raises:
            BadRequestError: if one cannot be used.
        """
        given = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self._types}
        raw = {name: _Encoded.within(tensor.as_numpy()) for name, tensor in given.items() if tensor is not None}
        self._check_sizes(raw)
        for name in self._required:
            if name not in raw and self._needs(name, request):
                raise BadRequestError(f"The input {name!r} is missing; give it with shape {self._shape(name)}.")
        feeds: Feeds = {}
        for name, value in raw.items():
            feeds[name] = self._texts(name, value) if isinstance(value, _Encoded) else value
            self._check_values(name, feeds[name])
        return feeds

    def _needs(self, name: str, request: Any) -> bool:
        """Whether a request needs an input: in the first program, if what is asked for is made of it."""
        return not self._only_reads or any(self._columns.get(row) == name for row in request.requested_output_names())

    def _check_sizes(self, raw: Mapping[str, Any]) -> None:
        found = sum(value.nbytes for value in raw.values() if isinstance(value, _Encoded))
        if found > self._limits["bytes"]:
            raise BadRequestError(_TOO_LARGE.format(found=found, limit=self._limits["bytes"]))
        for name, value in raw.items():
            self._check_shape(name, value.shape)
        rows = {name: value.shape[0] for name, value in raw.items() if self._shapes[name][0] == "B"}
        if len(set(rows.values())) > 1:
            raise BadRequestError(f"The inputs differ in their number of rows: {rows}; give each the same first size.")
        if self._is_first:  # what is left out is one wide in the rows that come of it
            self._check_parallel({name: value.shape[1] for name, value in raw.items() if len(value.shape) == 2})

    def _check_parallel(self, widths: Mapping[str, int]) -> None:
        alike: dict[int | str, dict[str, int]] = {}
        for name, width in widths.items():
            size = self._shapes[name][1]
            if isinstance(size, str):
                alike.setdefault(size, {})[name] = width
        for shared, found in alike.items():
            leading = next(name for name, shape in self._shapes.items() if shared in shape[1:])
            if leading not in found:
                raise BadRequestError(
                    f"The input {leading!r} is missing, of which {', '.join(found)} tells more; give it with the same shape."
                )
            if len(set(found.values())) > 1:
                raise BadRequestError(f"The inputs differ in the length of their lists: {found}; give each the same second size.")

    def _check_shape(self, name: str, shape: Sequence[int]) -> None:
        expected = self._shapes[name]
        fits = len(expected) == len(shape) and all(
            isinstance(size, str) or size == found for size, found in zip(expected, shape, strict=True)
        )
        if not fits or shape[0] == 0:
            raise BadRequestError(f"The input {name!r} has shape {list(shape)}; give it with shape {self._shape(name)}.")
        if expected[0] == "B" and shape[0] > self._limits["rows"]:
            raise BadRequestError(_TOO_MANY_ROWS.format(name=name, found=shape[0], limit=self._limits["rows"]))
        limit, setting = self._limits["widths"].get(name, (None, ""))
        if limit is not None and shape[1] > limit:
            raise BadRequestError(_TOO_WIDE.format(name=name, found=shape[1], limit=limit, setting=setting))

    def _shape(self, name: str) -> str:
        return "[" + ", ".join(str(size) for size in self._shapes[name]) + "]"

    def _texts(self, name: str, encoded: _Encoded) -> npt.NDArray[Any]:
        wanted = int(np.prod(encoded.shape))
        texts = None if self._only_reads else encoded.texts()
        count = encoded.count() if texts is None else len(texts)
        if count != wanted:
            found = "is cut off within a string" if count is None else f"holds {count} strings"
            raise BadRequestError(
                f"The input {name!r} {found}; its shape {list(encoded.shape)} needs {wanted}, each after its length in 4 bytes."
            )
        if texts is None:
            return encoded.as_it_came()
        values = np.empty(wanted, dtype=object)
        values[:] = texts
        return values.reshape(encoded.shape)

    def _check_values(self, name: str, value: npt.NDArray[Any]) -> None:
        rule = self._allowed.get(name)
        if rule is None:
            return
        with np.errstate(invalid="ignore"):  # NaN, which some may be
            good = (value >= rule["low"]) & (value <= rule["high"])
        if rule.get("zero"):
            good |= value == 0
        if rule.get("nan"):
            good |= np.isnan(value)
        if not good.all():
            wrong = value[~good].ravel()[0]
            raise BadRequestError(f"The input {name!r} holds {wrong}; {rule['sentence']}.")

    def _run(self, requests: list[Feeds]) -> list[dict[str, npt.NDArray[Any]]]:
        """Run the graphs once for all requests and return the outputs of each."""
        if self._only_reads:
            return [self._given_rows(feeds) for feeds in requests]
        alone = len(requests) == 1 and all(value.size for value in requests[0].values())
        if alone:
            joined = requests[0]
        else:
            given = {name for feeds in requests for name in feeds}
            joined = {name: self._join(name, requests) for name in given}
        outputs = self._computed(joined)
        if alone:
            return [outputs]
        ends = np.cumsum([self._rows(feeds) for feeds in requests])
        answers = []
        for feeds, start, end in zip(requests, [0, *ends[:-1]], ends, strict=True):
            answer = {name: value[start:end] for name, value in outputs.items()}
            for name, like in self._trim.items():
                answer[name] = answer[name][:, : feeds[like].shape[1] if like in feeds else 1]
            answers.append(answer)
        return answers

    def _computed(self, tensors: Feeds) -> dict[str, npt.NDArray[Any]]:
        """Run the graphs, the requests agreeing in what stands in a column."""
        single: Feeds = {}
        for column, name in self._columns.items():
            value = tensors[column][0]
            if value[0] != _NONE[self._types[column]] and not np.isnan(value[0]):
                single[name] = value
        outputs: dict[str, npt.NDArray[Any]] = {}
        for step in self._steps:
            outputs.update(step.run({**tensors, **single, **outputs}))
        return outputs

    def _given_rows(self, tensors: Feeds) -> Feeds:
        """Return the rows of every input, for as many shoppers as the request asks about; a neutral value where it is left out."""
        count = self._rows(tensors)
        rows: Feeds = {_ASKED: tensors[_ASKED]}
        for row, name in self._columns.items():
            kind = self._types[name]
            if self._shapes[name][0] != "B":
                value = tensors[name][0] if name in tensors else _NONE[kind]
                rows[row] = np.full((count, 1), value, dtype=_DTYPES[kind])
            elif name in tensors:
                rows[row] = tensors[name]
            else:  # lists whose lengths are left out are as long as they are wide
                absent = tensors[self._lengths[name]].shape[1] if name in self._lengths else _ABSENT[kind]
                rows[row] = np.full((count, 1), absent, dtype=_DTYPES[kind])
        return rows

    def _rows(self, feeds: Feeds) -> int:
        return next((len(value) for name, value in feeds.items() if self._shapes.get(name, [""])[0] == "B"), 1)

    def _join(self, name: str, requests: list[Feeds]) -> npt.NDArray[Any]:
        """Stack one input of several requests, padded to the longest; where a request leaves it out, a neutral value stands."""
        kind = self._types[name]
        if self._shapes[name][0] != "B":  # one value a request; only a request that runs alone has any
            return requests[0][name]
        widths = [feeds[name].shape[1] for feeds in requests if name in feeds]
        rows = [self._rows(feeds) for feeds in requests]
        joined = np.full((sum(rows), max(1, *widths)), _FILLERS[kind], dtype=_DTYPES[kind])
        start = 0
        for feeds, count in zip(requests, rows, strict=True):
            if name in feeds:
                joined[start : start + count, : feeds[name].shape[1]] = feeds[name]
            else:
                joined[start : start + count] = _ABSENT[kind]
            start += count
        return joined


class _Encoded:
    """A tensor of strings in its wire form, 4 bytes of length (little-endian) before each, to be read later.

    Triton's interface decodes the tensors of all requests before it calls :meth:`TritonPythonModel.execute`: what fails or takes
    long there would fail or hold up requests of others. This stands in for its decoder, and for the array that comes of it.
    """

    def __init__(self, data: Any) -> None:
        self._data = data
        self.shape: tuple[int, ...] = (-1,)

    @property
    def nbytes(self) -> int:
        return len(self._data)

    def reshape(self, shape: Sequence[int]) -> npt.NDArray[Any]:
        """Return what Triton's interface takes for the array: one of a single element, this object."""
        self.shape = tuple(shape)
        holder = np.empty((), dtype=object)
        holder[()] = self
        return holder

    @staticmethod
    def within(value: npt.NDArray[Any]) -> Any:
        """Return what is held in ``value``, if :meth:`reshape` made it, else ``value``."""
        held = value.item() if value.ndim == 0 and value.dtype == object else None
        return held if isinstance(held, _Encoded) else value

    def count(self) -> int | None:
        """Return how many strings there are, or None where the last one is cut off."""
        data = bytes(self._data)
        place, end, found = 0, len(data), 0
        length_at = _LENGTH.unpack_from
        while place < end - 3:
            place += 4 + length_at(data, place)[0]
            found += 1
        return found if place == end else None

    def as_it_came(self) -> npt.NDArray[Any]:
        """Return an array of the same shape that :func:`serialised` writes as the strings came, without reading one."""
        values = np.empty(self.shape, dtype=object)
        if values.size:
            values.flat[0] = self
        return values

    @property
    def data(self) -> npt.NDArray[Any]:
        """The wire form, uint8 [n]."""
        return np.asarray(self._data)

    def texts(self) -> list[str] | None:
        """Return the strings, or None where the last one is cut off.

        Bytes that are not UTF-8 become an id that nothing has, and are answered as any unknown id is.
        """
        data = bytes(self._data)
        texts: list[str] = []
        place, end = 0, len(data)
        length_at, found = _LENGTH.unpack_from, texts.append
        while place < end - 3:
            start = place + 4
            place = start + length_at(data, place)[0]
            found(data[start:place].decode("utf-8", "replace"))
        return texts if place == end else None


def serialised(values: npt.NDArray[Any]) -> Any:
    """Return strings in their wire form; this stands in for the encoder of Triton's interface, which takes ten times as long."""
    if not values.size:
        return ()
    first = values.flat[0]
    if isinstance(first, _Encoded):
        return first.data
    encoded = [text.encode() for text in values.ravel().tolist()]
    return np.frombuffer(b"".join([part for text in encoded for part in (_LENGTH.pack(len(text)), text)]), np.uint8)


pb_utils.deserialize_bytes_tensor = _Encoded
pb_utils.serialize_byte_tensor = serialised


def _let_in(request: Any) -> None:
    """Let a request in, unless the file is there by which the server is told to stop.

    What is under way is not touched by it, nor is the question that carries the server's own name: its answer tells that all that came
    before it are answered.

    Raises:
        StoppingError: if the request is not let in.
    """
    gate = os.environ.get("CARTWHEEL_GATE", "")
    if gate and os.path.exists(gate) and request.request_id() != os.environ.get("CARTWHEEL_PASS"):  # noqa: PTH110 - several times faster
        raise StoppingError


def _error(message: str, code: Any) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message, code))
