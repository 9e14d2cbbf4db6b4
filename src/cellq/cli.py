"""The command line: `cellq worker`, `jobs`, `show`, `logs`, `cancel`, `retry`, `workers`, `prune`, `doctor`."""

from __future__ import annotations

import logging
import sys

import click

from cellq.app import Worker
from cellq.errors import CellqError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A job queue for notebooks."""


@cli.command()
@click.option("--url", help="The store; the default is $CELLQ_URL or ./.cellq/jobs.db.")
@click.option("-q", "--queue", "queues", multiple=True, help="A queue to serve; may be given several times.")
@click.option("-n", "--slots", default=2, show_default=True, help="How many calls and cells run at a time.")
@click.option("--concurrency", default=100, show_default=True, help="How many coroutine jobs run at a time.")
@click.option("--lease", default=15.0, show_default=True, help="Seconds of silence until others take its jobs back.")
@click.option("--grace", default=2.0, show_default=True, help="Seconds between asking a job to stop and killing it.")
@click.option("--drain", default=10.0, show_default=True, help="Seconds that running jobs get at shutdown.")
@click.option("--idle-exit", type=float, help="End after so many seconds without a job.")
@click.option("--max-jobs", type=int, help="Replace a slot's process after so many jobs.")
@click.option("--max-memory", type=int, help="Replace a slot's process that holds more bytes after a job.")
@click.option("--preload", multiple=True, help="A module that every slot has imported before its first job.")
@click.option(
    "--log-level", default="INFO", show_default=True, type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"])
)
def worker(
    url: str | None,
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
    logging.basicConfig(level=log_level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    Worker(
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
    ).run()


def main() -> None:
    """The entry point: errors of cellq's own are one line for people, not a traceback."""
    try:
        cli(prog_name="cellq")
    except (CellqError, ValueError, TypeError) as error:
        click.echo(f"cellq: {error}", err=True)
        sys.exit(1)
