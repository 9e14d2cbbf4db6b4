"""One enqueued job, for everybody who may block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, Generic, Literal, Self, TypeVar, cast, overload

from cellq.client.facts import Facts
from cellq.client.job import AsyncJob, record_again
from cellq.client.portal import awaiting, blocking, settle
from cellq.client.record import Record
from cellq.errors import CellqError
from cellq.message import Changed, Heard, Kind, Row

R = TypeVar("R")
T = TypeVar("T")


def each(steps: AsyncIterator[T]) -> Iterator[T]:
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
            "done", "already" (it is pending), "refused" (it is running, or is to run after a job that did not complete
            and will not by itself: retry that one first) or "unknown".
        """
        return settle(self._twin.retry())

    def events(self, after: int = 0, *, follow: bool = False) -> Iterator[Heard]:
        """What the job has said, in order: text, displays, errors; see `AsyncJob.events`."""
        return each(self._twin.events(after, follow=follow))

    @overload
    def logs(self, *, follow: Literal[False] = False) -> str: ...
    @overload
    def logs(self, *, follow: Literal[True]) -> Iterator[str]: ...
    def logs(self, *, follow: bool = False) -> str | Iterator[str]:
        """What its current attempt has printed so far, standard output and error in order.

        Args:
            follow: instead, iterate the text piece by piece as it is printed, until the job has ended.
        """
        return each(self._twin.logs(follow=True)) if follow else settle(self._twin.logs())


def _found_again(url: str, text: str, label: str) -> Job[Any]:
    return Job(record_again(url, text, label))
