"""The terminal of `cellq top`: what is looked at when, which line is chosen, and what keys do.

Two things go on beside each other. `_watch` reads the store when it rings, and never more often than `_APART` allows or
than a twentieth of the time; `run` draws what has changed, whoever changed it. Keys change what is chosen at once, and
what they ask of the store is a task of its own, so that a slow store does not hold up the keyboard.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Coroutine
from typing import Any

from rich.console import Console
from rich.live import Live

from cellq.cli.screen import visible
from cellq.cli.top import tables
from cellq.cli.top.frame import Foot, Frame, cut, room
from cellq.cli.top.keys import HANG_UP, Keyboard
from cellq.cli.top.picture import Gauges, Picture, look
from cellq.cli.top.tables import Line, name_of
from cellq.errors import StoreUnavailable
from cellq.message import Action, Changed, Counts, QueueSettings, Row, Topic
from cellq.store.contract import Store

_APART = 0.25
"""Seconds between two looks at a store that rings all the time."""

_SHARE = 20
"""A look that takes long is followed by this many times as long without one."""

_TICK = 2.0
"""Seconds after which the store is looked at without news."""

_CLOCK = 1.0
"""Seconds after which the times of running jobs are drawn anew."""

_AGAIN = 1.0
"""Seconds between two tries while the store is out of reach."""

_CANCELLED = {
    Changed.DONE: "was cancelled before it had started again",
    Changed.ASKED: "is running; its worker is asked to stop it",
    Changed.ALREADY: "was cancelled already",
    Changed.REFUSED: "has ended already, there is nothing to cancel",
}


class Top:
    """A store on a terminal.

    Args:
        store: an open one.
        place: its URL for people.
    """

    def __init__(self, store: Store, place: str) -> None:
        self._store = store
        self._place = place
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._keyboard = Keyboard(self._press)
        self._gauges = Gauges()
        self._looking = asyncio.Lock()
        self._picture: Picture | None = None
        self._drawn: Frame | None = None
        self._pages: list[tuple[bytes | None, int]] = [(None, 0)]  # where each begins, and how many are before it
        self._chosen: bytes | str | None = None
        self._at = 0  # where the chosen line was, among those that can be chosen
        self._asking: Row | None = None
        self._note = ""
        self._trouble = ""
        self._changed = asyncio.Event()
        self._leaving = False
        self._broken: Exception | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Show it until somebody leaves; then the terminal is as it was.

        Raises:
            CellqError: it cannot be shown any longer. (A store that is out of reach is waited for.)
        """
        loop = asyncio.get_running_loop()
        handlers = {
            signal.SIGINT: self._leave,
            signal.SIGTERM: self._leave,
            signal.SIGHUP: self._leave,
            signal.SIGWINCH: self._resized,
            signal.SIGTSTP: self._suspend,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            self._do(self._watch())
            with self._keyboard, self._live:
                while not self._leaving:
                    self._changed.clear()
                    self._draw()
                    ticking = self._picture is not None and self._picture.running
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_CLOCK if ticking else None):
                            await self._changed.wait()
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._broken is not None:
            raise self._broken

    # ------------------------------------------------------------------------------------------- looking

    async def _watch(self) -> None:
        cursor = 0
        while True:
            try:
                cursor = await self._store.wait(Topic.NEWS, cursor, _TICK)
                began = time.monotonic()
                await self._look()
                took = time.monotonic() - began
            except StoreUnavailable as error:
                self._trouble = f"trying again: {error}"
                self._changed.set()
                await asyncio.sleep(_AGAIN)
                continue
            await asyncio.sleep(max(_APART, _SHARE * took))

    async def _look(self) -> None:
        async with self._looking:
            while True:
                page, earlier = self._pages[-1]
                self._picture = await look(self._store, self._gauges, self._room, page=page, earlier=earlier)
                if self._picture.running or len(self._pages) == 1:
                    break
                self._pages.pop()  # all of this page have ended
            self._trouble = ""
            self._changed.set()

    def _room(self, counts: Counts) -> int:
        return room(self._console.height, counts)

    # ------------------------------------------------------------------------------------------- drawing

    def _draw(self) -> None:
        frame = self._frame()
        if frame is not None and frame != self._drawn:
            self._live.update(frame.drawn(), refresh=True)
            self._drawn = frame

    def _frame(self) -> Frame | None:
        picture = self._picture
        if picture is None:
            return None
        width, height = self._console.size
        shown = cut((tables.queues(picture), tables.workers(picture), tables.jobs(picture)), height, picture.counts)
        self._choose([*shown[0].lines, *shown[2].lines], len(shown[0].lines))
        return Frame(width, height, self._place, tables.told(picture), shown, self._chosen, self._foot(picture))

    def _foot(self, picture: Picture) -> Foot:
        if self._asking is not None:
            return Foot(f"Cancel {name_of(self._asking)}? y/n", "bold yellow")
        if self._trouble:
            return Foot(self._trouble, "bold red")
        if self._note:
            return Foot(self._note, "bold")
        queue = self._queue()
        paused = queue is not None and queue in picture.counts.queues and picture.counts.queues[queue].paused
        return Foot(f"q quit   ↑↓ choose   c cancel   p {'resume' if paused else 'pause'}")

    # ------------------------------------------------------------------------------------------ choosing

    def _choose(self, lines: list[Line], queues: int) -> None:
        """See to it that one of these lines is chosen: the same as before, or the one that is in its place now.

        Args:
            queues: how many of them, the first ones, are about queues.
        """
        keys = [line.key for line in lines]
        if self._chosen in keys:
            self._at = keys.index(self._chosen)
        elif keys:
            if self._chosen is None:
                self._at = queues  # the first running job
            self._at = min(self._at, len(keys) - 1)
            self._chosen = keys[self._at]

    def _move(self, step: int) -> None:
        if self._drawn is None or self._picture is None:
            return
        queues, _, jobs = self._drawn.tables
        keys = [line.key for line in (*queues.lines, *jobs.lines)]
        to = self._at + step
        if to >= len(keys) and self._picture.after is not None:
            self._turn(forward=True)
        elif to < len(queues.lines) <= self._at and len(self._pages) > 1:
            self._turn(forward=False)
        elif keys:
            self._at = max(0, min(to, len(keys) - 1))
            self._chosen = keys[self._at]

    def _turn(self, *, forward: bool) -> None:
        """Go to the next page of running jobs, or to the one before."""
        assert self._picture is not None
        if self._picture.earlier != self._pages[-1][1]:
            return  # on its way to another page already
        if forward:
            self._pages.append((self._picture.after, self._picture.earlier + len(self._picture.running)))
        else:
            self._pages.pop()
        self._do(self._look_at_page(at_its_end=not forward))

    async def _look_at_page(self, *, at_its_end: bool) -> None:
        await self._look()
        assert self._picture is not None
        if self._picture.running:
            self._chosen = self._picture.running[-1 if at_its_end else 0].id

    def _queue(self) -> str | None:
        """The queue that is chosen, or that of the chosen job."""
        if isinstance(self._chosen, str):
            return self._chosen
        job = self._job()
        return None if job is None else job.queue

    def _job(self) -> Row | None:
        running = self._picture.running if self._picture is not None else []
        return next((row for row in running if row.id == self._chosen), None)

    # ---------------------------------------------------------------------------------- what people ask for

    def _press(self, key: str) -> None:
        self._note = ""
        if key == HANG_UP:
            self._leave()
        elif self._asking is not None:
            job, self._asking = self._asking, None
            if key in ("y", "Y"):
                self._do(self._cancel(job))
        elif key in ("q", "Q"):
            self._leave()
        elif key in ("up", "down"):
            self._move(1 if key == "down" else -1)
        elif key in ("page up", "page down"):
            page = len(self._drawn.tables[2].lines) if self._drawn is not None else 1
            self._move(page if key == "page down" else -page)
        elif key == "c":
            self._asking = self._job()
            self._note = "" if self._asking is not None else "choose a running job to cancel it"
        elif key == "p" and (queue := self._queue()) is not None:
            self._do(self._pause_or_resume(queue))
        self._changed.set()

    async def _cancel(self, job: Row) -> None:
        (what,) = await self._store.change([job.id], Action.CANCEL)
        self._note = f"{name_of(job)} {_CANCELLED.get(what, 'is gone: somebody deleted it meanwhile')}"
        await self._look()

    async def _pause_or_resume(self, queue: str) -> None:
        found = (await self._store.count()).queues.get(queue)
        paused = found is not None and found.paused
        await self._store.tune(queue, QueueSettings(paused=not paused))
        self._note = f"queue {visible(queue)} {'goes on' if paused else 'is paused'}"
        await self._look()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._see_to_it(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _see_to_it(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StoreUnavailable as error:
            self._note = str(error)
        except Exception as error:
            self._broken = error
            self._leaving = True
        self._changed.set()

    # --------------------------------------------------------------------------------------- the terminal

    def _leave(self) -> None:
        self._leaving = True
        self._changed.set()

    def _resized(self) -> None:
        self._drawn = None
        self._do(self._look())

    def _suspend(self) -> None:
        """Ctrl-Z: give the terminal back, and take it again when somebody brings us to the foreground."""
        self._live.stop()
        self._keyboard.let_go()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._keyboard.take()
        self._live.start()
        self._drawn = None
        self._changed.set()
