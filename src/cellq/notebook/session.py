"""What one notebook has going: its queues, the cells it has enqueued, and the way back for each.

%%enqueue ─▶ pack ─▶ push ─┬─▶ Inline (portal's thread) ─▶ the cell
cellq.attach(job) ─────────┘      └ ended ─▶ Doorstep ─▶ merge into the namespace (main thread, between cells)

Which job is shown where, also after a reload of the page, is known by `cellq.notebook.output.mirrors`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cellq import settings
from cellq.cell.digest import Undigestible
from cellq.cell.parcel import Snapshot, pack
from cellq.cell.stub import stubs
from cellq.client.portal import portal
from cellq.client.sync import Job, Queue
from cellq.errors import CellqError
from cellq.message import Kind, Row, State
from cellq.notebook import comeback
from cellq.notebook.boards.pump import Pumps
from cellq.notebook.cards.whereabouts import Whereabouts
from cellq.notebook.lookout import Lookout
from cellq.notebook.once import because, key_of, ran_before
from cellq.notebook.origin import Origin
from cellq.notebook.output.inline import Inline
from cellq.notebook.output.mirrors import Mirrors, Place, Shown
from cellq.notebook.output.pages import Pages
from cellq.notebook.output.trouble import in_cell, raise_again, shown_as
from cellq.notebook.returning import CellJob, Doorstep, Homecoming
from cellq.notebook.route import Route, route_of
from cellq.notebook.sleepers import Sleepers
from cellq.notebook.workforce import Workforce, session_of
from cellq.options import Options

_LOOK = 3.0
"""Seconds that a look at what was left behind may take when the notebook is opened."""


class Session:
    """cellq in one notebook.

    Args:
        shell: the notebook's InteractiveShell.
    """

    def __init__(self, shell: Any) -> None:
        self.workforce = Workforce()
        self.lookout = Lookout(self.workforce)
        self._shell = shell
        self._doorstep = Doorstep(shell)
        self.pages = Pages()
        self.pumps = Pumps()
        self.sleepers = Sleepers(self.pumps, lambda url: self.queue(url).asynchronous().connection)
        self._mirrors = Mirrors(self.pages, self._tend, self._find, self._where, self._waits, self._rest)
        self._whereabouts = Whereabouts()
        self._queues: dict[str, Queue] = {}
        self._default = settings.store_url()

    @property
    def namespace(self) -> dict[str, Any]:
        """The notebook's names."""
        found: dict[str, Any] = self._shell.user_ns
        return found

    def queue(self, url: str | None = None, name: str = "default") -> Queue:
        """The notebook's queue of this name in a store; one connection per store.

        Args:
            url: `CELLQ_URL` when None, or else the database in the folder where the notebook began: one that changes
                its directory later keeps its jobs.

        Raises:
            ValueError: the URL is none.
        """
        full = settings.store_url(url or os.environ.get("CELLQ_URL") or self._default)
        if full not in self._queues:
            self._queues[full] = Queue(full)
        return self._queues[full].with_options(Options(queue=name))

    def enqueue(
        self,
        source: str,
        *,
        header: str,
        options: Options,
        outputs: tuple[str, ...] | None,
        wait: bool,
        once: bool,
        url: str | None,
    ) -> Job[Any]:
        """Send a cell to a worker and show in it what happens.

        Args:
            source: the cell's text below the magic line.
            header: the magic line, with its line end.
            options: how it is to be run; the Job is bound to `options.name`.
            outputs: names that are to come back; None for all, () for none.
            wait: block until it has ended; a failure is then raised here. (Headless runs always wait.)
            once: give the job that this cell had or has with the same inputs, instead of another.
            url: the store; the notebook's own when None.

        Raises:
            SyntaxError, NotPicklable, TooLarge, StoreUnavailable, ValueError: nothing was enqueued.
        """
        count = _number(self._shell)
        skip: tuple[str, ...] = (options.name,) if options.name else ()
        skip += stubs(self.namespace, session_of(options.queue))
        try:
            packed = pack(source, self.namespace, outputs, count, header=header, skip=skip)
        except SyntaxError as error:
            raise in_cell(error, header.count("\n"), count) from None
        route = route_of(self._shell, options.name or f"cell {count}")
        cell = Origin.here(self.namespace, route.cell_id, source)
        notes = list(packed.warnings)
        found = None
        if once:
            own = self._mirrors.brought(source)
            try:
                options = replace(options, key=key_of(source, self.namespace, outputs, skip, own))
                found = ran_before(self.queue(url), str(options.key))
            except Undigestible as error:
                notes.append(f"--once has no effect: {error}")
        queue = self.queue(url).with_options(options)
        job = CellJob(found or queue.push_cell(packed.parcel, task=f"cell [{count}]", origin=cell.text()))
        if url is not None and cell.notebook and queue.url != self.queue().url:
            comeback.note_store(cell.notebook, queue.url)
        row = job.row()
        there = found is not None or row.origin != cell.text()  # or another kernel was quicker
        if there:
            notes = [because(row)]
        if options.name:
            self.namespace[options.name] = job
        waits = _waits(wait, route)
        place = self._mirrors.begin(job, route, cell, notes, holds_error=waits, attached=there)
        self._expect(place, packed.snapshot)
        self._follow(place, waits)
        return job

    def attach(self, job: Job[Any] | str) -> Job[Any]:
        """Show a job in the cell that runs now: all it has said so far, then what it says until it has ended.

        Of a cell's job the names come back too, those that do not exist here; so does the variable that holds the job.

        Args:
            job: the job or its id, of which the last digits are enough; of whatever notebook or program.

        Raises:
            TypeError, ValueError, Expired, StoreUnavailable: there is no such job, or no way to it.
        """
        if not isinstance(job, Job):
            job = self.queue().get(job)
        route = route_of(self._shell, job.name)
        cell = Origin.here(self.namespace, route.cell_id)
        place = self._mirrors.begin(CellJob(job), route, cell, attached=True)
        shown = place.shown
        if shown.homecoming is None and job.row().kind is Kind.CELL:
            self._expect(place, None)
            self._bind(shown.job)
        self._follow(place, _waits(False, route), raises=False)
        return shown.job

    def come_back(self) -> str:
        """Follow what kernels before this one have left unfinished; their cells show it where the page allows.

        Returns:
            A line about it; "" when there is nothing.
        """
        here = Origin.here(self.namespace)
        found: list[Job[Any]] = []

        def look() -> None:
            for url in self._stores(here):
                with contextlib.suppress(CellqError, ValueError):  # whoever enqueues something will be told
                    found.extend(comeback.left_behind(self.queue(url), here))

        # A server that does not answer must not keep a notebook from being opened.
        looking = threading.Thread(target=look, name="cellq-comeback", daemon=True)
        looking.start()
        looking.join(_LOOK)
        jobs = list(found)
        route = route_of(self._shell, "cellq")
        if not route.headless:  # there a name that comes at some moment would make runs differ
            for job in jobs:
                self._adopt(job)
            if route.widgets and (jobs or (here.notebook and comeback.open_cards(Path(here.notebook)))):
                self.pages.open()
        return comeback.told([job.row() for job in jobs]) if jobs else ""

    def close(self) -> None:
        """Let go of the shell. Jobs go on."""
        self.sleepers.close()
        self.pages.close()
        self._doorstep.close()

    def _adopt(self, job: Job[Any]) -> Shown:
        """Follow a job of a kernel that is gone; from any thread."""
        place = self._mirrors.adopt(CellJob(job))
        shown = place.shown
        self._expect(place, None)
        self._doorstep.leave(lambda: self._bind(shown.job))
        portal().start(shown.inline.follow())
        return shown

    def _find(self, job_id: str) -> Shown | None:
        """A job whose card a page holds, if its kernel is gone.

        Raises:
            Expired, StoreUnavailable: it is nowhere.
        """
        own, *others = self._stores(Origin.here(self.namespace))
        try:
            return self._left(self.queue(own).get(job_id))
        except CellqError:
            for url in others:
                with contextlib.suppress(CellqError):
                    return self._left(self.queue(url).get(job_id))
            raise

    def _left(self, job: Job[Any]) -> Shown | None:
        return None if Origin.of(job.row().origin).lives() else self._adopt(job)

    def _stores(self, here: Origin) -> list[str | None]:
        """Where jobs of this notebook may be: in its own store, and in those that its cells have named."""
        named = comeback.stores_of(here.notebook) if here.notebook else []
        return [None, *(url for url in named if not url.startswith("sqlite:") or settings.sqlite_path(url).exists())]

    def _expect(self, place: Place, sent: Snapshot | None) -> None:
        """Have the names of a cell's job come back when it has ended and `place` has shown it all."""
        shown = place.shown
        if shown.homecoming is not None:
            shown.homecoming.waive()
        session = session_of(shown.job.line[1])
        homecoming = shown.homecoming = Homecoming(shown.job, self.namespace, sent, shown.inline.note, session)
        shown.job.expect(homecoming)
        place.inline.at_end.append(lambda: self._doorstep.leave(homecoming.come))
        place.inline.at_home = self._doorstep.leave
        if place.cell.notebook:
            place.inline.at_end.append(lambda: comeback.see_end(place.cell.notebook, shown.job.id))

    def _bind(self, job: Job[Any]) -> None:
        """The variable that was to hold a job, unless there is one."""
        name = job.row().name
        if name.isidentifier() and name not in self.namespace:
            self.namespace[name] = job

    def _follow(self, place: Place, waits: bool, *, raises: bool = True) -> None:
        """Mirror a job in its cell; block the cell until everything is shown, if it `waits`."""
        following = portal().start(place.inline.follow())
        if waits:
            self._wait(place.shown.job, place.inline, following, raises)

    def _wait(
        self, job: CellJob[Any], inline: Inline, following: concurrent.futures.Future[None], raises: bool
    ) -> None:
        """Block this cell until its job has ended and everything is shown; a failure becomes the cell's own."""
        try:
            while not following.done():
                concurrent.futures.wait([following], 0.5)
                if inline.trouble is not None and job.state is State.PENDING:
                    raise shown_as(inline.trouble, str(inline.trouble).splitlines())
            job.wait()
        except KeyboardInterrupt as interrupt:
            inline.holds_error = False
            told = f"interrupted: the cell no longer waits, job {job.short} goes on"
            inline.note(told)
            raise shown_as(interrupt, [f"KeyboardInterrupt: {told}"]) from None
        self._doorstep.bring_in()
        if raises and job.state is not State.COMPLETED:
            raise_again(job, inline.error)

    async def _tend(self, job: CellJob[Any]) -> list[str]:
        return await self.lookout.look(job._record.connection, job.line[1])

    async def _waits(self, job: CellJob[Any], row: Row) -> str:
        return await self.lookout.waits(job._record.connection, row)

    def _rest(self, job: CellJob[Any], row: Row, wake: Callable[[Row], None]) -> None:
        self.sleepers.lay(job._record.connection.full_url, row, wake)

    async def _where(self, job: CellJob[Any], worker: bytes) -> str:
        return await self._whereabouts.of(worker, self.queue(*job.line).asynchronous())


def _number(shell: Any) -> int:
    """The number of the cell that runs, as its traceback shows it: newer IPythons have counted on by now."""
    upcoming = int(shell.execution_count)
    stored = len(shell.history_manager.input_hist_parsed) - 1
    return stored if stored in (upcoming - 1, upcoming) else upcoming - 1


def _waits(asked: bool, route: Route) -> bool:
    told = os.environ.get("CELLQ_WAIT")
    return asked or (told == "1" if told in ("0", "1") else route.headless)
