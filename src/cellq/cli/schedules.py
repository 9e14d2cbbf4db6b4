"""Schedules: `cellq schedules`, and `cellq schedules pause | resume | remove`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from cellq.cli.place import url_option
from cellq.cli.screen import iso, print_json, print_table, visible
from cellq.client.sync import Queue, Schedule
from cellq.errors import CellqError

_ACTIONS = {
    "pause": (Schedule.pause, "is paused"),
    "resume": (Schedule.resume, "goes on"),
    "remove": (Schedule.remove, "is removed"),
}


@click.command()
@url_option()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("action", type=click.Choice(["list", *_ACTIONS]), default="list", metavar="[pause|resume|remove]")
@click.argument("names", metavar="[NAME...]", nargs=-1)
def schedules(url: str, as_json: bool, action: str, names: tuple[str, ...]) -> None:
    """List what is enqueued by cron; pause, resume or remove it.

    A paused schedule enqueues nothing; the instants that pass meanwhile count as missed when it is resumed: one is made
    up for all of them, or none, as the schedule says. Calls that are enqueued already run in any case.

    With --json, an array of objects with the keys name, expression, zone, missed (once, skip), task, queue, state
    (active, paused), next, last (the instant that was ticked last) and trouble (why it could not be ticked). Times are
    ISO 8601 in UTC; what there is not is null.
    """
    with Queue(url) as queue:
        found = queue.schedules()
        if action == "list":
            if names:
                raise click.UsageError(f"what is to be done with {visible(names[0])}? pause, resume or remove")
            _list(found, as_json)
            return
        if not names:
            raise click.UsageError(f"which schedule? write: cellq schedules {action} NAME")
        by_name = {one.name: one for one in found}
        for name in names:
            if name not in by_name:
                raise CellqError(
                    f"there is no schedule {name!r} in {queue.url}; there is {', '.join(by_name) or 'none'}"
                )
        change, did = _ACTIONS[action]
        for name in names:
            change(by_name[name])
            click.echo(f"schedule {visible(name)} {did}")


def _list(found: list[Schedule], as_json: bool) -> None:
    if as_json:
        print_json([_record(one) for one in found])
        return
    if not found:
        click.echo("no schedules")
        return
    print_table(
        ("name", "expression", "zone", "state", "next", "last", "what else"),
        [
            (one.name, one.expression, one.zone, _state(one), _told(one.next), _told(one.last), one.trouble)
            for one in found
        ],
        elastic=("name", "what else"),
    )


def _state(schedule: Schedule) -> str:
    return "paused" if schedule.paused else "active"


def _told(moment: datetime | None) -> str:
    """A time as the clocks of the schedule's zone show it."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _record(schedule: Schedule) -> dict[str, Any]:
    """A schedule as programs read it."""
    return {
        "name": schedule.name,
        "expression": schedule.expression,
        "zone": schedule.zone,
        "missed": schedule.missed,
        "task": schedule.task,
        "queue": schedule.options.queue,
        "state": _state(schedule),
        "next": iso(_epoch(schedule.next)),
        "last": iso(_epoch(schedule.last)),
        "trouble": schedule.trouble or None,
    }
