"""What one kind of ambient state has to offer; see `cellq.cell.ambient`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Provider:
    """One kind of ambient state.

    Args:
        name: unique; shown to people when the state could not be applied.
        capture: gives the state, or None when there is nothing to tell. A dict is brought back key by key, and a key
            that is gone has the value `GONE`.
        apply: puts a captured state (or the changed part of a dict) in force. It may import `module`.
        module: the module this speaks for; without it in `sys.modules` nothing is captured.
        initial: the state this process started with, where it is another process's business (its environment): only
            what differs from it is sent along with a cell.
        branch: for the state of a random generator: another state made from it and a number. Cells that are out at the
            same time would otherwise all draw the same numbers.
        first: applied before the cell's names are unpickled (where modules are found), not after.
    """

    name: str
    capture: Callable[[], object]
    apply: Callable[[object], None]
    module: str = "sys"
    initial: Callable[[], object] | None = None
    branch: Callable[[object, int], object] | None = None
    first: bool = False


class Gone:
    """The type of `GONE`."""

    def __reduce__(self) -> str:
        return "GONE"

    def __repr__(self) -> str:
        return "GONE"


GONE = Gone()
"""Stands for a key that is no longer there."""
