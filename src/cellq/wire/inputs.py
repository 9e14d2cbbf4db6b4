"""Jobs among the arguments of a call: they travel as their ids, and arrive as what they returned.

    sealed by a client         opened in a slot            opened by middleware
    a job                      its result                  a handle
    a group of jobs            the list of their results   a handle

What a function or a class brings along (its globals, its closure, its attributes) is no argument: there, a handle
stays a handle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from cellq.errors import CellqError
from cellq.ids import JobId
from cellq.wire import rebuilding
from cellq.wire.reducing import REDUCERS, Pickler, Reduction


class Reference(NamedTuple):
    """One job, as arguments carry it: its id, and what people call it."""

    id: JobId
    name: str


class Handle:
    """What stands for results of jobs, where a call's arguments hold it.

    Attributes:
        several: it arrives as a list of results.
    """

    __slots__ = ()

    several: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        REDUCERS[cls] = _reduced  # looked up by type: other objects pay nothing

    def references(self) -> Sequence[Reference]:
        """The jobs it stands for, in order."""
        raise NotImplementedError


def _reduced(pickler: Pickler, handle: Handle) -> Reduction:
    """The jobs of a handle, if it is met among arguments; else it travels as it does anywhere."""
    if pickler.met is None or pickler.brought:
        return NotImplemented
    pickler.met.append(handle)
    return arrived, (tuple(map(tuple, handle.references())), handle.several)


Arrival = Callable[[Sequence[Reference], bool], object]
"""Gives what arrives in place of these jobs; the flag says whether it is to be a list."""


def arrived(jobs: Sequence[tuple[JobId, str]], several: bool) -> object:
    """What stands in place of jobs where arguments are opened. (Pickles name this function.)"""
    loading = rebuilding.moment.loading
    if loading is None or loading.arrival is None:
        raise CellqError("These arguments hold results of jobs: they can be opened in a worker only.")
    return loading.arrival([Reference(*job) for job in jobs], several)
