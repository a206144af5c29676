"""The laws of whole graphs use what the suite of each operator uses, and graphs that are drawn."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "operators")]
