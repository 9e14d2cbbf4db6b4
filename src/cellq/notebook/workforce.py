"""Workers for a notebook: one is started when none is there, and a start that failed is said.

A database file belongs to one machine, so its workers can be started and looked after from here. A server's workers
run wherever people start them: there the cell only says that none is running, and which command starts one.

A session (`%%enqueue --session NAME`) is a queue with a worker of its own on this machine, whose only slot keeps its
process: cells run there in order, and find what those before them left, also what cannot travel. That there is never a
second one, whoever starts it, is seen to by `cellq.notebook.seat`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from cellq.client.connection import Connection
from cellq.errors import WorkerUnavailable
from cellq.message import WorkerInfo
from cellq.notebook.seat import INHERITED, Seat
from cellq.settings import RUNTIME
from cellq.worker import launch

_STARTING = 20.0
"""Seconds in which a worker that was launched counts as being there, though it has not said so yet."""

_HEAVY = ("numpy", "pandas", "matplotlib.pyplot", "scipy", "sklearn", "seaborn", "polars", "sympy", "xarray")

_SESSION = "session:"
_SESSION_IDLE = 8 * 3600.0
"""Seconds without a cell after which a session ends: its state is lost then, so that is a working day."""

_LOOK = 3.0
"""Seconds between two looks at whether a waiting job has a worker."""


class Address(NamedTuple):
    """Where a queue is: the full URL of its store, its name, and the URL as people may see it."""

    url: str
    name: str
    shown: str

    @classmethod
    def of(cls, connection: Connection, name: str) -> Address:
        """Where the queue of this name is."""
        return cls(connection.full_url, name, connection.url)


@dataclass
class _Start:
    at: float
    worker: launch.Launched
    seat: Seat | None  # of its session, where it could not be handed to the worker

    def check(self) -> None:
        """Raise if it has ended."""
        try:
            self.worker.check()
        except WorkerUnavailable:
            self.done()
            raise

    def done(self) -> None:
        """It has come up, or is given up."""
        if self.seat is not None:
            self.seat.close()


class SeatTaken(WorkerUnavailable):
    """A session has its one worker already, or is about to get it."""


class Workforce:
    """The workers that this notebook has started, and those it finds."""

    def __init__(self) -> None:
        self._starts: dict[Address, _Start] = {}
        self._looked: dict[Address, float] = {}
        self._lacks: dict[Address, str] = {}

    def tend(self, queue: Address, workers: Iterable[WorkerInfo]) -> list[str]:
        """See to it that somebody serves this queue.

        Args:
            queue: the line that a job waits in.
            workers: who is known in its store.

        Returns:
            Lines about what was done. What is left to people is told by `lacks`.

        Raises:
            WorkerUnavailable: the one that was started has died; with the tail of its log.
        """
        self._looked[queue] = time.monotonic()
        self._lacks.pop(queue, None)
        here = queue.url.startswith("sqlite:")
        present = [worker for worker in workers if queue.name in worker.queues and worker.slots]
        if here:
            present = launch.local(present)  # one that was killed is known for a while, but it will not come
        if any(worker.runtime == RUNTIME for worker in present):
            self._forget(queue)
            return []
        start = self._starts.get(queue)
        if start is not None and time.monotonic() - start.at < _STARTING:
            start.check()
            return []
        session = session_of(queue.name)
        if session:
            return self._begin(queue, session, start, present)
        self._forget(queue)
        if not here:
            self._lacks[queue] = self._advice(queue, present)
            return []
        self.start(queue)
        return [f"no worker was running: started one with {slots()} slots (%workers shows it)"]

    def _begin(self, queue: Address, session: str, start: _Start | None, present: Iterable[WorkerInfo]) -> list[str]:
        """Start the worker of a session, unless somebody else has."""
        try:
            self.start(queue)
        except SeatTaken:
            if present:
                self._lacks[queue] = self._advice(queue, present)
                return []
            if start is not None:
                return [f"session {session!r} has not begun yet; the log of its process is {start.worker.log}"]
            return []  # another notebook has started it, and it will be here in a moment
        return [f"session {session!r} begins: a process of its own, which keeps what cells leave in it"]

    def lacks(self, queue: Address) -> str:
        """What people are to do so that this queue is served, as it was when last tended; "" when nothing."""
        return self._lacks.get(queue, "")

    def due(self, queue: Address) -> bool:
        """Whether it is time to look again."""
        return queue in self._starts or time.monotonic() - self._looked.get(queue, 0.0) >= _LOOK

    def start(self, queue: Address, count: int | None = None) -> launch.Launched:
        """Start a worker for this queue.

        Args:
            count: how many slots it has.

        Raises:
            WorkerUnavailable: it cannot be started.
            SeatTaken: it is for a session, which has one already.
        """
        session = bool(session_of(queue.name))
        if queue.url.startswith("memory:") or not (session or queue.url.startswith("sqlite:")):
            raise WorkerUnavailable(self._advice(queue, ()))
        idle = _SESSION_IDLE if session else launch.IDLE_EXIT
        seat = _seat(queue) if session else None
        try:
            worker = launch.launch(
                queue.url,
                queues=(queue.name,),
                slots=1 if session else count or slots(),
                idle_exit=float(os.environ.get("CELLQ_IDLE_EXIT", idle)),
                preload=heavy(),
                keep=session,
                inherit=(seat.file,) if seat is not None and INHERITED else (),
            )
        except BaseException:
            if seat is not None:
                seat.close()
            raise
        if seat is not None and INHERITED:
            seat.close()
            seat = None
        self._forget(queue)
        self._starts[queue] = _Start(time.monotonic(), worker, seat)
        return worker

    def _forget(self, queue: Address) -> None:
        start = self._starts.pop(queue, None)
        if start is not None:
            start.done()

    def stop(self, workers: Iterable[WorkerInfo]) -> list[WorkerInfo]:
        """Ask workers on this machine to finish what they run and end; gives those that were asked."""
        for queue in list(self._starts):
            self._forget(queue)
        return launch.stop(workers)

    def _advice(self, queue: Address, present: Iterable[WorkerInfo]) -> str:
        others = sorted({worker.runtime for worker in present})
        if others:
            return f"this job needs a worker with Python {RUNTIME}; those that run have {', '.join(others)}"
        if queue.url.startswith("memory:"):
            start = f"cellq.Worker({queue.name!r}, url={queue.url!r}).start()"
            return f"no worker is running; jobs in memory need one in this program: {start}"
        name = "" if queue.name == "default" else f" -q {queue.name}"
        return f"no worker is running; start one with: cellq worker --url {queue.shown}{name}"


def _seat(queue: Address) -> Seat:
    try:
        seat = Seat.take(queue.url, queue.name)
    except OSError as error:
        raise WorkerUnavailable(f"cannot begin a session: {error}") from error
    if seat is None:
        raise SeatTaken(f"session {session_of(queue.name)!r} has its worker already; %workers shows it")
    return seat


def queue_of(session: str) -> str:
    """The queue whose only worker has one slot, in which the cells of this session run in order.

    Raises:
        ValueError: this is no name.
    """
    if not session.isidentifier():
        raise ValueError(f"{session!r} is no name for a session; write --session NAME")
    return _SESSION + session


def session_of(queue: str) -> str:
    """The session that a queue is for; "" for ordinary ones."""
    return queue.removeprefix(_SESSION) if queue.startswith(_SESSION) else ""


def heavy() -> list[str]:
    """Modules of this notebook that take long to import; a worker started from here imports them ahead of need."""
    return [name for name in _HEAVY if name in sys.modules]


def slots() -> int:
    """How many slots a worker gets that is started from a notebook."""
    return max(2, min(os.cpu_count() or 2, 4))
