"""The worker as people use it, with the tasks it knows and their middleware.

```python
worker = cellq.Worker("emails", url="redis://…", middlewares=[cellq.Retry(max_tries=3)])


@worker.task(max_rate="10/s")  # registered: travels as "emails:send_email", without code
async def send_email(to: str, subject: str) -> None: ...
```

A worker runs in the foreground (`worker.run()`, or `cellq worker module:worker`) or beside a program:

```python
with cellq.Worker(q, slots=2):
    q.enqueue(f, 1).result()
```
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack

from cellq import settings
from cellq.call import Place
from cellq.client.queue import AsyncQueue
from cellq.client.schedule import call_of
from cellq.client.sync import Queue
from cellq.client.task import Task, TaskChanges, arguments_of, registered_task, told
from cellq.errors import WorkerUnavailable
from cellq.ids import name_digest
from cellq.options import Options
from cellq.store import open_store, shown_url
from cellq.worker.middleware import Middleware, check
from cellq.worker.program import Program
from cellq.worker.supervisor import Settings, Supervisor

P = ParamSpec("P")
R = TypeVar("R")


class Worker:
    """Runs the jobs of one or several queues. Durations are seconds, memory is bytes.

    Args:
        queue: a Queue, whose store and name are taken, or the name of a queue, or several names.
        url: the store, when `queue` is no Queue; the default one when None.
        name: what the names of its tasks begin with; the (first) queue's name when None.
        middlewares: wrap the handling of every job it runs, outermost first.
        registered_only: refuse what is not a registered task of its own: jobs whose code travels with them, cells.
        slots: how many calls and cells run at a time, each in a process of its own.
        concurrency: how many coroutine jobs run at a time, all in one more process.
        lease: how long it may be silent before others take its jobs back.
        grace: time between asking a job to stop and killing it.
        drain: time that running jobs are given at shutdown; what has not ended then goes back to the queue.
        idle_exit: stop after having had nothing to do for so long; None: never.
        max_jobs, max_memory: replace a slot's process after so many jobs, or when it holds more; None: never.
        keep: cells do not get a process of their own: those of a slot share one, and what is left in it.
        preload: modules to import ahead of need: slots have them soon after the worker has started.

    Attributes:
        tasks: its registered tasks, by name.

    Raises:
        TypeError, ValueError: an argument makes no sense.
    """

    def __init__(
        self,
        queue: Queue | AsyncQueue | str | Sequence[str] = "default",
        *,
        url: str | os.PathLike[str] | None = None,
        name: str | None = None,
        middlewares: Sequence[Middleware] = (),
        registered_only: bool = False,
        slots: int = 2,
        concurrency: int = 100,
        lease: float = 15.0,
        grace: float = 2.0,
        drain: float = 10.0,
        idle_exit: float | None = None,
        max_jobs: int | None = None,
        max_memory: int | None = None,
        keep: bool = False,
        preload: Sequence[str] = (),
    ) -> None:
        names: Sequence[str]
        self._queue: AsyncQueue | None = None
        if isinstance(queue, Queue | AsyncQueue):
            if url is not None:
                raise TypeError("give a Queue or a url, not both: a Queue has its own")
            self._queue = queue.asynchronous() if isinstance(queue, Queue) else queue
            self._full_url, names = self._queue.connection.full_url, (queue.name,)
        else:
            self._full_url = settings.store_url(url)
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
            keep=keep,
            preload=tuple(preload),
        )
        self.name = self.settings.queues[0] if name is None else name
        self.middlewares = check(middlewares)
        self.registered_only = registered_only
        self.tasks: dict[str, Task[..., Any]] = {}
        self._of_tasks: dict[str, tuple[Middleware, ...]] = {}
        self._above: Sequence[Middleware] = ()  # those of an app
        self._stop: Callable[[], object] | None = None
        self._thread: threading.Thread | None = None
        self._ended: concurrent.futures.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Worker {self.name!r} at {self.url}>"

    @property
    def url(self) -> str:
        """The store's URL, without its password."""
        return shown_url(self._full_url)

    @property
    def queue(self) -> AsyncQueue:
        """The queue that its tasks are enqueued in."""
        if self._queue is None:
            self._queue = AsyncQueue(self._full_url, self.settings.queues[0])
        return self._queue

    # ------------------------------------------------------------------------------------------- its tasks

    def task(
        self, *, middlewares: Sequence[Middleware] = (), **changes: Unpack[TaskChanges]
    ) -> Callable[[Callable[P, R]], Task[P, R]]:
        """Register a function, plain or async, as the task "worker:function", which travels by that name.

        Args:
            middlewares: wrap the handling of its jobs, inside of the worker's own.
            changes: `max_tries`, `max_age`, `max_rate`, `timeout`, `queue` (which this worker then serves), `priority`,
                `retries`, `backoff`, `delay`, `expires`, `key`, `concurrency_key`, `max_running`, `after`, `isolated`,
                and `name` in place of the function's; see `client.task.TaskChanges` and `options.Options`. Durations
                are seconds.

        Raises:
            TypeError, ValueError: there is no such option, its value makes no sense, or the name is taken.
        """
        options, rules = told(Options(queue=self.settings.queues[0]), changes)
        layers = tuple(check(middlewares))

        def register(fn: Callable[P, R]) -> Task[P, R]:
            made = registered_task(fn, worker=self.name, queue=lambda: self.queue, options=options, rules=rules)
            before = self.tasks.get(made.name)
            if before is not None and _home(before.fn) != _home(fn):
                raise ValueError(
                    f"worker {self.name!r} has a task {made.name!r} already, {'.'.join(_home(before.fn))};"
                    f" give one of them another name: @worker.task(name=…)"
                )
            self.tasks[made.name] = made
            self._of_tasks[made.name] = layers
            queues = tuple(dict.fromkeys((*self.settings.queues, options.queue)))
            self.settings = dataclasses.replace(self.settings, queues=queues)
            return made

        return register

    def register_middleware(self, middleware: Middleware, pos: int = -1) -> None:
        """Add a middleware, outermost when `pos` is 0, innermost when it is -1."""
        self.middlewares.insert(len(self.middlewares) if pos < 0 else pos, *check([middleware]))

    def _program(self) -> Program:
        of_tasks = {name: layers for name, layers in self._of_tasks.items() if layers}
        return Program(
            tasks={name_digest(name): self._place(task) for name, task in self.tasks.items()},
            names=tuple(self.tasks),
            registered_only=self.registered_only,
            middlewares=(*self._above, *self.middlewares),
            of_tasks=of_tasks,
            open_arguments=functools.partial(arguments_of, self.queue),
            reseal=functools.partial(call_of, self.queue.connection),
        )

    def _place(self, task: Task[..., Any]) -> Place:
        """Where a slot gets the function from: out of its module, or by value where that cannot be imported."""
        module, name = _home(task.fn)
        found: Any = sys.modules.get(module) if module != "__main__" else None
        if getattr(found, "__spec__", None) is not None:
            with contextlib.suppress(AttributeError):
                found = functools.reduce(getattr, name.split("."), found)
                if getattr(found, "fn", found) is task.fn:
                    return module, name, [path for path in sys.path if path]
        return self.queue.connection.functions.seal(task.fn)[1]

    # -------------------------------------------------------------------------------------------- its life

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
        self._ask_to_stop()
        if now:
            self._ask_to_stop()
        self._thread.join()
        self._thread = None
        self._ended.result()

    def _ask_to_stop(self) -> None:
        stop = self._stop
        if stop is not None:
            with contextlib.suppress(RuntimeError):  # its loop has just ended
                stop()

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
        program = self._program()
        store = open_store(self._full_url)
        await store.open()
        try:
            supervisor = Supervisor(store, self.settings, program)
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


def _home(fn: Callable[..., Any]) -> tuple[str, str]:
    """The module of a function, and its name in there."""
    module = getattr(fn, "__module__", None) or "__main__"
    return module, getattr(fn, "__qualname__", type(fn).__qualname__)
