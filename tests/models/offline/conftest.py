from __future__ import annotations

import sys
from pathlib import Path

# importmode=importlib leaves sys.path alone; the conformance suite lies beside the tests that inherit it.
sys.path.insert(0, str(Path(__file__).parent))
