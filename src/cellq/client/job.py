"""One enqueued job, for coroutines: ask for its result, watch it, stop it. `sync.Job` is the same for everybody else.

Values are unpickled in the caller's thread, never in the portal's: that may take long, and may run code of the user's.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Coroutine, Generator
from typing import Any, Generic, Literal, TypeVar, cast, overload

from cellq.client import verdict, waiting
from cellq.client.connection import Connection
from cellq.client.facts import Facts
from cellq.client.portal import Ask, awaiting, blocking
from cellq.client.record import NOTHING, Record, change
from cellq.errors import CellqError, NotReady
from cellq.ids import parse_id
from cellq.message import Action, Changed, Heard, Row

R = TypeVar("R")


class AsyncJob(Facts, Generic[R]):
    """A job, for coroutines. Its properties tell what was last seen; `await refresh()` looks again.

    Made by `AsyncQueue`. `await job` is `await job.result()`.
    """

    __slots__ = ("_ask", "_record")

    def __init__(self, record: Record, *, ask: Ask = awaiting) -> None:
        self._record = record
        self._ask = ask

    def __reduce__(self) -> tuple[Any, ...]:
        return (_found_again, (self._record.connection.full_url, self.id, self.name))

    def __await__(self) -> Generator[Any, None, R]:
        return self.result().__await__()

    async def result(self, timeout: float | None = None) -> R:
        """What the function returned; of a cell, its last value. Asked for again, it is the same object.

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
        await self._ended(timeout)
        return cast(R, self._record.outcome())

    async def returned(self, namespace: dict[str, Any] | None = None, timeout: float | None = None) -> Any:
        """The whole object the job returned: of a function, its value; of a cell, what `cellq.cell.parcel` makes of it.

        (Of that object the client knows two things: `.last_value()` is the cell's last value, `[name]` what it set.)

        Args:
            namespace: where functions that come back live from now on: their globals. Opens the result anew.
            timeout: as for `result`.

        Raises:
            as `result`.
        """
        if self._record.value is NOTHING or namespace is not None:
            return self._record.open(await self._ended(timeout), namespace)
        return self._record.value

    async def salvaged(self, timeout: float | None = None) -> Any:
        """What a cell that failed or was stopped had done until then, as `returned` gives it of one that completed.

        None when nothing of it was kept.

        Raises:
            NotReady, Expired: as `result`.
        """
        row = await self._ended(timeout)
        if row.result is None:  # to tell why it failed, a row without results is enough
            row = await self._ask(self._record.whole())
        return self._record.salvage(row)

    async def exception(self, timeout: float | None = None) -> CellqError | None:
        """What `result()` would raise about this job once it has ended; None when it completed.

        Raises:
            NotReady, Expired: as `result`.
        """
        return verdict.error(await self._ended(timeout), self._record.connection.seal)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, however it ends; False when it has not within `timeout` seconds."""
        try:
            await self._ended(timeout)
        except NotReady:
            return False
        return True

    async def _ended(self, timeout: float | None) -> Row:
        record = self._record
        if record.row is not None and record.concluded:
            return record.row
        if self._ask is blocking and (row := record.conclusion_here(timeout)) is not None:
            return row
        return await self._ask(record.conclusion(timeout))

    async def refresh(self) -> AsyncJob[R]:
        """Look at the job again.

        Raises:
            Expired: it was pruned or deleted.
        """
        await self._ask(self._record.look())
        return self

    async def why(self) -> str:
        """What a pending job waits for, in a sentence for people; "" for one that has started.

        Raises:
            Expired: it was pruned or deleted.
        """
        return await self._ask(self._why())

    async def _why(self) -> str:
        await self._record.look()
        row, connection = self._record.row, self._record.connection
        assert row is not None
        around = await waiting.surroundings(await connection.ready(), connection.url, row)
        return waiting.why(row, around, time.time())

    async def cancel(self) -> Changed:
        """Stop it, or take it out of its queue. Legal in every state, and may be repeated.

        Returns:
            "done" (it will not run), "asked" (it is running; its worker stops it), "already" (it is cancelled),
            "refused" (it has ended otherwise) or "unknown" (it is not in the store).
        """
        return await self._change(Action.CANCEL)

    async def retry(self) -> Changed:
        """Run an ended job once more, with all its attempts before it; its old result and log are gone.

        Returns:
            "done", "already" (it is pending), "refused" (it is running, or is to run after a job that did not complete
            and will not by itself: retry that one first) or "unknown".
        """
        changed = await self._change(Action.RETRY)
        if changed is Changed.DONE:
            self._record.forget()
        return changed

    async def _change(self, action: Action) -> Changed:
        return (await self._ask(change(self._record.connection, [self._record.id], action)))[0]

    async def events(self, after: int = 0, *, follow: bool = False) -> AsyncIterator[Heard]:
        """What the job has said, in order: text, displays, errors.

        Args:
            after: only events after this place (`Heard.seq`) in its log.
            follow: go on, as it speaks, until it has ended.
        """
        cursor = 0
        while True:
            heard, after, cursor = await self._ask(self._record.listen(after, cursor, follow))
            if not heard:
                return
            for event in heard:
                yield event

    async def watch(self, after: int = 0, *, tick: float = 1.0) -> AsyncIterator[tuple[Row, list[Heard]]]:
        """The job as it stands and what it has said since, whenever something may have changed, until it has ended.

        Args:
            after: only events after this place in its log.
            tick: seconds after which it is looked at in any case.
        """
        cursor = 0
        while True:
            row, heard, after, cursor = await self._ask(self._record.glance(after, cursor, tick))
            if row.state.ended:
                # A page of the log may hold less than all there is.
                while heard:
                    yield row, heard
                    heard, after, cursor = await self._ask(self._record.listen(after, cursor, False))
                yield row, []
                return
            yield row, heard

    @overload
    def logs(self, *, follow: Literal[False] = False) -> Coroutine[Any, Any, str]: ...
    @overload
    def logs(self, *, follow: Literal[True]) -> AsyncIterator[str]: ...
    def logs(self, *, follow: bool = False) -> Coroutine[Any, Any, str] | AsyncIterator[str]:
        """What its latest attempt has printed so far, standard output and error in order: `await job.logs()`.

        Args:
            follow: instead, `async for` gives the text piece by piece as it is printed, until the job has ended.
        """
        return self._spoken() if follow else self._printed()

    async def _printed(self) -> str:
        pieces: dict[int, list[str]] = {}
        async for event in self.events():
            if event.kind == "stream":
                pieces.setdefault(event.attempt, []).append(json.loads(event.data)["text"])
        dropped = await self._ask(self._record.dropped())
        if dropped:
            pieces.setdefault(max(pieces, default=0), []).append(f"\n… {dropped} bytes more went over the log's cap\n")
        # Not `self.attempt`: starts that do not count (the worker was stopped, the job was retried) have numbers too.
        return "".join(pieces[max(pieces)]) if pieces else ""

    async def _spoken(self) -> AsyncIterator[str]:
        async for event in self.events(follow=True):
            if event.kind == "stream":
                yield json.loads(event.data)["text"]


def record_again(url: str, text: str, label: str) -> Record:
    """The record behind a pickled handle: handles may travel into jobs and other processes, by reference."""
    return Record(Connection(url), parse_id(text), label)


def _found_again(url: str, text: str, label: str) -> AsyncJob[Any]:
    return AsyncJob(record_again(url, text, label))
