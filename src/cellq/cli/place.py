"""The store that a command works on, and the jobs in it that the caller names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import click

from cellq import settings
from cellq.cli.screen import visible
from cellq.client.sync import Job, Queue
from cellq.errors import CellqError, StoreUnavailable
from cellq.store import open_store
from cellq.store.contract import Store

F = TypeVar("F", bound=Callable[..., Any])


def url_option(*, existing: bool = True) -> Callable[[F], F]:
    """The option `--url`; the command gets the full URL.

    Args:
        existing: refuse a store that is not there. To look at a store must not create one.
    """

    def settle(_: click.Context, __: click.Parameter, given: str | None) -> str:
        try:
            url = settings.store_url(given)
            if not url.startswith("sqlite:"):
                open_store(url)  # which reads the URL, and nothing else
        except ValueError as error:
            raise click.BadParameter(visible(str(error))) from error
        if existing or url.startswith("memory:"):
            missing = what_is_missing(url)
            if missing:
                raise StoreUnavailable(missing)
        return url

    return click.option(
        "--url",
        metavar="URL",
        callback=settle,
        help="The store: sqlite:///PATH, a path, or redis://…; the default is $CELLQ_URL or ./.cellq/jobs.db.",
    )


def what_is_missing(url: str) -> str:
    """Why there is nothing to look at behind a full URL; empty when there may be."""
    if url.startswith("memory:"):
        return f"{url} lives inside one program, and no other can reach it; there, use: with cellq.Worker(queue): ..."
    if url.startswith("sqlite:"):
        path = settings.sqlite_path(url)
        if not path.exists():
            return (
                f"no store is at {path}. The first job enqueued there makes it; "
                f"if yours is elsewhere, run cellq there, give --url or set CELLQ_URL"
            )
    return ""


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """The store behind a full URL, open.

    Raises:
        StoreUnavailable: it cannot be opened.
    """
    store = open_store(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def find_job(queue: Queue, text: str) -> Job[Any]:
    """The job with this id, full or short.

    Raises:
        CellqError: there is none, or several.
    """
    try:
        return queue.get(text)
    except ValueError as error:
        raise CellqError(str(error)) from error


def find_jobs(queue: Queue, texts: Iterable[str]) -> tuple[list[Job[Any]], bool]:
    """The jobs with these ids, each once, and whether all were found; those that were not are told of here."""
    found: dict[Job[Any], None] = {}
    complete = True
    for text in texts:
        try:
            found[find_job(queue, text)] = None
        except StoreUnavailable:
            raise
        except CellqError as error:
            complete = False
            click.echo(f"cellq: {visible(str(error))}", err=True)
    return list(found), complete
