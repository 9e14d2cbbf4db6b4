"""The same queues, jobs and groups for scripts, threads and notebook cells; each method runs its async twin at once.

They work wherever blocking is allowed: also inside a running event loop (a notebook cell), which stands still
meanwhile, and in a forked child. Properties of a `Job` that has not ended look at the store each time.
"""

from __future__ import annotations

import html
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from typing import Any, Generic, Literal, NamedTuple, ParamSpec, Self, TypeVar, Unpack, cast, overload

from cellq.client.endings import until
from cellq.client.facts import Facts
from cellq.client.group import AsyncJobGroup, Progress, in_order_of_ending
from cellq.client.job import AsyncJob, record_again
from cellq.client.portal import awaiting, blocking, settle
from cellq.client.queue import AsyncQueue, OptionChanges
from cellq.client.record import Record
from cellq.errors import CellqError
from cellq.message import Changed, Heard, Kind, Row, State, WorkerInfo
from cellq.options import Options
from cellq.store.contract import Store

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def _each(steps: AsyncIterator[T]) -> Iterator[T]:
    """Iterate what never suspends; a dropped iterator closes it."""
    try:
        while True:
            try:
                item = settle(steps.__anext__())
            except StopAsyncIteration:
                return
            yield item
    finally:
        settle(cast(Any, steps).aclose())


class Job(Facts, Generic[R]):
    """One enqueued job and everything that happens to it. Made by `Queue`.

    `await job` works as well, in any event loop.
    """

    __slots__ = ("_record",)

    def __init__(self, record: Record) -> None:
        self._record = record

    @property
    def _twin(self) -> AsyncJob[R]:
        return AsyncJob(self._record, ask=blocking)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_found_again, (self._record.connection.full_url, self.id, self.name))

    def __await__(self) -> Generator[Any, None, R]:
        return AsyncJob[R](self._record, ask=awaiting).result().__await__()

    def __getitem__(self, name: str) -> Any:
        """Of a cell's job: what the cell assigned to this name. Waits for the end."""
        whole = self.returned()
        row = self._record.row
        if row is None or row.kind is not Kind.CELL:
            raise TypeError(
                f"{self._record.title} is a function call, its value is job.result(); job[name] is for cells"
            )
        return whole[name]

    def _row_now(self) -> Row | None:
        if not self._record.ended:
            settle(self._twin.refresh())
        return self._record.row

    def result(self, timeout: float | None = None) -> R:
        """What the function returned; of a cell, its last value. Asked for again, it is the same object.

        Interrupting the wait (the stop button, Ctrl-C) leaves the job alone.

        Args:
            timeout: seconds to wait for the job to end; None waits as long as it takes, 0 does not wait.

        Raises:
            JobFailed: it raised; `__cause__` is the original exception where that could be rebuilt.
            JobTimeout, JobLost: it ran too long, its process died (both are JobFailed too).
            JobCancelled: it was cancelled.
            NotReady: it has not ended within `timeout`.
            Expired: it was pruned or deleted.
            Untrusted: it or its result was signed with another secret.
        """
        if self._record.concluded:
            return cast(R, self._record.outcome())
        return settle(self._twin.result(timeout))

    def returned(self, namespace: dict[str, Any] | None = None, timeout: float | None = None) -> Any:
        """The whole object the job returned; see `AsyncJob.returned`."""
        return settle(self._twin.returned(namespace, timeout))

    def salvaged(self, timeout: float | None = None) -> Any:
        """What a cell that failed or was stopped had done until then; see `AsyncJob.salvaged`."""
        return settle(self._twin.salvaged(timeout))

    def row(self) -> Row:
        """The job as it stands in the store now; for the notebook room.

        Raises:
            Expired: it was pruned or deleted.
        """
        settle(self._twin.refresh())
        row = self._record.row
        assert row is not None
        return row

    def asynchronous(self) -> AsyncJob[R]:
        """The same job for coroutines."""
        return AsyncJob(self._record, ask=awaiting)

    def exception(self, timeout: float | None = None) -> CellqError | None:
        """What `result()` would raise about this job once it has ended; None when it completed.

        Raises:
            NotReady, Expired: as `result`.
        """
        return settle(self._twin.exception(timeout))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, however it ends; False when it has not within `timeout` seconds."""
        return settle(self._twin.wait(timeout))

    def refresh(self) -> Self:
        """Look at the job again, also when it was known to have ended (it may have been retried).

        Raises:
            Expired: it was pruned or deleted.
        """
        settle(self._twin.refresh())
        return self

    def why(self) -> str:
        """What a pending job waits for, in a sentence for people; "" for one that has started."""
        return settle(self._twin.why())

    def cancel(self) -> Changed:
        """Stop it, or take it out of its queue. Legal in every state, and may be repeated.

        Returns:
            "done" (it will not run), "asked" (it is running; its worker stops it), "already" (it is cancelled),
            "refused" (it has ended otherwise) or "unknown" (it is not in the store).
        """
        return settle(self._twin.cancel())

    def retry(self) -> Changed:
        """Run an ended job once more, with all its attempts before it; its old result and log are gone.

        Returns:
            "done", "already" (it is pending), "refused" (it is running) or "unknown".
        """
        return settle(self._twin.retry())

    def events(self, after: int = 0, *, follow: bool = False) -> Iterator[Heard]:
        """What the job has said, in order: text, displays, errors; see `AsyncJob.events`."""
        return _each(self._twin.events(after, follow=follow))

    @overload
    def logs(self, *, follow: Literal[False] = False) -> str: ...
    @overload
    def logs(self, *, follow: Literal[True]) -> Iterator[str]: ...
    def logs(self, *, follow: bool = False) -> str | Iterator[str]:
        """What its current attempt has printed so far, standard output and error in order.

        Args:
            follow: instead, iterate the text piece by piece as it is printed, until the job has ended.
        """
        return _each(self._twin.logs(follow=True)) if follow else settle(self._twin.logs())


class JobGroup(Generic[R]):
    """Jobs that belong together, in the order in which they were enqueued. Made by `Queue.map`, or of any jobs.

    Iterate it for its jobs; `len`, `[index]` and `[a:b]` work as for a list.
    """

    __slots__ = ("_records",)

    def __init__(self, jobs: Iterable[Job[R]]) -> None:
        self._records = [job._record for job in jobs]

    @classmethod
    def _of(cls, records: list[Record]) -> Self:
        group = cls(())
        group._records = records
        return group

    @property
    def _twin(self) -> AsyncJobGroup[R]:
        return AsyncJobGroup(self._records, ask=blocking)

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Job[R]]:
        return (Job(record) for record in self._records)

    @overload
    def __getitem__(self, index: int) -> Job[R]: ...
    @overload
    def __getitem__(self, index: slice) -> JobGroup[R]: ...
    def __getitem__(self, index: int | slice) -> Job[R] | JobGroup[R]:
        if isinstance(index, slice):
            return JobGroup._of(self._records[index])
        return Job(self._records[index])

    def __repr__(self) -> str:
        try:
            return f"<JobGroup {self.progress}>"
        except Exception:
            return f"<JobGroup of {len(self)} jobs>"  # a repr must not raise because a server is away

    def _repr_html_(self) -> str:
        return html.escape(repr(self)[1:-1])

    def asynchronous(self) -> AsyncJobGroup[R]:
        """The same group for coroutines."""
        return AsyncJobGroup(self._records)

    def results(self, timeout: float | None = None) -> list[R]:
        """What the jobs returned, in their order.

        The first failure that becomes known is raised at once; the other jobs run on.

        Args:
            timeout: seconds to wait for all of them; None waits as long as it takes.

        Raises:
            NotReady: some have not ended within `timeout`.
            JobFailed, JobCancelled, Expired, Untrusted: as `Job.result`.
        """
        return settle(self._twin.results(timeout))

    def exceptions(self, timeout: float | None = None) -> list[CellqError | None]:
        """For each job what its `result()` would raise, None for a completed one; waits for all."""
        return settle(self._twin.exceptions(timeout))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all have ended, however they end; False when not all have within `timeout` seconds."""
        return settle(self._twin.wait(timeout))

    def as_completed(self, timeout: float | None = None) -> Iterator[Job[R]]:
        """The jobs in the order of their ending, each as soon as it has ended.

        Raises:
            NotReady: after `timeout` seconds, when some have not ended.
        """
        return as_completed(self, timeout)

    @property
    def counts(self) -> dict[State, int]:
        """How many of the jobs are in each state now."""
        return settle(self._twin.counts())

    @property
    def progress(self) -> Progress:
        """The group in four numbers, as of now."""
        return settle(self._twin.progress())

    def cancel(self) -> list[Changed]:
        """Cancel all that have not ended; what happened to each (see `Job.cancel`)."""
        return settle(self._twin.cancel())

    def retry(self) -> list[Changed]:
        """Run those that failed or were cancelled once more; what happened to each of those."""
        return settle(self._twin.retry())


class Waited(NamedTuple, Generic[R]):
    """What `wait` gives: two sets, as `concurrent.futures.wait` does."""

    done: set[Job[R]]
    not_done: set[Job[R]]


def wait(
    jobs: Iterable[Job[R]],
    timeout: float | None = None,
    return_when: Literal["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"] = "ALL_COMPLETED",
) -> Waited[R]:
    """Wait for jobs, of one queue or of several, as `concurrent.futures.wait` does for futures.

    Args:
        timeout: seconds to wait at most.
        return_when: "ALL_COMPLETED" have ended, the "FIRST_COMPLETED" has, or the "FIRST_EXCEPTION" (a job that ended
            otherwise than completed) is known.
    """
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        raise ValueError(
            f"return_when must be {ALL_COMPLETED}, {FIRST_COMPLETED} or {FIRST_EXCEPTION}, not {return_when!r}"
        )
    jobs = list(jobs)
    settle(blocking(until([job._record for job in jobs], timeout, return_when)))
    done = {job for job in jobs if job._record.ended}
    return Waited(done, set(jobs) - done)


def as_completed(jobs: Iterable[Job[R]], timeout: float | None = None) -> Iterator[Job[R]]:
    """Jobs, of one queue or of several, in the order of their ending, each as soon as it has ended.

    Raises:
        NotReady: after `timeout` seconds, when some have not ended.
    """
    records = [job._record for job in jobs]
    return (Job(record) for record in _each(in_order_of_ending(records, timeout, blocking)))


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
            changes: `priority`, `timeout`, `retries`, `backoff`, `delay`, `key`, `name`, `queue`, `isolated`, as
                told by `options.Options`. Durations are seconds.

        Raises:
            TypeError: there is no such option, or its value has the wrong type.
            ValueError: its value is impossible.
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

        Raises:
            TypeError: `fn` cannot be called.
            NotPicklable: an argument, or something the function uses, cannot travel; the message names it.
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
            TypeError, NotPicklable, StoreUnavailable: as `enqueue`.
        """
        return JobGroup._of(settle(self._twin.map(fn, *iterables))._records)

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


def _found_again(url: str, text: str, label: str) -> Job[Any]:
    return Job(record_again(url, text, label))


def _queue_again(url: str, options: Options) -> Queue:
    return Queue._of(AsyncQueue(url, ask=blocking).with_options(options))
