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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from cellq.client.job import AsyncJob
from cellq.errors import CellqError, StoreUnavailable
from cellq.message import Heard, Row, State
from cellq.notebook.cards.card import Action, Face, face_of
from cellq.notebook.cards.views import View
from cellq.notebook.output.transcript import Transcript
from cellq.notebook.output.widgets import Widgets
from cellq.notebook.route import Route

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
        tend: awaited now and then while the job waits for a worker; gives lines about what was done.
        on_end: called in the portal's thread once the job has ended and all but its card's last state has been shown.
        where: awaited with the id of the worker that runs the job; gives what people call it.
        waits: awaited with the job while it is pending; gives what it waits for.

    Attributes:
        holds_error: the cell waits for its job and raises the job's error itself, so it is not shown here.
        error: the content of that error, as the job showed it.
        trouble: why no worker will take the job; the cell need not wait any more.
        twins: mirrors of the same job elsewhere.
        at_end: called as `on_end` is.
        at_home: calls what it is given once what the job gave is in the notebook; by itself that is at once.
    """

    def __init__(
        self,
        job: AsyncJob[Any],
        route: Route,
        view: View,
        *,
        tend: Callable[[], Awaitable[list[str]]],
        on_end: Callable[[Row], None],
        where: Callable[[bytes], Awaitable[str]] | None = None,
        waits: Callable[[Row], Awaitable[str]] | None = None,
        holds_error: bool = False,
    ) -> None:
        self.holds_error = holds_error
        self.twins: list[Inline] = []
        self.at_end: list[Callable[[], None]] = []
        self.at_home: Callable[[Callable[[], None]], None] = _at_once
        self.error: dict[str, Any] | None = None
        self.trouble: CellqError | None = None
        self._job = job
        self._route = route
        self._view = view
        self._tend = tend
        self._where = where
        self._waits = waits
        self._waits_for = ""
        self._worker: tuple[bytes, str] = (b"", "")  # who runs it, and what people call that
        self._on_end = on_end
        self._row: Row | None = None
        self._notes: list[str] = []
        self._lock = threading.RLock()  # notes come from the main thread too
        self._rest = f"the rest is in the log: %jobs logs {job.short}, or job.logs()"
        self._transcript = Transcript(self._rest)
        self._widgets = Widgets(self._tell, drawn=route.widgets or route.headless)
        self._held: tuple[int, dict[str, Any]] | None = None  # the latest error, and the attempt that raised it
        self._after = 0  # the place in the log up to which it has been shown
        self._actions: tuple[Action, ...] = ()
        self._left = False
        self._pace = Pace()

    @property
    def ended(self) -> bool:
        """The job is known to have ended."""
        return self._row is not None and self._row.state.ended

    @property
    def ended_at(self) -> float | None:
        """When the job ended (epoch seconds), as far as known."""
        return self._row.finished if self._row is not None and self._row.state.ended else None

    def begin(self, row: Row, notes: Sequence[str]) -> None:
        """Show the card for the first time; in the enqueuing cell, so that it stands above all output."""
        self._row = row
        self._notes = list(notes)
        self._view.begin(self._face())

    def note(self, *lines: str) -> None:
        """Add lines to the card; from any thread."""
        if lines:
            with self._lock:
                self._notes += lines
                self._draw()
            for twin in self.twins:
                twin.note(*lines)

    def offer(self, line: str, *actions: Action) -> None:
        """Add a line with buttons for what it says, until it is withdrawn or the job has ended; from any thread."""
        with self._lock:
            self._actions = actions
            self.note(line)

    def withdraw(self, line: str) -> None:
        """Take an offer back; from any thread."""
        with self._lock:
            self._actions = ()
            if line in self._notes:
                self._notes.remove(line)
                self._draw()

    def twin(self, route: Route, view: View, notes: Sequence[str] | None = None) -> Inline:
        """The same job, shown elsewhere too. Begun, and to be followed; what is noted here is noted there from now on.

        Args:
            notes: lines to begin with; those of this one when None.
        """
        other = Inline(self._job, route, view, tend=_nobody, on_end=_nothing, where=self._where, waits=self._waits)
        other.at_home = self.at_home
        with self._lock:
            assert self._row is not None
            self.twins.append(other)
            other.begin(self._row, self._notes if notes is None else notes)
        return other

    def leave(self) -> None:
        """Send nothing more to the cell: it belongs to somebody else now. The job is followed to its end."""
        self._left = True

    def restart(self, row: Row) -> bool:
        """The job was run again: show it anew, in place of how it ended. It is to be followed once more.

        Its old log is gone from the store, and so it goes from the cell.

        Args:
            row: the job as it is now.

        Returns:
            False, and nothing is done, when that is known already.
        """
        with self._lock:
            known = self._row
            if known is None or not known.state.ended or known.ended == row.ended:
                return False
            if row.state.ended:  # again: that is shown when all it has said is
                row = replace(row, state=State.RUNNING, finished=None, failure=None)
            self._row = row
            self._notes, self._after, self._held, self.error, self.trouble = [], 0, None, None, None
            self.holds_error = False
            self._transcript = Transcript(self._rest)
            self._widgets.clear()
            self._send("clear_output", {"wait": True})
            if not self._left:
                self._view.begin(self._face())
        return True

    async def follow(self) -> None:
        """Mirror until the job has ended. Never raises: a lost mirror must not disturb the notebook."""
        patience = time.monotonic() + _PATIENCE
        while True:
            try:
                async for row, events in self._job.watch(self._after, tick=_TICK):
                    patience = time.monotonic() + _PATIENCE
                    await self._mirror(row, events)
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
        if row.state is State.PENDING and self._waits is not None:
            self._waits_for = await self._waits(row)
        sent = self._publish(self._transcript.messages(events), events[-1].attempt if events else 0)
        self._after = events[-1].seq if events else self._after
        sent += self._settle_error(row)
        if self._where is not None and row.worker is not None and row.worker != self._worker[0]:
            self._worker = (row.worker, await self._where(row.worker))
        if not row.state.ended:
            sent += self._refresh()
            if sent:
                await asyncio.sleep(self._pace.pause(time.monotonic()))
        elif not events:
            # First the names, then the word: whoever reads "completed" and runs the next cell finds them there.
            self._on_end(row)
            for call in self.at_end:
                call()
            self.at_home(self._widgets.show)
            self._refresh()

    def _lose(self, error: Exception) -> None:
        log.info("cannot follow job %s", self._job.short, exc_info=error)
        with self._lock:
            self._notes.append(f"its output can no longer be shown here ({error}); job.logs() has it")
            if self._row is not None:
                self._view.end(self._face())

    async def _see_to_worker(self) -> None:
        try:
            told = await self._tend()
            self.note(*(line for line in told if line not in self._notes))
        except CellqError as error:
            self.trouble = error
            self.note(*str(error).splitlines())

    def _refresh(self) -> int:
        with self._lock:
            return self._draw()

    def _face(self) -> Face:
        assert self._row is not None
        face = face_of(self._row, self._notes, where=self._worker[1], waits=self._waits_for)
        return face if self._row.state.ended else replace(face, actions=(*face.actions, *self._actions))

    def _draw(self) -> int:
        face = self._face()
        if face.state.ended:
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
                self._widgets.clear()
                self._send(kind, {"wait": True})
                if not self._left:
                    self._view.begin(self._face())
            else:
                if not self.holds_error:  # what comes after an error (figures, as a rule) is shown before it
                    self._release_error()
                self._send(kind, content)
        return int(bool(messages))

    # An error is shown when it is known what became of the attempt: one that was cancelled ends with KeyboardInterrupt,
    # which nobody needs to see, and one that a waiting cell will raise must not stand there twice.

    def _settle_error(self, row: Row) -> int:
        if self._held is None or (row.state is State.RUNNING and row.attempt <= self._held[0]):
            return 0
        _, content = self._held
        if row.state is State.CANCELLED and content["ename"] == "KeyboardInterrupt":
            self._held = None
        elif row.state.ended and row.state is not State.COMPLETED and self.holds_error:
            self._held, self.error = None, content
        else:
            return self._release_error()
        return 0

    def _release_error(self) -> int:
        if self._held is None:
            return 0
        _, content = self._held
        self._held = None
        self._send("error", content)
        return 1

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        self._widgets.send(kind, content)

    def _tell(self, kind: str, content: dict[str, Any]) -> None:
        if not self._left:
            self._route.send(kind, content)


async def _nobody() -> list[str]:
    return []


def _at_once(call: Callable[[], None]) -> None:
    call()


def _nothing(_: Row) -> None:
    return None
