"""What keeps the cards of jobs and groups up to date that are shown as the last expression of a cell.

Pump ── look ──▶ GroupFeed ──▶ Screen          until all have ended, and again when one that failed is run again
           └───▶ JobFeed ────▶ View            until it has ended, and again when it is run again
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cellq.client.connection import Connection
from cellq.client.portal import portal
from cellq.client.record import change
from cellq.errors import CellqError, Expired, WorkerUnavailable
from cellq.ids import JobId, id_text
from cellq.message import Action, Row, State
from cellq.notebook.boards.board import Board
from cellq.notebook.boards.census import Census
from cellq.notebook.boards.group import group_board
from cellq.notebook.boards.pump import Pump
from cellq.notebook.boards.screens import Screen
from cellq.notebook.cards.card import face_of
from cellq.notebook.cards.views import View
from cellq.notebook.lookout import Lookout


class _JobsFeed:
    """What the feeds of jobs have in common: workers are seen to, and somebody may wait for the end."""

    tick = 1.0

    def __init__(self, lookout: Lookout) -> None:
        self.done = threading.Event()
        self.trouble: CellqError | None = None
        self._lookout = lookout
        self._notes: list[str] = []
        self._waits_for = ""

    async def _see_to_workers(self, waiting: Mapping[Connection, Iterable[str]]) -> None:
        """See to it that somebody serves the queues in which jobs wait, by store."""
        for connection, names in waiting.items():
            for name in names:
                if self.trouble is None:
                    try:
                        told = await self._lookout.look(connection, name)
                    except WorkerUnavailable as error:
                        self.trouble = error
                        told = str(error).splitlines()
                    self._notes += [line for line in told if line not in self._notes]


Rest = Callable[[Connection, Row, Callable[[Row], None]], None]
"""Takes a job of this store that has ended, and whom to call when it is run again."""

_WATCHED = 50
"""Jobs of a group that are watched once all have ended: who runs failed ones again mostly does so with all of them."""


class GroupFeed(_JobsFeed):
    """Keeps a group's card up to date until all its jobs have ended.

    Args:
        ids: of its jobs, in its order.
        sources: the same ids, by connection.
        lookout: sees to it that somebody takes them.
        pump_of: gives the pump of a store.
        rest: watches those that did not complete, when all have ended.
    """

    screen: Screen

    def __init__(
        self,
        ids: list[JobId],
        sources: dict[Connection, list[JobId]],
        lookout: Lookout,
        pump_of: Callable[[Connection], Pump],
        rest: Rest,
    ) -> None:
        super().__init__(lookout)
        self.census = Census(ids, sources)
        self._sources = sources
        self._pump_of = pump_of
        self._rest = rest
        self._woken = False

    def board(self) -> Board:
        """The card as it stands."""
        waits = [self._waits_for] if self._waits_for and self.census.live else []
        return group_board(self.census, [*waits, *self._notes])

    async def look(self) -> bool:
        if self._woken:
            self._woken = False
            await self.census.look_again()
        await self.census.look()
        await self._see_to_workers(self.census.waiting())
        stuck = self.census.stuck(time.time())
        self._waits_for = "" if stuck is None else await self._lookout.waits(*stuck)
        if self.census.live:
            self.screen.draw(self.board())
            return True
        self.screen.end(self.board())
        self.done.set()
        for connection, row in self.census.unsuccessful(_WATCHED):
            self._rest(connection, row, functools.partial(self._wake, connection))
        return False

    def _wake(self, connection: Connection, _: Row) -> None:
        if not self._woken:  # as a rule several are run again at once
            self._woken = True
            self._pump_of(connection).add(self)

    def lose(self, error: Exception) -> None:
        self._notes.append(f"this card can no longer be kept up to date ({error})")
        self.screen.end(self.board())
        self.done.set()

    def press(self, message: Mapping[str, Any]) -> None:
        """Do what a button of the card asks for; from any thread, returns at once."""
        if message.get("cmd") == "cancel":
            portal().start(self._cancel())

    async def _cancel(self) -> None:
        for connection, ids in self._sources.items():
            await change(connection, ids, Action.CANCEL)


class JobFeed(_JobsFeed):
    """Keeps a job's card up to date until it has ended.

    Args:
        connection: to its store.
        row: the job as it was last seen.
        lookout: sees to it that somebody takes it.
        pump: of its store.
        rest: watches the job when it has ended.

    Attributes:
        view: its card.
    """

    view: View

    def __init__(
        self,
        connection: Connection,
        row: Row,
        lookout: Lookout,
        pump: Pump,
        rest: Rest,
    ) -> None:
        super().__init__(lookout)
        self._pump = pump
        self._connection = connection
        self._row = row
        self._rest = rest

    async def look(self) -> bool:
        row = (await self._connection.get([self._row.id]))[0]
        if row is None:
            raise Expired(f"job {id_text(self._row.id)} was pruned or deleted")
        self._row = row
        if row.state is State.PENDING:
            await self._see_to_workers({self._connection: [row.queue]})
            self._waits_for = await self._lookout.waits(self._connection, row)
        face = face_of(row, self._notes, waits=self._waits_for)
        if not row.state.ended:
            self.view.draw(face)
            return True
        self.view.end(face)
        self.done.set()
        self._rest(self._connection, row, lambda _: self._pump.add(self))
        return False

    def lose(self, error: Exception) -> None:
        self._notes.append(f"this card can no longer be kept up to date ({error})")
        self.view.end(face_of(self._row, self._notes))
        self.done.set()

    def press(self, command: str) -> None:
        """Do what a button of the card asks for; from any thread, returns at once."""
        portal().start(self._obey(command))

    async def _obey(self, command: str) -> None:
        if command in ("cancel", "retry"):
            await change(self._connection, [self._row.id], Action(command))
            self._pump.add(self)
