"""Any graph of operators over any table: all executors agree to the last bit, or it is refused (see ``random_graphs``)."""

from __future__ import annotations

import pytest
from random_graphs import try_graph

QUICK = 24
LONG = 1000


def outcomes(first: int, last: int) -> dict[str, int]:
    cases = [try_graph(seed) for seed in range(first, last)]
    broken = [f"seed {case.seed}\n{case.told}\n{case.failure}" for case in cases if case.failure]
    assert not broken, "\n\n".join(broken)
    return {outcome: sum(case.outcome == outcome for case in cases) for outcome in {case.outcome for case in cases}}


def test_executors_agree_or_the_graph_is_refused() -> None:
    found = outcomes(0, QUICK)
    assert (
        sum(count for outcome, count in found.items() if outcome.startswith("Polars = ONNX")) >= QUICK / 5
    )  # it compares indeed
    assert any("NVTabular" in outcome for outcome in found)


@pytest.mark.thorough
def test_executors_agree_or_the_graph_is_refused_a_thousand_times() -> None:
    outcomes(QUICK, QUICK + LONG)
