"""The laws of whole graphs use what the suite of each operator uses."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "operators"))
