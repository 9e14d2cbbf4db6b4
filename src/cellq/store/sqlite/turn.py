"""One write transaction, as the verbs see it: the connection, the time, and what is added up and done at its end."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from cellq.message import Message, State, Topic
from cellq.store.sqlite.statements import statements

READY, DELAYED, RUNNING, COMPLETED, FAILED, CANCELLED, WAITING, BLOCKED = range(8)
"""States as rows hold them. Only READY jobs are in the index that claims read; for the last two see `conditions`."""

PENDING = (READY, DELAYED, WAITING, BLOCKED)
STATES = (
    State.PENDING,
    State.PENDING,
    State.RUNNING,
    State.COMPLETED,
    State.FAILED,
    State.CANCELLED,
    State.PENDING,
    State.PENDING,
)
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


class Uses(NamedTuple):
    """What this database makes use of; learnt with one look, so that jobs which need none of it cost no more.

    Attributes:
        ended: how many jobs have ended so far; the number of the last ending.
        terms: some jobs may have rows in the table `term`.
        edges: some may wait for others.
        limits: how many queues are limited.
    """

    ended: int
    terms: int
    edges: int
    limits: int

    @classmethod
    def of(cls, sql: sqlite3.Connection) -> Uses:
        """What it is right now."""
        rows = sql.execute(_SQL.numbers).fetchall()
        if len(rows) == 1:
            return cls(rows[0][1], 0, 0, 0)
        numbers = dict(rows)
        return cls(*[numbers.get(what, 0) for what in range(4)])


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
        freed: concurrency keys of which fewer jobs run, or stand ready, than before: `conditions.unblock` is to look.
    """

    __slots__ = (
        "_arrivals",
        "_ended",
        "_lines",
        "_read_journals",
        "_uses",
        "bells_changed",
        "discards",
        "freed",
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
        self.freed: set[str] = set()
        self._uses: Uses | None = None
        self._lines = lines
        self._read_journals = read_journals
        self._arrivals: list[Arrival] | None = None
        self._ended: dict[tuple[int, int], int] = {}

    @property
    def arrivals(self) -> list[Arrival]:
        """What the journals hold, in the order of pushing, until `asking.land` has moved it into rows."""
        if self._arrivals is None:
            self._arrivals = self._read_journals(self)
        return self._arrivals

    @property
    def uses(self) -> Uses:
        """What the database made use of when it was first asked, or last changed that."""
        if self._uses is None:
            self._uses = Uses.of(self.sql)
        return self._uses

    def use(self, *, edges: bool) -> None:
        """There are terms from now on, and maybe edges."""
        uses = self.uses
        if uses.terms and uses.edges >= edges:
            return
        self.sql.executemany(_SQL.note_use, [(1,), (2,)][: 1 + edges])
        self._uses = uses._replace(terms=1, edges=max(uses.edges, edges))

    def drop_uses(self) -> None:
        """Notice that the last terms, or edges, are gone."""
        if self.uses.terms:
            self.sql.execute(_SQL.drop_uses)
            self._uses = None

    def limits_changed(self) -> None:
        """A queue has another limit now."""
        self.sql.execute(_SQL.note_limits)
        self._uses = None

    def ring(self, *topics: Topic) -> None:
        """Ring for these topics after the commit."""
        for topic in topics:
            self.topics |= 1 << topic

    def end(self, line_id: int, state: int) -> int:
        """Count a job that ends in this state; gives the number of its ending."""
        numbers = self._ended[_SERIAL] = self._ended.get(_SERIAL, 0) + 1
        self._ended[line_id, state] = self._ended.get((line_id, state), 0) + 1
        self.topics |= _ENDED
        return self.uses.ended + numbers

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
