"""Several workers as one program.

```python
app = cellq.App(middlewares=[cellq.Sentry()])
app.register_worker(emails.worker)
app.register_worker(notifications.worker)  # then: cellq worker --app module:app
```
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import signal
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from cellq.app.worker import Worker
from cellq.errors import WorkerUnavailable
from cellq.worker.middleware import Middleware, check

log = logging.getLogger("cellq.worker")

_PAUSE_FIRST, _PAUSE_MOST = 1.0, 30.0
"""Seconds before a worker that has failed is started again."""


class App:
    """Several workers as one program, each in a thread of its own with slots of its own.

    A worker that fails is told of in the log and started again after a pause; the others go on meanwhile.

    Args:
        middlewares: wrap the handling of every job of every worker, outside of the workers' own.

    Attributes:
        workers: by name.
    """

    def __init__(self, middlewares: Sequence[Middleware] = ()) -> None:
        self.middlewares = check(middlewares)
        self.workers: dict[str, Worker] = {}
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def register_worker(self, worker: Worker) -> None:
        """Add a worker.

        Raises:
            ValueError: there is one of that name.
        """
        if worker.name in self.workers:
            raise ValueError(f"a worker {worker.name!r} is registered already")
        worker._above = self.middlewares
        self.workers[worker.name] = worker

    def register_middleware(self, middleware: Middleware, pos: int = -1) -> None:
        """Add a middleware, outermost when `pos` is 0, innermost of the app's when it is -1."""
        self.middlewares.insert(len(self.middlewares) if pos < 0 else pos, *check([middleware]))

    def run(self) -> None:
        """Work until SIGINT or SIGTERM (first: drain, second: now), or until every worker has ended by itself.

        Raises:
            CellqError: no worker could start.
        """
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, lambda *_: self._ask_to_stop())
        try:
            self.start()
            self._join()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self) -> Self:
        """Work in threads of this program until `stop()`; returns once each worker can take jobs, or has failed.

        Raises:
            ValueError: there are no workers.
            CellqError: none of them could start.
        """
        if not self.workers:
            raise ValueError("an app needs workers: app.register_worker(worker)")
        if self._threads:
            raise WorkerUnavailable("this app is running already")
        self._stopping.clear()
        firsts: list[concurrent.futures.Future[None]] = []
        for worker in self.workers.values():
            first: concurrent.futures.Future[None] = concurrent.futures.Future()
            thread = threading.Thread(target=self._keep, args=(worker, first), name=f"cellq {worker.name}", daemon=True)
            self._threads.append(thread)
            firsts.append(first)
            thread.start()
        failures = [failure for first in firsts if (failure := first.exception()) is not None]
        if len(failures) == len(firsts):
            self.stop()
            raise failures[0]
        return self

    def stop(self, *, now: bool = False) -> None:
        """Drain and end all workers; returns when they have ended.

        Args:
            now: do not wait for running jobs; they go back to their queues.
        """
        self._ask_to_stop()
        if now:
            self._ask_to_stop()
        self._join()

    def _ask_to_stop(self) -> None:
        self._stopping.set()
        for worker in self.workers.values():
            worker._ask_to_stop()

    def _join(self) -> None:
        for thread in self._threads:
            while thread.is_alive():
                thread.join(0.5)  # signals are handled in between
        self._threads = []

    def _keep(self, worker: Worker, first: concurrent.futures.Future[None]) -> None:
        """Run one worker, again and again if it fails. `first` hears of the first start."""

        def ready() -> None:
            if not first.done():
                first.set_result(None)
            if self._stopping.is_set():
                worker._ask_to_stop()

        pause = _PAUSE_FIRST
        while True:
            began = time.monotonic()
            try:
                asyncio.run(worker._work(ready, signals=False))
                return
            except BaseException as error:
                log.exception("worker %s failed; it starts again in %.0f s", worker.name, pause)
                if not first.done():
                    first.set_exception(error)
            finally:
                if not first.done():  # it ended at once, and well
                    first.set_result(None)
            if self._stopping.wait(pause):
                return
            lived_long = time.monotonic() - began > 10 * _PAUSE_MOST
            pause = _PAUSE_FIRST if lived_long else min(2 * pause, _PAUSE_MOST)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop(now=exc_type is not None)
