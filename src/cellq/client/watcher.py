"""Learns which jobs have ended, for everyone who waits on one connection.

Whoever waits registers first and is looked up afterwards; the news cursor is older than that look. So an ending is
either seen by the look, or it moves the cursor and the next pass sees it:

      cursor ──── register ──── look ──── wait(cursor) ──── pass ──── wait ──── …
                      an ending here  ▲        │  an ending here
                      is in the rows ─┘        └▶ wakes

A pass over few jobs reads their rows, results included: one read gives state and value. Beyond `FEW`, reading them all
at each wake would cost the square of their number, so a pass instead pages through what has ended in the store since
the last one (`Row.ended` rises with each ending), however many wait. A wake is only a hint that something happened,
and a busy worker gives many: passes keep a small distance.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence

from cellq.client.reader import BLOBS, read
from cellq.errors import CellqError, Expired, StoreUnavailable
from cellq.ids import JobId, id_text
from cellq.message import Filter, Row, Topic
from cellq.store.contract import Store

Tell = Callable[[JobId, Row | CellqError], None]
"""Called once per watched job: with its row (results only sometimes included), or with why there will be none."""

FEW = 64
_PAGE = 500
_SWEEP = 10.0  # seconds between looks at every row: a job that ended and was deleted at once is on no page of endings
_APART = 0.002  # seconds between passes while many wait
_PATIENCE = 60.0  # seconds a store may be gone before those who wait are told


class Watcher:
    """Lives on the portal's loop, as its store does."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watched: dict[JobId, list[Tell]] = {}
        self._new: list[JobId] = []
        self._cursor = 0
        self._mark: int | None = None  # endings up to this number are known; None while rows are read directly
        self._newest = 0
        self._greeter: asyncio.Task[None] | None = None
        self._runner: asyncio.Task[None] | None = None

    async def watch(self, ids: Iterable[JobId], tell: Tell) -> None:
        """Call `tell` once for each of `ids`, as soon as it has ended; returns when they have been looked at once.

        Whoever is cancelled meanwhile must `unwatch`.
        """
        for job_id in ids:
            self._watched.setdefault(job_id, []).append(tell)
            self._new.append(job_id)
        if self._new and self._greeter is None:
            self._greeter = asyncio.create_task(self._greet())
        if self._greeter is not None:
            await asyncio.wait((self._greeter,))  # whatever becomes of it: who watches is told

    def unwatch(self, ids: Iterable[JobId], tell: Tell) -> None:
        """Take `watch` back, as far as it has not been answered."""
        for job_id in ids:
            tells = self._watched.get(job_id)
            if tells is not None and tell in tells:
                tells.remove(tell)
                if not tells:
                    del self._watched[job_id]
        if not self._watched and self._runner is not None:
            self._runner.cancel()
            self._runner = None

    async def stop(self) -> None:
        """Look no more."""
        tasks = [task for task in (self._greeter, self._runner) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------------------------------ the passes

    async def _greet(self) -> None:
        """Look at the newcomers: with a pass before a new runner starts, or beside the passes of the one that runs."""
        try:
            while self._new:
                new, self._new = self._new, []
                if self._runner is None:
                    self._cursor = await self._store.wait(Topic.ENDED, self._cursor, 0)
                    await self._pass(sweep=True)
                    if self._watched:
                        self._runner = asyncio.create_task(self._run(self._cursor))
                else:
                    await self._look([job_id for job_id in new if job_id in self._watched])
        except Exception as error:
            self._new.clear()
            self.give_up(_as_cellqs(error))
        finally:
            self._greeter = None

    async def _run(self, cursor: int) -> None:
        clock = asyncio.get_running_loop().time
        swept, alive, fruitless, failed = clock(), clock(), 0, False
        try:
            while self._watched:
                try:
                    # After a pass that failed the next one is due: it was rung for, and nobody rings again.
                    cursor = self._cursor = await self._store.wait(Topic.ENDED, cursor, 0 if failed else _SWEEP)
                    sweep = clock() - swept >= _SWEEP
                    news = await self._pass(sweep=sweep)
                    alive, failed = clock(), False
                except StoreUnavailable:
                    failed = True
                    if clock() - alive > _PATIENCE:
                        raise
                    await asyncio.sleep(0.2)
                    continue
                if sweep:
                    swept = clock()
                fruitless = 0 if news else min(fruitless + 1, 8)
                if len(self._watched) > FEW:
                    await asyncio.sleep(_APART)
                elif fruitless > 2:
                    await asyncio.sleep(_APART * fruitless / 8)
        except Exception as error:  # whatever it is: those who wait must not wait for ever
            self.give_up(_as_cellqs(error))
        finally:
            if self._runner is asyncio.current_task():
                self._runner = None

    async def _pass(self, *, sweep: bool) -> bool:
        """Look for endings once; true when there was one that somebody waits for."""
        before = len(self._watched)
        if before <= FEW:
            self._mark = None
            await self._look(list(self._watched))
        elif self._mark is None or sweep:
            self._mark = self._newest = await self.newest_ending()
            await self._look(list(self._watched))
        else:
            after = None
            wanted = Filter(ended_after=self._mark)
            while True:
                page = await self._store.find(wanted, after, _PAGE)
                for row in page.rows:
                    self._mark = row.ended or self._mark
                    self._answer(row.id, row)
                after = page.after
                if after is None:
                    break
        return len(self._watched) < before

    async def _look(self, ids: Sequence[JobId]) -> None:
        rows = await read(self._store, ids, BLOBS if len(ids) <= FEW else ())
        for job_id, row in zip(ids, rows, strict=True):
            if row is None:
                self._answer(
                    job_id, Expired(f"job {id_text(job_id)} is no longer in {self._store.url}: it was deleted")
                )
            elif row.state.ended:
                self._answer(job_id, row)

    async def newest_ending(self) -> int:
        """The highest `Row.ended` in the store, found by asking "is there one above n?": first doubling, then halving.

        Two or three dozen indexed look-ups, a few milliseconds, however many jobs the store holds.
        """
        low, step = self._newest, 1
        while await self._ended_above(low + step):
            low, step = low + step, step * 2
        high = low + step  # the newest is above low (or is it), and not above high
        while high - low > 1:
            middle = (low + high) // 2
            if await self._ended_above(middle):
                low = middle
            else:
                high = middle
        return high if await self._ended_above(low) else low

    async def _ended_above(self, number: int) -> bool:
        return bool((await self._store.find(Filter(ended_after=number), None, 1)).rows)

    # ----------------------------------------------------------------------------------------- the answers

    def _answer(self, job_id: JobId, what: Row | CellqError) -> None:
        for tell in self._watched.pop(job_id, ()):
            tell(job_id, what)

    def give_up(self, error: CellqError) -> None:
        """Tell all who wait that nothing more will come, and why."""
        for job_id in list(self._watched):
            self._answer(job_id, error)


def _as_cellqs(error: Exception) -> CellqError:
    if isinstance(error, CellqError):
        return error
    wrapped = StoreUnavailable(f"waiting for jobs failed: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


async def until_ended(watcher: Watcher, job_id: JobId, timeout: float | None) -> Row | None:
    """The job's row once it has ended, results included as a rule; None after `timeout` seconds.

    Raises:
        Expired, StoreUnavailable: it will never be known.
    """
    answer: asyncio.Future[Row | CellqError] = asyncio.get_running_loop().create_future()

    def tell(_: JobId, what: Row | CellqError) -> None:
        if not answer.done():
            answer.set_result(what)

    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await watcher.watch((job_id,), tell)
                what = await answer
                if isinstance(what, CellqError):
                    raise what
                return what
        return None
    finally:
        watcher.unwatch((job_id,), tell)
