"""What user code may call while it runs as a job: who am I, and how far am I.

Outside of a job everything here still works and does nothing (`current_job()` is None), so that a function behaves
the same in a notebook, in a test and in a worker.

Progress is a state, not a stream: each bar keeps its latest numbers, and at most ten times a second the capture sends a
snapshot of all bars of a job. A call in between only replaces numbers in a dict.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from cellq.ids import id_text
from cellq.message import Lease

T = TypeVar("T")

MIN_INTERVAL = 0.1
"""Seconds between two progress reports of one job."""


MOST_CLOSED = 8
"""Closed bars that a job keeps showing."""


class Listener(Protocol):
    """Who takes what a job says: in a slot the capture."""

    def say(self, job: CurrentJob, kind: str, data: str) -> None:
        """Add an event (JSON) to the job's log, in order."""

    def mark(self, job: CurrentJob) -> None:
        """The job's progress has changed; ask for `snapshot` when it is time to send it."""


Bar = dict[str, object]
"""One bar in numbers: id, desc, n, total, unit, rate, elapsed, note, closed."""


@dataclass(eq=False, slots=True)
class CurrentJob:
    """The job that is running here.

    Attributes:
        id: canonical UUID text.
        attempt: 1 for the first run.
        task: name of the function or cell.
        queue: name of its queue.
    """

    lease: Lease = field(repr=False)
    attempt: int
    task: str
    queue: str
    listener: Listener = field(repr=False)
    bars: dict[int, Bar] = field(default_factory=dict, repr=False)

    @property
    def id(self) -> str:
        """Canonical UUID text."""
        return id_text(self.lease.id)

    def report(self, bar: Bar) -> None:
        """Set a bar's numbers (found by its "id"); they leave the process within `MIN_INTERVAL`."""
        ident = bar["id"]
        assert isinstance(ident, int)
        self.bars[ident] = bar
        if bar.get("closed"):
            self._tidy(ident)
        self.listener.mark(self)

    def _tidy(self, ident: int) -> None:
        """Forget a closed bar that is not to stay, and the oldest closed ones when there are many."""
        if not self.bars[ident].get("leave", True):
            del self.bars[ident]
        closed = [i for i, bar in self.bars.items() if bar.get("closed")]
        for i in closed[:-MOST_CLOSED]:
            del self.bars[i]

    def snapshot(self) -> str:
        """All bars as JSON, in the order in which they were first seen."""
        return json.dumps(list(self.bars.values()), default=str)

    def emit(self, kind: str, content: Mapping[str, object]) -> None:
        """Add an event with the content of the Jupyter message of that name to the job's log."""
        self.listener.say(self, kind, json.dumps(content, default=str))


_task_job: ContextVar[CurrentJob | None] = ContextVar("cellq_job", default=None)
_process_job: CurrentJob | None = None


def enter(job: CurrentJob | None, *, whole_process: bool) -> None:
    """Make `job` the current one: for this asyncio task, or (in a sync slot) for every thread of the process."""
    global _process_job
    _task_job.set(job)
    if whole_process:
        _process_job = job


def current_job() -> CurrentJob | None:
    """The job this code runs in, None outside of one. Threads that a sync job started belong to it as well."""
    return _task_job.get() or _process_job


def emit_for_current(kind: str, content: Mapping[str, object]) -> None:
    """Add an event to the log of whichever job this code runs in; outside of one it is dropped."""
    job = current_job()
    if job is not None:
        job.emit(kind, content)


_bar_ids = itertools.count(1)


def new_bar_id() -> int:
    """An id for a new bar, unique in this process."""
    return next(_bar_ids)


def progress(done: float, total: float | None = None, note: str = "") -> None:
    """Say how far this job is; the caller's cell shows it as a bar.

    Args:
        done: how much is done, in any unit.
        total: how much there is; None when nobody knows.
        note: a few words beside the bar.
    """
    job = current_job()
    if job is not None:
        job.report({"id": 0, "desc": "", "n": done, "total": total, "note": note, "closed": False})


def track(iterable: Iterable[T], total: float | None = None, *, desc: str = "", unit: str = "it") -> Iterator[T]:
    """Go through an iterable and report progress on the way.

    Args:
        total: how many items there are; taken from ``len()`` when there is one.
        desc: what the bar is about.
        unit: what is counted.

    Returns:
        An iterator over the same items.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    job = current_job()
    if job is None:
        yield from iterable
        return
    ident, start, n = new_bar_id(), time.monotonic(), 0

    def bar(closed: bool) -> Bar:
        elapsed = time.monotonic() - start
        return {
            "id": ident,
            "desc": desc,
            "n": n,
            "total": total,
            "unit": unit,
            "elapsed": elapsed,
            "rate": n / elapsed if elapsed > 0 else None,
            "closed": closed,
        }

    job.report(bar(False))
    next_report = start + MIN_INTERVAL
    try:
        for item in iterable:
            yield item
            n += 1
            if time.monotonic() >= next_report:
                job.report(bar(False))
                next_report = time.monotonic() + MIN_INTERVAL
    finally:
        job.report(bar(True))
