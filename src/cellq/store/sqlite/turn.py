"""One write transaction, as the verbs see it: the connection, the time, and what is added up and done at its end."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from cellq.message import Message, State, Topic
from cellq.store.sqlite.statements import statements

READY, DELAYED, RUNNING, COMPLETED, FAILED, CANCELLED = range(6)
"""States as rows hold them. Both READY and DELAYED are pending: only ready jobs are in the index that claims read."""

STATES = (State.PENDING, State.PENDING, State.RUNNING, State.COMPLETED, State.FAILED, State.CANCELLED)
CODES = {State.RUNNING: RUNNING, State.COMPLETED: COMPLETED, State.FAILED: FAILED, State.CANCELLED: CANCELLED}


_ENDED = 1 << Topic.NEWS | 1 << Topic.ENDED
_SERIAL = (0, 0)  # the row of the tally that holds the number of the last ending


class Line(NamedTuple):
    """What jobs of one line share."""

    queue_id: int
    queue: str
    lane: int
    runtime: str


class Arrival(NamedTuple):
    """A job that a journal holds and the rows do not yet.

    Attributes:
        pushed: when, in epoch seconds.
        code: sealed, b"" when its pusher did not bring it along.
    """

    pushed: float
    message: Message
    payload: bytes
    code: bytes


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
        bells_changed: somebody has begun or ceased to listen.
        discards: references to spilled files to be deleted after the commit.
    """

    __slots__ = (
        "_arrivals",
        "_ended",
        "_ended_before",
        "_lines",
        "_read_journals",
        "bells_changed",
        "discards",
        "now",
        "sql",
        "topics",
    )

    def __init__(
        self, sql: sqlite3.Connection, now: float, lines: Lines, read_journals: Callable[[Turn], list[Arrival]]
    ) -> None:
        self.sql = sql
        self.now = now
        self.topics = 0
        self.bells_changed = False
        self.discards: list[str] = []
        self._lines = lines
        self._read_journals = read_journals
        self._arrivals: list[Arrival] | None = None
        self._ended: dict[tuple[int, int], int] = {}
        self._ended_before = -1

    @property
    def arrivals(self) -> list[Arrival]:
        """What the journals hold, in the order of pushing, until `asking.land` has moved it into rows."""
        if self._arrivals is None:
            self._arrivals = self._read_journals(self)
        return self._arrivals

    def ring(self, *topics: Topic) -> None:
        """Ring for these topics after the commit."""
        for topic in topics:
            self.topics |= 1 << topic

    def end(self, line_id: int, state: int) -> int:
        """Count a job that ends in this state; gives the number of its ending."""
        if self._ended_before < 0:
            (self._ended_before,) = self.sql.execute(_SQL.serial).fetchone()
        numbers = self._ended[_SERIAL] = self._ended.get(_SERIAL, 0) + 1
        self._ended[line_id, state] = self._ended.get((line_id, state), 0) + 1
        self.topics |= _ENDED
        return self._ended_before + numbers

    def left(self, line_id: int, state: int) -> None:
        """Count a job that has left this state, in which it had ended."""
        self._ended[line_id, state] = self._ended.get((line_id, state), 0) - 1

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

    def settle(self) -> None:
        """Write what was added up. Last thing before the commit."""
        if self._ended:
            self.sql.executemany(_SQL.tally, [(line_id, state, jobs) for (line_id, state), jobs in self._ended.items()])

    def _intern(self, kind: str, keys: tuple[object, ...]) -> int:
        row = self.sql.execute(getattr(_SQL, kind), keys).fetchone()
        number: int | None = row[0] if row else self.sql.execute(getattr(_SQL, f"add_{kind}"), keys).lastrowid
        assert number is not None
        return number


_SQL = statements("turn")
