"""The worker as people use it: run one in the foreground, or beside their own program.

```python
with cellq.Worker(q, slots=2):          # in this program, until the block ends
    q.enqueue(f, 1).result()

cellq.Worker("emails", url="redis://…").run()   # in the foreground, until Ctrl-C
```
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
import signal
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from cellq import settings
from cellq.client.queue import AsyncQueue
from cellq.client.sync import Queue
from cellq.errors import WorkerUnavailable
from cellq.store import open_store
from cellq.worker.supervisor import Settings, Supervisor


class Worker:
    """Runs the jobs of one or several queues. Durations are seconds, memory is bytes.

    Args:
        queue: a Queue, whose store and name are taken, or the name of a queue, or several names.
        url: the store, when `queue` is no Queue; the default one when None.
        slots: how many calls and cells run at a time, each in a process of its own.
        concurrency: how many coroutine jobs run at a time, all in one more process.
        lease: how long it may be silent before others take its jobs back.
        grace: time between asking a job to stop and killing it.
        drain: time that running jobs are given at shutdown; what has not ended then goes back to the queue.
        idle_exit: stop after having had nothing to do for so long; None: never.
        max_jobs, max_memory: replace a slot's process after so many jobs, or when it holds more; None: never.
        preload: modules to import ahead of need: slots have them soon after the worker has started.

    Raises:
        TypeError, ValueError: an argument makes no sense.
    """

    def __init__(
        self,
        queue: Queue | AsyncQueue | str | Sequence[str] = "default",
        *,
        url: str | os.PathLike[str] | None = None,
        slots: int = 2,
        concurrency: int = 100,
        lease: float = 15.0,
        grace: float = 2.0,
        drain: float = 10.0,
        idle_exit: float | None = None,
        max_jobs: int | None = None,
        max_memory: int | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        names: Sequence[str]
        if isinstance(queue, Queue | AsyncQueue):
            if url is not None:
                raise TypeError("give a Queue or a url, not both: a Queue has its own")
            self.url, names = queue.url, (queue.name,)
        else:
            self.url = settings.store_url(url)
            names = (queue,) if isinstance(queue, str) else tuple(queue)
        self.settings = Settings(
            queues=tuple(dict.fromkeys(names)),
            slots=slots,
            concurrency=concurrency,
            lease=lease,
            grace=grace,
            drain=drain,
            idle_exit=idle_exit,
            max_jobs=max_jobs,
            max_memory=max_memory,
            preload=tuple(preload),
        )
        self._stop: Callable[[], object] | None = None
        self._thread: threading.Thread | None = None
        self._ended: concurrent.futures.Future[None] | None = None

    def run(self, *, ready: Callable[[], None] | None = None) -> None:
        """Work in this thread until SIGINT or SIGTERM (first: drain, second: now), or until idle for `idle_exit`.

        Args:
            ready: called once the worker can take jobs.

        Raises:
            StoreUnavailable, WorkerUnavailable: it could not start.
        """
        asyncio.run(self._work(ready or (lambda: None), signals=True))

    def start(self) -> Self:
        """Work in a thread of this program until `stop()`; returns once the worker can take jobs.

        Raises:
            StoreUnavailable, WorkerUnavailable: it could not start.
        """
        if self._thread is not None:
            raise WorkerUnavailable("this worker is running already")
        ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        ended: concurrent.futures.Future[None] = concurrent.futures.Future()

        def work() -> None:
            try:
                asyncio.run(self._work(lambda: ready.set_result(None), signals=False))
            except BaseException as error:
                (ended if ready.done() else ready).set_exception(error)
            if not ended.done():
                ended.set_result(None)

        self._thread = threading.Thread(target=work, name="cellq-worker", daemon=True)
        self._ended = ended
        self._thread.start()
        try:
            ready.result()
        except BaseException:
            self._thread.join()
            self._thread = None
            raise
        return self

    def stop(self, *, now: bool = False) -> None:
        """Drain and end a worker that was started in a thread; returns when it has ended.

        Args:
            now: do not wait for running jobs; they go back to the queue.
        """
        if self._thread is None or self._ended is None:
            return
        if self._stop is not None:
            self._stop()
            if now:
                self._stop()
        self._thread.join()
        self._thread = None
        self._ended.result()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop(now=exc_type is not None)

    async def _work(self, ready: Callable[[], None], *, signals: bool) -> None:
        loop = asyncio.get_running_loop()
        store = open_store(self.url)
        await store.open()
        try:
            supervisor = Supervisor(store, self.settings)
            self._stop = functools.partial(loop.call_soon_threadsafe, supervisor.stop)
            if signals:
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(number, supervisor.stop)
            working = asyncio.create_task(supervisor.run())
            started = asyncio.create_task(supervisor.started.wait())
            await asyncio.wait([working, started], return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            if not working.done():
                ready()
            await working
        finally:
            self._stop = None
            await store.close()
