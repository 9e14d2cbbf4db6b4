"""Which jobs this kernel follows, and where each is shown: in cells, and in pages that were loaded since.

     job ─▶ Shown ─┬─ inline ─────▶ the cell that enqueued it (or nowhere: that was another kernel)
                   └─ its twins ─┬▶ a cell that attached to it
                                 └▶ a page that was loaded anew, in place (`cellq.notebook.output.pages`)

A job is followed once for what it gives, and mirrored once for each place. A cell that is run again belongs to its new
run: what its earlier run started goes on, but shows nothing there any more; the new card says so, and offers to stop
the earlier job, or to stop the new one and return.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellq.client.portal import portal
from cellq.errors import CellqError
from cellq.message import Changed, Row
from cellq.notebook.cards.card import Action
from cellq.notebook.cards.views import StaticView, View
from cellq.notebook.cards.widgets import LiveView, view_of
from cellq.notebook.origin import Origin
from cellq.notebook.output.inline import Inline
from cellq.notebook.output.pages import Nowhere, Page, PageRoute, Pages, StandingView
from cellq.notebook.returning import CellJob, Homecoming
from cellq.notebook.route import KernelRoute, Route

log = logging.getLogger("cellq.notebook")


@dataclass(eq=False, slots=True)
class Shown:
    """A job that this kernel follows.

    Attributes:
        live: this kernel has a live card whose model is named after the job alone.
        homecoming: how its names come back; None when they do not.
        again: it was run again since it had ended.
    """

    job: CellJob[Any]
    inline: Inline
    live: bool = False
    homecoming: Homecoming | None = None
    again: bool = False


@dataclass(eq=False, slots=True)
class Place:
    """A cell that shows a job.

    Attributes:
        run: which run of the cell it was, so that one run may enqueue several jobs.
        page: the session of the page that ran it, and finds it by itself.
        attached: the job was not enqueued by this cell.
        replaced: the job of the earlier run of this cell, if that has not ended.
    """

    shown: Shown
    inline: Inline
    route: Route
    cell: Origin
    run: str
    page: str
    attached: bool = False
    replaced: Shown | None = None


class Mirrors:
    """The jobs that one kernel follows.

    Args:
        pages: in which the notebook is open.
        tend: awaited now and then while a job waits for a worker; gives lines about what was done.
        find: gives the job of a card that a page holds and this kernel does not know, and follows it; None if it is
            somebody else's.
        where: awaited with a job and the worker that runs it; gives what people call that worker.
        waits: awaited with a job that is pending, and how it stands; gives what it waits for.
        rest: takes a job that has ended, as it is, and whom to call when it is run again.
    """

    def __init__(
        self,
        pages: Pages,
        tend: Callable[[CellJob[Any]], Awaitable[list[str]]],
        find: Callable[[str], Shown | None],
        where: Callable[[CellJob[Any], bytes], Awaitable[str]],
        waits: Callable[[CellJob[Any], Row], Awaitable[str]],
        rest: Callable[[CellJob[Any], Row, Callable[[Row], None]], None],
    ) -> None:
        self._tend = tend
        self._find = find
        self._where = where
        self._waits = waits
        self._rest = rest
        self._pages = pages
        self._shown: dict[str, Shown] = {}
        self._places: list[Place] = []
        self._in_pages: set[tuple[str, str]] = set()
        self._final: dict[str, set[str]] = {}  # pages that were loaded, and the jobs whose cards there are final
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()  # never taken in the portal's thread, for which a holder may wait
        pages.listen(self._page_loaded)

    def begin(
        self,
        job: CellJob[Any],
        route: Route,
        cell: Origin,
        notes: Sequence[str] = (),
        *,
        holds_error: bool = False,
        attached: bool = False,
    ) -> Place:
        """Show a job in the cell that runs now; it is to be followed.

        Args:
            cell: that cell.
            notes: lines to begin with.
            holds_error: as for `Inline`.
            attached: the cell did not enqueue it.
        """
        run, page = (route.run, route.page) if isinstance(route, KernelRoute) else ("", "")
        row = job.row()
        with self._lock:
            earlier = self._leave(cell, run) if run else None
            shown = self._shown.get(job.id)
            view = self._view(job.id, shown, route)
            if shown is None:
                shown = self._follow(job, route, view, holds_error=holds_error)
                shown.inline.begin(row, notes)
                inline = shown.inline
            else:
                inline = shown.inline.twin(route, view, notes)
            place = Place(shown, inline, route, cell, run, page, attached)
            self._places.append(place)
        if earlier is not None and earlier is not shown and not attached:
            self._offer(place, earlier)
        if isinstance(view, LiveView):
            self._pages.open()
        return place

    def adopt(self, job: CellJob[Any]) -> Place:
        """Follow a job without a cell; pages that hold its card show it. It is to be followed."""
        nowhere = Nowhere()
        row = job.row()
        with self._lock:
            shown = self._follow(job, nowhere, nowhere)
            shown.inline.begin(row, ())
            place = Place(shown, shown.inline, nowhere, Origin.of(row.origin), "", "")
            self._places.append(place)
        return place

    def brought(self, source: str) -> dict[str, int]:
        """What jobs of cells with this text have brought into the notebook; see `Homecoming`."""
        comings = [place.shown.homecoming for place in self._places if place.cell.source == Origin.digest(source)]
        return {name: found for coming in comings if coming is not None for name, found in coming.brought.items()}

    def _follow(self, job: CellJob[Any], route: Route, view: View, *, holds_error: bool = False) -> Shown:
        inline = Inline(
            job.asynchronous(),
            route,
            view,
            tend=lambda: self._tend(job),
            on_end=lambda row: self._rest(job, row, lambda again: self._wake(shown, again)),
            where=lambda worker: self._where(job, worker),
            waits=lambda row: self._waits(job, row),
            holds_error=holds_error,
        )
        shown = self._shown[job.id] = Shown(job, inline, isinstance(view, LiveView))
        return shown

    def _view(self, job_id: str, shown: Shown | None, route: Route) -> View:
        if shown is None or not shown.live:
            view = view_of(job_id, route, self._command)
            if shown is not None:
                shown.live = isinstance(view, LiveView)
            return view
        return view_of(f"{job_id}.{next(self._numbers)}", route, self._command)

    # ------------------------------------------------------------------------------------- cells run again

    def _leave(self, cell: Origin, run: str) -> Shown | None:
        """Take a cell away from its earlier runs; gives the job of the latest that has not ended."""
        left = [place for place in self._places if place.run != run and place.cell.is_cell(cell)]
        for place in left:
            place.inline.leave()
            self._places.remove(place)
        going = [place.shown for place in left if not place.inline.ended and not place.attached]
        return going[-1] if going else None

    def _offer(self, place: Place, earlier: Shown) -> None:
        old, new = earlier.job, place.shown.job
        place.replaced = earlier
        line = f"job {old.short} of this cell still runs (%jobs cancel {old.short}, %jobs attach {old.short})"
        place.inline.offer(
            line,
            Action("cancel", f"Cancel {old.short}", old.id, pressed="Cancelling…"),
            Action("return", f"Return to {old.short}", new.id, pressed="Returning…"),
        )
        earlier.inline.at_end.append(lambda: place.inline.withdraw(line))

    # ------------------------------------------------------------------------------------- buttons

    def _command(self, command: str, job_id: str) -> None:
        """Do what a button asks for, and return at once: this may run beside the kernel's main thread."""
        shown = self._shown.get(job_id)
        if shown is None:
            return
        if command == "cancel":
            portal().start(shown.job.asynchronous().cancel())
        elif command == "retry":
            portal().start(self._retry(shown))
        elif command == "return":
            for place in list(self._places):
                if place.shown is shown and place.replaced is not None:
                    portal().start(self._return(place, place.replaced))

    async def _retry(self, shown: Shown) -> None:
        if await shown.job.asynchronous().retry() is Changed.DONE:
            self._wake(shown, await shown.job._record.look())  # whoever presses a button need not wait for the news

    def _wake(self, shown: Shown, row: Row) -> None:
        """Show a job that is run again wherever it was shown."""
        shown.again = True
        for mirror in (shown.inline, *shown.inline.twins):
            if mirror.restart(row):
                portal().start(mirror.follow())
        portal().start(asyncio.to_thread(self._wake_in_pages, shown.job.id))

    def _wake_in_pages(self, job_id: str) -> None:
        for page in [page for page, final in self._final.items() if job_id in final]:
            self._show_in(page, job_id)

    async def _return(self, place: Place, earlier: Shown) -> None:
        """Stop the new job of a cell, and show the earlier one there again."""
        await place.shown.job.asynchronous().cancel()
        inline = await asyncio.to_thread(self._swap, place, earlier)  # whoever holds the lock may wait for this thread
        await inline.follow()

    def _swap(self, place: Place, earlier: Shown) -> Inline:
        route = place.route
        with self._lock:
            place.inline.leave()
            route.send("clear_output", {"wait": True})
            name = f"cellq-{earlier.job.id}"
            view = StandingView(route, name) if earlier.live else StaticView(route, name)
            inline = earlier.inline.twin(route, view)
            self._places.remove(place)
            self._places.append(Place(earlier, inline, route, place.cell, place.run, place.page))
        return inline

    # ------------------------------------------------------------------------------------- pages

    def _page_loaded(self, page: Page) -> None:
        self._final[page.session] = set(page.final)
        # A page shows a notebook as it was saved: what was enqueued or has ended since it cannot know of.
        unsaved = [place.shown.job.id for place in self._places if place.cell.cell and _unsaved(place)]
        news = [job_id for job_id in unsaved if job_id not in page.final or self._shown[job_id].again]
        for job_id in dict.fromkeys([*page.jobs, *news]):
            try:
                self._show_in(page.session, job_id)
            except (CellqError, ValueError) as error:
                log.info("job %s cannot be shown in a page that was loaded: %s", job_id, error)

    def _show_in(self, page: str, job_id: str) -> None:
        with self._lock:
            shown = self._shown.get(job_id) or self._find(job_id)
            at_home = any(place.page == page and place.shown is shown for place in self._places)
            if shown is None or at_home or (page, job_id) in self._in_pages:
                return
            self._in_pages.add((page, job_id))
            cells = [place.cell.cell for place in self._places if place.shown is shown and not place.attached]
            route = PageRoute(self._pages, page, job_id, cells[-1] if cells else "")
            view: View
            if shown.inline.ended:
                view = StaticView(route, f"cellq-{job_id}")
            elif shown.live:
                view = StandingView(route, f"cellq-{job_id}")
            else:
                view = self._view(job_id, shown, route)
            twin = shown.inline.twin(route, view)
        portal().start(twin.follow())


def _unsaved(place: Place) -> bool:
    """Whether the notebook was not saved since the job of a place has ended."""
    ended = place.inline.ended_at
    if ended is None:
        return True
    try:
        return Path(place.cell.notebook).stat().st_mtime < ended
    except OSError:
        return False
