"""A named line of jobs, for everybody who may block."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable
from datetime import tzinfo
from typing import Any, ParamSpec, Self, TypeVar, Unpack, overload

from cellq.client.changes import OptionChanges
from cellq.client.facts import Facts
from cellq.client.portal import awaiting, blocking, settle
from cellq.client.queue import AsyncQueue
from cellq.client.sync.group import JobGroup
from cellq.client.sync.job import Job
from cellq.client.sync.schedule import Schedule
from cellq.message import Changed, Row, State, WorkerInfo
from cellq.options import Options
from cellq.store.contract import Store

P = ParamSpec("P")
R = TypeVar("R")


class Queue:
    """A named line of jobs in a store, and what you enqueue through.

    Args:
        url: where the store is: "sqlite:///path", "redis://…", "memory://…" or a path; `CELLQ_URL` or
            `./.cellq/jobs.db` when left out.
        name: of the line; workers serve "default" if not told otherwise.
        store: use this store instead of opening `url`.

    Nothing is opened before the first call. `with` closes the connection at the end, `close()` does it by hand, and
    so does the end of the process.

    Raises:
        TypeError, ValueError: the URL or the name is no such thing.
    """

    def __init__(
        self, url: str | os.PathLike[str] | None = None, name: str = "default", *, store: Store | None = None
    ) -> None:
        self._twin = AsyncQueue(url, name, store=store, ask=blocking)

    @classmethod
    def _of(cls, twin: AsyncQueue) -> Self:
        queue = object.__new__(cls)
        queue._twin = twin
        return queue

    def __reduce__(self) -> tuple[Any, ...]:
        return (_queue_again, (self._twin.connection.full_url, self._twin.defaults))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} at {self.url}>"

    @property
    def name(self) -> str:
        """The line's name."""
        return self._twin.name

    @property
    def url(self) -> str:
        """The store's URL, without its password."""
        return self._twin.url

    def options(self, **changes: Unpack[OptionChanges]) -> Self:
        """The same queue with other options for what it enqueues; shares the connection.

        Args:
            changes: `priority`, `timeout`, `retries`, `backoff`, `delay`, `expires`, `key`, `concurrency_key`,
                `max_running`, `after`, `name`, `queue`, `isolated`, as told by `options.Options`. Durations are
                seconds. `after` takes one job or several: handles, groups, ids.

        Raises:
            TypeError: there is no such option, or its value has the wrong type.
            ValueError: its value is impossible, or a job to run after lives in another store.
        """
        return self._of(self._twin.options(**changes))

    def with_options(self, options: Options) -> Self:
        """The same queue with exactly these options; shares the connection."""
        return self._of(self._twin.with_options(options))

    @overload
    def enqueue(self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    @overload
    def enqueue(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    def enqueue(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job[Any]:
        """Enqueue a call, as things are now, and give its job.

        With the option `key`, and a live job of that key, the answer is that job.

        A job anywhere in the arguments becomes what that job returned, and a group the list of what its jobs returned:
        the call runs once they have completed. (To pass a handle itself, pass `job.id`, and let the function ask
        `Queue.get`.)

        Raises:
            TypeError: `fn` cannot be called.
            ValueError: a job in the arguments lives in another store.
            NotPicklable: an argument, or something the function uses, cannot travel; the message names it.
            Expired: a job that it is to run after is not in the store (any more).
            StoreUnavailable: the store cannot be reached.
        """
        return Job(settle(self._twin.enqueue(fn, *args, **kwargs))._record)

    @overload
    def map(self, fn: Callable[..., Coroutine[Any, Any, R]], /, *iterables: Iterable[Any]) -> JobGroup[R]: ...
    @overload
    def map(self, fn: Callable[..., R], /, *iterables: Iterable[Any]) -> JobGroup[R]: ...
    def map(self, fn: Callable[..., Any], /, *iterables: Iterable[Any]) -> JobGroup[Any]:
        """Enqueue one call for each tuple of arguments, as the built-in `map` pairs them: all of them or none.

        Raises:
            ValueError: with the option `key`, of which only one job may live.
            TypeError, NotPicklable, Expired, StoreUnavailable: as `enqueue`.
        """
        return JobGroup._of(settle(self._twin.map(fn, *iterables))._records)

    def cron(
        self,
        name: str,
        expression: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        zone: str | tzinfo | None = None,
        missed: str = "once",
        **kwargs: Any,
    ) -> Schedule:
        """Enqueue a call, as things are now, at every instant of a cron expression; any worker of the store does that.

        A schedule of that name is replaced, and one that is the same already stays as it is. Its jobs are of this line,
        have the options of this object, and are called `name` if it has no other for them.

        Args:
            expression: minute, hour, day, month, weekday: "*/5 * * * *", "30 2 * * MON-FRI", or "@daily" and its like.
            zone: the time zone of the expression ("Europe/Berlin"); this machine's when None.
            missed: what becomes of instants that pass while nothing runs: "once" makes up one for all, "skip" none.

        Raises:
            ValueError: the expression or the zone is none, or it waits for other jobs.
            TypeError, NotPicklable, StoreUnavailable: as `enqueue`.
        """
        return Schedule(settle(self._twin.cron(name, expression, fn, *args, zone=zone, missed=missed, **kwargs)))

    def schedules(self) -> list[Schedule]:
        """The schedules of the whole store, by name."""
        return [Schedule(twin) for twin in settle(self._twin.schedules())]

    def workers(self) -> list[WorkerInfo]:
        """The workers of the store that are alive, whatever queues they serve."""
        return settle(self._twin.workers())

    def recent(self, limit: int = 20, *, states: tuple[State, ...] = (), key: str | None = None) -> list[Row]:
        """The newest jobs of the whole store as rows; see `AsyncQueue.recent`."""
        return settle(self._twin.recent(limit, states=states, key=key))

    def asynchronous(self) -> AsyncQueue:
        """The same queue for coroutines; shares the connection."""
        return self._twin.asking(awaiting)

    def push_cell(self, parcel: object, *, task: str, origin: str) -> Job[Any]:
        """Enqueue a notebook cell; for the notebook room. See `AsyncQueue.push_cell`."""
        return Job(settle(self._twin.push_cell(parcel, task=task, origin=origin))._record)

    def get(self, job: str | bytes | Facts) -> Job[Any]:
        """The job with this id, in whatever line of the store it is; also in another process than the one it is from.

        Args:
            job: the id, or as many of its last digits as are needed to tell it from others (people see eight).

        Raises:
            Expired: there is no such job (any more).
            ValueError: this is no id, or several jobs end with these digits.
        """
        return Job(settle(self._twin.get(job))._record)

    def jobs(
        self,
        *,
        state: State | str | Iterable[State | str] | None = None,
        name: str | None = None,
        key: str | None = None,
        limit: int | None = 100,
    ) -> list[Job[Any]]:
        """The jobs of this line, newest first; see `AsyncQueue.jobs`."""
        found = settle(self._twin.jobs(state=state, name=name, key=key, limit=limit))
        return [Job(job._record) for job in found]

    def count(self) -> dict[State, int]:
        """How many jobs of this line are in each state."""
        return settle(self._twin.count())

    def pause(self) -> None:
        """Workers start no more jobs of this line until `resume`. Running jobs run on."""
        settle(self._twin.pause())

    def resume(self) -> None:
        """Take `pause` back."""
        settle(self._twin.resume())

    def limit(self, most: int | None) -> None:
        """Let at most so many jobs of this line run at once, on all workers together; None lifts the limit.

        Takes effect at once for what has not started. (For limits across lines see the option `concurrency_key`.)

        Raises:
            TypeError, ValueError: it is no whole number of 1 or more.
        """
        settle(self._twin.limit(most))

    def cancel(self, jobs: Iterable[Facts | str | bytes]) -> list[Changed]:
        """Cancel many jobs, given as handles or ids; what happened to each (see `Job.cancel`)."""
        return settle(self._twin.cancel(jobs))

    def retry(self, jobs: Iterable[Facts | str | bytes]) -> list[Changed]:
        """Run many ended jobs once more; what happened to each (see `Job.retry`)."""
        return settle(self._twin.retry(jobs))

    def delete(self, jobs: Iterable[Facts | str | bytes]) -> list[Changed]:
        """Delete ended jobs with their results and logs; "refused" for one that is pending or running."""
        return settle(self._twin.delete(jobs))

    def prune(
        self, *, completed: float | None = None, failed: float | None = None, cancelled: float | None = None
    ) -> int:
        """Delete jobs of the whole store that ended long ago, with their results and logs; gives how many.

        Args:
            completed, failed, cancelled: delete those that ended so more than so many seconds ago; None keeps them.
        """
        return settle(self._twin.prune(completed=completed, failed=failed, cancelled=cancelled))

    def close(self) -> None:
        """Let go of the store. Derived queues and job handles share the connection; using one opens it again."""
        settle(self._twin.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _queue_again(url: str, options: Options) -> Queue:
    return Queue._of(AsyncQueue(url, ask=blocking).with_options(options))
