"""The outcome of a continued run: ``continued.json``, written at its start and again at its decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cartwheel.core.errors import RunError
from cartwheel.core.files import write_json
from cartwheel.core.run_layout import RunLayout

State = Literal["begun", "deployed", "filed", "kept", "taken_back", "not_asked"]
_TOLD: dict[State, str] = {
    "begun": "was not finished",
    "deployed": "is served",
    "filed": "is served from the next start on",
    "kept": "is kept beside what is served",
    "taken_back": "was taken back while it was brought in",
    "not_asked": "is kept beside what is served, as --no-deploy says",
}


class Outcome(BaseModel):
    """Content of ``continued.json``."""

    model_config = ConfigDict(extra="forbid")

    base: str
    """The run that it goes on from, relative to the run that holds both; "." is that run itself."""
    before: str
    """The version that was served when it began."""
    settings: dict[str, Any]
    """What the configuration said of the run, section -> field -> value."""
    state: State = "begun"
    version: str = ""
    """Its own version; empty before its export."""
    why: str = ""
    """What was measured, and what followed from it."""

    @property
    def sentence(self) -> str:
        """What became of it."""
        return f"The version {self.version} {_TOLD[self.state]}: {self.why}."

    def write(self, run: Path) -> None:
        """Write it into the run."""
        write_json(RunLayout(run).outcome, self.model_dump(mode="json"))

    @classmethod
    def read(cls, run: Path) -> Outcome | None:
        """Read it; None where the run has none, for it did not go on from another.

        Raises:
            RunError: if the file is damaged.
        """
        path = RunLayout(run).outcome
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValidationError) as error:
            raise RunError(f"{path} cannot be read ({error}).", f"Delete {run} to restart that run.") from None


def continuations(home: Path) -> list[Path]:
    """Return the runs that went on from a run or from one another, the oldest first."""
    found = [path for path in RunLayout(home).continued.glob("[0-9]*") if path.is_dir()]
    return sorted(found, key=lambda path: int(path.name) if path.name.isdigit() else 0)


def next_run(home: Path) -> Path:
    """Return the folder of the run that goes on next: one that was begun and not finished, or else a new number."""
    there = continuations(home)
    if there and ((outcome := Outcome.read(there[-1])) is None or outcome.state == "begun"):
        return there[-1]
    number = int(there[-1].name) + 1 if there else 1
    return RunLayout(home).continued / f"{number:04d}"
