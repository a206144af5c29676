"""Loops are compiled once for all processes, and where nothing can be kept, all the same."""

import numba
import pytest

from cartwheel.core.compiled_loops import compiled


@compiled(nogil=True)
def _above(values: list[float], bound: float) -> int:
    count = 0
    for value in values:
        count += value > bound
    return count


def test_what_was_compiled_is_kept() -> None:
    assert _above((1.0, 2.0, 3.0), 1.5) == 2
    assert _above.stats.cache_path  # type: ignore[attr-defined]


def test_where_nothing_can_be_written_it_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = numba.njit

    def refusing(*args: object, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return honest(*args, **options)

    monkeypatch.setattr(numba, "njit", refusing)
    assert compiled()(lambda value: value + 1)(2) == 3
