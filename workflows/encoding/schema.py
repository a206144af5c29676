"""The Merlin schema of encoded tables: tags, and the id ranges from which Merlin Models sizes its embedding tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cartwheel.core.errors import RunError
from cartwheel.core.files import write_text
from workflows.features.column import CATEGORICAL, CONTINUOUS, Owner
from workflows.features.columns import CALENDAR, QUERY_LISTS, SHARED_VOCABULARY
from workflows.features.feature_set import BUILT_IN, FeatureSet

SCHEMA_FILE: Final = "schema.pbtxt"
TARGETS: Final = ("label", "cart_label")

_SESSION = ("session_events", "session_minutes")


def build_schema(columns: Sequence[str], cardinalities: Mapping[str, int], features: FeatureSet = BUILT_IN) -> Any:
    """Describe encoded columns, and the targets among them, as a ``merlin.schema.Schema``.

    A categorical column's domain runs from 0 to its cardinality - 1 and carries the name of its vocabulary; columns of one vocabulary
    have the same domain, which is how Merlin Models shares an embedding table.

    Args:
        columns: columns of the table; those that are neither features nor targets are left out.
        cardinalities: categorical column -> number of ids, the reserved ones included.
        features: the columns of the run.

    Returns:
        The schema, in the order of ``columns``.
    """
    from merlin.schema import Schema

    wanted = {*(column.name for column in features.columns), *TARGETS}
    return Schema([_column(name, cardinalities, features) for name in columns if name in wanted])


def write_schema(schema: Any, folder: Path) -> None:
    """Write a schema as ``schema.pbtxt`` into ``folder``, atomically; equal schemas give equal bytes."""
    from merlin.schema.io.tensorflow_metadata import TensorflowMetadata

    metadata = TensorflowMetadata.from_merlin_schema(schema)
    for feature in metadata.proto_schema.feature:
        feature.annotation.tag.sort()
    write_text(folder / SCHEMA_FILE, metadata.to_proto_text())


def load_schema(folder: Path) -> Any:
    """Load the schema beside an encoded table.

    Args:
        folder: the table's folder, for example ``<run>/features/train/ranking``.

    Returns:
        A ``merlin.schema.Schema``.

    Raises:
        RunError: if the file is missing or cannot be read.
    """
    from google.protobuf.text_format import ParseError
    from merlin.schema.io.tensorflow_metadata import TensorflowMetadata

    path = folder / SCHEMA_FILE
    try:
        return TensorflowMetadata.from_proto_text(path.read_text(encoding="utf-8")).to_merlin_schema()
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing.", "Run prepare, which encodes the features.") from error
    except (OSError, ParseError, ValueError) as error:
        raise RunError(f"{path} is no Merlin schema ({error}).", "Run prepare again.") from error


def _column(name: str, cardinalities: Mapping[str, int], features: FeatureSet) -> Any:
    import merlin.dtypes as md
    from merlin.schema import ColumnSchema, Tags

    if name in TARGETS:
        return ColumnSchema(name, dtype=md.int8, tags=[Tags.TARGET, Tags.BINARY_CLASSIFICATION])
    tags = [*_side(name, features), Tags.CATEGORICAL if name in cardinalities else Tags.CONTINUOUS]
    if name not in cardinalities:
        return ColumnSchema(name, dtype=md.float32, tags=tags)
    domain = {"min": 0, "max": cardinalities[name] - 1, "name": SHARED_VOCABULARY.get(name, name)}
    if name in QUERY_LISTS:
        return ColumnSchema(
            name, dtype=md.int64, tags=[*tags, Tags.LIST], properties={"domain": domain}, is_list=True, is_ragged=True
        )
    return ColumnSchema(name, dtype=md.int64, tags=tags, properties={"domain": domain})


def _side(name: str, features: FeatureSet) -> list[Any]:
    """Return the tags that say whom a feature is about; what is known when the question is asked is CONTEXT and the user's."""
    from merlin.schema import Tags

    if name in ("user_id", "item_id"):
        return [Tags.USER_ID, Tags.USER] if name == "user_id" else [Tags.ITEM_ID, Tags.ITEM]
    if name in CALENDAR + _SESSION + features.own_names(CATEGORICAL | CONTINUOUS, Owner.MOMENT):
        return [Tags.USER, Tags.CONTEXT]
    if name in features.query:
        return [Tags.USER]
    return [Tags.ITEM] if name in features.item else [Tags.CONTEXT]
