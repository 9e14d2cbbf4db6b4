"""The schedules of a store, for coroutines: make, list, pause, remove. (What one is: `timetable`.)

A pending job cannot be changed. So whoever changes a schedule (another function, paused, resumed) cancels its job and
pushes another one with the same key. The key is there once, and that settles who comes first: of two who change it at
once, one finds the other's job in the place of the one that is gone, and changes that.

    its job ──cancel──▶ cancelled ── push the new one ─┬─ created ──▶ delete the old ones
       ▲                  (being ticked: soon)         └─ somebody else was first ──┐
       └────────────────────────────────────────────────────────────────────────────┘

Who dies in between leaves a cancelled job, which is found, and shown as a paused schedule.
"""

from __future__ import annotations

import dataclasses
import html
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cellq import cron
from cellq.client.connection import Connection
from cellq.client.job import AsyncJob
from cellq.client.portal import Ask, awaiting
from cellq.client.record import enqueued
from cellq.errors import CellqError, Expired
from cellq.ids import JobId, new_id
from cellq.message import Action, Blob, Changed, Filter, Message, Part, Row, Spill, Topic
from cellq.options import Options
from cellq.timetable import QUEUE, Progress, Timetable, is_paused, key_of, was_paused
from cellq.wire.sealing import Purpose

_PAGE = 500
_TRIES = 100  # to change what others change all the time
_PATIENCE = 30.0  # seconds for a worker to let go of a schedule that it ticks


@dataclass(frozen=True)
class Entry:
    """A schedule as it stands in the store: what it is, and the row of its job."""

    timetable: Timetable
    row: Row

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self.timetable.progress(self.row)


Successor = Callable[[Entry | None], tuple[Timetable, bytes, Blob, bool]]
"""Says what is to take a schedule's place, which has just been cancelled: timetable, code digest, payload, paused."""


class Register:
    """All schedules behind a connection. Its coroutines run on the portal's loop.

    Args:
        clock: gives the time in epoch seconds.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock

    async def entries(self, key: str | None = None) -> list[Entry]:
        """All of them, by name; with a key, only the one that has it."""
        store = await self._connection.ready()
        found: dict[str, Entry] = {}
        after = None
        while True:
            page = await store.find(Filter(queue=QUEUE, key=key), after, _PAGE)
            for row in page.rows:
                if row.name not in found or not row.state.ended:
                    found[row.name] = Entry(_read(row), row)
            after = page.after
            if after is None:
                return [found[name] for name in sorted(found)]

    async def entry(self, name: str) -> Entry | None:
        """The one of this name."""
        found = await self.entries(key_of(name))
        return found[0] if found else None

    async def put(self, timetable: Timetable, code: bytes, payload: Blob, body: dict[bytes, Blob]) -> Entry:
        """Make this schedule, or have it replace the one of its name; one that is the same already stays.

        How far it has come stays; instants that the old expression had are not made up. A paused one stays paused.

        Args:
            payload: the arguments, sealed for the timetable's root.
            body: the code, by digest.
        """

        def moved(old: Entry) -> tuple[Timetable, bytes, Blob]:
            mine, its = timetable, old.timetable
            start = old.progress
            if (mine.expression, mine.zone) != (its.expression, its.zone):
                start = dataclasses.replace(start, since=mine.start.since)
            heir = dataclasses.replace(mine, root=its.root, start=dataclasses.replace(start, trouble=""))
            return heir, code, self._resealed(payload, Purpose.CALL, mine.root, its.root, code)

        def successor(old: Entry | None) -> tuple[Timetable, bytes, Blob, bool]:
            if old is None:
                root = timetable.root
                return timetable, code, self._resealed(payload, Purpose.CALL, root, root, code), False
            return *moved(old), was_paused(old.row)

        old = await self.entry(timetable.name)
        if old is not None and not old.row.state.ended and isinstance(payload, bytes):
            (row,) = await self._connection.get([old.row.id], [Part.PAYLOAD])
            heir, _, arguments = moved(old)
            same = dataclasses.replace(heir, start=old.timetable.start, origin=old.timetable.origin) == old.timetable
            if same and row is not None and row.code_digest == code and row.payload == arguments:
                return old
        try:
            return await self._exchange(timetable.name, successor, body)
        finally:
            _drop(payload)  # what is in the store is a copy

    async def pause(self, name: str) -> Entry:
        """See `AsyncSchedule.pause`."""
        return await self._set(name, True)

    async def resume(self, name: str) -> Entry:
        """See `AsyncSchedule.resume`."""
        return await self._set(name, False)

    async def _set(self, name: str, paused: bool) -> Entry:
        def successor(old: Entry | None) -> tuple[Timetable, bytes, Blob, bool]:
            if old is None or old.row.payload is None:
                raise self.gone(name)
            root, code = old.timetable.root, old.row.code_digest
            payload = self._resealed(old.row.payload, Purpose.SCHEDULE, root, root, code)
            return dataclasses.replace(old.timetable, start=old.progress), code, payload, paused

        entry = await self.entry(name)
        if entry is None:
            raise self.gone(name)
        if not entry.row.state.ended and is_paused(entry.row) is paused:
            return entry
        return await self._exchange(name, successor, {})

    async def remove(self, name: str) -> bool:
        """Take it out of the store; whether it was there."""
        was_there = False
        while (entry := await self.entry(name)) is not None:
            was_there = True
            await self._stop(entry)
            await (await self._connection.ready()).change([entry.row.id], Action.DELETE)
        return was_there

    async def call(self, name: str) -> tuple[Message, JobId]:
        """Enqueue a call of this schedule now, besides those of its instants: what it is, and the id of its job."""
        entry = await self.entry(name)
        (row,) = [None] if entry is None else await self._connection.get([entry.row.id], [Part.PAYLOAD, Part.CODE])
        if entry is None or row is None or row.payload is None:
            raise self.gone(name)
        job_id, timetable = new_id(), entry.timetable
        payload = call_of(self._connection, row.payload, timetable.root, job_id, row.code_digest)
        message = timetable.call_now(job_id, row.code_digest, payload, {"schedule": name})
        body = {} if row.code is None else {row.code_digest: row.code}
        (pushed,) = await self._connection.push([message], body)
        return message, pushed.id

    def gone(self, name: str) -> Expired:
        """The error for a schedule that is not there."""
        return Expired(f"there is no schedule {name!r} in {self._connection.url}")

    # -------------------------------------------------------------------------------------------- in its place

    async def _exchange(self, name: str, successor: Successor, body: dict[bytes, Blob]) -> Entry:
        store = await self._connection.ready()
        for _ in range(_TRIES):
            old = await self.entry(name)
            if old is not None:
                old = await self._stop(old)
                if old is None:
                    continue
            timetable, code, payload, paused = successor(old)
            job = timetable.job(code, payload, paused=paused, now=self._clock())
            (pushed,) = await store.push([job], body)
            if not pushed.created:
                continue
            (row,) = await store.get([job.id])
            before = (await store.find(Filter(queue=QUEUE, key=key_of(name)), None, _PAGE)).rows
            await store.change([one.id for one in before if one.state.ended], Action.DELETE)
            if row is not None:
                return Entry(timetable, row)
        raise CellqError(f"schedule {name!r} was changed by others {_TRIES} times while it was to be changed here")

    async def _stop(self, entry: Entry) -> Entry | None:
        """Cancel its job: how it stands then, with its payload; None when it is gone.

        Raises:
            CellqError: a worker has it and does not let go.
        """
        store, job_id = await self._connection.ready(), entry.row.id
        (changed,) = await store.change([job_id], Action.CANCEL)
        cursor, deadline = 0, time.monotonic() + _PATIENCE
        while True:
            cursor = await store.wait(Topic.ENDED, cursor, 0 if changed is not Changed.ASKED else 1.0)
            (row,) = await self._connection.get([job_id], [Part.PAYLOAD])
            if row is None:
                return None
            if row.state.ended:
                return Entry(entry.timetable, row)
            if time.monotonic() > deadline:
                raise CellqError(
                    f"schedule {entry.timetable.name!r} is held by a worker that died; as soon as another one runs "
                    f"(cellq worker), it is free: try again then"
                )

    def _resealed(self, payload: Blob, purpose: Purpose, of: JobId, to: JobId, code: bytes) -> Blob:
        # Also for the same owner: what has a file of its own must not share it with a job that is about to go.
        seal = self._connection.seal
        return seal.resealed(payload, purpose=purpose, becomes=Purpose.SCHEDULE, of=of, to=to, code=code)


def _drop(blob: Blob) -> None:
    if isinstance(blob, Spill):
        Path(blob.path).unlink(missing_ok=True)


def call_of(connection: Connection, payload: Blob, root: JobId, job_id: JobId, code: bytes) -> Blob:
    """The sealed arguments of a schedule, signed for one of its calls; see `worker.ticking.Reseal`.

    Raises:
        Untrusted, Expired, OSError: see `Seal.resealed`.
    """
    seal = connection.seal
    return seal.resealed(payload, purpose=Purpose.SCHEDULE, becomes=Purpose.CALL, of=root, to=job_id, code=code)


def _read(row: Row) -> Timetable:
    try:
        timetable = Timetable.read(row.origin)
        cron.zone_name(timetable.zone)
        return timetable
    except ValueError as error:
        raise CellqError(f"schedule {row.name!r}: {error}") from error


class ScheduleFacts:
    """A schedule as it was when it was last seen."""

    __slots__ = ()

    def _seen(self) -> Entry:
        """The entry as last seen."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """By which it is found; one of each name is in a store."""
        return self._seen().timetable.name

    @property
    def expression(self) -> str:
        """When it is due: minute, hour, day, month, weekday."""
        return self._seen().timetable.expression

    @property
    def zone(self) -> str:
        """The time zone of its expression."""
        return self._seen().timetable.zone

    @property
    def missed(self) -> str:
        """What becomes of instants that pass while nothing runs: "once" makes up one for all, "skip" none."""
        return self._seen().timetable.missed

    @property
    def task(self) -> str:
        """What it calls."""
        return self._seen().timetable.task

    @property
    def options(self) -> Options:
        """The options of its calls."""
        return self._seen().timetable.options

    @property
    def paused(self) -> bool:
        """It is not ticked until it is resumed."""
        return is_paused(self._seen().row)

    @property
    def next(self) -> datetime | None:
        """When it is due, in its own zone (it may be past: nobody has ticked it yet); None while it is paused."""
        entry = self._seen()
        if is_paused(entry.row):
            return None
        timetable = entry.timetable
        return _moment(cron.next_after(timetable.expression, timetable.zone, entry.progress.since), timetable.zone)

    @property
    def last(self) -> datetime | None:
        """The instant that was ticked last, in its own zone; None before the first."""
        entry = self._seen()
        return None if entry.progress.last is None else _moment(entry.progress.last, entry.timetable.zone)

    @property
    def trouble(self) -> str:
        """Why it could not be ticked the last time it was due; "" when it could."""
        return self._seen().progress.trouble

    def __repr__(self) -> str:
        timetable = self._seen().timetable
        return f"<{type(self).__name__} {timetable.name!r}: {timetable.expression} in {timetable.zone}>"

    def _repr_html_(self) -> str:
        return html.escape(repr(self)[1:-1])


def _moment(instant: float, zone: str) -> datetime:
    return datetime.fromtimestamp(instant, ZoneInfo(zone))


class AsyncSchedule(ScheduleFacts):
    """A schedule, for coroutines. Its properties tell what was last seen; `await refresh()` looks again.

    Made by `AsyncQueue.cron` and found by `AsyncQueue.schedules`.
    """

    __slots__ = ("_ask", "_connection", "_entry")

    def __init__(self, connection: Connection, entry: Entry, *, ask: Ask = awaiting) -> None:
        self._connection = connection
        self._entry = entry
        self._ask = ask

    def _seen(self) -> Entry:
        return self._entry

    async def refresh(self) -> AsyncSchedule:
        """Look at it again.

        Raises:
            Expired: it was removed.
        """
        register = Register(self._connection)
        entry = await self._ask(register.entry(self.name))
        if entry is None:
            raise register.gone(self.name)
        self._entry = entry
        return self

    async def pause(self) -> None:
        """Enqueue nothing until it is resumed; calls that are enqueued already run.

        Raises:
            Expired: it was removed.
        """
        self._entry = await self._ask(Register(self._connection).pause(self.name))

    async def resume(self) -> None:
        """Take `pause` back. The instants that passed meanwhile count as missed.

        Raises:
            Expired: it was removed.
        """
        self._entry = await self._ask(Register(self._connection).resume(self.name))

    async def remove(self) -> bool:
        """Take it out of the store; calls that are enqueued already run. False when it was gone."""
        return await self._ask(Register(self._connection).remove(self.name))

    async def run_now(self) -> AsyncJob[Any]:
        """Enqueue its call now, besides those of its instants, and give the job.

        Raises:
            Expired: it was removed.
        """
        message, job_id = await self._ask(Register(self._connection).call(self.name))
        return AsyncJob(enqueued(self._connection, job_id, message.options.name or message.task), ask=self._ask)


async def schedule(
    connection: Connection,
    call: Message,
    code: dict[bytes, Blob],
    *,
    name: str,
    expression: str,
    zone: str | tzinfo | None,
    missed: str,
    ask: Ask,
) -> AsyncSchedule:
    """Enqueue a call like this one at every instant of a cron expression; see `AsyncQueue.cron`."""
    timetable = Timetable.of(
        call, name=name, expression=expression, zone=cron.zone_name(zone), missed=missed, now=time.time()
    )
    entry = await ask(Register(connection).put(timetable, call.code, call.payload, code))
    return AsyncSchedule(connection, entry, ask=ask)


async def schedules(connection: Connection, ask: Ask) -> list[AsyncSchedule]:
    """The schedules of a store, by name."""
    return [AsyncSchedule(connection, entry, ask=ask) for entry in await ask(Register(connection).entries())]
