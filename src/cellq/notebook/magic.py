"""`%%enqueue`: this cell runs in a background worker, and its output appears here. (The other magics: `overview`.)"""

from __future__ import annotations

from typing import Any

from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from cellq.errors import CellqError
from cellq.notebook import housekeeping
from cellq.notebook.output.trouble import plainly
from cellq.notebook.session import Session
from cellq.notebook.usage import parsed, wrong_usage
from cellq.notebook.workforce import queue_of
from cellq.options import Options


@magics_class
class CellqMagics(Magics):
    """`%%enqueue`."""

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
    @argument(
        "--once", action="store_true", help="Not again: take the job that the same cell had with the same inputs."
    )
    @argument(
        "--session", metavar="NAME", help="Run it in the process of this session, behind what was sent there before."
    )
    @argument("--url", metavar="URL", help="The store; the default is $CELLQ_URL or ./.cellq/jobs.db.")
    @cell_magic
    def enqueue(self, line: str, cell: str) -> Any:
        """Run this cell in a background worker.

        What the cell needs of the notebook travels along, by value, as it is right now. Its prints, figures, progress
        and last value appear below it, live; the names it assigns come back when it has ended.
        """
        args = parsed(self.enqueue, line)
        if args.name is not None and not args.name.isidentifier():
            raise wrong_usage(self.enqueue, f"{args.name!r} cannot be the name of a variable")
        if not cell.strip():
            raise wrong_usage(self.enqueue, "the cell is empty: write what is to run below this line")
        try:
            outputs = _names(args.outputs)
            if args.session is not None and (args.queue != "default" or args.priority or args.delay):
                raise ValueError("cells of a session run in order: --session takes no -q, -p or --delay")
            options = Options(
                queue=args.queue if args.session is None else queue_of(args.session),
                name=args.name or "",
                priority=args.priority,
                timeout=args.timeout,
                retries=args.retries,
                delay=args.delay,
            )
        except (TypeError, ValueError) as error:
            raise wrong_usage(self.enqueue, str(error)) from None
        own = housekeeping.lines_of(cell) if args.name is None and args.session is None else []
        if own:
            return housekeeping.keep(self.shell, own)
        try:
            self.session.enqueue(
                cell,
                header=f"%%enqueue {line}".rstrip() + "\n",
                options=options,
                outputs=outputs,
                wait=args.wait,
                once=args.once,
                url=args.url,
            )
        except (CellqError, ValueError) as error:
            raise error if hasattr(error, "_render_traceback_") else plainly(error) from None
        return None


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
