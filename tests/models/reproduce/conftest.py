from __future__ import annotations

import sys
from pathlib import Path

# importmode=importlib leaves sys.path alone; the conformance suite lies in the folder of the recommenders.
sys.path.insert(0, str(Path(__file__).parents[1] / "offline"))
