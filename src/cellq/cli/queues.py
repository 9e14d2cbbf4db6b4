"""Queues as a whole: `cellq size`, `pause`, `resume`, `limit`, `clear`, `prune`."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import click

from cellq.cli.place import opened, url_option
from cellq.cli.screen import duration, iso, number, print_json, print_table, visible
from cellq.client.sync import Queue
from cellq.errors import CellqError
from cellq.message import Action, Changed, Counts, Filter, QueueCount, QueueSettings, State
from cellq.timetable import own_counts

_PAGE = 500


_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def _age(text: str) -> float:
    """The seconds of a time span: 7d, 12h, 30m, 45s, or seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", text.strip().lower(), re.ASCII)
    if found is None:
        raise click.BadParameter(f"{visible(text)!r} is no time span; write 7d, 12h, 30m, 45s, or seconds")
    return float(found[1]) * _UNITS[found[2]]


# ------------------------------------------------------------------------------------------------ counting


@click.command()
@url_option()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for autoscalers.")
def size(url: str, as_json: bool) -> None:
    """Count jobs by queue and state.

    With --json, an object with the keys queues, total, workers, slots and busy. queues maps the name of each queue to
    its counts (pending, running, completed, failed, cancelled), paused, max_running (how many of its jobs may run at
    once, or null), oldest (when its oldest pending job was enqueued, ISO 8601 in UTC, or null) and waiting (for how
    many seconds that job has been waiting, or null); total has the counts of all queues; slots and busy are sums over
    the workers that are alive.
    """
    counts = asyncio.run(_count(url))
    total = {state.value: sum(line.states.get(state, 0) for line in counts.queues.values()) for state in State}
    if as_json:
        print_json(
            {
                "queues": {name: _record(line) for name, line in counts.queues.items()},
                "total": total,
                "workers": len(counts.workers),
                "slots": sum(worker.slots for worker in counts.workers),
                "busy": sum(worker.busy for worker in counts.workers),
            }
        )
        return
    if not counts.queues:
        click.echo("no jobs")
        return
    print_table(
        ("queue", *(state.value for state in State), "oldest waits", ""),
        [
            (
                name,
                *(f"{line.states.get(state, 0):,}" for state in State),
                "" if line.oldest is None else duration(time.time() - line.oldest),
                rules(line),
            )
            for name, line in counts.queues.items()
        ],
        elastic=("queue",),
    )


async def _count(url: str) -> Counts:
    async with opened(url) as store:
        return own_counts(await store.count())


def rules(line: QueueCount) -> str:
    """What holds a queue back."""
    said = ["paused"] if line.paused else []
    if line.max_running is not None:
        said.append(f"at most {line.max_running:,} at once")
    return ", ".join(said)


def _record(line: QueueCount) -> dict[str, Any]:
    return {
        **{state.value: line.states.get(state, 0) for state in State},
        "paused": line.paused,
        "max_running": line.max_running,
        "oldest": iso(line.oldest),
        "waiting": None if line.oldest is None else round(max(0.0, time.time() - line.oldest), 3),
    }


# ---------------------------------------------------------------------------------------- pausing, clearing


@click.command()
@url_option()
@click.argument("queue")
def pause(url: str, queue: str) -> None:
    """Start no more jobs of a queue until it is resumed.

    Jobs that run already run on.
    """
    with Queue(url, _named(queue)) as line:
        line.pause()
    click.echo(f"queue {visible(queue)} is paused")


@click.command()
@url_option()
@click.argument("queue")
def resume(url: str, queue: str) -> None:
    """Take a pause back."""
    with Queue(url, _named(queue)) as line:
        line.resume()
    click.echo(f"queue {visible(queue)} goes on")


@click.command()
@url_option()
@click.argument("queue")
@click.argument("most", metavar="N", type=click.IntRange(min=0, max=2**31 - 1))
def limit(url: str, queue: str, most: int) -> None:
    """Let at most N jobs of a queue run at once.

    On all workers together; 0 lifts the limit. Jobs that run already run on.
    """
    with Queue(url, _named(queue)) as line:
        line.limit(most or None)
    said = f"runs at most {number(most, 'job')} at once" if most else "has no limit"
    click.echo(f"queue {visible(queue)} {said}")


@click.command()
@url_option()
@click.argument("queue")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def clear(url: str, queue: str, yes: bool) -> None:
    """Delete the jobs that wait in a queue.

    Those that run run on, those that have ended stay.
    """
    line = asyncio.run(_count(url)).queues.get(_named(queue))
    waiting = line.states.get(State.PENDING, 0) if line is not None else 0
    if not waiting:
        click.echo(f"no job waits in queue {visible(queue)}")
        return
    if not yes:
        waits = "that waits" if waiting == 1 else "that wait"
        click.confirm(f"Delete {number(waiting, 'job')} {waits} in queue {visible(queue)}?", abort=True)
    deleted = asyncio.run(_clear(url, queue))
    click.echo(f"{number(deleted, 'job')} deleted")


async def _clear(url: str, queue: str) -> int:
    """Cancel and delete what is pending.

    The queue is paused meanwhile: a job that a worker has claimed between the look and the cancelling would be stopped.
    """
    async with opened(url) as store:
        line = (await store.count()).queues.get(queue)
        was_paused = line is not None and line.paused
        deleted, after = 0, None
        await store.tune(queue, QueueSettings(paused=True))
        try:
            while True:
                page = await store.find(Filter(queue=queue, states=(State.PENDING,)), after, _PAGE)
                ids = [row.id for row in page.rows]
                changed = await store.change(ids, Action.CANCEL)
                gone = [job_id for job_id, what in zip(ids, changed, strict=True) if what is Changed.DONE]
                deleted += (await store.change(gone, Action.DELETE)).count(Changed.DONE)
                after = page.after
                if after is None:
                    return deleted
        finally:
            await store.tune(queue, QueueSettings(paused=was_paused))


def _named(queue: str) -> str:
    if not queue:
        raise CellqError("the name of a queue must not be empty")
    return queue


# ------------------------------------------------------------------------------------------------- pruning


@click.command()
@url_option()
@click.option("--completed", metavar="AGE", type=_age, help="Delete those that completed so long ago.")
@click.option("--failed", metavar="AGE", type=_age, help="Delete those that failed so long ago.")
@click.option("--cancelled", metavar="AGE", type=_age, help="Delete those that were cancelled so long ago.")
def prune(url: str, completed: float | None, failed: float | None, cancelled: float | None) -> None:
    """Delete jobs that ended long ago.

    Of all queues, with their results and logs. An AGE is 7d, 12h, 30m, 45s, or a number of seconds; 0 means all of
    them.
    """
    if completed is None and failed is None and cancelled is None:
        raise click.UsageError("say what to delete, for example: cellq prune --completed 7d --failed 30d")
    with Queue(url) as queue:
        removed = queue.prune(completed=completed, failed=failed, cancelled=cancelled)
    click.echo(f"{number(removed, 'job')} deleted")
