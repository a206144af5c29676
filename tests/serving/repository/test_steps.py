"""The steps of an ensemble form a chain: Triton 2.51 ends with signal 11 where a request is cancelled while two of its steps run."""

from __future__ import annotations

import pytest

from serving.contract.programs import Target, programs
from serving.contract.tensors import Sizes
from serving.ensembles.registry import contract


@pytest.mark.parametrize("target", ["embedded", "native"])
@pytest.mark.parametrize("has_cart", [True, False])
def test_each_step_waits_for_the_one_before(target: Target, has_cart: bool) -> None:
    _, ensembles = programs(contract(Sizes(recents=5, candidates=50, neighbours=50, max_k=50, has_cart=has_cart)), target)
    for ensemble in ensembles:
        for before, step in zip(ensemble.steps, ensemble.steps[1:], strict=False):
            assert set(step.inputs.values()) & set(before.outputs.values()), (ensemble.name, before.model, step.model)
