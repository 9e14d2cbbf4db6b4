"""Workers for a notebook: one is started when none is there, and a start that failed is said.

A database file belongs to one machine, so its workers can be started and looked after from here. A server's workers
run wherever people start them: there the cell only says that none is running, and which command starts one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from cellq.client.sync import Queue
from cellq.errors import WorkerUnavailable
from cellq.message import WorkerInfo
from cellq.settings import RUNTIME
from cellq.worker import launch

_STARTING = 20.0
"""Seconds in which a worker that was launched counts as being there, though it has not said so yet."""

_HEAVY = ("numpy", "pandas", "matplotlib.pyplot", "scipy", "sklearn", "seaborn", "polars", "sympy", "xarray")

_LOOK = 3.0
"""Seconds between two looks at whether a waiting job has a worker."""


@dataclass
class _Start:
    at: float
    worker: launch.Launched


class Workforce:
    """The workers that this notebook has started, and those it finds."""

    def __init__(self) -> None:
        self._starts: dict[tuple[str, str], _Start] = {}
        self._looked: dict[tuple[str, str], float] = {}

    def tend(self, queue: Queue, workers: Iterable[WorkerInfo]) -> list[str]:
        """See to it that somebody serves this queue.

        Args:
            queue: the line that a job waits in.
            workers: who is known in its store.

        Returns:
            Lines about what was done or is to be done.

        Raises:
            WorkerUnavailable: the one that was started has died; with the tail of its log.
        """
        key = (queue.url, queue.name)
        self._looked[key] = time.monotonic()
        here = queue.url.startswith("sqlite:")
        present = [worker for worker in workers if queue.name in worker.queues and worker.slots]
        if here:
            present = launch.local(present)  # one that was killed is known for a while, but it will not come
        if any(worker.runtime == RUNTIME for worker in present):
            self._starts.pop(key, None)
            return []
        start = self._starts.pop(key, None)
        if start is not None and time.monotonic() - start.at < _STARTING:
            self._starts[key] = start
            start.worker.check()
            return []
        if not here:
            return [self._advice(queue, present)]
        self.start(queue)
        return [f"no worker was running: started one with {slots()} slots (%workers shows it)"]

    def due(self, queue: Queue) -> bool:
        """Whether it is time to look again."""
        key = (queue.url, queue.name)
        return key in self._starts or time.monotonic() - self._looked.get(key, 0.0) >= _LOOK

    def start(self, queue: Queue, count: int | None = None) -> launch.Launched:
        """Start a worker for this queue.

        Args:
            count: how many slots it has.

        Raises:
            WorkerUnavailable: it cannot be started.
        """
        if not queue.url.startswith("sqlite:"):
            raise WorkerUnavailable(self._advice(queue, ()))
        idle = float(os.environ.get("CELLQ_IDLE_EXIT", launch.IDLE_EXIT))
        worker = launch.launch(queue.url, queues=(queue.name,), slots=count or slots(), idle_exit=idle, preload=heavy())
        self._starts[queue.url, queue.name] = _Start(time.monotonic(), worker)
        return worker

    def stop(self, workers: Iterable[WorkerInfo]) -> list[WorkerInfo]:
        """Ask workers on this machine to finish what they run and end; gives those that were asked."""
        self._starts.clear()
        return launch.stop(workers)

    def _advice(self, queue: Queue, present: Iterable[WorkerInfo]) -> str:
        others = sorted({worker.runtime for worker in present})
        if others:
            return f"this job needs a worker with Python {RUNTIME}; those that run have {', '.join(others)}"
        if queue.url.startswith("memory:"):
            return f"no worker is running; jobs in memory need one in this program: cellq.Worker({queue!r}).start()"
        name = "" if queue.name == "default" else f" -q {queue.name}"
        return f"no worker is running; start one with: cellq worker --url {queue.url}{name}"


def heavy() -> list[str]:
    """Modules of this notebook that take long to import; a worker started from here imports them ahead of need."""
    return [name for name in _HEAVY if name in sys.modules]


def slots() -> int:
    """How many slots a worker gets that is started from a notebook."""
    return max(2, min(os.cpu_count() or 2, 4))
