"""The store across machines: a Redis or Valkey server.

Each verb is one Lua script (`lua/<verb>.lua`), so it happens at once or not at all, by the server's clock, in one round
trip however large the batch. What the keys hold: `lua/call.lua`. How a server is reached, and what happens when it is
not: `server`. Where large values go: `pieces`. How waiting ones wake: `bell`.

Ended jobs have a time to live (`keep`, a week unless the URL says otherwise), with their results, logs and code. The
beating workers sweep them away; where nobody beats, the keys go by themselves a little later.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cellq.errors import StoreUnavailable
from cellq.ids import JobId
from cellq.message import (
    ENDED,
    Action,
    Beat,
    Blob,
    Changed,
    Claims,
    Counts,
    Ending,
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
    QueueCount,
    QueueSettings,
    Row,
    Spill,
    State,
    Tail,
    Topic,
    WorkerInfo,
)
from cellq.store.contract import LOG_CAP
from cellq.store.redis import pushing, records
from cellq.store.redis.address import parse
from cellq.store.redis.bell import Bell
from cellq.store.redis.pieces import Gone, Pieces, drop
from cellq.store.redis.scripts import script
from cellq.store.redis.server import Server
from cellq.store.redis.threads import Threads

_CHANGED = (Changed.DONE, Changed.ASKED, Changed.ALREADY, Changed.REFUSED, Changed.UNKNOWN)
_LONG_SILENT = 3600.0
_SWEEP = 60.0  # seconds between two sweeps of a handle that beats
_SWEPT = 500  # jobs per sweep; while there are more, the next beat goes on
_PARTING = 3.0  # seconds to give back what was claimed meanwhile; later its lease ends by itself
_LOOKED_AT = 5000  # jobs that `find` looks at before it lets others have the server: 5 to 15 ms


class _Push(NamedTuple):
    """What one caller wants to push, as the script reads it; and whom to tell."""

    messages: Sequence[Message]
    code: list[tuple[bytes, bytes]]
    payloads: list[bytes]
    future: asyncio.Future[list[Pushed]]


class RedisStore:
    """A `Store` on a Redis or Valkey server. Belongs to one event loop.

    Args:
        url: see `address`.
        clock: gives the time in epoch seconds; None for the server's own.

    Raises:
        ValueError: it is no such URL.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] | None = None) -> None:
        self.address = parse(url)
        self.url, self.full_url = self.address.shown, url
        self._folder = Path(tempfile.gettempdir()) / f"cellq-{os.getpid()}-{secrets.token_hex(6)}"
        self.spill_dir: Path | None = self._folder  # made by whoever needs it first
        self._server = Server(self.address, clock)
        self._threads = Threads(self._server)
        self._pieces = Pieces(self._server, self._threads)
        self._bell = Bell(self.address.tag, self._server.connect, self._arm)
        self._gathered: list[_Push] = []
        self._pushing = False
        self._sweep_at = 0.0
        self._owed: list[Lease] = []
        self._lent: dict[Lease, Spill] = {}
        self._giving_back: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------- coming and going

    async def open(self) -> None:
        """See `Store.open`."""
        if not self._server.is_open:
            await self._server.open()

    async def close(self) -> None:
        """See `Store.close`."""
        if self._giving_back:
            await asyncio.wait(self._giving_back, timeout=min(self.address.patience, _PARTING))
        self._threads.close()
        await self._bell.close()
        await self._server.close()
        self._lent.clear()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    # ------------------------------------------------------------------------------------ asking for work

    async def push(self, messages: Sequence[Message], code: Mapping[bytes, Blob]) -> list[Pushed]:
        """See `Store.push`. While one call is on its way the next ones gather, and share one."""
        if not messages:
            return []
        bodies = await self._pieces.settle(list(code.values()))
        payloads = await self._pieces.settle([message.payload for message in messages])
        mine = _Push(
            messages,
            [(digest, body) for digest, body in zip(code, bodies, strict=True) if body is not None],
            [payload for payload in payloads if payload is not None],
            asyncio.get_running_loop().create_future(),
        )
        self._gathered.append(mine)
        if not self._pushing:
            self._pushing = True
            asyncio.get_running_loop().create_task(self._push_gathered())
        pushed = await mine.future
        drop([*code.values(), *(message.payload for message in messages)])
        return pushed

    async def _push_gathered(self) -> None:
        try:
            while self._gathered:
                pushes, self._gathered = self._gathered, []
                try:
                    await self._push(pushes)
                except BaseException as error:
                    for push in pushes:
                        if not push.future.done():
                            push.future.set_exception(error)
                    if not isinstance(error, Exception):
                        raise
        finally:
            self._pushing = False

    async def _push(self, pushes: Sequence[_Push]) -> None:
        messages = [message for push in pushes for message in push.messages]
        payloads = [payload for push in pushes for payload in push.payloads]
        code = {digest: body for push in pushes for digest, body in push.code}
        what, words = pushing.push(messages, payloads, code)
        told = iter(pushing.pushed(await self._server.run(what, *words), messages)[0])
        for push in pushes:
            pushed = [next(told) for _ in push.messages]
            if not push.future.done():
                push.future.set_result(pushed)

    def push_here(self, messages: Sequence[Message], code: Mapping[bytes, Blob]) -> list[Pushed] | None:
        """See `Here.push_here`."""
        return self._threads.push(messages, code)

    async def change(self, ids: Sequence[JobId], action: Action) -> list[Changed]:
        """See `Store.change`."""
        if not ids:
            return []
        words = [Action(action).value, *(job_id.hex() for job_id in ids)]
        answer = await self._server.run(script("change"), *words, once=True)
        return [_CHANGED[digit - 48] for digit in answer]

    async def tune(self, queue: str, settings: QueueSettings) -> None:
        """See `Store.tune`."""
        paused = "" if settings.paused is None else str(int(settings.paused))
        limit = "" if settings.max_running is None else str(settings.max_running)
        await self._server.run(script("tune"), queue, paused, limit)

    # ------------------------------------------------------------------------------------------ working

    async def claim(self, worker: bytes, queues: Sequence[str], room: Mapping[Lane, int], runtime: str) -> Claims:
        """See `Store.claim`. What a caller that was cancelled meanwhile did not get goes back to its queue."""
        claiming = asyncio.ensure_future(self._claim(worker, queues, room, runtime))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            task = asyncio.create_task(self._give_back(claiming))
            self._giving_back.add(task)
            task.add_done_callback(self._giving_back.discard)
            raise

    async def _claim(self, worker: bytes, queues: Sequence[str], room: Mapping[Lane, int], runtime: str) -> Claims:
        await self._settle_debts()
        places = [str(max(room.get(lane, 0), 0)) for lane in Lane]
        packed = await self._server.resume(script("claim"), worker.hex(), runtime, *places, *queues)
        jobs, next_due, rings = records.handed(packed)
        if rings is not None:
            self._bell.armed(Topic.WORK, rings)
        try:
            return Claims([job.claim(await self._lend(job)) for job in jobs], next_due)
        except BaseException:
            self._owed += [job.lease for job in jobs]
            raise

    async def _lend(self, job: records.Handed) -> Blob:
        if job.payload[:1] == b"=":
            return job.payload[1:]
        try:
            lent = self._lent[job.lease] = await self._pieces.lend(job.payload, self._folder)
        except Gone:
            return b""  # which no slot accepts: the job fails, and says why
        return lent

    def _take_back(self, leases: Iterable[Lease]) -> None:
        if self._lent:
            drop(self._lent.pop(lease, None) for lease in leases)

    async def _give_back(self, claiming: asyncio.Future[Claims]) -> None:
        with suppress(StoreUnavailable):
            self._owed += [claim.lease for claim in (await claiming).claims]
            await self._settle_debts()

    async def _settle_debts(self) -> None:
        """Give back the jobs that we claimed, and nobody got."""
        if owed := list(self._owed):
            await self.finish([Outcome(lease=lease, ending=Ending.RELEASED) for lease in owed])
            self._owed = self._owed[len(owed) :]

    async def beat(self, worker: WorkerInfo, leases: Sequence[Lease]) -> Beat:
        """See `Store.beat`."""
        who: list[bytes | str] = [worker.id.hex(), f"{worker.lease:.17g}", records.introduction(worker)]
        answer = await self._server.run(script("beat"), *who, *map(records.lease, leases))
        await self._sweep()
        standing = list(zip(leases, answer.decode(), strict=True))
        lost = [lease for lease, digit in standing if digit == "1"]
        self._take_back(lost)
        return Beat(lost, [lease for lease, digit in standing if digit == "2"])

    async def _sweep(self) -> None:
        """Now and then remove what is past its time to live from the sets as well."""
        keep = self.address.keep
        if keep is None or time.monotonic() < self._sweep_at:
            return
        self._sweep_at = time.monotonic() + _SWEEP
        if await self.prune(Keep(completed=keep, failed=keep, cancelled=keep), _SWEPT) == _SWEPT:
            self._sweep_at = 0.0

    async def report(self, events: Sequence[Event]) -> list[Lease]:
        """See `Store.report`."""
        if not events:
            return []
        words: list[bytes | str] = [str(LOG_CAP)]
        for lease, kind, data in events:
            words += [records.lease(lease) + kind.encode(), data]
        answer = await self._server.run(script("report"), *words, once=True)
        return list(dict.fromkeys(event.lease for event, digit in zip(events, answer, strict=True) if digit == 48))

    async def finish(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """See `Store.finish`."""
        if not outcomes:
            return []
        results = await self._pieces.settle([outcome.result for outcome in outcomes])
        errors = await self._pieces.settle([outcome.error for outcome in outcomes])
        words = [
            word
            for outcome, result, error in zip(outcomes, results, errors, strict=True)
            for word in records.outcome(outcome, result, error)
        ]
        answer = await self._server.run(script("finish"), *words, once=True)
        drop(blob for outcome in outcomes for blob in (outcome.result, outcome.error))
        self._take_back(outcome.lease for outcome in outcomes)
        return [digit == 49 for digit in answer]

    async def take(self, bucket: str, rate: float, burst: float) -> float:
        """See `Store.take`."""
        if not rate > 0 or not burst >= 1:
            raise ValueError(f"a bucket needs a rate over 0 and a burst of 1 or more, not {rate!r} and {burst!r}")
        return float(await self._server.run(script("take"), bucket, f"{rate:.17g}", f"{burst:.17g}", once=True))

    async def prune(self, keep: Keep, limit: int = 500) -> int:
        """See `Store.prune`."""
        words = [str(max(limit, 0)), f"{_LONG_SILENT:g}"]
        for state in ENDED.intersection(keep.states):
            seconds = getattr(keep, state.value)
            if seconds is not None:
                words += [records.STATE_DIGITS[state], f"{seconds:.17g}"]
        return int(await self._server.run(script("prune"), *words))

    # ------------------------------------------------------------------------------------------ looking

    async def get(self, ids: Sequence[JobId], parts: Sequence[Part] = ()) -> list[Row | None]:
        """See `Store.get`."""
        if not ids:
            return []
        now, jobs = await self._got(ids, parts)
        rows: list[Row | None] = []
        for job_id, job in zip(ids, jobs, strict=True):
            try:
                blobs = () if job is None else await self._pieces.fetch(job.blobs)
            except Gone:
                rows.append(await self._get_once_more(job_id, parts))
            else:
                rows.append(None if job is None else job.row(now, dict(zip(parts, blobs, strict=True))))
        return rows

    async def _got(self, ids: Sequence[JobId], parts: Sequence[Part]) -> tuple[float, list[records.Found | None]]:
        digits = "".join(str(int(part)) for part in parts)
        packed = await self._server.run(script("get"), digits, *(job_id.hex() for job_id in ids))
        return records.got(packed, len(parts))

    async def _get_once_more(self, job_id: JobId, parts: Sequence[Part]) -> Row | None:
        """One of whose values some went while they were read: it was run again or deleted, or they are lost."""
        now, (job,) = await self._got([job_id], parts)
        if job is None:
            return None
        blobs: list[bytes | None] = []
        for held in job.blobs:
            try:
                blobs += await self._pieces.fetch([held])
            except Gone:
                blobs.append(None)
        return job.row(now, dict(zip(parts, blobs, strict=True)))

    def get_here(self, ids: Sequence[JobId], parts: Sequence[Part] = ()) -> list[Row | None] | None:
        """See `Here.get_here`."""
        return self._threads.get(ids, parts)

    async def find(self, wanted: Filter, after: bytes | None = None, limit: int = 100) -> Page:
        """See `Store.find`."""
        limit = max(limit, 1)
        by_ending = wanted.ended_after is not None
        mark = f"{wanted.ended_after}" if by_ending else ""
        if after is not None:
            mark = str(int.from_bytes(after, "big"))
        words = [
            "".join(records.STATE_DIGITS[state] for state in wanted.states or State),
            wanted.queue or "",
            wanted.name or "",
            wanted.key or "",
            (wanted.suffix or "").lower(),
            "" if wanted.created_after is None else f"{wanted.created_after:.17g}",
            "1" if by_ending else "",
        ]
        jobs: list[records.Found] = []
        more = True
        now = 0.0
        while more and len(jobs) <= limit:
            packed = await self._server.run(script("find"), *words, mark, str(limit + 1 - len(jobs)), str(_LOOKED_AT))
            now, more, reached, found = records.page(packed)
            mark = f"{reached:.17g}" if reached >= 0 else ""
            jobs += found
        rows = [job.row(now) for job in jobs[:limit]]
        if len(jobs) <= limit:
            return Page(rows, None)
        last = jobs[limit - 1]
        return Page(rows, (last.ended if by_ending else last.place).to_bytes(8, "big"))

    async def tail(self, job_id: JobId, after: int = 0, limit: int = 1000) -> Tail:
        """See `Store.tail`."""
        answer = await self._server.run(script("tail"), job_id.hex(), str(after), str(max(limit, 1)))
        if not answer:
            return Tail([], after, 0)
        first, dropped, *packed = answer
        events = [records.heard(one, first + number) for number, one in enumerate(packed)]
        return Tail(events, events[-1].seq if events else after, dropped)

    async def count(self) -> Counts:
        """See `Store.count`."""
        now_, queues, *words = await self._server.run(script("count"))
        counted = {}
        for at in range(0, queues * 9, 9):
            name, paused, limit, *jobs, oldest = words[at : at + 9]
            counted[name.decode()] = QueueCount(
                states=dict(zip(records.STATES, jobs, strict=True)),
                paused=paused == b"1",
                max_running=int(limit) or None,
                oldest=float(oldest) if oldest else None,
            )
        rest = words[queues * 9 :]
        workers = [records.worker(*pair) for pair in zip(rest[::2], rest[1::2], strict=True)]
        now = float(now_)
        alive = [worker for worker in workers if worker.lease > 0 and abs(now - worker.beat) <= worker.lease]
        return Counts(
            queues=dict(sorted(counted.items())),
            workers=tuple(sorted(alive, key=lambda worker: (worker.started, worker.id))),
        )

    # ------------------------------------------------------------------------------------------ waiting

    async def _arm(self, topic: Topic) -> int:
        return int(await self._server.run(script("arm"), str(int(topic))))

    async def wait(self, topic: Topic, cursor: int, timeout: float | None) -> int:
        """See `Store.wait`.

        Raises:
            StoreUnavailable: at the first wait since `open` only; whoever listens already sleeps through an outage.
        """
        if cursor == 0 or not self._bell.hears(topic):
            if not self._server.is_open:
                raise self._server.closed()
            try:
                await self._bell.listen(topic, self.address.patience)
                await self._bell.look(topic)
            except StoreUnavailable:
                raise
            except Exception as error:
                raise self._server.unavailable(error) from error
        return await self._bell.wait(topic, cursor, timeout)

    def wait_here(self, topic: Topic, cursor: int, timeout: float) -> int:
        """See `Here.wait_here`."""
        return self._threads.wait(topic, cursor, timeout)
