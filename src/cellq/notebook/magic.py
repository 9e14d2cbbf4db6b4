"""`%%enqueue`: this cell runs in a background worker, and its output appears here. Also `%jobs` and `%workers`."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from cellq.message import Options
from cellq.notebook.session import Session


@magics_class
class CellqMagics(Magics):
    """The magics of `%load_ext cellq`."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.session = Session(shell)

    @magic_arguments()
    @argument("name", nargs="?", default=None, help="The job gets this name, and its Job is bound to it.")
    @argument("-o", "--outputs", help="Bring back only these names, as in `-o a,b`; `-o -` brings nothing.")
    @argument("-q", "--queue", default="default", help="The queue; workers serve `default` if not told otherwise.")
    @argument("-p", "--priority", type=int, default=0, help="Larger runs first.")
    @argument("--timeout", type=float, help="Stop an attempt after so many seconds.")
    @argument("--retries", type=int, default=0, help="Run it again so many times if it fails.")
    @argument("--delay", type=float, default=0.0, help="Do not start it before so many seconds.")
    @argument("--wait", action="store_true", help="Wait for the job before the next cell runs.")
    @argument("--url", help="The store; the default is $CELLQ_URL or ./.cellq/jobs.db.")
    @cell_magic
    def enqueue(self, line: str, cell: str) -> None:
        """Run this cell in a background worker.

        What the cell needs of the notebook travels along, by value, as it is right now. Its prints, figures, progress
        and last value appear below it, live; the names it assigns come back when it has ended.
        """
        args = parse_argstring(self.enqueue, line)
        if args.name is not None and not args.name.isidentifier():
            raise UsageError(f"%%enqueue: {args.name!r} cannot be the name of a variable")
        try:
            options = Options(
                queue=args.queue,
                name=args.name or "",
                priority=args.priority,
                timeout=args.timeout,
                retries=args.retries,
                delay=args.delay,
            )
        except (TypeError, ValueError) as error:
            raise UsageError(f"%%enqueue: {error}") from None
        self.session.enqueue(
            cell,
            header=f"%%enqueue {line}\n",
            options=options,
            outputs=_names(args.outputs),
            wait=args.wait,
            url=args.url,
        )


def _names(text: str | None) -> tuple[str, ...] | None:
    """The names after `-o`: None for all, () for none."""
    if text is None:
        return None
    if text == "-":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if not name.isidentifier():
            raise UsageError(f"%%enqueue: {name!r} after -o is not a name; write -o a,b or -o - for none")
    return names
