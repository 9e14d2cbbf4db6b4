"""Many jobs at once: wait for all or some of them, take results in order or as they come, see them as one number.

Made for tens of thousands: whatever is asked about a group costs a few reads of many rows, never a question per job.
(How endings are learned of: see `watcher`.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast, overload

from cellq.client.connection import Connection
from cellq.client.endings import Endings, deadline_after, until
from cellq.client.handle import Held
from cellq.client.job import AsyncJob
from cellq.client.portal import Ask, awaiting, portal
from cellq.client.record import Record, by_connection, change, fetch, survey
from cellq.errors import CellqError, NotReady
from cellq.ids import JobId, id_text, parse_id
from cellq.message import Action, Changed, State

R = TypeVar("R")


class Progress(NamedTuple):
    """A group in numbers: `done` counts completed jobs, `failed` those that ended otherwise."""

    done: int
    failed: int
    running: int
    total: int

    def __str__(self) -> str:
        more = [f"{self.failed} failed"] if self.failed else []
        more += [f"{self.running} running"] if self.running else []
        return ", ".join([f"{self.done} of {self.total} done", *more])


class AsyncJobGroup(Held, Generic[R]):
    """Jobs that belong together, in the order in which they were enqueued, for coroutines. Made by `AsyncQueue.map`.

    Iterate it for its jobs; `len` and `[index]` work as for a list.
    """

    __slots__ = ("_ask", "_records")

    several: ClassVar[bool] = True

    def __init__(self, records: Iterable[Record], *, ask: Ask = awaiting) -> None:
        self._records = list(records)
        self._ask = ask

    def held(self) -> list[Record]:
        """See `Held`."""
        return self._records

    def __reduce__(self) -> tuple[Any, ...]:
        return (_found_again, (traces(self._records),))

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[AsyncJob[R]]:
        return (AsyncJob(record) for record in self._records)

    @overload
    def __getitem__(self, index: int) -> AsyncJob[R]: ...
    @overload
    def __getitem__(self, index: slice) -> AsyncJobGroup[R]: ...
    def __getitem__(self, index: int | slice) -> AsyncJob[R] | AsyncJobGroup[R]:
        if isinstance(index, slice):
            return AsyncJobGroup(self._records[index])
        return AsyncJob(self._records[index])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} jobs>"

    def sources(self) -> dict[Connection, list[JobId]]:
        """Where its jobs are: their ids, by the connection they were made with; for the notebook room."""
        return {source: [record.id for record in some] for source, some in by_connection(self._records).items()}

    async def results(self, timeout: float | None = None) -> list[R]:
        """What the jobs returned, in their order.

        The first failure that becomes known is raised at once; the other jobs run on.

        Args:
            timeout: seconds to wait for all of them; None waits as long as it takes.

        Raises:
            NotReady: some have not ended within `timeout`.
            JobFailed, JobCancelled, Expired, Untrusted: as `AsyncJob.result`.
        """
        await self._ask(until(self._records, timeout, FIRST_EXCEPTION))
        failed = [record for record in self._records if record.failed]
        if failed:
            await AsyncJob[R](failed[0], ask=self._ask).result()  # raises
        left = sum(not record.ended for record in self._records)
        if left:
            raise NotReady(f"{left} of {len(self)} jobs have not ended within {timeout} s")
        await self._ask(fetch(self._records))
        return [cast(R, record.outcome()) for record in self._records]

    async def exceptions(self, timeout: float | None = None) -> list[CellqError | None]:
        """For each job what its `result()` would raise, None for a completed one; waits for all.

        Raises:
            NotReady, Expired: as `results`.
        """
        if not await self.wait(timeout):
            raise NotReady(f"not all of {len(self)} jobs have ended within {timeout} s")
        await self._ask(fetch(record for record in self._records if record.failed))
        return [await AsyncJob[R](r, ask=self._ask).exception() if r.failed else None for r in self._records]

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until all have ended, however they end; False when not all have within `timeout` seconds."""
        await self._ask(until(self._records, timeout))
        return all(record.ended for record in self._records)

    async def as_completed(self, timeout: float | None = None) -> AsyncIterator[AsyncJob[R]]:
        """The jobs in the order of their ending, each as soon as it has ended.

        Raises:
            NotReady: after `timeout` seconds, when some have not ended.
        """
        async for record in in_order_of_ending(self._records, timeout, self._ask):
            yield AsyncJob(record)

    async def counts(self) -> dict[State, int]:
        """How many of the jobs are in each state now."""
        await self._ask(survey(self._records))
        found = Counter(State.PENDING if record.row is None else record.row.state for record in self._records)
        return {state: found[state] for state in State}

    async def progress(self) -> Progress:
        """The group in four numbers, as of now."""
        n = await self.counts()
        return Progress(n[State.COMPLETED], n[State.FAILED] + n[State.CANCELLED], n[State.RUNNING], len(self))

    async def cancel(self) -> list[Changed]:
        """Cancel all that have not ended; what happened to each (see `AsyncJob.cancel`)."""
        return await change_all(self._records, Action.CANCEL, self._ask)

    async def retry(self) -> list[Changed]:
        """Run those that failed or were cancelled once more; what happened to each of those."""
        await self._ask(survey(self._records))
        again = [record for record in self._records if record.failed]
        changed = await change_all(again, Action.RETRY, self._ask)
        for record, what in zip(again, changed, strict=True):
            if what is Changed.DONE:
                record.forget()
        return changed


Trace = tuple[str, str, str]
"""Where a job is, its id, and what people call it."""


def traces(records: Sequence[Record]) -> list[Trace]:
    """What of a group travels into jobs and other processes: where its jobs are."""
    return [(record.connection.full_url, id_text(record.id), record.label) for record in records]


def records_again(found: Sequence[Trace]) -> list[Record]:
    """The records behind a group that has travelled; those of one store share a connection."""
    connections = {url: Connection(url) for url in {url for url, _, _ in found}}
    return [Record(connections[url], parse_id(text), label) for url, text, label in found]


def _found_again(found: Sequence[Trace]) -> AsyncJobGroup[Any]:
    return AsyncJobGroup(records_again(found))


async def change_all(records: Iterable[Record], action: Action, ask: Ask) -> list[Changed]:
    """Cancel, retry or delete many, one transaction per store; what happened to each, in order."""
    records = list(records)
    changed: dict[JobId, Changed] = {}
    for connection, some in by_connection(records).items():
        ids = [record.id for record in some]
        changed |= zip(ids, await ask(change(connection, ids, action)), strict=True)
    return [changed[record.id] for record in records]


async def in_order_of_ending(records: Iterable[Record], timeout: float | None, ask: Ask) -> AsyncIterator[Record]:
    """Records as they end, with their results.

    Raises:
        NotReady: after `timeout` seconds, when some have not ended.
    """
    records = list(records)
    deadline, left = deadline_after(timeout), len(records)
    endings = await ask(_endings(records))
    try:
        await ask(endings.enter())
        while left:
            batch = await ask(endings.take(deadline, results=True))
            if not batch:
                raise NotReady(f"{left} of {len(records)} jobs have not ended within {timeout} s")
            left -= len(batch)
            for record in batch:
                yield record
    finally:
        portal().start(endings.leave())  # not awaited: a dropped iterator is closed in whatever thread collects it


async def _endings(records: Iterable[Record]) -> Endings:
    return Endings(records)
