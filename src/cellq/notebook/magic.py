"""`%%enqueue`: this cell runs in a background worker, and its output appears here. Also `%jobs` and `%workers`."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import Any

from IPython.core.display_functions import display
from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from cellq.client.sync import Job, Queue
from cellq.errors import CellqError, WorkerUnavailable
from cellq.message import Changed
from cellq.notebook import tables
from cellq.notebook.session import Session
from cellq.notebook.transcript import TEXT_CAP
from cellq.notebook.trouble import plainly
from cellq.options import Options
from cellq.worker import launch

_START = 20.0
"""Seconds that a worker gets to come up."""

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
class CellqMagics(Magics):
    """The magics of `%load_ext cellq`."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.session = Session(shell)

    @magic_arguments()
    @argument(
        "name", metavar="NAME", nargs="?", default=None, help="What the job is called; its Job gets this name too."
    )
    @argument("-o", "--outputs", metavar="NAMES", help="Bring back only these names (`-o a,b`), or none (`-o -`).")
    @argument(
        "-q",
        "--queue",
        metavar="QUEUE",
        default="default",
        help="The queue; workers serve `default` if not told otherwise.",
    )
    @argument("-p", "--priority", metavar="N", type=int, default=0, help="Larger runs first.")
    @argument("--timeout", metavar="S", type=float, help="Stop an attempt after so many seconds.")
    @argument("--retries", metavar="N", type=int, default=0, help="Run it again so many times if it fails.")
    @argument("--delay", metavar="S", type=float, default=0.0, help="Do not start it before so many seconds.")
    @argument("--wait", action="store_true", help="Wait for the job before the next cell runs.")
    @argument("--url", metavar="URL", help="The store; the default is $CELLQ_URL or ./.cellq/jobs.db.")
    @cell_magic
    def enqueue(self, line: str, cell: str) -> None:
        """Run this cell in a background worker.

        What the cell needs of the notebook travels along, by value, as it is right now. Its prints, figures, progress
        and last value appear below it, live; the names it assigns come back when it has ended.
        """
        args = _parsed(self.enqueue, line)
        if args.name is not None and not args.name.isidentifier():
            raise _usage(self.enqueue, f"{args.name!r} cannot be the name of a variable")
        if not cell.strip():
            raise _usage(self.enqueue, "the cell is empty: write what is to run below this line")
        try:
            outputs = _names(args.outputs)
            options = Options(
                queue=args.queue,
                name=args.name or "",
                priority=args.priority,
                timeout=args.timeout,
                retries=args.retries,
                delay=args.delay,
            )
        except (TypeError, ValueError) as error:
            raise _usage(self.enqueue, str(error)) from None
        try:
            self.session.enqueue(
                cell,
                header=f"%%enqueue {line}".rstrip() + "\n",
                options=options,
                outputs=outputs,
                wait=args.wait,
                url=args.url,
            )
        except (CellqError, ValueError) as error:
            raise error if hasattr(error, "_render_traceback_") else plainly(error) from None

    @magic_arguments()
    @argument("action", nargs="?", choices=("list", "cancel", "retry", "logs"), default="list", help="What to do.")
    @argument("job", metavar="JOB", nargs="?", help="The job: its id as shown, or the variable that holds it.")
    @argument("-n", "--limit", metavar="N", type=int, default=20, help="List so many, the newest first.")
    @argument("--url", metavar="URL", help="The store; the default is $CELLQ_URL or ./.cellq/jobs.db.")
    @line_magic
    def jobs(self, line: str) -> None:
        """Show the jobs of the store; cancel one, run one again, print what one has printed."""
        args = _parsed(self.jobs, line)
        try:
            queue = self.session.queue(args.url)
            if args.action == "list":
                display(tables.jobs(queue.recent(args.limit), queue.url))
                return
            if args.job is None:
                raise _usage(self.jobs, f"which job? write %jobs {args.action} ID")
            job = self._job(args.job, queue)
            if args.action == "logs":
                print(_end_of(job.logs()), end="")
            else:
                changed = job.cancel() if args.action == "cancel" else job.retry()
                print(f"job {job.short} ({job.name}) {_DONE.get((args.action, changed), changed.value)}")
        except (CellqError, ValueError) as error:
            raise plainly(error) from None

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
        """Show the workers of the store; start one on this machine, or ask those on this machine to end.

        Workers that were started here outlive the notebook and end by themselves after ten minutes without a job.
        """
        args = _parsed(self.workers, line)
        if args.slots is not None and args.slots < 1:
            raise _usage(self.workers, f"a worker needs at least one slot, not {args.slots}")
        try:
            queue = self.session.queue(args.url, args.queue)
            if args.action == "start":
                worker = self.session.workforce.start(queue, args.slots)
                _wait_for(worker, queue)
            elif args.action == "stop":
                asked = self.session.workforce.stop(queue.workers())
                told = ", ".join(str(worker.pid) for worker in asked)
                print(f"asked to finish and end: {told}" if asked else "no worker runs on this machine")
                return
            display(tables.workers(queue.workers(), queue.url))
        except (CellqError, ValueError) as error:
            raise plainly(error) from None


def _parsed(magic: Any, line: str) -> Namespace:
    try:
        args: Namespace = parse_argstring(magic, line)
    except UsageError as error:
        raise _usage(magic, str(error)) from None
    return args


def _usage(magic: Any, said: str) -> UsageError:
    """What is wrong, and how the magic is used."""
    sign = "%%" if magic.__name__ == "enqueue" else "%"
    words = " ".join(magic.parser.format_usage().partition("%")[2].split())
    return UsageError(f"{said}\nusage: {sign}{words}")


def _names(text: str | None) -> tuple[str, ...] | None:
    """The names after `-o`: None for all, () for none."""
    if text is None:
        return None
    if text == "-":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not name.isidentifier():
            raise ValueError(f"{name!r} after -o is not a name; write -o a,b or -o - for none")
    return names


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
