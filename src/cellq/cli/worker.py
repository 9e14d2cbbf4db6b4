"""A worker in the foreground: `cellq worker`."""

from __future__ import annotations

import logging
import sys

import click

from cellq.app import Worker
from cellq.cli.place import url_option


@click.command()
@url_option(existing=False)
@click.option("-q", "--queue", "queues", multiple=True, help="A queue to serve; may be given several times.")
@click.option("-n", "--slots", default=2, show_default=True, help="How many calls and cells run at a time.")
@click.option("--concurrency", default=100, show_default=True, help="How many coroutine jobs run at a time.")
@click.option("--lease", default=15.0, show_default=True, help="Seconds of silence until others take its jobs back.")
@click.option("--grace", default=2.0, show_default=True, help="Seconds between asking a job to stop and killing it.")
@click.option("--drain", default=10.0, show_default=True, help="Seconds that running jobs get at shutdown.")
@click.option("--idle-exit", type=float, help="End after so many seconds without a job.")
@click.option("--max-jobs", type=int, help="Replace a slot's process after so many jobs.")
@click.option("--max-memory", type=int, help="Replace a slot's process that holds more bytes after a job.")
@click.option("--preload", multiple=True, help="A module to import ahead of need, so that jobs find it loaded.")
@click.option(
    "--log-level", default="INFO", show_default=True, type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"])
)
def worker(
    url: str,
    queues: tuple[str, ...],
    slots: int,
    concurrency: int,
    lease: float,
    grace: float,
    drain: float,
    idle_exit: float | None,
    max_jobs: int | None,
    max_memory: int | None,
    preload: tuple[str, ...],
    log_level: str,
) -> None:
    """Run jobs until Ctrl-C (once: finish what runs; twice: now)."""
    try:
        made = Worker(
            queues or ("default",),
            url=url,
            slots=slots,
            concurrency=concurrency,
            lease=lease,
            grace=grace,
            drain=drain,
            idle_exit=idle_exit,
            max_jobs=max_jobs,
            max_memory=max_memory,
            preload=preload,
        )
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("cellq").setLevel(log_level)  # DEBUG is about cellq; libraries would drown it
    made.run()
