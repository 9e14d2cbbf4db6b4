"""Jobs and groups as the last expression of a cell: their card, live, until they have ended.

     q.map(f, xs)  ──▶ Showing.group ──▶ GroupFeed ◀── Pump ── store
                                            └──▶ Screen ──▶ the cell

The formatters are registered with IPython's display system by `%load_ext cellq`; the client knows nothing of it.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from IPython.core.display_functions import publish_display_data

from cellq.client.connection import Connection
from cellq.client.group import AsyncJobGroup
from cellq.client.job import AsyncJob
from cellq.client.portal import portal
from cellq.client.record import change
from cellq.client.sync import Job, JobGroup
from cellq.errors import CellqError, Expired
from cellq.ids import id_text, parse_id
from cellq.message import Action, Row, State
from cellq.notebook.boards.board import Board
from cellq.notebook.boards.census import Census
from cellq.notebook.boards.group import group_board
from cellq.notebook.boards.pump import Pump, Pumps
from cellq.notebook.boards.screens import Screen, screen_of
from cellq.notebook.cards.card import bundle, face_of
from cellq.notebook.cards.views import View
from cellq.notebook.cards.widgets import view_of
from cellq.notebook.output.trouble import shown_as
from cellq.notebook.route import Route, route_of
from cellq.notebook.workforce import Address, Workforce

log = logging.getLogger("cellq.notebook")


class Showing:
    """Shows jobs and groups in the cells of one notebook.

    Args:
        shell: the notebook's InteractiveShell.
        workforce: its workers.
        pumps: its pumps.
    """

    def __init__(self, shell: Any, workforce: Workforce, pumps: Pumps) -> None:
        self._shell = shell
        self._workforce = workforce
        self._pumps = pumps
        self._numbers = itertools.count(1)

    def register(self) -> None:
        """Have IPython ask us whenever a job or a group is displayed. (A terminal has no room for cards.)"""
        if getattr(self._shell, "kernel", None) is None:
            return
        formatter = self._shell.display_formatter.ipython_display_formatter
        for one in (Job, AsyncJob):
            formatter.for_type(one, self.job)
        for many in (JobGroup, AsyncJobGroup):
            formatter.for_type(many, self.group)

    def unregister(self) -> None:
        """Take `register` back."""
        formatter = self._shell.display_formatter.ipython_display_formatter
        for shown in (Job, AsyncJob, JobGroup, AsyncJobGroup):
            formatter.pop(shown, None)

    def group(self, shown: JobGroup[Any] | AsyncJobGroup[Any]) -> None:
        """Show the card of a group in the cell that runs."""
        group = shown.asynchronous() if isinstance(shown, JobGroup) else shown
        sources = group.sources()
        ids = [parse_id(job.id) for job in group]
        feed = GroupFeed(Census(ids, sources), self._workforce)
        try:
            portal().call(feed.census.look())
        except CellqError as error:
            print(f"a group of {len(ids):,} jobs; {error}")
            return
        route = route_of(self._shell, "map")
        board = feed.board()
        if not feed.census.live:
            publish_display_data(board.bundle())
            return
        name = f"cellq-{id_text(ids[0])}-{len(ids)}-{next(self._numbers)}"
        feed.screen = screen_of(route, name, board, lambda message: _cancel_all(group, message))
        self._show(lambda: feed.screen.begin(board), feed, next(iter(sources)), route)

    def job(self, job: Job[Any] | AsyncJob[Any]) -> None:
        """Show the card of a job in the cell that runs."""
        source = job._record.connection
        try:
            row = portal().call(job._record.look())
        except CellqError as error:
            print(f"job {job.short} ({job.name}); {error}")
            return
        route = route_of(self._shell, job.name)
        if row.state is State.COMPLETED:
            publish_display_data(bundle(face_of(row)))
            return
        pump = self._pumps.of(source)
        view = view_of(f"{job.id}-{next(self._numbers)}", route, lambda command, _: feed.press(command))
        feed = JobFeed(source, row, view, self._workforce, pump)
        self._show(lambda: view.begin(face_of(row)), feed, source, route)

    def _show(self, begin: Callable[[], None], feed: GroupFeed | JobFeed, source: Connection, route: Route) -> None:
        try:
            begin()
            self._pumps.of(source).add(feed)
            while _waits(route) and not feed.done.wait(0.2):
                if feed.trouble is not None:
                    raise shown_as(feed.trouble, str(feed.trouble).splitlines())
        except KeyboardInterrupt as interrupt:
            told = "interrupted: the cell no longer waits, the jobs go on"
            raise shown_as(interrupt, [f"KeyboardInterrupt: {told}"]) from None


class _JobsFeed:
    """What the feeds of jobs have in common: workers are seen to, and somebody may wait for the end."""

    tick = 1.0

    def __init__(self, workforce: Workforce) -> None:
        self.done = threading.Event()
        self.trouble: CellqError | None = None
        self._workforce = workforce
        self._notes: list[str] = []

    async def _see_to_workers(self, waiting: Mapping[Connection, Iterable[str]]) -> None:
        """See to it that somebody serves the queues in which jobs wait, by store."""
        for connection, names in waiting.items():
            for name in names:
                address = Address.of(connection, name)
                if self.trouble is None and self._workforce.due(address):
                    workers = (await (await connection.ready()).count()).workers
                    try:
                        self._notes += self._workforce.tend(address, workers)
                    except CellqError as error:
                        self.trouble = error
                        self._notes += str(error).splitlines()


class GroupFeed(_JobsFeed):
    """Keeps a group's card up to date until all its jobs have ended.

    Args:
        census: of its jobs.
        workforce: sees to it that somebody takes them.
    """

    screen: Screen

    def __init__(self, census: Census, workforce: Workforce) -> None:
        super().__init__(workforce)
        self.census = census

    def board(self) -> Board:
        """The card as it stands."""
        return group_board(self.census, self._notes)

    async def look(self) -> bool:
        await self.census.look()
        await self._see_to_workers(self.census.waiting())
        if self.census.live:
            self.screen.draw(self.board())
            return True
        self.screen.end(self.board())
        self.done.set()
        return False

    def lose(self, error: Exception) -> None:
        self._notes.append(f"this card can no longer be kept up to date ({error})")
        self.screen.end(self.board())
        self.done.set()


class JobFeed(_JobsFeed):
    """Keeps a job's card up to date until it has ended.

    Args:
        connection: to its store.
        row: the job as it was last seen.
        view: its card.
        workforce: sees to it that somebody takes it.
        pump: of its store.
    """

    def __init__(self, connection: Connection, row: Row, view: View, workforce: Workforce, pump: Pump) -> None:
        super().__init__(workforce)
        self._pump = pump
        self._connection = connection
        self._row = row
        self._view = view

    async def look(self) -> bool:
        row = (await self._connection.get([self._row.id]))[0]
        if row is None:
            raise Expired(f"job {id_text(self._row.id)} was pruned or deleted")
        self._row = row
        if row.state is State.PENDING:
            await self._see_to_workers({self._connection: [row.queue]})
        face = face_of(row, self._notes)
        if not row.state.ended:
            self._view.draw(face)
            return True
        self._view.end(face)
        self.done.set()
        return False

    def lose(self, error: Exception) -> None:
        self._notes.append(f"this card can no longer be kept up to date ({error})")
        self._view.end(face_of(self._row, self._notes))
        self.done.set()

    def press(self, command: str) -> None:
        """Do what a button of the card asks for; from any thread, returns at once."""
        portal().start(self._obey(command))

    async def _obey(self, command: str) -> None:
        if command in ("cancel", "retry"):
            await change(self._connection, [self._row.id], Action(command))
            self._pump.add(self)


def _waits(route: Route) -> bool:
    told = os.environ.get("CELLQ_WAIT")
    return told == "1" if told in ("0", "1") else route.headless


def _cancel_all(group: AsyncJobGroup[Any], message: Mapping[str, Any]) -> None:
    # A press may come in a thread beside the kernel's main one: it sends the request and returns at once.
    if message.get("cmd") == "cancel":
        portal().start(group.cancel())
