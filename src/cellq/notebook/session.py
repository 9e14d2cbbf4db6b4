"""What one notebook has going: its queues, the cells it has enqueued, and the way back for each.

%%enqueue ─▶ pack ─▶ push ─▶ Inline (portal's thread) ─▶ the cell
                                └ ended ─▶ Doorstep ─▶ merge into the namespace (main thread, between cells)
"""

from __future__ import annotations

import concurrent.futures
import json
import os
from typing import Any

from cellq import settings
from cellq.cell.parcel import pack
from cellq.client.portal import portal
from cellq.client.sync import Job, Queue
from cellq.message import State
from cellq.notebook.inline import Inline
from cellq.notebook.returning import CellJob, Doorstep, Homecoming
from cellq.notebook.route import Route, route_of
from cellq.notebook.trouble import in_cell, raise_again, shown_as
from cellq.notebook.widgets import view_of
from cellq.notebook.workforce import Workforce
from cellq.options import Options


class Session:
    """cellq in one notebook.

    Args:
        shell: the notebook's InteractiveShell.
    """

    def __init__(self, shell: Any) -> None:
        self.workforce = Workforce()
        self._shell = shell
        self._doorstep = Doorstep(shell)
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
        url: str | None,
    ) -> Job[Any]:
        """Send a cell to a worker and show in it what happens.

        Args:
            source: the cell's text below the magic line.
            header: the magic line, with its line end.
            options: how it is to be run; the Job is bound to `options.name`.
            outputs: names that are to come back; None for all, () for none.
            wait: block until it has ended; a failure is then raised here. (Headless runs always wait.)
            url: the store; the notebook's own when None.

        Raises:
            SyntaxError, NotPicklable, TooLarge, StoreUnavailable, ValueError: nothing was enqueued.
        """
        count = _number(self._shell)
        skip = (options.name,) if options.name else ()
        try:
            packed = pack(source, self.namespace, outputs, count, header=header, skip=skip)
        except SyntaxError as error:
            raise in_cell(error, header.count("\n"), count) from None
        queue = self.queue(url).with_options(options)
        route = route_of(self._shell, options.name or f"cell {count}")
        job = CellJob(queue.push_cell(packed.parcel, task=f"cell [{count}]", origin=self._origin(route)))
        if options.name:
            self.namespace[options.name] = job
        inline = Inline(
            job.asynchronous(),
            route,
            view_of(job.id, route, lambda: _ask_to_stop(job)),
            tend=lambda: self._tend(queue),
            on_end=lambda _: self._doorstep.leave(homecoming.come),
        )
        homecoming = Homecoming(job, self.namespace, packed.snapshot, inline.note)
        job.expect(homecoming)
        waits = _waits(wait, route)
        inline.holds_error = waits
        inline.begin(job.row(), list(packed.warnings))
        following = portal().start(inline.follow())
        if waits:
            self._wait(job, inline, following)
        return job

    def _wait(self, job: CellJob[Any], inline: Inline, following: concurrent.futures.Future[None]) -> None:
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
        if job.state is not State.COMPLETED:
            raise_again(job, inline.error)

    async def _tend(self, queue: Queue) -> list[str]:
        if not self.workforce.due(queue):
            return []
        return self.workforce.tend(queue, await queue.asynchronous().workers())

    def _origin(self, route: Route) -> str:
        path = os.environ.get("JPY_SESSION_NAME") or self.namespace.get("__vsc_ipynb_file__") or ""
        return json.dumps({"notebook": str(path), "cell": route.cell_id, "pid": os.getpid()})

    def close(self) -> None:
        """Let go of the shell. Jobs go on."""
        self._doorstep.close()


def _number(shell: Any) -> int:
    """The number of the cell that runs, as its traceback shows it: newer IPythons have counted on by now."""
    upcoming = int(shell.execution_count)
    stored = len(shell.history_manager.input_hist_parsed) - 1
    return stored if stored in (upcoming - 1, upcoming) else upcoming - 1


def _waits(asked: bool, route: Route) -> bool:
    told = os.environ.get("CELLQ_WAIT")
    return asked or (told == "1" if told in ("0", "1") else route.headless)


def _ask_to_stop(job: Job[Any]) -> None:
    """Send the request and return: this may run beside the kernel's main thread."""
    portal().start(job.asynchronous().cancel())
