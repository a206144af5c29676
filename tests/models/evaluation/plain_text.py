"""What the terminal would show."""

from rich.console import Console

from evaluation.figures import Evaluation
from evaluation.report.terminal import report


def report_text(evaluation: Evaluation, width: int = 200) -> str:
    """Return the table of an evaluation as plain text of that width."""
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(report(evaluation))
    return captured.get()
