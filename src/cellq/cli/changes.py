"""Changing jobs: `cellq cancel`, `cellq retry`, `cellq delete`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from cellq.cli.place import find_jobs, url_option
from cellq.cli.screen import visible
from cellq.client.sync import Job, Queue
from cellq.message import Action, Changed

_WORDS = {
    Action.CANCEL: {
        Changed.DONE: "cancelled",
        Changed.ASKED: "is running; its worker is asked to stop it",
        Changed.ALREADY: "was cancelled already",
        Changed.REFUSED: "has {state} already, there is nothing to cancel",
    },
    Action.RETRY: {
        Changed.DONE: "waits to run once more",
        Changed.ALREADY: "is waiting already",
        Changed.REFUSED: "cannot be retried: it is running, or another live job holds its key",
    },
    Action.DELETE: {
        Changed.DONE: "deleted",
        Changed.REFUSED: "is {state}, only ended jobs can be deleted; cancel it first",
    },
}


def _command(action: Action, change: Callable[[Queue, list[Job[Any]]], list[Changed]], doc: str) -> click.Command:
    @click.command(action.value, help=doc)
    @url_option()
    @click.argument("jobs", metavar="ID...", nargs=-1, required=True)
    def command(url: str, jobs: tuple[str, ...]) -> None:
        with Queue(url) as queue:
            found, complete = find_jobs(queue, jobs)
            for job, what in zip(found, change(queue, found), strict=True):
                refused = what in (Changed.REFUSED, Changed.UNKNOWN)
                words = _WORDS[action].get(what, "is gone: somebody deleted it meanwhile")
                if what is Changed.REFUSED:
                    words = words.format(state=job.state)
                click.echo(f"{job.short} ({visible(job.name)}) {words}", err=refused)
                complete &= not refused
        if not complete:
            sys.exit(1)

    return command


cancel = _command(
    Action.CANCEL,
    Queue.cancel,
    """Stop jobs, or take them out of their queue.

    A running one is interrupted, and killed when it does not stop. The exit code is 1 when one of them could not be
    cancelled.
    """,
)
retry = _command(
    Action.RETRY,
    Queue.retry,
    """Run ended jobs once more.

    Their old results and logs are gone, all their attempts are before them again.
    """,
)
delete = _command(Action.DELETE, Queue.delete, """Delete ended jobs with their results and logs.""")
