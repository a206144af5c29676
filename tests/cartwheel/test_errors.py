"""The taxonomy is closed, and each member tells the shell and the wire what happened."""

import grpc
import pytest

from cartwheel import errors as public
from cartwheel.core import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CartwheelError)]


def test_exit_codes_are_distinct() -> None:
    assert len({kind.exit_code for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_grpc_status_is_one_of_grpc(kind: type[errors.CartwheelError]) -> None:
    assert kind.grpc_status in grpc.StatusCode.__members__


def test_message_says_what_was_found_and_what_to_do() -> None:
    assert str(errors.DataError("No rows.", "Give some.")) == "No rows. Give some."
    assert str(errors.DataError("No rows.")) == "No rows."


def test_the_public_name_has_the_whole_taxonomy() -> None:
    assert set(public.__all__) == {kind.__name__ for kind in KINDS}
    assert all(getattr(public, kind.__name__) is kind for kind in KINDS)
