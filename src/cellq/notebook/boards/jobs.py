"""`%jobs`, live: the newest jobs of a store, narrowed by state and name, with a button for what can be done to each.

What is chosen in the page comes here and is asked of the store, which may hold a million jobs: the page never has more
than the lines it shows. A text is looked for among the newest thousand, and beyond those as a whole name.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cellq.client.connection import Connection
from cellq.client.record import change
from cellq.ids import JobId, id_text, parse_id, short_id
from cellq.message import Action, Changed, Filter, Row, State
from cellq.notebook.boards import tables
from cellq.notebook.boards.board import Board, Line, Press, moment
from cellq.notebook.boards.live import LiveTable, lost
from cellq.notebook.boards.pump import Pump
from cellq.notebook.boards.tail import Tail
from cellq.notebook.cards.card import MARKS, face_of
from cellq.timetable import own_counts, own_rows

_STEP = 50
_MOST = 1000
"""Lines on one table; jobs among which a text is looked for."""

_COLUMNS = ("id", "name", "queue", "state", "enqueued", "took", "")
_ORDER = (State.RUNNING, State.PENDING, State.FAILED, State.COMPLETED, State.CANCELLED)


class JobsFeed(LiveTable):
    """Keeps a table of jobs up to date while somebody looks at it.

    Args:
        connection: to the store.
        pump: of that store.
        limit: how many lines at first.
    """

    tick = 10.0

    def __init__(self, connection: Connection, pump: Pump, limit: int) -> None:
        super().__init__(connection, pump)
        self._limit = min(limit, _MOST)
        self._states: tuple[State, ...] = ()
        self._text = ""
        self._tails: dict[JobId, Tail] = {}

    async def board(self) -> Board:
        """The table as the store has it now.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        store = await self._connection.ready()
        totals: Counter[State] = Counter()
        for queue in own_counts(await store.count()).queues.values():
            totals.update(queue.states)
        rows, more = await self._rows()
        for row in rows:
            if row.id in self._tails:
                await self._tails[row.id].read(self._connection, row)
        now = time.time()
        head: dict[str, Any] = {
            "states": [
                {"state": one.value, "mark": MARKS[one], "count": totals[one], "chosen": one in self._states}
                for one in _ORDER
            ],
            "text": self._text,
            "told": self._told(rows, totals, more),
            "more": more and self._limit < _MOST,
            "notes": list(self._notes),
        }
        plain = tables.jobs(rows, self._connection.url)
        shown = {"text/html": plain._repr_html_(), "text/plain": repr(plain)}
        return Board("jobs", head, _COLUMNS, [self._line(row, now) for row in rows], shown)

    async def _rows(self) -> tuple[list[Row], bool]:
        """The newest that are wanted, and whether there may be more."""
        store = await self._connection.ready()
        text = self._text.lower()
        if not text:
            page = await store.find(Filter(states=self._states), None, self._limit)
            return own_rows(page.rows), page.after is not None
        found: dict[JobId, Row] = {}
        newest = await store.find(Filter(states=self._states), None, _MOST)
        for row in own_rows(newest.rows):
            if text in f"{row.name or row.task}\n{row.queue}\n{short_id(row.id)}\n{id_text(row.id)}".lower():
                found[row.id] = row
        if newest.after is not None and len(found) < self._limit:
            older = await store.find(Filter(states=self._states, name=self._text), None, self._limit)
            found |= {row.id: row for row in older.rows}
        return list(found.values())[: self._limit], len(found) > self._limit

    def _told(self, rows: Sequence[Row], totals: Mapping[State, int], more: bool) -> str:
        total = sum(totals[state] for state in (self._states or State))
        if not rows:
            return "no such jobs" if self._states or self._text else f"no jobs in {self._connection.url}"
        if self._text:
            beyond = f", among the newest {_MOST:,}" if total > _MOST else ""
            return f"{len(rows):,} found{beyond}"
        count = "1 job" if total == 1 else f"{total:,} jobs"
        return f"the newest {len(rows):,} of {count}" if more else count

    def _line(self, row: Row, now: float) -> Line:
        face = face_of(row, now=now)
        buttons = [Press("output", "Output")]
        if row.state in (State.PENDING, State.RUNNING):
            buttons.append(Press("cancel", "Cancelling…" if row.cancelling else "Cancel", not row.cancelling))
        elif row.state is not State.COMPLETED:
            buttons.append(Press("retry", "Retry"))
        tail = self._tails.get(row.id)
        later = face.label in ("scheduled", "held back")
        remarks: list[str] = [*(bar.numbers for bar in face.bars[:1]), *face.facts]
        return Line(
            key=face.id,
            about=f"{face.name} {face.short}",
            state=row.state.value,
            cells=(
                face.short,
                face.name,
                row.queue,
                f"{MARKS[row.state]} {face.label}",
                moment(row.created, now),
                face.clock if face.clock is not None and row.started is not None and not later else "",
                " · ".join(remarks)[:200] or (face.clock if later and face.clock is not None else ""),
            ),
            buttons=tuple(buttons),
            below=None if tail is None else tail.shown(row),
        )

    def lose(self, error: Exception) -> None:
        super().lose(error)
        self._notes = lost(error)

    async def _obey(self, command: str, key: str, message: Mapping[str, Any]) -> None:
        if command == "filter":
            self._states = tuple(State(state) for state in message.get("states", ()))
            self._text = str(message.get("text", "")).strip()[:200]
        elif command == "more":
            self._limit = min(self._limit + _STEP, _MOST)
        elif command == "output":
            job_id = parse_id(key)
            if self._tails.pop(job_id, None) is None:
                self._tails[job_id] = Tail()
        elif command in ("cancel", "retry"):
            changed = (await change(self._connection, [parse_id(key)], Action(command)))[0]
            if changed in (Changed.REFUSED, Changed.UNKNOWN):
                self._notes = [f"job {short_id(parse_id(key))}: {_REFUSED[changed]}"]


_REFUSED = {Changed.REFUSED: "it has changed meanwhile, look again", Changed.UNKNOWN: "it was pruned or deleted"}
