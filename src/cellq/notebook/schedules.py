"""`%schedules`: what is enqueued by cron."""

from __future__ import annotations

from typing import Any

from IPython.core.display_functions import display
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from cellq.client.sync import Schedule
from cellq.errors import CellqError
from cellq.notebook.boards.tables import Table
from cellq.notebook.output.trouble import plainly
from cellq.notebook.session import Session
from cellq.notebook.usage import parsed, wrong_usage

_ACTIONS = {
    "pause": (Schedule.pause, "is paused"),
    "resume": (Schedule.resume, "goes on"),
    "remove": (Schedule.remove, "is removed"),
}


@magics_class
class ScheduleMagics(Magics):
    """`%schedules`.

    Args:
        session: of the notebook.
    """

    def __init__(self, shell: Any, session: Session) -> None:
        super().__init__(shell)
        self.session = session

    @magic_arguments()
    @argument("action", nargs="?", choices=("list", *_ACTIONS), default="list", help="What to do.")
    @argument("name", metavar="NAME", nargs="?", help="The schedule.")
    @argument("--url", metavar="URL", help="The store; the default is $CELLQ_URL or ./.cellq/jobs.db.")
    @line_magic
    def schedules(self, line: str) -> None:
        """List the schedules of the store; pause, resume or remove one. (They are made with `Queue.cron`.)"""
        args = parsed(self.schedules, line)
        if args.action != "list" and args.name is None:
            raise wrong_usage(self.schedules, f"which schedule? write %schedules {args.action} NAME")
        try:
            queue = self.session.queue(args.url)
            found = {one.name: one for one in queue.schedules()}
            if args.action == "list":
                display(_table(list(found.values()), queue.url))
                return
            if args.name not in found:
                raise CellqError(f"there is no schedule {args.name!r}; there is {', '.join(found) or 'none'}")
            change, did = _ACTIONS[args.action]
            change(found[args.name])
            print(f"schedule {args.name} {did}")
        except (CellqError, ValueError) as error:
            raise plainly(error) from None


def _table(schedules: list[Schedule], url: str) -> Table:
    rows = [
        (
            one.name,
            one.expression,
            one.zone,
            "paused" if one.paused else "active",
            "" if one.next is None else f"{one.next:%Y-%m-%d %H:%M}",
            "" if one.last is None else f"{one.last:%Y-%m-%d %H:%M}",
            one.trouble,
        )
        for one in schedules
    ]
    return Table(("name", "expression", "zone", "state", "next", "last", "what else"), rows, f"no schedules in {url}")
