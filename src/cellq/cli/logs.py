"""What a job printed: `cellq logs`."""

from __future__ import annotations

import sys
from typing import Any

import click

from cellq.cli.place import find_job, url_option
from cellq.client.sync import Queue
from cellq.message import Heard, State

_INTERRUPTED = 128 + 2  # as the shell tells of a program that Ctrl-C ended


@click.command()
@url_option()
@click.argument("job", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on, as it prints, until it has ended. Ctrl-C leaves it running.")
def logs(url: str, job: str, follow: bool) -> None:
    """Print what a job printed, or follow it live.

    Standard output and error go where they belong; figures and tables appear as their plain text. ANSI colours reach a
    terminal, and are left out elsewhere.
    """
    try:
        with Queue(url) as queue:
            found = find_job(queue, job)
            pen = _Pen()
            for event in found.events(follow=follow):
                pen.write(event)
            failure = found.refresh().failure
            if failure is not None and found.state is State.FAILED and not pen.told_error:
                pen.aside(failure.traceback or failure.message or failure.cause)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


class _Pen:
    """Writes events down in order, and begins a line for what is not stream text."""

    def __init__(self) -> None:
        self.told_error = False
        self._attempt = 0
        self._open: dict[bool, bool] = {False: False, True: False}  # by stream: is its last line unfinished?

    def write(self, event: Heard) -> None:
        """Print one event."""
        if event.attempt != self._attempt:
            if self._attempt:
                self.aside(f"── attempt {event.attempt} ──")
            self._attempt, self.told_error = event.attempt, False
        content = event.content
        if event.kind == "stream":
            self._put(content["text"], content.get("name") == "stderr")
        elif event.kind in ("execute_result", "display_data", "update_display_data"):
            self._line(_plain(content), False)
        elif event.kind == "error":
            self.told_error = True
            self.aside("\n".join(content["traceback"]))

    def aside(self, text: str) -> None:
        """Print a line of its own to standard error."""
        self._line(text, True)

    def _line(self, text: str, err: bool) -> None:
        text = text.rstrip("\n")
        if text:
            self._put(("\n" if self._open[err] else "") + text + "\n", err)

    def _put(self, text: str, err: bool) -> None:
        if text:
            click.echo(text, nl=False, err=err)
            self._open[err] = not text.endswith("\n")


def _plain(content: dict[str, Any]) -> str:
    text = content.get("data", {}).get("text/plain", "")
    return text if isinstance(text, str) else "".join(text)
