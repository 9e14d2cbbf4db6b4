"""The store of one machine: a SQLite database, shared by every process that opens it.

Each verb is one function of a `Turn` (a write transaction) or of the connection (a look), run on the connection's
thread; the SQL lies in `sql/<verb>.sql`. How transactions come about: `connection`. When a worker counts as dead:
`leases`. Which jobs it is handed: `claiming`, `choosing`; what keeps a job from starting: `conditions`. Where large
values go: `spill`. How waiting ones wake: `doorbell`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeGuard

from cellq.errors import StoreUnavailable
from cellq.ids import JobId
from cellq.message import (
    Action,
    Beat,
    Blob,
    Changed,
    Claims,
    Counts,
    Event,
    Filter,
    Keep,
    Lane,
    Lease,
    Message,
    Outcome,
    Page,
    Part,
    Pushed,
    QueueSettings,
    Row,
    Tail,
    Topic,
    WorkerInfo,
)
from cellq.store.sqlite import asking, claiming, leases, reading, reporting, sweeping
from cellq.store.sqlite.connection import Connection
from cellq.store.sqlite.doorbell import EVERY_TOPIC, Doorbell, ThreadBell
from cellq.store.sqlite.spill import LARGE, SpillFolder
from cellq.store.sqlite.statements import statements
from cellq.store.sqlite.turn import Turn

_LOOK_HERE = 1.0
"""Seconds after which a blocked thread looks in any case: its safety poll."""

AT_ONCE = 256
"""Jobs up to which a verb may be served in the caller's thread: a few milliseconds in which its loop stands still."""

_WAIT = statements("wait")


class SQLiteStore:
    """A `Store` in a SQLite database.

    Args:
        path: the database file; its folder is made when missing.
        durability: "normal": an acknowledged write survives any crash of a process, but a power loss may take the last
            ones along; "full": not even that, for an fsync per commit (0.4 to 4 ms).
        clock: gives the time in epoch seconds.
        patience: seconds to wait for others who write before `StoreUnavailable` is raised.

    Attributes:
        safety_poll: how often those who wait look whether the database changed without a ring; None for never.

    Raises:
        ValueError: there is no such durability.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: str = "normal",
        clock: Callable[[], float] = time.time,
        patience: float = 30.0,
    ) -> None:
        if durability not in ("normal", "full"):
            raise ValueError(f'durability must be "normal" or "full", not {durability!r}')
        self.path = Path(path).expanduser().absolute()
        self.url = self.full_url = f"sqlite:///{self.path.as_posix()}"
        self.spill_dir: Path | None = self.path.with_name(self.path.name + ".d")
        self.safety_poll: float | None = 1.0
        self._clock = clock
        self._folder = SpillFolder(self.spill_dir, durable=durability == "full")
        self._bell = Doorbell()
        self._processes = leases.Processes()
        self._connection = Connection(
            self.path,
            durability=durability,
            clock=clock,
            patience=patience,
            discard=self._folder.remove,
            committed=self._bell.heard,
        )
        self._here = threading.local()
        self._idle = True  # the last claim gave nothing
        self._crowded = False  # somebody has pushed in this round of the event loop
        self._hanging = 0  # mask of the topics our bell is registered for
        self._hanging_lock = asyncio.Lock()
        self._version = -1
        self._looked = 0.0

    # ------------------------------------------------------------------------------- coming and going

    async def open(self) -> None:
        """See `Store.open`."""
        if not self._connection.is_open:
            await self._connection.open()

    async def close(self) -> None:
        """See `Store.close`."""
        if self._connection.is_open and self._hanging:
            bell = (self._bell.port, self._bell.secret)
            with suppress(StoreUnavailable):
                await self._connection.write(lambda turn: turn.sql.execute(_WAIT.take_down, bell))
        self._hanging = 0
        self._bell.take_down()
        if self._connection.is_open:
            with suppress(StoreUnavailable):
                await self._connection.read(_data_version)  # the last look catches up with what we have pushed
        await self._connection.close()
        self._connection.remove_journals()

    # ------------------------------------------------------------------------------------ asking for work

    async def push(self, messages: Sequence[Message], code: Mapping[bytes, Blob]) -> list[Pushed]:
        """See `Store.push`."""
        if not messages:
            return []
        if not self._crowded:
            # Others who push in this round of the event loop gather behind us, and share one commit.
            self._crowded = True
            asyncio.get_running_loop().call_soon(self._disperse)
            if (pushed := self._push_at_once(messages, code, patient=False)) is not None:
                return pushed
        digests = list(code)
        payloads = await self._settle([m.payload for m in messages], lambda n: f"{messages[n].id.hex()}.payload")
        held = await self._settle([code[digest] for digest in digests], lambda n: f"{digests[n].hex()}.code")
        bodies = dict(zip(digests, held, strict=True))
        return await self._connection.write(lambda turn: asking.push(turn, messages, payloads, bodies))

    def push_here(self, messages: Sequence[Message], code: Mapping[bytes, Blob]) -> list[Pushed] | None:
        """See `Here.push_here`."""
        if len(messages) == 1:
            (message,) = messages
            body = code.get(message.code, b"")
            if isinstance(body, bytes) and self._connection.push_ahead(message, body):
                return [Pushed(message.id, True)]
        return self._push_at_once(messages, code, patient=True)

    def _push_at_once(
        self, messages: Sequence[Message], code: Mapping[bytes, Blob], *, patient: bool
    ) -> list[Pushed] | None:
        """`push` in this thread; None, and nothing done, when it is large or (if not patient) would have to wait.

        Raises:
            StoreUnavailable: nothing was written.
        """
        if len(messages) > AT_ONCE:
            return None
        payloads = [blob for message in messages if _fits_a_row(blob := message.payload)]
        bodies = {digest: blob for digest, blob in code.items() if _fits_a_row(blob)}
        if len(payloads) < len(messages) or len(bodies) < len(code):
            return None
        done = self._connection.write_at_once(
            lambda turn: asking.push(turn, messages, payloads, bodies), patient=patient
        )
        return None if done is None else done.result

    def _disperse(self) -> None:
        self._crowded = False

    async def change(self, ids: Sequence[JobId], action: Action) -> list[Changed]:
        """See `Store.change`."""
        if not ids:
            return []
        what, small = Action(action), len(ids) <= AT_ONCE
        return await self._connection.write(lambda turn: asking.change(turn, ids, what), small=small)

    async def tune(self, queue: str, settings: QueueSettings) -> None:
        """See `Store.tune`."""
        await self._connection.write(lambda turn: asking.tune(turn, queue, settings))

    # ------------------------------------------------------------------------------------------ working

    async def claim(self, worker: bytes, queues: Sequence[str], room: Mapping[Lane, int], runtime: str) -> Claims:
        """See `Store.claim`. Who last got nothing looks first: a write keeps others out, and often there is nothing."""
        what = (self._processes, worker, tuple(queues), room, runtime)
        if self._idle and not self._connection.behind:
            now = self._clock()
            looked = self._connection.read_at_once(lambda sql: claiming.idle(sql, now, *what), catch_up=False)
            if looked is not None and looked.result is not None:
                return looked.result
        got = await self._connection.write(
            lambda turn: claiming.claim(turn, self._folder, *what), small=True, catch_up=False
        )
        self._idle = not got.claims
        return got

    async def beat(self, worker: WorkerInfo, leases_: Sequence[Lease]) -> Beat:
        """See `Store.beat`."""

        def beat(turn: Turn) -> Beat:
            self._connection.check_file()
            return leases.beat(turn, worker, leases_)

        return await self._connection.write(beat, small=True)

    async def report(self, events: Sequence[Event]) -> list[Lease]:
        """See `Store.report`."""
        if not events:
            return []
        small = len(events) <= AT_ONCE
        return await self._connection.write(lambda turn: reporting.report(turn, events), small=small, catch_up=False)

    async def finish(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """See `Store.finish`."""
        if not outcomes:
            return []
        results = await self._settle([o.result for o in outcomes], lambda n: _attempt(outcomes[n], "result"))
        errors = await self._settle([o.error for o in outcomes], lambda n: _attempt(outcomes[n], "error"))
        small = len(outcomes) <= AT_ONCE
        return await self._connection.write(
            lambda turn: reporting.finish(turn, outcomes, results, errors), small=small, catch_up=False
        )

    async def take(self, bucket: str, rate: float, burst: float) -> float:
        """See `Store.take`."""
        if not rate > 0 or not burst >= 1:
            raise ValueError(f"a bucket needs a rate over 0 and a burst of 1 or more, not {rate!r} and {burst!r}")

        def take(turn: Turn) -> float:
            row = turn.sql.execute("SELECT tokens, at FROM bucket WHERE name = ?", (bucket,)).fetchone()
            tokens, at = row or (burst, turn.now)
            tokens = min(burst, tokens + max(0.0, turn.now - at) * rate)
            if tokens < 1 - 1e-9:  # waiting exactly as long as told must be enough, roundings included
                return float((1 - tokens) / rate)
            turn.sql.execute("INSERT OR REPLACE INTO bucket VALUES (?, ?, ?)", (bucket, tokens - 1, turn.now))
            return 0.0

        return await self._connection.write(take)

    async def prune(self, keep: Keep, limit: int = 500) -> int:
        """See `Store.prune`."""
        strays = await asyncio.to_thread(lambda: list(self._folder.old_files(limit)))
        await asyncio.to_thread(self._connection.remove_journals)

        def prune(turn: Turn) -> int:
            self._connection.forget_journals(turn)
            return sweeping.prune(turn, self._processes, keep, limit, strays)

        return await self._connection.write(prune)

    # ------------------------------------------------------------------------------------------ looking

    async def get(self, ids: Sequence[JobId], parts: Sequence[Part] = ()) -> list[Row | None]:
        """See `Store.get`."""
        now, lines = self._clock(), self._connection.lines
        return await self._connection.read(
            lambda sql: reading.get(sql, lines, self._folder, now, ids, parts), small=len(ids) <= AT_ONCE
        )

    def get_here(self, ids: Sequence[JobId], parts: Sequence[Part] = ()) -> list[Row | None] | None:
        """See `Here.get_here`."""
        # Journals only ever add jobs: who finds what it looks for need not know what is in them.
        rows = self._get_here(ids, parts, catch_up=False)
        return rows if rows is None or None not in rows else self._get_here(ids, parts, catch_up=True)

    def _get_here(self, ids: Sequence[JobId], parts: Sequence[Part], *, catch_up: bool) -> list[Row | None] | None:
        now, lines = self._clock(), self._connection.lines
        done = self._connection.read_at_once(
            lambda sql: reading.get(sql, lines, self._folder, now, ids, parts), patient=True, catch_up=catch_up
        )
        return None if done is None else done.result

    async def find(self, wanted: Filter, after: bytes | None = None, limit: int = 100) -> Page:
        """See `Store.find`."""
        now, lines = self._clock(), self._connection.lines
        look = partial(reading.find, lines=lines, now=now, wanted=wanted, after=after, limit=limit)
        return await self._connection.read_consistently(look)

    async def tail(self, job_id: JobId, after: int = 0, limit: int = 1000) -> Tail:
        """See `Store.tail`."""
        return await self._connection.read_consistently(lambda sql: reading.tail(sql, job_id, after, limit))

    async def count(self) -> Counts:
        """See `Store.count`."""
        now = self._clock()
        return await self._connection.read_consistently(lambda sql: reading.count(sql, now))

    # ------------------------------------------------------------------------------------------ waiting

    async def wait(self, topic: Topic, cursor: int, timeout: float | None) -> int:
        """See `Store.wait`."""
        if not self._hanging >> topic & 1:
            await self._hang(topic)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            nap = left if self.safety_poll is None else min(self.safety_poll, left if left is not None else 1e9)
            newer = await self._bell.wait(topic, cursor, nap)
            if newer != cursor or (left is not None and nap == left):
                return newer
            await self._look_for_changes()

    def wait_here(self, topic: Topic, cursor: int, timeout: float) -> int:
        """See `Here.wait_here`. Each thread that waits has a bell of its own."""
        bell: ThreadBell | None = getattr(self._here, "bell", None)
        if bell is None:
            bell = self._here.bell = ThreadBell()
        if not bell.topics >> topic & 1:
            row = (bell.port, bell.secret, bell.topics | 1 << topic, self._processes.host, os.getpid())
            self._connection.write_at_once(lambda turn: _hang(turn, row), patient=True)
            bell.topics |= 1 << topic
        return bell.wait(cursor, min(timeout, _LOOK_HERE))

    async def _hang(self, topic: Topic) -> None:
        """Register our bell for one more topic, before its first cursor is given: no change may fall in between."""
        async with self._hanging_lock:
            topics = self._hanging | 1 << topic
            if topics == self._hanging:
                return
            if not self._bell.port:
                self._bell.hang()
                self._connection.ringer.own_port = self._bell.port
            self._connection.own_topics = topics
            row = (self._bell.port, self._bell.secret, topics, self._processes.host, os.getpid())
            await self._connection.write(lambda turn: _hang(turn, row))
            self._version = await self._connection.read(_data_version)
            self._hanging = topics

    async def _look_for_changes(self) -> None:
        """The safety poll: has another connection committed anything? Shared by all who wait here."""
        now = time.monotonic()
        if self.safety_poll is None or now - self._looked < self.safety_poll * 0.9:
            return
        self._looked = now
        version = await self._connection.read(_data_version, small=True)
        if version != self._version:
            self._version = version
            self._bell.heard(EVERY_TOPIC)

    async def _settle(self, blobs: Sequence[Blob | None], name: Callable[[int], str]) -> Sequence[bytes | str | None]:
        """What rows are to hold for these values. Large ones are written first, outside of the transaction.

        Args:
            name: gives the name for the n-th one's file.
        """
        if all(blob is None or _fits_a_row(blob) for blob in blobs):
            return blobs  # type: ignore[return-value]

        def settle() -> list[bytes | str | None]:
            return [None if blob is None else self._folder.settle(blob, name(n)) for n, blob in enumerate(blobs)]

        return await asyncio.to_thread(settle)


def _attempt(outcome: Outcome, what: str) -> str:
    return f"{outcome.lease.id.hex()}.{outcome.lease.attempt}.{what}"


def _fits_a_row(blob: Blob) -> TypeGuard[bytes]:
    return isinstance(blob, bytes) and len(blob) <= LARGE


def _hang(turn: Turn, row: tuple[object, ...]) -> None:
    turn.sql.execute(_WAIT.hang, row)
    turn.bells_changed = True


def _data_version(sql: sqlite3.Connection) -> int:
    (version,) = sql.execute("PRAGMA data_version").fetchone()
    return int(version)
