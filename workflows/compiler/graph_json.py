"""Reads ``graph.json``, which NVTabular's main branch saves since 2026 in the place of a pickle, into a workflow of NVTabular 23.8.

Nothing that the file names is imported or run. Operators are made of a list of classes that are known here, and a Python function that it
names, as of ``LambdaOp``, stays a name until somebody gives an expression for its column, against which it is then held.

The format writes a group of columns, such as ``[["city", "device"]]``, as single columns, so that NVTabular itself cannot use what it saved
of one. The names of the vocabularies and statistics still tell the groups, and they are read from those.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pydantic

from cartwheel.core.errors import CartwheelError, NotCompilableError, RunError

GRAPH: Final = "graph.json"
_FORMAT: Final = 1
_SAVE: Final = "Fit and save it again with NVTabular."


class _Record(pydantic.BaseModel):
    """One node of the graph."""

    id: int
    op_class: str | None
    op_params: dict[str, Any] = {}
    op_state: dict[str, Any] = {}
    parent_ids: list[int] = []
    dependency_ids: list[int] = []
    selector: dict[str, Any] | None = None
    input_schema: list[dict[str, Any]] | None = None
    output_schema: list[dict[str, Any]] | None = None


class _Graph(pydantic.BaseModel):
    """A graph, or one within a node."""

    format_version: int = _FORMAT
    output_node_id: int
    nodes: list[_Record]


class NamedFunction:
    """A Python function of which ``graph.json`` holds the name.

    It is imported once somebody has said to trust it, by giving an expression for what it makes; until then it gives zeros or empty texts
    of the right type, of which nothing that is compiled is made.
    """

    def __init__(self, module: str, name: str, dtype: str) -> None:
        self.module, self.name, self.dtype = module, name, dtype
        self.__name__ = self.__qualname__ = f"{module}.{name}"
        self.trusted = False

    def __call__(self, column: Any, table: Any = None) -> Any:
        """Return what the function makes of a column, or blanks.

        Raises:
            RunError: if it cannot be imported.
        """
        if not self.trusted:
            import pandas as pd

            blank: Any = "" if self.dtype in ("str", "string", "object") else 0
            made = pd.Series([blank] * len(column), index=column.index)
            return made if blank == "" else made.astype(self.dtype)
        function = self._imported()
        return function(column) if len(inspect.signature(function).parameters) == 1 else function(column, table)

    def _imported(self) -> Any:
        try:
            found = importlib.import_module(self.module)
            for part in self.name.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise RunError(
                f"The workflow applies the Python function {self.__name__}, which cannot be imported ({error}).",
                "Put its module on PYTHONPATH, or leave out the column.",
            ) from error
        return found


class _Reader:
    """Makes nodes of records; ``folder`` holds their files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def output(self, graph: _Graph) -> Any:
        """Return the last node of a graph."""
        made: dict[int, Any] = {}
        for record in sorted(graph.nodes, key=lambda each: each.id):
            made[record.id] = self._node(record, made)
        return made[graph.output_node_id]

    def _node(self, record: _Record, made: Mapping[int, Any]) -> Any:
        from merlin.dag.selector import ColumnSelector
        from nvtabular.workflow.node import WorkflowNode

        node = WorkflowNode()
        node.input_schema, node.output_schema = _schema(record.input_schema), _schema(record.output_schema)
        for parent in record.parent_ids:
            node.add_parent(made[parent])
        for dependency in record.dependency_ids:
            node.add_dependency(made[dependency])
        names = list(record.selector["names"]) if record.selector else []
        node.op = self._operator(record, names, [made[each] for each in record.dependency_ids])
        if record.selector:
            node.selector = ColumnSelector(_grouped(record, names))
        if hasattr(node.op, "fitted"):
            node.op.fitted = True
        return node

    def _operator(self, record: _Record, names: Sequence[str], dependencies: Sequence[Any]) -> Any:
        kind = (record.op_class or "none").rpartition(".")[2]
        files = _files(record, self._folder / "artifacts" / f"node_{record.id}")
        if kind == "Subgraph":
            from merlin.dag.ops.subgraph import Subgraph

            inside = _Reader(self._folder / "artifacts" / f"node_{record.id}")
            graph = _Graph.model_validate(record.op_params["inner_graph"])
            return Subgraph(record.op_params["name"], inside.output(graph))
        maker = _MAKERS.get(kind)
        if maker is None:
            raise NotCompilableError(
                f"The saved workflow has the operator {record.op_class}, which is not known here.",
                "Save it without that operator.",
            )
        return maker(record, files, names, dependencies)


def load_graph(folder: Path) -> Any:
    """Return the fitted workflow that a folder holds as ``graph.json``.

    Raises:
        RunError: if the file is damaged, or of another format.
        NotCompilableError: if it names an operator that is not known here, or a group of columns that cannot be told.
    """
    from nvtabular import Workflow

    path = folder / GRAPH
    try:
        content = _Graph.model_validate_json(path.read_bytes())
        if content.format_version == _FORMAT:
            workflow = Workflow(_Reader(folder).output(content))
    except CartwheelError:
        raise
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}).", _SAVE) from error
    except Exception as error:  # a damaged file fails wherever it likes
        told = " ".join(str(error).split())[:200]
        raise RunError(f"{path} holds no graph of NVTabular ({type(error).__name__}: {told}).", _SAVE) from error
    if content.format_version != _FORMAT:
        raise RunError(
            f"{path} has the format {content.format_version}, expected {_FORMAT}.",
            "Update Cartwheel, or save it with an earlier NVTabular.",
        )
    return workflow


def _schema(columns: list[dict[str, Any]] | None) -> Any:
    from merlin.schema import ColumnSchema, Schema, Tags

    if columns is None:
        return None
    made = []
    for column in columns:
        tags = [name.rpartition(".")[2] for name in column.get("tags", [])]
        made.append(
            ColumnSchema(
                column["name"],
                tags=[Tags[name] if name in Tags.__members__ else name for name in tags],
                properties=column.get("properties") or {},
                dtype=_dtype(column.get("dtype")),
                is_list=column.get("is_list"),
                is_ragged=column.get("is_ragged"),
            )
        )
    return Schema(made)


def _dtype(told: Any) -> Any:
    """Return Merlin's type of what is told as a name, or as a name with a shape."""
    import merlin.dtypes as md
    from merlin.dtypes.shape import Dimension, Shape

    if told is None:
        return None
    name = told if isinstance(told, str) else told["name"]
    found = md.dtype(name)
    if isinstance(told, dict) and told.get("shape") is not None:
        found = found.with_shape(Shape(tuple(Dimension(each["min"], each["max"]) for each in told["shape"])))
    return found


def _files(record: _Record, folder: Path) -> dict[Any, str]:
    """Return where the vocabularies or statistics of an operator lie, by the names under which it keeps them.

    Raises:
        RunError: if one is said to lie outside the operator's own folder.
    """
    found = {}
    for item in record.op_state.get("categories") or record.op_state.get("stats") or []:
        path = folder / item["path"]
        if not path.resolve().is_relative_to(folder.resolve()):
            raise RunError(f"{GRAPH} names a file outside the saved workflow ({item['path']}).", _SAVE)
        found[item["key"][0] if len(item["key"]) == 1 else tuple(item["key"])] = str(path)
    return found


def _grouped(record: _Record, names: list[str]) -> list[Any]:
    """Return the columns of an operator with those together that it takes as one, as the names of its files tell.

    Raises:
        NotCompilableError: if a name can be read as several groups.
    """
    items = record.op_state.get("categories") or record.op_state.get("stats") or []
    separator = record.op_params.get("name_sep", "_")
    stored: Mapping[str, str] = record.op_state.get("storage_name") or {}
    together: list[Any] = []
    for item in items:
        key = separator.join(item["key"])
        if key == "__fold__" or key.startswith(f"__fold__{separator}"):
            continue
        readings = list(_readings(key, names, separator))
        told = [each for each in readings if all(stored.get(name) == key for name in each)]
        readings = told if len(told) == 1 else readings
        if len(readings) != 1:
            raise NotCompilableError(
                f"The saved workflow keeps {key!r} of the columns {names}, which {len(readings)} groups of them could be.",
                "Rename the columns, or give the operator another name_sep, and fit and save it again.",
            )
        [reading] = readings
        together.append(reading[0] if len(reading) == 1 else reading)
    inside = {name for each in together for name in ([each] if isinstance(each, str) else each)}
    return together if items and inside == set(names) else names


def _readings(key: str, names: Sequence[str], separator: str) -> Iterator[tuple[str, ...]]:
    """Yield each sequence of names that a key can be made of."""
    for name in names:
        if key == name:
            yield (name,)
        elif key.startswith(name + separator):
            for rest in _readings(key[len(name) + len(separator) :], names, separator):
                yield (name, *rest)


def _function(told: Mapping[str, Any] | None, record: _Record) -> NamedFunction:
    assert told is not None, "a function has a name"
    schema = record.output_schema or []
    return NamedFunction(str(told["module"]), str(told["qualname"]), str(schema[0]["dtype"]["name"]) if schema else "float32")


def _renaming(record: _Record, names: Sequence[str]) -> dict[str, Any]:
    """Return the settings of ``Rename``: of a function only what it made of the names."""
    if record.op_params.get("f") is None:
        return {name: record.op_params.get(name) for name in ("postfix", "name")}
    made = [column["name"] for column in record.output_schema or []]
    given = dict(zip(names, made, strict=True))
    return {"f": given.__getitem__}


def _with(operator: Any, **state: Any) -> Any:
    for name, value in state.items():
        setattr(operator, name, value)
    return operator


def _number_type(told: Any) -> Any:
    import numpy as np

    return np.dtype(told["name"]) if told else None


def _settings(record: _Record, *names: str) -> dict[str, Any]:
    return {name: record.op_params[name] for name in names if name in record.op_params}


def _categorify(record: _Record, files: Mapping[Any, str]) -> Any:
    from nvtabular import ops

    names = ("freq_threshold", "encode_type", "name_sep", "search_sorted", "num_buckets", "max_size", "single_table")
    made = ops.Categorify(dtype=_number_type(record.op_params.get("dtype")), **_settings(record, *names))
    return _with(made, categories=dict(files), storage_name=dict(record.op_state.get("storage_name") or {}))


def _target_encoding(record: _Record, files: Mapping[Any, str], dependencies: Sequence[Any]) -> Any:
    from nvtabular import ops

    names = ("target_mean", "kfold", "fold_seed", "p_smooth", "out_col", "name_sep", "drop_folds")
    [target] = dependencies
    made = ops.TargetEncoding(target, out_dtype=_number_type(record.op_params.get("out_dtype")), **_settings(record, *names))
    return _with(made, stats=dict(files), means=dict(record.op_state.get("means") or {}))


def _join_groupby(record: _Record, files: Mapping[Any, str]) -> Any:
    from nvtabular import ops

    made = ops.JoinGroupby(cont_cols=record.op_params.get("cont_cols"), **_settings(record, "stats", "name_sep"))
    return _with(made, categories=dict(files), storage_name=dict(record.op_state.get("storage_name") or {}))


def _normalize(record: _Record, kind: str, *state: str) -> Any:
    from nvtabular import ops

    made = getattr(ops, kind)(out_dtype=_number_type(record.op_params.get("out_dtype")))
    return _with(made, **{name: dict(record.op_state[name]) for name in state})


def _own(kind: str) -> Callable[..., Any]:
    """Return the maker of an operator of NVTabular whose settings are those of its constructor."""

    def make(record: _Record, *_: Any) -> Any:
        from nvtabular import ops

        return getattr(ops, kind)(**record.op_params)

    return make


def _selection(record: _Record, *_: Any) -> Any:
    from merlin.dag.ops.selection import SelectionOp
    from merlin.dag.selector import ColumnSelector

    return SelectionOp(ColumnSelector(list((record.op_params.get("selector") or {}).get("names", []))))


def _concat(*_: Any) -> Any:
    from merlin.dag.ops.concat_columns import ConcatColumns

    return ConcatColumns()


def _nvtabular(kind: str, *arguments: Any, **settings: Any) -> Any:
    from nvtabular import ops

    return getattr(ops, kind)(*arguments, **settings)


def _fill_median(record: _Record) -> Any:
    made = _nvtabular("FillMedian", **_settings(record, "add_binary_cols"))
    return _with(made, medians=dict(record.op_state["medians"]))


def _lambda(record: _Record, *_: Any) -> Any:
    return _nvtabular("LambdaOp", _function(record.op_params["f"], record), dependency=record.op_params.get("dependency") or None)


def _metadata(*_: Any) -> Any:  # what it adds is in the schemas
    return _nvtabular("AddMetadata")


_MAKERS: Final[Mapping[str, Callable[[_Record, dict[Any, str], Sequence[str], Sequence[Any]], Any]]] = {
    **dict.fromkeys(
        ("AddMetadata", "AddProperties", "AddTags", "TagAsItemFeatures", "TagAsItemID", "TagAsUserFeatures", "TagAsUserID"),
        _metadata,
    ),
    **{kind: _own(kind) for kind in ("Bucketize", "Clip", "Dropna", "FillMissing", "HashBucket", "ListSlice", "LogOp")},
    "Categorify": lambda record, files, *_: _categorify(record, files),
    "ConcatColumns": _concat,
    "FillMedian": lambda record, *_: _fill_median(record),
    "Filter": lambda record, *_: _nvtabular("Filter", _function(record.op_params["f"], record)),
    "JoinGroupby": lambda record, files, *_: _join_groupby(record, files),
    "LambdaOp": _lambda,
    "Normalize": lambda record, *_: _normalize(record, "Normalize", "means", "stds"),
    "NormalizeMinMax": lambda record, *_: _normalize(record, "NormalizeMinMax", "mins", "maxs"),
    "Rename": lambda record, _, names, __: _nvtabular("Rename", **_renaming(record, names)),
    "SelectionOp": _selection,
    "TargetEncoding": lambda record, files, _, dependencies: _target_encoding(record, files, dependencies),
    "UDF": _lambda,
}
