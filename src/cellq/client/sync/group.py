"""Many jobs at once, for everybody who may block: groups, and waiting for jobs of several."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Self, TypeVar, overload

from cellq.client.endings import until
from cellq.client.group import AsyncJobGroup, Progress, Trace, in_order_of_ending, records_again, traces
from cellq.client.handle import Held
from cellq.client.portal import blocking, settle
from cellq.client.record import Record
from cellq.client.sync.job import Job, each
from cellq.errors import CellqError
from cellq.message import Changed, State

R = TypeVar("R")


class JobGroup(Held, Generic[R]):
    """Jobs that belong together, in the order in which they were enqueued. Made by `Queue.map`, or of any jobs.

    Iterate it for its jobs; `len`, `[index]` and `[a:b]` work as for a list.
    """

    __slots__ = ("_records",)

    several: ClassVar[bool] = True

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

    def held(self) -> list[Record]:
        """See `Held`."""
        return self._records

    def __reduce__(self) -> tuple[Any, ...]:
        return (_found_again, (traces(self._records),))

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
    return (Job(record) for record in each(in_order_of_ending(records, timeout, blocking)))


def _found_again(found: Sequence[Trace]) -> JobGroup[Any]:
    return JobGroup._of(records_again(found))
