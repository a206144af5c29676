from __future__ import annotations

import sys
from pathlib import Path

# importmode=importlib leaves sys.path alone; what these tests share lies beside them.
sys.path.insert(0, str(Path(__file__).parent))
