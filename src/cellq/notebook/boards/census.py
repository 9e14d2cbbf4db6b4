"""A group of jobs as it stands, kept up to date by reading only what has changed.

Few jobs are simply read again. Of many, a look reads what has ended since the last one (`Row.ended` rises with each
ending in the store) and what is running, which together cost what happened, not how many are waiting:

     ids ──▶ rows ◀── ended after the mark ── all that ended since the last look
                 ◀── running                ── as many as there are slots
                 ◀── sweep                  ── all that have not ended, rarely: what was retried, delayed or deleted
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from cellq.client.connection import Connection
from cellq.ids import JobId
from cellq.message import Filter, Row, State

_FEW = 64
_PAGE = 500
_SWEEP = 10.0
"""Seconds between two sweeps of a thousand jobs; of more, accordingly rarer."""

_WINDOW = 30.0
"""Seconds over which the rate is taken."""

_MOMENT = 3.0
"""Seconds after an ending in which nobody asks why no other job of the group runs."""


class Census:
    """The rows of a group's jobs. Lives on the portal's loop.

    Args:
        ids: of its jobs, in its order.
        sources: the same ids of its jobs, by connection.

    Attributes:
        places: the ids of all jobs, in the order of the group, and the place of each.
        names: what they are called, as far as they were read.
        rows: as last read, without those that are gone.
        began, finished: when the first of them started and the last of them ended, as far as is known.
    """

    def __init__(self, ids: Sequence[JobId], sources: dict[Connection, list[JobId]]) -> None:
        self.places = {job_id: place for place, job_id in enumerate(ids)}
        self.names: set[str] = set()
        self.rows: dict[JobId, Row] = {}
        self.began: float | None = None
        self.finished: float | None = None
        self._counts: Counter[State] = Counter()
        self._running: set[JobId] = set()
        self._failed: dict[JobId, None] = {}  # in the order in which they failed
        self._recent: deque[JobId] = deque(maxlen=_PAGE)  # latest endings
        self._gone: set[JobId] = set()
        self._sources = [_Source(connection, some) for connection, some in sources.items()]

    # ----------------------------------------------------------------------------------------- what is known

    @property
    def total(self) -> int:
        """How many jobs there are that were not deleted."""
        return len(self.places) - len(self._gone)

    @property
    def gone(self) -> int:
        """How many were deleted before they were seen to end."""
        return len(self._gone)

    def count(self, state: State) -> int:
        """How many jobs are in this state."""
        if state is State.PENDING:  # those never read are waiting
            return self.total - sum(self._counts[other] for other in State if other is not State.PENDING)
        return self._counts[state]

    @property
    def ended(self) -> int:
        """How many have ended, however."""
        return sum(count for state, count in self._counts.items() if state.ended)

    @property
    def live(self) -> int:
        """How many have not ended."""
        return self.total - self.ended

    def first(self, most: int) -> list[Row]:
        """The jobs people look for first, at most so many: running, failed, latest endings, next in line."""
        found: dict[JobId, None] = dict.fromkeys(sorted(self._running))
        found.update(dict.fromkeys(reversed(self._failed)))
        if len(found) < most:
            found.update(dict.fromkeys(job_id for job_id in reversed(self._recent) if job_id in self.rows))
        if len(found) < most:
            found.update(dict.fromkeys(islice(self._waiting(), most - len(found))))
        return [self.rows[job_id] for job_id in islice(found, most)]

    def _waiting(self) -> Iterator[JobId]:
        return (job_id for job_id in self.places if job_id in self.rows and self.rows[job_id].state is State.PENDING)

    def rate(self, now: float) -> float | None:
        """Endings a second, lately; None when nobody knows yet."""
        recent = [row.finished for job_id in self._recent if (row := self.rows.get(job_id)) and row.finished]
        began = self.began
        if not recent or began is None:
            return None
        since = max(began, now - _WINDOW, min(recent) if len(recent) == self._recent.maxlen else 0.0)
        lately = sum(moment >= since for moment in recent)
        if lately >= 5 and now > since:
            return lately / (now - since)
        return self.ended / (now - began) if now > began else None

    # -------------------------------------------------------------------------------------------- looking

    async def look(self) -> None:
        """Read what has changed.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        for source in self._sources:
            await source.look(self)

    async def look_again(self) -> None:
        """Read those that ended without having completed: they may have been run again.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        for source in self._sources:
            ids = [row.id for row in self._unsuccessful() if row.id in source]
            self.note(ids, await source.connection.get(ids))

    def unsuccessful(self, most: int) -> list[tuple[Connection, Row]]:
        """Those that ended without having completed, and where they are; at most so many."""
        rows = list(islice(self._unsuccessful(), most))
        return [(source.connection, row) for source in self._sources for row in rows if row.id in source]

    def _unsuccessful(self) -> Iterator[Row]:
        return (row for row in self.rows.values() if row.state.ended and row.state is not State.COMPLETED)

    def waiting(self) -> dict[Connection, Iterable[str]]:
        """The queues in which some may be waiting, by store."""
        if not self.count(State.PENDING):
            return {}
        return {source.connection: sorted(source.queues) for source in self._sources if source.queues}

    def stuck(self, now: float) -> tuple[Connection, Row] | None:
        """The next one in line and where it is, when none runs, nor did a moment ago; else all is as it should be."""
        if self._running or (self.finished is not None and now - self.finished < _MOMENT):
            return None
        job_id = next(self._waiting(), None)
        if job_id is None:
            return None
        return next((source.connection, self.rows[job_id]) for source in self._sources if job_id in source)

    def live_among(self, ids: Iterable[JobId]) -> list[JobId]:
        """Those of `ids` that are not known to have ended."""
        return [
            job_id
            for job_id in ids
            if job_id not in self._gone and ((row := self.rows.get(job_id)) is None or not row.state.ended)
        ]

    def running_among(self, ids: set[JobId]) -> set[JobId]:
        """Those of `ids` that were running when last seen."""
        return self._running & ids

    def note(self, ids: Sequence[JobId], rows: Sequence[Row | None]) -> None:
        """Take note of rows as they were read; None for one that was deleted."""
        for job_id, row in zip(ids, rows, strict=True):
            old = self.rows.get(job_id)
            if old is not None:
                self._counts[old.state] -= 1
                self._running.discard(job_id)
            if row is None:
                self._gone.add(job_id)
                self.rows.pop(job_id, None)
                continue
            self.rows[job_id] = row
            self.names.add(row.name or row.task)
            self._counts[row.state] += 1
            if row.started is not None:
                self.began = min(row.started, self.began or row.started)
            if row.finished is not None:
                self.finished = max(row.finished, self.finished or row.finished)
            if row.state is State.RUNNING:
                self._running.add(job_id)
            elif row.state.ended and (old is None or not old.state.ended):
                self._recent.append(job_id)
            if row.state is State.FAILED:
                self._failed.setdefault(job_id)
            else:
                self._failed.pop(job_id, None)


class _Source:
    """The part of a group that lives in one store."""

    def __init__(self, connection: Connection, ids: list[JobId]) -> None:
        self.connection = connection
        self.queues: set[str] = set()  # in which those wait that were waiting at the last sweep
        self._ids = ids
        self._mine = set(ids)
        self._mark: int | None = None
        self._swept = 0.0

    def __contains__(self, job_id: JobId) -> bool:
        return job_id in self._mine

    async def look(self, census: Census) -> None:
        live = census.live_among(self._ids)
        if not live:
            return
        apart = _SWEEP * max(1.0, len(live) / 1000)
        if len(live) <= _FEW or self._mark is None or time.monotonic() - self._swept > apart:
            if len(live) > _FEW:  # the mark is older than the read, so that no ending falls between them
                self._mark = await (await self.connection.watcher()).newest_ending()
            rows = await self.connection.get(live)
            census.note(live, rows)
            self.queues = {row.queue for row in rows if row is not None and row.state is State.PENDING}
            self._swept = time.monotonic()
        else:
            await self._look_at_changes(census, self._mark)

    async def _look_at_changes(self, census: Census, mark: int) -> None:
        store = await self.connection.ready()
        after = None
        while True:
            page = await store.find(Filter(ended_after=mark), after, _PAGE)
            self._note(census, page.rows)
            if page.rows:
                self._mark = page.rows[-1].ended
            after = page.after
            if after is None:
                break
        running = (await store.find(Filter(states=(State.RUNNING,)), None, _PAGE)).rows
        self._note(census, running)
        # Those that ran and do not any more without having ended: they wait for another attempt.
        back = census.running_among(self._mine) - {row.id for row in running}
        if back:
            ids = list(back)
            census.note(ids, await self.connection.get(ids))

    def _note(self, census: Census, rows: Iterable[Row]) -> None:
        mine = [row for row in rows if row.id in self._mine]
        census.note([row.id for row in mine], mine)
