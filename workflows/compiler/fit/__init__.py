"""Fits NVTabular workflows: the statistics that their operators need, computed by Polars in bounded memory.

``fit_workflow`` is the one function. What it writes is an ordinary fitted NVTabular workflow, which NVTabular saves, loads and runs.
"""

from workflows.compiler.fit.fit import ENGINES, fit_workflow

__all__ = ["ENGINES", "fit_workflow"]
