"""The one connection of a handle: its thread, its gate, and the commit that concurrent callers share.

A transaction is one function run on aiosqlite's thread. An await per statement costs 40 to 240 µs, and a cancelled
await does not stop its statement, so a transaction made of awaits can be torn; a function cannot.

    event loop                                     aiosqlite's thread
    await write(a) ── inbox [a] ── post ─────────▶ gate · BEGIN · a · COMMIT · ring
    await write(b) ── inbox [b] ── post ──┐           (while this runs, work gathers)
    await write(c) ── inbox [b, c]        └──────▶ gate · BEGIN · b · c · COMMIT · ring

A thread switch costs 50 to 100 µs on a busy machine, several times what a small transaction does. So who finds the
connection free and nobody at the gate does small work at once, in its own thread (`write_at_once`, `read_at_once`);
aiosqlite's thread serves what is larger, or has to wait.

Nobody waits for a timer: the first caller finds the thread idle and is served alone, under load commits are shared.
Work that raises must not spoil what shares its commit: then everything is rolled back and each is done on its own. So
work is written to be run twice: it changes nothing but rows before the commit.

aiosqlite has no public way to run a function on its thread. It does hand the argument of `executescript` unseen to the
sqlite3 connection on that thread, and that class is ours to choose: `_Courier` lets a function travel there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import aiosqlite

from cellq.errors import StoreUnavailable
from cellq.message import Message, Topic
from cellq.store.sqlite import asking
from cellq.store.sqlite.causes import unavailable
from cellq.store.sqlite.doorbell import Ringer
from cellq.store.sqlite.gate import Gate
from cellq.store.sqlite.journal import Journal
from cellq.store.sqlite.schema import prepare
from cellq.store.sqlite.turn import Lines, Turn

logging.getLogger("aiosqlite").setLevel(logging.WARNING)  # it tells of each statement, in a notebook of the user's

T = TypeVar("T")

_BUSY_TIMEOUT = 0.02  # seconds that SQLite itself waits for strangers: an event loop may be standing still meanwhile
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY


class _Courier(sqlite3.Connection):
    """A connection whose `executescript` also takes a function, and calls it with the connection."""

    def executescript(self, sql_script: Any, /) -> Any:
        return sql_script(self) if callable(sql_script) else super().executescript(sql_script)


class Done(NamedTuple, Generic[T]):
    """What was done at once gave this."""

    result: T


class _Work:
    """A piece of a transaction, whom to tell, and what came of it."""

    __slots__ = ("catch_up", "do", "error", "future", "result")

    def __init__(self, do: Callable[[Turn], Any], future: asyncio.Future[Any] | None, catch_up: bool = True) -> None:
        self.do = do
        self.catch_up = catch_up
        self.future = future  # None for the caller who posted, and gets the answer by returning
        self.result: Any = None
        self.error: BaseException | None = None


def _nothing(_: Turn) -> None:
    """A transaction that only catches up with the journals."""


class Connection:
    """A SQLite database as a handle uses it. Belongs to one event loop and one process.

    Args:
        path: the database file.
        durability: "normal" (a power loss may take the last commits along) or "full" (every commit is synced).
        clock: gives the time in epoch seconds.
        patience: seconds to wait for other writers.
        discard: called after a commit with each reference to a file that no row needs any more.
        committed: called in the event loop with the mask of topics after a commit that rang.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: str,
        clock: Callable[[], float],
        patience: float,
        discard: Callable[[str], None],
        committed: Callable[[int], None],
    ) -> None:
        self.path = path
        self.lines = Lines()
        self.ringer = Ringer()
        self.own_topics = 0
        self._durability = durability
        self._clock = clock
        self._patience = patience
        self._discard = discard
        self._committed = committed
        self._journal = Journal(path.with_name(path.name + ".pushed"))
        self._inbox: list[_Work] = []
        self._posted = False
        self._lock = threading.Lock()  # inbox and posted
        self._using = threading.Lock()  # the sqlite3 connection: held by whoever runs something on it
        self._sql: sqlite3.Connection | None = None
        self._db: aiosqlite.Connection | None = None
        self._gate: Gate | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._pid = 0
        self._file = (0, 0)

    @property
    def is_open(self) -> bool:
        """Between `open` and `close`."""
        return self._db is not None

    async def open(self) -> None:
        """Open the database; create it, or bring it up to date.

        Raises:
            StoreUnavailable: with the path and the cause.
        """
        self._pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = not self.path.exists()
            self._gate = Gate(self.path.with_name(self.path.name + ".lock"), self._patience)
            db = aiosqlite.connect(
                self.path,
                factory=_Courier,
                isolation_level=None,
                timeout=self._patience,
                cached_statements=256,
                check_same_thread=False,  # one thread at a time, by `_using`
            )
            # A handle that nobody closed must not keep the interpreter from ending. (A crash loses no commit either.)
            thread: Any = getattr(db, "_thread", db)
            thread.daemon = True
            try:
                self._db = await db
            except BaseException:
                thread.join(1.0)  # it is ending, and would speak to an event loop that may be closed by then
                raise
            if fresh:
                self.path.chmod(0o600)
            gate = self._gate
            self._sql = await self._run(lambda sql: self._prepared(sql, gate))
            self._file = self._identity()
        except (sqlite3.Error, OSError) as error:
            await self.close()
            raise unavailable(self.path, error) from error
        except BaseException:
            await self.close()
            raise

    def _prepared(self, sql: sqlite3.Connection, gate: Gate) -> sqlite3.Connection:
        prepare(sql, gate, self.path, self._durability)
        sql.execute(f"PRAGMA busy_timeout = {min(_BUSY_TIMEOUT, self._patience) * 1000:.0f}")
        return sql

    async def close(self) -> None:
        """Finish what is posted and let go."""
        db, self._db = self._db, None
        with self._using:
            self._sql = None
        if db is not None and self._pid == os.getpid():
            with suppress(sqlite3.Error):
                await db.close()
        self._journal.close()
        self.ringer.close()
        if self._gate is not None:
            self._gate.close()
            self._gate = None

    async def write(self, do: Callable[[Turn], T], *, small: bool = False, catch_up: bool = True) -> T:
        """Do this inside a write transaction, alone or together with others; gives its result once it is committed.

        A caller that is cancelled meanwhile does not stop it.

        Args:
            small: it takes so little time that the event loop may stand still for it, if nobody is in the way.
            catch_up: what the journals hold must be in the rows before; else it sees to `Turn.arrivals`, or need not.

        Raises:
            StoreUnavailable: nothing was written.
        """
        if small and (done := self.write_at_once(do, catch_up=catch_up)) is not None:
            return done.result
        self._check()
        loop = asyncio.get_running_loop()
        with self._lock:
            posts = not self._posted
            self._posted = True
            work = _Work(do, None if posts else loop.create_future(), catch_up)
            self._inbox.append(work)
        if posts:
            await self._run(self._drain)
        else:
            assert work.future is not None
            await work.future
        if work.error is not None:
            raise work.error
        result: T = work.result
        return result

    def write_at_once(self, do: Callable[[Turn], T], *, patient: bool = False, catch_up: bool = True) -> Done[T] | None:
        """Do this inside a write transaction in this thread.

        Args:
            patient: wait for others who write; else the answer is None when somebody is in the way.
            catch_up: as for `write`.

        Raises:
            StoreUnavailable: nothing was written.
        """
        self._check()
        if (self._posted and not patient) or not self._using.acquire(blocking=patient):
            return None
        try:
            if self._sql is None or not (patient or self._begun_at_once(self._sql)):
                return None
            work = _Work(do, None, catch_up)
            topics = self._commit(self._sql, [work], begun=not patient)
        finally:
            self._using.release()
        if topics & self.own_topics:
            self._tell([], topics)
        if work.error is not None:
            raise work.error
        return Done(work.result)

    def _begun_at_once(self, sql: sqlite3.Connection) -> bool:
        assert self._gate is not None
        try:
            return self._gate.begin_at_once(sql)
        except sqlite3.Error:
            return False  # the other way waits, and tells what is wrong

    def read_at_once(
        self, look: Callable[[sqlite3.Connection], T], *, patient: bool = False, catch_up: bool = True
    ) -> Done[T] | None:
        """Run this on the connection in this thread; None when somebody else uses it and we are not patient.

        Args:
            catch_up: it matters what is in the journals only.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        self._check()
        if catch_up and not self._caught_up(patient):
            with suppress(StoreUnavailable):  # on a full disk one may still look at what is in the rows
                if self.write_at_once(_nothing, patient=patient) is None:
                    return None
        if not self._using.acquire(blocking=patient):
            return None
        try:
            return None if self._sql is None else Done(look(self._sql))
        except sqlite3.Error as error:
            if _is_busy(error):
                return None
            raise unavailable(self.path, error) from error
        finally:
            self._using.release()

    def _caught_up(self, patient: bool) -> bool:
        """Whether the rows hold all that was pushed; may be wrong the other way, when that is not known at once."""
        if not self._journal.behind():
            return True
        if not self._using.acquire(blocking=patient):
            return False
        try:
            if self._sql is not None:
                self._journal.look_up(self._sql)
        except sqlite3.Error:
            return False
        finally:
            self._using.release()
        return not self._journal.behind()

    def push_ahead(self, message: Message, code: bytes) -> bool:
        """Push into our journal; False, and nothing done, where that cannot be.

        Raises:
            StoreUnavailable: the database is not open.
        """
        self._check()
        if self._durability == "full" or not self._journal.takes(message, code):
            return False
        with self._using:
            if self._sql is None:
                return False
            try:
                self._journal.append(self._sql, message, code, self._clock())
                # Behind the append: who listens from later on looks later, and finds what was pushed.
                self.ringer.look(self._sql, self._gate.count() if self._gate is not None else -1)
            except (OSError, sqlite3.Error):
                return False  # the ordinary way tells what is wrong; a push is harmless when repeated
            self.ringer.ring(1 << Topic.WORK)
        if self.own_topics >> Topic.WORK & 1:
            self._tell([], 1 << Topic.WORK)
        return True

    @property
    def behind(self) -> bool:
        """There may be something in a journal that is not in the rows."""
        return self._journal.behind()

    def remove_journals(self) -> None:
        """Remove the journals that are finished."""
        self._journal.remove_finished()

    def forget_journals(self, turn: Turn) -> None:
        """Forget those that were removed."""
        self._journal.forget_removed(turn)

    async def read(self, look: Callable[[sqlite3.Connection], T], *, small: bool = False) -> T:
        """Run this on the connection, outside of a transaction.

        Args:
            small: as for `write`.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        if small and (done := self.read_at_once(look)) is not None:
            return done.result
        self._check()
        if not self._caught_up(patient=False):
            with suppress(StoreUnavailable):
                await self.write(_nothing)
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return await self._run(look)
            except sqlite3.Error as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise unavailable(self.path, error) from error
                await asyncio.sleep(_BUSY_TIMEOUT)

    async def read_consistently(self, look: Callable[[sqlite3.Connection], T]) -> T:
        """The same for several statements that must see one state of the database."""

        def inside(sql: sqlite3.Connection) -> T:
            sql.execute("BEGIN")
            try:
                return look(sql)
            finally:
                sql.execute("COMMIT")

        return await self.read(inside)

    def check_file(self) -> None:
        """Notice that the file was deleted or replaced: our writes would go into a file without a name.

        Raises:
            StoreUnavailable: it was.
        """
        if self._identity() != self._file:
            raise StoreUnavailable(
                f"{self.path} was deleted or replaced while in use, so its jobs are gone. Restart whatever uses it"
            )

    def _identity(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return (0, 0)
        return (found.st_dev, found.st_ino)

    def _check(self) -> None:
        if self._db is None:
            raise StoreUnavailable(f"{self.path}: this store is not open (or closed already)")
        if self._pid != os.getpid():
            raise StoreUnavailable(
                f"{self.path}: this store was opened by process {self._pid} and cannot be used in a process "
                f"forked from it; open a new one there"
            )

    async def _run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function on aiosqlite's thread, with the connection."""
        answer: list[T] = []
        assert self._db is not None
        try:
            await self._db.executescript(lambda sql: answer.append(self._alone(function, sql)))
        except ValueError as error:  # aiosqlite: closed in between
            if self._db is not None:
                raise
            raise StoreUnavailable(f"{self.path}: this store was closed") from error
        return answer[0]

    def _alone(self, function: Callable[[sqlite3.Connection], T], sql: sqlite3.Connection) -> T:
        with self._using:
            return function(sql)

    # ------------------------------------------------------------------------- on aiosqlite's thread

    def _drain(self, sql: sqlite3.Connection) -> None:
        with self._lock:
            batch, self._inbox = self._inbox, []
            self._posted = False
        topics = self._commit(sql, batch)
        if len(batch) > 1 and any(work.error is not None for work in batch):
            topics = 0
            for work in batch:
                work.error = None
                topics |= self._commit(sql, [work])
        others = [work for work in batch if work.future is not None]
        if others or topics & self.own_topics:
            self._tell(others, topics)

    def _commit(self, sql: sqlite3.Connection, batch: list[_Work], *, begun: bool = False) -> int:
        """One transaction for all of `batch`; gives the topics it rang for. Errors are left in the work."""
        assert self._gate is not None
        turn = Turn(sql, self._clock(), self.lines, self._journal.catch_up)
        try:
            if not begun:
                self._gate.begin(sql)
            try:
                for work in batch:
                    if work.catch_up:
                        asking.land(turn)
                    work.result = work.do(turn)
                self.ringer.take_down_stale(turn)
                turn.settle()
                sql.execute("COMMIT")
                if turn.bells_changed:
                    self._gate.bump()
                if turn.topics:
                    self.ringer.look(sql, self._gate.count())
            except BaseException:
                if sql.in_transaction:  # a full disk has rolled it back already
                    sql.execute("ROLLBACK")
                raise
            finally:
                self._gate.leave()
        except BaseException as error:
            self.lines.forget()
            self._journal.rolled_back()
            for work in batch:
                work.error = unavailable(self.path, error) if isinstance(error, sqlite3.Error | OSError) else error
            return 0
        self._journal.committed()
        self.ringer.stale.clear()
        self.ringer.ring(turn.topics)
        for held in turn.discards:
            with suppress(OSError):
                self._discard(held)
        return turn.topics

    def _tell(self, others: list[_Work], topics: int) -> None:
        assert self._loop is not None
        if threading.get_ident() == self._thread:
            self._deliver(others, topics)
        else:
            with suppress(RuntimeError):  # the loop was closed under us: nobody is left to be told
                self._loop.call_soon_threadsafe(self._deliver, others, topics)

    def _deliver(self, others: list[_Work], topics: int) -> None:
        for work in others:
            if work.future is not None and not work.future.done():
                work.future.set_result(None)
        if topics:
            self._committed(topics)
