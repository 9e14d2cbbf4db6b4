"""The end of what a job has said, as plain text: what a table shows under its line."""

from __future__ import annotations

import re

from cellq.client.connection import Connection
from cellq.message import Heard, Row, State
from cellq.notebook.output.transcript import overwritten

MOST_LINES = 100
_MOST = 20_000  # characters
_PAGE = 1000  # events

_CODES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07]*(\x07|\x1b\\)|[@-Z\\-_])")


class Tail:
    """The end of one job's log; each `read` goes on where the last one stopped.

    Attributes:
        text: the last lines.
    """

    def __init__(self) -> None:
        self.text = ""
        self._after = 0
        self._attempt = 0
        self._life: object = None  # a retried job begins a new log
        self._cut = False

    async def read(self, connection: Connection, row: Row) -> None:
        """Read what is new.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        life = (row.state is State.PENDING, row.attempt)
        if life == self._life and row.state is not State.RUNNING:
            return  # it says nothing any more
        if row.attempt < self._attempt or row.state is State.PENDING:
            self._after, self._attempt, self.text, self._cut = 0, 0, "", False
        store = await connection.ready()
        while True:
            page = await store.tail(row.id, self._after, _PAGE)
            if not page.events:
                break
            self._after = page.next
            for event in page.events:
                self._take(event)
            self._shorten()
        self._life = life if row.state is not State.RUNNING else None

    def _take(self, event: Heard) -> None:
        if event.attempt != self._attempt:
            self._attempt, self.text, self._cut = event.attempt, "", False
        if event.kind == "stream":
            self.text += str(event.content["text"])
        elif event.kind == "error":
            self._paragraph("\n".join(event.content["traceback"]))
        elif event.kind in ("display_data", "execute_result"):
            self._paragraph(str(event.content["data"].get("text/plain", "")))
        elif event.kind == "clear_output":
            self.text = ""

    def _paragraph(self, text: str) -> None:
        gap = "" if not self.text or self.text.endswith("\n") else "\n"
        self.text += f"{gap}{text}\n"

    def _shorten(self) -> None:
        self.text = overwritten(self.text)
        lines = self.text[-_MOST:].split("\n")
        self._cut |= len(self.text) > _MOST or len(lines) > MOST_LINES + 1
        self.text = "\n".join(lines[-MOST_LINES - 1 :])

    def shown(self, row: Row) -> str:
        """What is to be shown of a job in this state: its last lines, or why there are none."""
        lines = _CODES.sub("", self.text).rstrip().split("\n")
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)
        if row.failure is not None and row.failure.cause != "exception" and row.state is not State.COMPLETED:
            text = f"{text}\n{row.failure.message}".strip()
        if not text and row.failure is not None and row.state is State.FAILED:
            text = _CODES.sub("", row.failure.traceback or row.failure.message).rstrip()
        if text:
            return f"… (job.logs() has all)\n{text}" if self._cut else text
        if row.state is State.PENDING:
            return "(it has not started)"
        return "(nothing so far)" if row.state is State.RUNNING else "(it said nothing)"
