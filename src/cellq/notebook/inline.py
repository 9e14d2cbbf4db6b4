"""A job, live, under the cell that enqueued it: its card, and what it says.

     store ── something changed ──▶ Inline (a task in the portal's thread)
                                       │ row        ──▶ View  ──▶ the card
                                       │ new events ──▶ Transcript ──▶ Route ──▶ text, figures, errors below it
                                       └ ended      ──▶ on_end(row), once, after the last event

The job's log in the store is the truth; this only mirrors it. It runs in the portal's thread, so it goes on while a
cell blocks the kernel. The first changes go out at once, then at most four updates a second.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from cellq.client.job import AsyncJob
from cellq.errors import CellqError, StoreUnavailable
from cellq.message import Heard, Row, State
from cellq.notebook.card import face_of
from cellq.notebook.route import Route
from cellq.notebook.transcript import Transcript
from cellq.notebook.views import View

log = logging.getLogger("cellq.notebook")

_TICK = 1.0
"""Seconds after which a job is looked at in any case."""

_PATIENCE = 60.0
"""Seconds for which the store may be out of reach before the cell gives up."""


class Pace:
    """At most `rate` updates a second, after a few that may come at once."""

    def __init__(self, rate: float = 4.0, burst: int = 3) -> None:
        self._interval = 1.0 / rate
        self._slack = (burst - 1) * self._interval
        self._next = 0.0

    def pause(self, now: float) -> float:
        """Count one update at `now`; seconds to wait before the next."""
        self._next = max(self._next, now - self._slack) + self._interval
        return max(0.0, self._next - now)


class Inline:
    """Mirrors one job into one cell.

    Args:
        job: the job.
        route: the way to the cell.
        view: its card.
        tend: awaited now and then while the job waits for a worker; gives lines to show.
        on_end: called in the portal's thread once the job has ended and everything it said has been shown.

    Attributes:
        holds_error: the cell waits for its job and raises the job's error itself, so it is not shown here.
        error: the content of that error, as the job showed it.
        trouble: why no worker will take the job; the cell need not wait any more.
    """

    def __init__(
        self,
        job: AsyncJob[Any],
        route: Route,
        view: View,
        *,
        tend: Callable[[], Awaitable[list[str]]],
        on_end: Callable[[Row], None],
        holds_error: bool = False,
    ) -> None:
        self.holds_error = holds_error
        self.error: dict[str, Any] | None = None
        self.trouble: CellqError | None = None
        self._job = job
        self._route = route
        self._view = view
        self._tend = tend
        self._on_end = on_end
        self._row: Row | None = None
        self._notes: list[str] = []
        self._lock = threading.RLock()  # notes come from the main thread too
        self._transcript = Transcript(f"the rest is in the log: %jobs logs {job.short}, or job.logs()")
        self._held: tuple[int, dict[str, Any]] | None = None  # the latest error, and the attempt that raised it
        self._after = 0  # the place in the log up to which it has been shown
        self._pace = Pace()

    def begin(self, row: Row, notes: list[str]) -> None:
        """Show the card for the first time; in the enqueuing cell, so that it stands above all output."""
        self._row = row
        self._notes = list(notes)
        self._view.begin(face_of(row, self._notes))

    def note(self, *lines: str) -> None:
        """Add lines to the card; from any thread."""
        if lines:
            with self._lock:
                self._notes += lines
                self._draw()

    async def follow(self) -> None:
        """Mirror until the job has ended. Never raises: a lost mirror must not disturb the notebook."""
        patience = time.monotonic() + _PATIENCE
        while True:
            try:
                async for row, events in self._job.watch(self._after, tick=_TICK):
                    patience = time.monotonic() + _PATIENCE
                    await self._mirror(row, events)
                assert self._row is not None
                self._on_end(self._row)
            except StoreUnavailable as error:
                if time.monotonic() < patience:
                    log.info("job %s: %s; looking again", self._job.short, error)
                    await asyncio.sleep(_TICK)
                    continue
                self._lose(error)
            except Exception as error:
                self._lose(error)
            return

    async def _mirror(self, row: Row, events: list[Heard]) -> None:
        self._row = row
        if row.state is State.PENDING and self.trouble is None:
            await self._see_to_worker()
        sent = self._publish(self._transcript.messages(events), events[-1].attempt if events else 0)
        self._after = events[-1].seq if events else self._after
        sent += self._settle_error(row)
        sent += self._refresh()
        if sent and not row.state.ended:
            await asyncio.sleep(self._pace.pause(time.monotonic()))

    def _lose(self, error: Exception) -> None:
        log.info("cannot follow job %s", self._job.short, exc_info=error)
        with self._lock:
            self._notes.append(f"its output can no longer be shown here ({error}); job.logs() has it")
            if self._row is not None:
                self._view.end(face_of(self._row, self._notes))

    async def _see_to_worker(self) -> None:
        try:
            self.note(*await self._tend())
        except CellqError as error:
            self.trouble = error
            self.note(*str(error).splitlines())

    def _refresh(self) -> int:
        with self._lock:
            return self._draw()

    def _draw(self) -> int:
        assert self._row is not None
        face = face_of(self._row, self._notes)
        if self._row.state.ended:
            self._view.end(face)
            return 1
        return int(self._view.draw(face))

    def _publish(self, messages: list[tuple[str, dict[str, Any]]], attempt: int) -> int:
        for kind, content in messages:
            if kind == "error":
                self._release_error()
                self._held = (attempt, content)
            elif kind == "clear_output":
                # It takes the card away as well, which is shown again at once: with `wait` nothing flickers.
                assert self._row is not None
                self._route.send(kind, {"wait": True})
                self._view.begin(face_of(self._row, self._notes))
            else:
                self._release_error()
                self._route.send(kind, content)
        return int(bool(messages))

    # An error is shown when it is known what became of the attempt: one that was cancelled ends with KeyboardInterrupt,
    # which nobody needs to see, and one that a waiting cell will raise must not stand there twice.

    def _settle_error(self, row: Row) -> int:
        if self._held is None or (row.state is State.RUNNING and row.attempt <= self._held[0]):
            return 0
        _, content = self._held
        if row.state is State.CANCELLED and content["ename"] == "KeyboardInterrupt":
            self._held = None
        elif row.state.ended and self.holds_error:
            self._held, self.error = None, content
        else:
            return self._release_error()
        return 0

    def _release_error(self) -> int:
        if self._held is None:
            return 0
        _, content = self._held
        self._held = None
        self._route.send("error", content)
        return 1
