"""`%jobs` and `%workers`: the whole queue, and who works on it."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any

from IPython.core.display_functions import display, publish_display_data
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from cellq.client.portal import portal
from cellq.client.sync import Job, Queue
from cellq.errors import CellqError, WorkerUnavailable
from cellq.message import Changed
from cellq.notebook.boards import tables
from cellq.notebook.boards.jobs import JobsFeed
from cellq.notebook.boards.screens import LiveScreen, live_boards
from cellq.notebook.boards.showing import Showing
from cellq.notebook.boards.workers import WorkersFeed
from cellq.notebook.output.transcript import TEXT_CAP
from cellq.notebook.output.trouble import plainly
from cellq.notebook.route import Route, route_of
from cellq.notebook.session import Session
from cellq.notebook.usage import parsed, wrong_usage
from cellq.notebook.workforce import Address
from cellq.worker import launch

log = logging.getLogger("cellq.notebook")

_START = 20.0
"""Seconds that a worker gets to come up."""

_ACTIONS = ("list", "cancel", "retry", "logs", "attach")

_DONE = {
    ("cancel", Changed.DONE): "is cancelled",
    ("cancel", Changed.ASKED): "is being stopped",
    ("cancel", Changed.ALREADY): "was cancelled already",
    ("cancel", Changed.REFUSED): "has ended, there is nothing to cancel",
    ("retry", Changed.DONE): "waits to be run again",
    ("retry", Changed.ALREADY): "is waiting already",
    ("retry", Changed.REFUSED): "is running; cancel it first",
}


@magics_class
class OverviewMagics(Magics):
    """`%jobs` and `%workers`.

    Args:
        session: of the notebook.
    """

    def __init__(self, shell: Any, session: Session) -> None:
        super().__init__(shell)
        self.session = session
        self.showing = Showing(shell, session)

    @magic_arguments()
    @argument(
        "action", nargs="?", choices=("list", "cancel", "retry", "logs", "attach"), default="list", help="What to do."
    )
    @argument("job", metavar="JOB", nargs="?", help="The job: its id as shown, or the variable that holds it.")
    @argument("-n", "--limit", metavar="N", type=int, default=20, help="List so many, the newest first.")
    @argument("--url", metavar="URL", help="The store; the default is $CELLQ_URL or ./.cellq/jobs.db.")
    @line_magic
    def jobs(self, line: str) -> None:
        """Show the jobs of the store, live; cancel one, run one again, print what one has printed, attach one here.

        An attached job is shown in this cell as if it had been enqueued here: its card, its output, its last value.
        """
        args = parsed(self.jobs, line)
        if args.limit < 1:
            raise wrong_usage(self.jobs, f"a table needs at least one line, not {args.limit}")
        try:
            queue = self.session.queue(args.url)
            if args.action == "list":
                self._show_jobs(queue, args.limit)
                return
            if args.job is None:
                raise wrong_usage(self.jobs, f"which job? write %jobs {args.action} ID")
            job = self._job(args.job, queue)
            if args.action == "attach":
                self.session.attach(job)
            elif args.action == "logs":
                print(_end_of(job.logs()), end="")
            else:
                changed = job.cancel() if args.action == "cancel" else job.retry()
                print(f"job {job.short} ({job.name}) {_DONE.get((args.action, changed), changed.value)}")
        except (CellqError, ValueError) as error:
            raise plainly(error) from None

    def _show_jobs(self, queue: Queue, limit: int) -> None:
        route = route_of(self.shell, "%jobs")
        if not live_boards(route):
            display(tables.jobs(queue.recent(limit), queue.url))
            return
        connection = queue.asynchronous().connection
        self._show(JobsFeed(connection, self.session.pumps.of(connection), limit), route)

    def _show_workers(self, queue: Queue) -> None:
        route = route_of(self.shell, "%workers")
        if not live_boards(route):
            display(tables.workers(queue.workers(), queue.url))
            return
        connection = queue.asynchronous().connection
        pump, workforce = self.session.pumps.of(connection), self.session.workforce
        self._show(WorkersFeed(connection, pump, workforce, queue.name), route)

    def _show(self, feed: JobsFeed | WorkersFeed, route: Route) -> None:
        board = portal().call(feed.board())
        name = f"cellq-{board.kind}-{uuid.uuid4().hex}"
        try:
            feed.screen = LiveScreen(route, name, board, feed.press, feed.watch)
        except Exception:  # ipykernel 7.0.0, a broken installation
            log.info("cannot show a live table", exc_info=True)
            publish_display_data(board.bundle())
            return
        feed.screen.begin(board)
        feed.watch(True)

    def _job(self, text: str, queue: Queue) -> Job[Any]:
        held = self.session.namespace.get(text)
        return held if isinstance(held, Job) else queue.get(text)

    @magic_arguments()
    @argument("action", nargs="?", choices=("list", "start", "stop"), default="list", help="What to do.")
    @argument("-n", "--slots", metavar="N", type=int, help="How many cells and calls the new worker runs at a time.")
    @argument("-q", "--queue", metavar="QUEUE", default="default", help="The queue that the new worker serves.")
    @argument("--url", metavar="URL", help="The store; the default is $CELLQ_URL or ./.cellq/jobs.db.")
    @line_magic
    def workers(self, line: str) -> None:
        """Show the workers of the store, live; start one on this machine, or ask those on this machine to end.

        Workers that were started here outlive the notebook and end by themselves after ten minutes without a job.
        """
        args = parsed(self.workers, line)
        if args.slots is not None and args.slots < 1:
            raise wrong_usage(self.workers, f"a worker needs at least one slot, not {args.slots}")
        try:
            queue = self.session.queue(args.url, args.queue)
            if args.action == "start":
                address = Address.of(queue.asynchronous().connection, queue.name)
                worker = self.session.workforce.start(address, args.slots)
                _wait_for(worker, queue)
            elif args.action == "stop":
                asked = self.session.workforce.stop(queue.workers())
                told = ", ".join(str(worker.pid) for worker in asked)
                print(f"asked to finish and end: {told}" if asked else "no worker runs on this machine")
                return
            self._show_workers(queue)
        except (CellqError, ValueError) as error:
            raise plainly(error) from None


def _end_of(log: str) -> str:
    """A log as it can be printed into a cell: the end of it."""
    if len(log) <= TEXT_CAP:
        return log
    return f"… {len(log) - TEXT_CAP:,} characters more above: job.logs() has all\n{log[-TEXT_CAP:]}"


def _wait_for(worker: launch.Launched, queue: Queue) -> None:
    """Wait until a worker has come up.

    Raises:
        WorkerUnavailable: it has died, or takes too long.
    """
    deadline = time.monotonic() + _START
    while worker.pid not in {found.pid for found in queue.workers()}:
        worker.check()
        if time.monotonic() > deadline:
            raise WorkerUnavailable(f"the worker has not come up within {_START:.0f} s; its log is {worker.log}")
        time.sleep(0.05)
