"""`cellq top`: a live view of queues, workers and running jobs, until `q`.

    store ── NEWS ──▶ look ──▶ Picture ──▶ tables ──▶ Frame ──▶ terminal    four times a second at most;
                       ▲                                ▲                   what stands there already is not
                   every 2 s                         Keyboard               written again
           (what nobody announces:
            CPU, memory, a worker that is gone)

`picture` reads, `tables` puts it into words, `live` is the terminal. One look is a count and one page of running jobs,
as many as the screen has lines for: it costs the same among a million jobs. Where there is no terminal, the words are
printed once, as plain text.
"""

from __future__ import annotations

import asyncio
import os
import sys

import click

from cellq.cli.place import opened, url_option
from cellq.cli.screen import print_table, visible
from cellq.cli.top import tables
from cellq.cli.top.live import Top
from cellq.cli.top.picture import Gauges, Picture, look
from cellq.store import shown_url

_JOBS = 20
"""How many running jobs are shown where there is no terminal that could be full."""

_MEASURE = 0.2
"""Seconds over which the CPU is measured for a single picture."""


@click.command()
@url_option()
@click.option("--once", is_flag=True, help="Print one picture as plain text, and end; so too without a terminal.")
def top(url: str, once: bool) -> None:
    """Watch queues, workers and running jobs live.

    The arrows or j and k choose a queue or a running job, c cancels the job, p pauses or resumes the queue, q leaves.
    """
    if once or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        _print(asyncio.run(_picture(url)), url)
    else:
        asyncio.run(_watch(url))


async def _watch(url: str) -> None:
    async with opened(url) as store:
        await Top(store, shown_url(url)).run()


async def _picture(url: str) -> Picture:
    async with opened(url) as store:
        gauges = Gauges()
        await look(store, gauges, lambda _: _JOBS)
        await asyncio.sleep(_MEASURE)
        gauges.stale()
        return await look(store, gauges, lambda _: _JOBS)


def _print(picture: Picture, url: str) -> None:
    click.echo(f"{visible(shown_url(url))}: {tables.told(picture)}")
    for table in (tables.queues(picture), tables.workers(picture), tables.jobs(picture)):
        click.echo()
        if table.lines:
            print_table(table.headings, [line.cells for line in table.lines], elastic=table.elastic)
        else:
            click.echo(table.empty)
        if table.more:
            click.echo(table.more)
