"""A job's output, live, under the cell that enqueued it.

     store ── something changed ──▶ Inline (a task in the portal's thread) ──▶ Route ──▶ the cell
                                       │ row  ──▶ card: state, bars, notes
                                       │ new events ──▶ coalesced, capped ──▶ stream, displays, error
                                       └ ended ──▶ on_end(row), once, after the last event

The job's log in the store is the truth; this only mirrors it. It runs in the portal's thread, so it goes on while a
cell blocks the kernel. At most four updates a second go out per job, text is joined, and beyond a hundred kilobytes
only the log keeps it: a front end redraws a cell's whole text with each piece.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from typing import Any

from cellq.client.job import AsyncJob
from cellq.message import Heard, Row
from cellq.notebook import card
from cellq.notebook.route import Route

log = logging.getLogger("cellq.notebook")

INTERVAL = 0.25
"""Seconds between two updates of one cell."""

TEXT_CAP = 100_000
"""Characters of printed text shown per attempt; the rest is in `job.logs()`."""

_TICK = 1.0


class Inline:
    """Mirrors one job into one cell.

    Args:
        job: the job.
        route: the way to the cell.
        hold_error: keep back the job's error: the waiting cell raises it itself.
        on_end: called in the portal's thread once the job has ended and everything it said has been shown.
    """

    def __init__(
        self,
        job: AsyncJob[Any],
        route: Route,
        *,
        hold_error: bool,
        on_end: Callable[[Row], None],
    ) -> None:
        self.row: Row | None = None
        self.notes: list[str] = []
        self.error: dict[str, Any] | None = None
        self._job = job
        self._route = route
        self._hold_error = hold_error
        self._on_end = on_end
        self._display_id = f"cellq-{job.id}"
        self._shown = ""
        self._attempt = 0
        self._text_left = TEXT_CAP
        self._cut = False

    def begin(self, row: Row) -> None:
        """Show the card for the first time; in the enqueuing cell, so that it stands above all output."""
        self.row = row
        bundle = card.bundle(row, self.notes)
        self._shown = bundle["text/html"]
        self._route.show(self._display_id, bundle, update=False)

    async def follow(self) -> None:
        """Mirror until the job has ended. Never raises: a lost mirror must not disturb the notebook."""
        try:
            async for row, events in self._job.watch(tick=_TICK):
                self.row = row
                started = time.monotonic()
                for kind, content in self._coalesced(events):
                    self._publish(kind, content)
                self.refresh()
                if not row.state.ended:
                    await asyncio.sleep(max(0.0, INTERVAL - (time.monotonic() - started)))
            assert self.row is not None
            self._on_end(self.row)
        except Exception as error:
            log.exception("cannot follow job %s", self._job.short)
            self.note(f"its output can no longer be shown here ({error}); cellq.attach or job.logs() has it")

    def note(self, text: str) -> None:
        """Add a line to the card."""
        self.notes.append(text)
        self.refresh()

    def refresh(self) -> None:
        """Draw the card anew if it would look different."""
        if self.row is None:
            return
        bundle = card.bundle(self.row, self.notes)
        if bundle["text/html"] != self._shown:
            self._shown = bundle["text/html"]
            self._route.show(self._display_id, bundle, update=True)

    def _publish(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "error" and self._hold_error:
            self.error = content
        elif kind == "clear_output":
            # It would clear the card as well, which is then shown anew above what follows.
            self._route.send(kind, content)
            if self.row is not None:
                self.begin(self.row)
        else:
            self._route.send(kind, content)

    def _coalesced(self, events: list[Heard]) -> list[tuple[str, dict[str, Any]]]:
        """The events as messages: text of one stream joined, overwritten lines dropped, all of it capped."""
        messages: list[tuple[str, dict[str, Any]]] = []
        for event in events:
            if event.attempt != self._attempt:
                if self._attempt:
                    messages.append(("stream", {"name": "stderr", "text": f"── attempt {event.attempt} ──\n"}))
                self._attempt, self._text_left, self._cut = event.attempt, TEXT_CAP, False
            content = event.content
            if event.kind != "stream":
                messages.append((event.kind, content))
                continue
            piece = self._capped(content["text"])
            last = messages[-1] if messages else None
            if last is not None and last[0] == "stream" and last[1]["name"] == content["name"]:
                last[1]["text"] += piece
            elif piece:
                messages.append(("stream", {"name": content["name"], "text": piece}))
        for kind, content in messages:
            if kind == "stream":
                content["text"] = overwritten(content["text"])
        return messages

    def _capped(self, text: str) -> str:
        if len(text) <= self._text_left:
            self._text_left -= len(text)
            return text
        kept, self._text_left = text[: self._text_left], 0
        if not self._cut:
            self._cut = True
            kept += f"\n… the rest is in the log: cellq logs {self._job.short} or job.logs()\n"
        return kept


_BEFORE_RETURN = re.compile(r"[^\n\r]*\r(?!\n)(?=[^\n]*\r(?!\n))")


def overwritten(text: str) -> str:
    """Text without the parts of lines that later parts overwrite by a carriage return; the last one is kept."""
    return _BEFORE_RETURN.sub("", text) if "\r" in text else text
