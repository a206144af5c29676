"""How much the neighbours count beside the retrieval model: what ``models/item_to_item/blend.json`` holds."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from cartwheel.core.errors import RunError
from cartwheel.core.files import write_json
from cartwheel.core.run_layout import RELATIVE, RunLayout

FOLDER: Final = RELATIVE.item_to_item.path
"""Of a run: ``blend.json`` and, where a learner was chosen, a table a catalogue: ``valid.npz``, ``test.npz`` and ``snapshot.npz``."""


@dataclass(frozen=True)
class Blend:
    """retrieval score = query vector . item vector + weight * score of the neighbours.

    Attributes:
        learner: name of the model that the table was learnt by; "" where the retrieval model retrieves alone.
        decay: in (0, 1], how much less each step back in the history says.
        weight: 0 or above.
    """

    learner: str = ""
    decay: float = 1.0
    weight: float = 0.0

    @property
    def sentence(self) -> str:
        """What a reader of figures should know."""
        return f"with {self.weight:.3g} x the neighbours of the recent items ({self.learner}, decay {self.decay:g} a step back)"

    def write(self, run: Path) -> None:
        """Write ``blend.json`` of a run."""
        write_json(RunLayout(run).item_to_item.blend, asdict(self))


def read_blend(run: Path) -> Blend:
    """Read how a run blends; a run without the folder retrieves by the retrieval model alone.

    Raises:
        RunError: if the file cannot be read or holds numbers that make no sense.
    """
    path = RunLayout(run).item_to_item.blend
    if not path.parent.exists():
        return Blend()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        blend = Blend(str(content["learner"]), float(content["decay"]), float(content["weight"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error}).", "Run `cartwheel train` again.") from error
    if not 0 < blend.decay <= 1 or not 0 <= blend.weight < math.inf:
        raise RunError(
            f"{path} holds the decay {blend.decay} and the weight {blend.weight}, where (0, 1] and 0 or above are expected.",
            "Run `cartwheel train` again.",
        )
    return blend
