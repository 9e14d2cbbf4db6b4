"""Jobs and groups as the last expression of a cell: their card, live, until they have ended.

     q.map(f, xs)  ──▶ Showing.group ──▶ GroupFeed ◀── Pump ── store
                                            └──▶ Screen ──▶ the cell, and pages that were loaded since

The formatters are registered with IPython's display system by `%load_ext cellq`; the client knows nothing of it.

Which jobs a group's card is about is written down (`ledger`). So when a page holds the card of a group that a kernel
before this one has shown, this one takes it over, in place: live, or as it ended while nobody looked.
Passwords are not written down. Of a store that needs one, and is not the notebook's own, the cards come back as soon as
a cell has made a queue there.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from IPython.core.display_functions import publish_display_data

from cellq import settings
from cellq.client.connection import Connection
from cellq.client.group import AsyncJobGroup
from cellq.client.job import AsyncJob
from cellq.client.portal import portal
from cellq.client.sync import Job, JobGroup
from cellq.errors import CellqError
from cellq.ids import JobId, parse_id
from cellq.message import Row, State
from cellq.notebook.boards import ledger
from cellq.notebook.boards.feeds import GroupFeed, JobFeed
from cellq.notebook.boards.ledger import Entry
from cellq.notebook.boards.screens import LiveScreen, StillScreen, screen_of
from cellq.notebook.cards.card import bundle, face_of
from cellq.notebook.cards.widgets import view_of
from cellq.notebook.origin import Origin
from cellq.notebook.output.pages import Nowhere, Page, PageRoute
from cellq.notebook.output.trouble import shown_as
from cellq.notebook.route import KernelRoute, Route, route_of
from cellq.notebook.session import Session

log = logging.getLogger("cellq.notebook")


@dataclass(frozen=True, slots=True)
class _Card:
    """The card of a group that this kernel shows.

    Attributes:
        cell: that shows it.
        shown: when it was shown first (epoch seconds).
        page: the session of the page that ran its cell, and finds it by itself.
        show_in: shows it in another page.
    """

    cell: Origin
    shown: float
    page: str
    show_in: Callable[[Route], None]


class Showing:
    """Shows jobs and groups in the cells of one notebook.

    Args:
        shell: the notebook's InteractiveShell.
        session: the notebook's.
    """

    def __init__(self, shell: Any, session: Session) -> None:
        self._shell = shell
        self._session = session
        self._numbers = itertools.count(1)
        self._cards: dict[str, _Card] = {}
        self._in_pages: set[tuple[str, str]] = set()
        self._locked: dict[tuple[str, str], Entry] = {}  # by page and name: groups in stores that want a password
        self._lock = threading.RLock()  # never taken in the portal's thread, for which a holder may wait

    def register(self) -> None:
        """Have IPython ask us whenever a job or a group is displayed. (A terminal has no room for cards.)"""
        if getattr(self._shell, "kernel", None) is None:
            return
        formatter = self._shell.display_formatter.ipython_display_formatter
        for one in (Job, AsyncJob):
            formatter.for_type(one, self.job)
        for many in (JobGroup, AsyncJobGroup):
            formatter.for_type(many, self.group)
        self._session.pages.listen(self._page_loaded)
        self._shell.events.register("post_run_cell", self._after_cell)

    def unregister(self) -> None:
        """Take `register` back."""
        with contextlib.suppress(ValueError):  # there was nothing to register
            self._shell.events.unregister("post_run_cell", self._after_cell)
        formatter = self._shell.display_formatter.ipython_display_formatter
        for shown in (Job, AsyncJob, JobGroup, AsyncJobGroup):
            formatter.pop(shown, None)

    def come_back(self) -> None:
        """Take over the cards of groups that kernels before this one have left, when pages show them."""
        if route_of(self._shell, "cellq").widgets and ledger.left_behind(self._here()):
            self._session.pages.open()

    def group(self, shown: JobGroup[Any] | AsyncJobGroup[Any]) -> None:
        """Show the card of a group in the cell that runs."""
        group = shown.asynchronous() if isinstance(shown, JobGroup) else shown
        sources = group.sources()
        ids = [parse_id(job.id) for job in group]
        feed = self._feed(ids, sources)
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
        name = f"cellq-group-{uuid.uuid4()}"
        feed.screen = screen_of(route, name, board, feed.press)
        if isinstance(feed.screen, LiveScreen) and isinstance(route, KernelRoute):
            cell = self._here(route.cell_id)
            self._cards[name] = _Card(cell, time.time(), route.page, feed.screen.show_in)
            self._session.pages.open()
            if cell.notebook and len(sources) == 1:
                ledger.note(Entry(name, cell, route.run, next(iter(sources)).url, ids))
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
        session = self._session
        feed = JobFeed(source, row, session.lookout, session.pumps.of(source), self._rest)
        feed.view = view_of(f"{job.id}-{next(self._numbers)}", route, lambda command, _: feed.press(command))
        self._show(lambda: feed.view.begin(face_of(row)), feed, source, route)

    def _show(self, begin: Callable[[], None], feed: GroupFeed | JobFeed, source: Connection, route: Route) -> None:
        try:
            begin()
            self._session.pumps.of(source).add(feed)
            while _waits(route) and not feed.done.wait(0.2):
                if feed.trouble is not None:
                    raise shown_as(feed.trouble, str(feed.trouble).splitlines())
        except KeyboardInterrupt as interrupt:
            told = "interrupted: the cell no longer waits, the jobs go on"
            raise shown_as(interrupt, [f"KeyboardInterrupt: {told}"]) from None

    def _feed(self, ids: list[JobId], sources: dict[Connection, list[JobId]]) -> GroupFeed:
        return GroupFeed(ids, sources, self._session.lookout, self._session.pumps.of, self._rest)

    def _rest(self, connection: Connection, row: Row, wake: Callable[[Row], None]) -> None:
        self._session.sleepers.lay(connection.full_url, row, wake)

    def _here(self, cell: str = "") -> Origin:
        return Origin.here(self._session.namespace, cell)

    # ------------------------------------------------------------------------------------- coming back

    def _page_loaded(self, page: Page) -> None:
        left = {entry.name: entry for entry in ledger.left_behind(self._here())}
        # A page shows a notebook as it was saved: of what was shown since, each cell gets the latest.
        shown = {name: (entry.shown, entry.origin) for name, entry in left.items()}
        shown |= {name: (card.shown, card.cell) for name, card in self._cards.items()}
        unsaved = [name for name, (when, cell) in shown.items() if cell.cell and _unsaved(cell.notebook, when)]
        unsaved.sort(key=lambda name: shown[name][0], reverse=True)
        for name in dict.fromkeys([*page.groups, *unsaved]):
            self._try_in(page.session, name, left.get(name))

    def _after_cell(self, _: object = None) -> None:
        for (page, name), left in list(self._locked.items()):
            if Connection.known(left.url) is not None:
                del self._locked[page, name]
                self._try_in(page, name, left)

    def _try_in(self, page: str, name: str, left: Entry | None) -> None:
        try:
            self._show_in(page, name, left)
        except (CellqError, ValueError) as error:
            log.info("%s cannot be shown in a page that was loaded: %s", name, error)

    def _show_in(self, page: str, name: str, left: Entry | None) -> None:
        with self._lock:
            if name not in self._cards and left is not None and self._is_locked(left.url):
                self._locked[page, name] = left
                return
            if name not in self._cards and left is not None:
                self._cards[name] = self._take_over(left)
            card = self._cards.get(name)
            if card is None or card.page == page or (page, name) in self._in_pages:
                return
            self._in_pages.add((page, name))
            card.show_in(PageRoute(self._session.pages, page, name, card.cell.cell))

    def _take_over(self, left: Entry) -> _Card:
        """The card of a group that another kernel has shown, fed by this one if that is of use."""
        connection = self._connection(left.url)
        ids = list(left.ids)
        feed = self._feed(ids, {connection: ids})
        portal().call(feed.census.look())
        board = feed.board()
        if not feed.census.live:
            return _Card(left.origin, left.shown, "", lambda route: StillScreen(route, left.name).begin(board))
        feed.screen = screen = LiveScreen(Nowhere(), left.name, board, feed.press)
        self._session.pumps.of(connection).add(feed)
        return _Card(left.origin, left.shown, "", screen.show_in)

    def _connection(self, url: str) -> Connection:
        """To a store, of which only the URL without its password is known.

        Raises:
            ValueError: its database is gone.
        """
        if url.startswith("sqlite:") and not settings.sqlite_path(url).exists():
            raise ValueError(f"there is no {url} any more")
        own = self._session.queue().asynchronous().connection
        if own.url == url:
            return own
        return Connection.known(url) or self._session.queue(url).asynchronous().connection

    def _is_locked(self, url: str) -> bool:
        """Whether a store wants a password that nobody here has said."""
        return settings.HIDDEN in url and self._session.queue().url != url and Connection.known(url) is None


def _unsaved(notebook: str, shown: float) -> bool:
    """Whether a notebook was not saved since something was shown in it."""
    try:
        return Path(notebook).stat().st_mtime < shown
    except OSError:
        return True


def _waits(route: Route) -> bool:
    told = os.environ.get("CELLQ_WAIT")
    return told == "1" if told in ("0", "1") else route.headless
