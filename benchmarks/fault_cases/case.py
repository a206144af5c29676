"""What a case of ``benchmarks/faults.py`` is: clients that do one kind of harm to a running server, and what is counted of it.

A module of cases names them in a tuple ``CASES``; ``benchmarks/faults.py`` runs those of all modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from benchmarks.fault_cases.target import Server

AIM_SECONDS: Final = 3.0
"""How soon an honest request is answered again after the harm."""
_NOTES: Final = 5


@dataclass
class Counts:
    """What came of one case.

    Attributes:
        requests: how many requests were sent, honest ones included.
        crashes: how often a process of the server ended that the case itself did not end.
        hangs: how many requests were not answered within their deadline, where the case did not want that.
        wrong: how many answers or statuses were not those that the case allows.
        seconds: the longest time until an honest request was answered again; 0 where it never was not.
        notes: the first few things that went wrong, a sentence each.
    """

    requests: int = 0
    crashes: int = 0
    hangs: int = 0
    wrong: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Keep one thing that went wrong, if there are not many yet."""
        if len(self.notes) < _NOTES:
            self.notes.append(sentence)

    @property
    def holds(self) -> bool:
        """Whether nothing went wrong, and the server was back in time."""
        return not (self.crashes or self.hangs or self.wrong) and self.seconds < AIM_SECONDS


@dataclass(frozen=True)
class Case:
    """One kind of harm.

    Attributes:
        name: a few words for the table.
        run: does it and counts; asks ``server.scaled(n)`` how many times, which is fewer in the quick mode.
        own_server: whether it needs a server of its own, because it ends it or wants other settings.
        settings: options of ``cartwheel serve``'s section ``[serve]`` that its own server differs in.
        environment: gives, for the folder of its own server, the variables of the environment that it runs with beside the usual ones.
    """

    name: str
    run: Callable[[Server], Counts]
    own_server: bool = False
    settings: dict[str, str | int | float] = field(default_factory=dict)
    environment: Callable[[Path], Mapping[str, str]] | None = None
