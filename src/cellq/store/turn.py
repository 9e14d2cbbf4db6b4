"""One write transaction, as the verbs see it: the connection, the time, and what is added up and done at its end."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import NamedTuple

from cellq.message import State, Topic
from cellq.store.statements import statements

READY, DELAYED, RUNNING, COMPLETED, FAILED, CANCELLED = range(6)
"""States as rows hold them. Both READY and DELAYED are pending: only ready jobs are in the index that claims read."""

STATES = (State.PENDING, State.PENDING, State.RUNNING, State.COMPLETED, State.FAILED, State.CANCELLED)
CODES = {State.RUNNING: RUNNING, State.COMPLETED: COMPLETED, State.FAILED: FAILED, State.CANCELLED: CANCELLED}


class Line(NamedTuple):
    """What jobs of one line share."""

    queue_id: int
    queue: str
    lane: int
    runtime: str


class Lines:
    """Lines seen so far, by number and by what they stand for. They never change, so one may remember them."""

    def __init__(self) -> None:
        self.queue_ids: dict[str, int] = {}
        self.ids: dict[tuple[str, int, str], int] = {}
        self.by_id: dict[int, Line] = {}

    def forget(self) -> None:
        """After a rollback: some of these may never have been written."""
        self.queue_ids.clear()
        self.ids.clear()
        self.by_id.clear()

    def get(self, sql: sqlite3.Connection, line_id: int) -> Line:
        """The line of that number."""
        line = self.by_id.get(line_id)
        if line is None:
            line = self.by_id[line_id] = Line(*sql.execute(statements("turn").line_by_id, (line_id,)).fetchone())
        return line


class Turn:
    """A write transaction in progress.

    Attributes:
        now: the time of everything that happens in it.
        topics: mask of the topics to ring for after the commit.
        discards: references to spilled files to be deleted after the commit.
    """

    __slots__ = ("_demand", "_ended", "_lines", "_moves", "discards", "now", "sql", "topics")

    def __init__(self, sql: sqlite3.Connection, now: float, lines: Lines) -> None:
        self.sql = sql
        self.now = now
        self.topics = 0
        self.discards: list[str] = []
        self._lines = lines
        self._moves: Counter[tuple[int, int | None, int | None]] = Counter()
        self._demand: Counter[bytes] = Counter()
        self._ended: int | None = None

    def ring(self, *topics: Topic) -> None:
        """Ring for these topics after the commit."""
        for topic in topics:
            self.topics |= 1 << topic

    def moved(self, line_id: int, before: int | None, after: int | None) -> None:
        """Count a job that went from one state to another; None is outside of the store."""
        self._moves[line_id, before, after] += 1

    def wanted(self, code: bytes, jobs: int) -> None:
        """Count jobs that refer to a code blob."""
        if code:
            self._demand[code] += jobs

    def next_ended(self) -> int:
        """A new number for an ending."""
        if self._ended is None:
            (self._ended,) = self.sql.execute(_SQL.serial).fetchone()
        self._ended += 1
        return self._ended

    def line(self, line_id: int) -> Line:
        """The line of that number."""
        return self._lines.get(self.sql, line_id)

    def line_id(self, queue: str, lane: int, runtime: str) -> int:
        """The number of the line for these, made when it is the first."""
        wanted = (queue, lane, runtime)
        found = self._lines.ids.get(wanted)
        if found is None:
            keys = (self.queue_id(queue), lane, runtime)
            found = self._lines.ids[wanted] = self._intern("line", keys)
        return found

    def queue_id(self, name: str) -> int:
        """The number of a queue, made when it is new."""
        found = self._lines.queue_ids.get(name)
        if found is None:
            found = self._lines.queue_ids[name] = self._intern("queue", (name,))
        return found

    def settle(self) -> list[tuple[int, bytes]]:
        """Write what was added up. Last thing before the commit; gives the bells to ring after it."""
        if self._ended is not None:
            self.sql.execute(_SQL.set_serial, (self._ended,))
        tally: Counter[tuple[int, State]] = Counter()
        for (line_id, before, after), jobs in self._moves.items():
            queue_id = self.line(line_id).queue_id
            if before is not None:
                tally[queue_id, STATES[before]] -= jobs
            if after is not None:
                tally[queue_id, STATES[after]] += jobs
        for (queue_id, state), jobs in tally.items():
            if jobs:
                self.sql.execute(_SQL.tally, (queue_id, state, jobs))
        self.settle_demand()
        return self.sql.execute(_SQL.bells, (self.topics,)).fetchall() if self.topics else []

    def settle_demand(self) -> None:
        """Write how many jobs refer to which code, so that what nobody wants shows."""
        for code, jobs in self._demand.items():
            self.sql.execute(_SQL.tally, (code, "", jobs))
        self._demand.clear()

    def _intern(self, kind: str, keys: tuple[object, ...]) -> int:
        row = self.sql.execute(getattr(_SQL, kind), keys).fetchone()
        number: int | None = row[0] if row else self.sql.execute(getattr(_SQL, f"add_{kind}"), keys).lastrowid
        assert number is not None
        return number


_SQL = statements("turn")
