"""The store in memory: the reference that the other stores are held against, and `memory://` itself.

Written to be obviously right: one dict of jobs in the order of pushing, one lock, and every verb a walk over the dict.
It serves several event loops and threads of one process.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

from cellq import settings
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
    Failure,
    Filter,
    Heard,
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
    State,
    Tail,
    Topic,
    WorkerInfo,
    lane_of,
)
from cellq.options import Options
from cellq.store.contract import EXPIRED_AT_ONCE, LOG_CAP
from cellq.store.failures import EXPIRED, lost, unmet
from cellq.store.remembered import RememberedJob

_LONG_SILENT = 3600.0
_NEVER = (None, State.FAILED, State.CANCELLED)  # parents in these states will not complete by themselves


class MemoryStore:
    """A `Store` in this process.

    Args:
        clock: gives the time in epoch seconds.
        name: what comes after `memory://`.
    """

    _named: ClassVar[dict[str, MemoryStore]] = {}
    _naming = threading.Lock()

    def __init__(self, *, clock: Callable[[], float] = time.time, name: str = "") -> None:
        self.url = self.full_url = f"memory://{name}"
        self.spill_dir: Path | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[JobId, RememberedJob] = {}
        self._children: dict[JobId, list[JobId]] = {}  # in the order of pushing
        self._code: dict[bytes, Blob] = {}
        self._queues: dict[str, QueueSettings] = {}
        self._workers: dict[bytes, WorkerInfo] = {}
        self._judges: dict[bytes, float] = {}
        self._buckets: dict[str, tuple[float, float]] = {}
        self._places = 0
        self._endings = 0
        self._counts = dict.fromkeys(Topic, 1)
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    @classmethod
    def named(cls, name: str) -> MemoryStore:
        """The one store of this name in this process."""
        with cls._naming:
            if name not in cls._named:
                cls._named[name] = cls(name=name)
            return cls._named[name]

    async def open(self) -> None:
        """See `Store.open`. In a slot there is nothing to open, and what a job enqueued there would vanish with it."""
        if settings.in_slot:
            raise StoreUnavailable(
                f"{self.url} lives inside one program, and this job runs in a process of its own; "
                f"jobs that enqueue jobs need a store that both can reach, sqlite:/// or redis://"
            )

    async def close(self) -> None:
        """See `Store.close`: other handles of this name may be in use, so everything stays."""

    # ------------------------------------------------------------------------------------ asking for work

    async def push(self, messages: Sequence[Message], code: Mapping[bytes, Blob]) -> list[Pushed]:
        """See `Store.push`."""
        with self._lock:
            now = self._clock()
            pushed = []
            for message in messages:
                options = message.options
                if message.id in self._jobs:
                    pushed.append(Pushed(message.id, False))
                    continue
                holder = self._live(options.key)
                if holder is not None:
                    pushed.append(Pushed(holder.message.id, False))
                    continue
                self._places += 1
                due = now + options.delay if options.delay else None
                expires = None if options.expires is None else now + options.expires
                job = RememberedJob(message, self._places, now, due, expires, ctx=message.ctx)
                self._queues.setdefault(options.queue, QueueSettings(paused=False, max_running=0))
                pushed.append(Pushed(message.id, True))
                parents = {parent: self._state(parent) for parent in message.parents}
                self._jobs[message.id] = job
                job.after = [parent for parent, state in parents.items() if state is not State.COMPLETED]
                for parent in job.after:
                    self._children.setdefault(parent, []).append(message.id)
                never = next((parent for parent in job.after if parents[parent] in _NEVER), None)
                if never is not None:
                    self._end(job, State.CANCELLED, unmet(never, parents[never]))
            for digest, body in code.items():
                self._code.setdefault(digest, body)
            if messages:
                self._ring(Topic.WORK)
            return pushed

    def _state(self, job_id: JobId) -> State | None:
        job = self._jobs.get(job_id)
        return None if job is None else job.state

    async def change(self, ids: Sequence[JobId], action: Action) -> list[Changed]:
        """See `Store.change`."""
        with self._lock:
            return [self._change(self._jobs.get(job_id), Action(action)) for job_id in ids]

    def _change(self, job: RememberedJob | None, action: Action) -> Changed:
        if job is None:
            return Changed.UNKNOWN
        if action is Action.CANCEL:
            if job.state is State.RUNNING:
                job.stop = True
                self._ring(Topic.STOP, Topic.NEWS)
                return Changed.ASKED
            if job.state is State.PENDING:
                self._end(job, State.CANCELLED)
                return Changed.DONE
            return Changed.ALREADY if job.state is State.CANCELLED else Changed.REFUSED
        if action is Action.RETRY:
            if job.state is State.PENDING:
                return Changed.ALREADY
            if job.state is State.RUNNING or self._live(job.message.options.key):
                return Changed.REFUSED
            after = [parent for parent in job.after if self._state(parent) is not State.COMPLETED]
            if any(self._state(parent) in _NEVER for parent in after):
                return Changed.REFUSED
            fresh = RememberedJob(job.message, job.place, job.created, None, after=after, ctx=job.ctx, heard=job.heard)
            fresh.starts = fresh.refunds = job.starts
            self._jobs[job.message.id] = fresh
            self._ring(Topic.WORK, Topic.NEWS)
            return Changed.DONE
        if not job.state.ended:
            return Changed.REFUSED
        del self._jobs[job.message.id]
        self._ring(Topic.NEWS, Topic.ENDED)
        return Changed.DONE

    async def tune(self, queue: str, settings: QueueSettings) -> None:
        """See `Store.tune`."""
        with self._lock:
            changed = {name: value for name, value in asdict(settings).items() if value is not None}
            known = self._queues.get(queue, QueueSettings(paused=False, max_running=0))
            self._queues[queue] = replace(known, **changed)
            self._ring(Topic.NEWS, Topic.WORK)

    # ------------------------------------------------------------------------------------------ working

    async def claim(self, worker: bytes, queues: Sequence[str], room: Mapping[Lane, int], runtime: str) -> Claims:
        """See `Store.claim`."""
        with self._lock:
            now = self._clock()
            claimer = self._workers.get(worker)
            if claimer is None or claimer.lease <= 0:
                return Claims([], None)
            self._take_back(claimer, now)
            if self._expire(now) == EXPIRED_AT_ONCE:
                return Claims([], now)
            left = {lane: places for lane, places in room.items() if places > 0}
            suitable = [
                job
                for job in self._jobs.values()
                if job.state is State.PENDING
                and job.message.options.queue in queues
                and not self._queues[job.message.options.queue].paused
                and not job.after
                and job.message.runtime in (runtime, "")
                and lane_of(job.message.kind) in left
            ]
            for job in suitable:
                if job.due is not None and job.due <= now:
                    job.due = None  # once due it stays so, also when the clock is set back
            suitable.sort(key=lambda job: (-job.message.options.priority, job.place))
            claims = []
            for job in suitable:
                lane = lane_of(job.message.kind)
                if job.due is None and left[lane] and self._within_limits(job.message.options):
                    left[lane] -= 1
                    job.state, job.worker, job.started, job.expires = State.RUNNING, worker, now, None
                    job.starts += 1
                    claims.append(job.claim())
            if claims:
                self._ring(Topic.NEWS)
            moments = [job.due for job in suitable if job.due is not None]
            moments += [job.expires for job in self._jobs.values() if job.expires is not None]
            return Claims(claims, min(moments, default=None))

    def _within_limits(self, options: Options) -> bool:
        limit, key = self._queues[options.queue].max_running, options.concurrency_key
        if not limit and key is None:
            return True
        running = [job.message.options for job in self._jobs.values() if job.state is State.RUNNING]
        if limit and sum(other.queue == options.queue for other in running) >= limit:
            return False
        return key is None or sum(other.concurrency_key == key for other in running) < options.max_running

    def _expire(self, now: float) -> int:
        late = [job for job in self._jobs.values() if job.expires is not None and job.expires <= now]
        late = sorted(late, key=lambda job: (job.expires, job.place))[:EXPIRED_AT_ONCE]
        for job in late:
            if job.state is State.PENDING:  # not ended as the child of one before it
                self._end(job, State.CANCELLED, EXPIRED)
        return len(late)

    def _take_back(self, claimer: WorkerInfo, now: float) -> None:
        waits = 0 < self._judges[claimer.id] - now <= claimer.lease
        judges = not _silent(claimer, now) and not waits
        for worker in sorted(self._workers.values(), key=lambda worker: worker.id):
            if worker.id == claimer.id or not (worker.lease <= 0 or (judges and _silent(worker, now))):
                continue
            del self._workers[worker.id]
            for job in self._jobs.values():
                if job.state is not State.RUNNING or job.worker != worker.id:
                    continue
                retries = job.message.options.retries
                if job.stop:
                    self._end(job, State.CANCELLED)
                elif job.attempt > retries:
                    self._end(job, State.FAILED, lost(worker.host, worker.pid, job.attempt, retries))
                else:
                    job.state, job.worker = State.PENDING, None
            self._ring(Topic.WORK, Topic.NEWS)

    async def beat(self, worker: WorkerInfo, leases: Sequence[Lease]) -> Beat:
        """See `Store.beat`."""
        with self._lock:
            now = self._clock()
            known = self._workers.get(worker.id)
            if worker.lease > 0:
                if known is None or known.lease <= 0:
                    self._judges[worker.id] = 0.0
                    self._ring(Topic.NEWS)
                elif _silent(known, now):
                    self._judges[worker.id] = now + worker.lease / 3
                self._workers[worker.id] = replace(worker, beat=now)
            elif known is not None:
                self._workers[worker.id] = replace(known, lease=0.0)
                self._ring(Topic.WORK, Topic.NEWS)
            return Beat(
                [lease for lease in leases if self._held(lease) is None],
                [lease for lease in leases if (job := self._held(lease)) is not None and job.stop],
            )

    async def report(self, events: Sequence[Event]) -> list[Lease]:
        """See `Store.report`."""
        with self._lock:
            now = self._clock()
            stale: dict[Lease, None] = {}
            for event in events:
                job = self._held(event.lease)
                if job is None:
                    stale[event.lease] = None
                    continue
                self._ring(Topic.NEWS)
                size = len(event.data.encode())
                if event.kind == "progress":
                    job.progress = event.data
                elif event.kind != "error" and job.logged + size > LOG_CAP:
                    job.dropped += size
                else:
                    job.logged += size
                    job.heard += 1
                    job.log.append(Heard(job.heard, event.lease.attempt, now, event.kind, event.data))
            return list(stale)

    async def finish(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """See `Store.finish`."""
        with self._lock:
            return [self._finish(outcome, self._clock()) for outcome in outcomes]

    def _finish(self, outcome: Outcome, now: float) -> bool:
        job = self._held(outcome.lease)
        if job is None:
            return False
        if outcome.ctx is not None:
            job.ctx = outcome.ctx
        if outcome.ending is Ending.RELEASED and not job.stop:
            job.refunds += 1
            job.state, job.worker = State.PENDING, None
            job.due = now + outcome.delay if outcome.delay > 0 else None
            self._ring(Topic.WORK, Topic.NEWS)
            return True
        job.error = outcome.error
        if outcome.ending is Ending.RETRY and not job.stop:
            job.failure = outcome.failure
            job.state, job.worker = State.PENDING, None
            job.due = now + outcome.delay if outcome.delay > 0 else None
            self._ring(Topic.WORK, Topic.NEWS)
            return True
        job.result = outcome.result
        ending = outcome.ending
        state = State.CANCELLED if ending in (Ending.RETRY, Ending.RELEASED) else State(ending.value)
        self._end(job, state, outcome.failure)
        return True

    async def take(self, bucket: str, rate: float, burst: float) -> float:
        """See `Store.take`."""
        if not rate > 0 or not burst >= 1:
            raise ValueError(f"a bucket needs a rate over 0 and a burst of 1 or more, not {rate!r} and {burst!r}")
        with self._lock:
            now = self._clock()
            tokens, at = self._buckets.get(bucket, (burst, now))
            tokens = min(burst, tokens + max(0.0, now - at) * rate)
            if tokens < 1 - 1e-9:
                return (1 - tokens) / rate
            self._buckets[bucket] = (tokens - 1, now)
            return 0.0

    async def prune(self, keep: Keep, limit: int = 500) -> int:
        """See `Store.prune`."""
        with self._lock:
            now = self._clock()
            past: list[RememberedJob] = []
            for state in ENDED.intersection(keep.states):
                seconds = getattr(keep, state.value)
                if seconds is None:
                    continue
                for job in sorted((job for job in self._jobs.values() if job.state is state), key=_ended):
                    if job.finished is None or job.finished > now - seconds:
                        break  # those that ended after it are to be kept, too
                    past.append(job)
            past = sorted(past, key=_ended)[:limit]
            for job in past:
                del self._jobs[job.message.id]
            used = {job.message.code for job in self._jobs.values()}
            self._code = {digest: body for digest, body in self._code.items() if digest in used}
            holding = {job.worker for job in self._jobs.values() if job.state is State.RUNNING}
            for worker in list(self._workers.values()):
                if abs(now - worker.beat) > max(worker.lease, _LONG_SILENT) and worker.id not in holding:
                    del self._workers[worker.id]
            if past:
                self._ring(Topic.NEWS, Topic.ENDED)
            return len(past)

    # ------------------------------------------------------------------------------------------ looking

    async def get(self, ids: Sequence[JobId], parts: Sequence[Part] = ()) -> list[Row | None]:
        """See `Store.get`."""
        with self._lock:
            now = self._clock()
            return [job.row(now, self._code, parts) if (job := self._jobs.get(job_id)) else None for job_id in ids]

    async def find(self, wanted: Filter, after: bytes | None = None, limit: int = 100) -> Page:
        """See `Store.find`."""
        limit = max(limit, 1)
        with self._lock:
            now = self._clock()
            jobs = [job for job in self._jobs.values() if job.matches(wanted)]
            mark = None if after is None else int.from_bytes(after, "big")
            if wanted.ended_after is None:
                jobs = [job for job in jobs if mark is None or job.place < mark]
                jobs.sort(key=lambda job: -job.place)
            else:
                since = wanted.ended_after if mark is None else mark
                jobs = sorted((job for job in jobs if _ended(job) > since), key=_ended)
            rows = [job.row(now, self._code, ()) for job in jobs[:limit]]
            if len(jobs) <= limit:
                return Page(rows, None)
            last = jobs[limit - 1]
            return Page(rows, (last.place if wanted.ended_after is None else _ended(last)).to_bytes(8, "big"))

    async def tail(self, job_id: JobId, after: int = 0, limit: int = 1000) -> Tail:
        """See `Store.tail`."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                return Tail([], after, 0)
            events = [heard for heard in job.log if heard.seq > after][: max(limit, 1)]
            return Tail(events, events[-1].seq if events else after, job.dropped)

    async def count(self) -> Counts:
        """See `Store.count`."""
        with self._lock:
            now = self._clock()
            queues = {}
            for name, settings in sorted(self._queues.items()):
                jobs = [job for job in self._jobs.values() if job.message.options.queue == name]
                states = {state: sum(job.state is state for job in jobs) for state in State}
                waiting = (job for job in jobs if job.state is State.PENDING)
                first = min(waiting, key=lambda job: job.place, default=None)
                queues[name] = QueueCount(
                    states=states,
                    paused=bool(settings.paused),
                    max_running=settings.max_running or None,
                    oldest=first.created if first else None,
                )
            alive = [worker for worker in self._workers.values() if not _silent(worker, now)]
            return Counts(queues=queues, workers=tuple(sorted(alive, key=lambda worker: (worker.started, worker.id))))

    # ------------------------------------------------------------------------------------------ waiting

    async def wait(self, topic: Topic, cursor: int, timeout: float | None) -> int:
        """See `Store.wait`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        event = asyncio.Event()
        waiter = (asyncio.get_running_loop(), event)
        with self._lock:
            self._waiting.add(waiter)
        try:
            while True:
                event.clear()
                with self._lock:
                    if self._counts[topic] != cursor:
                        return self._counts[topic]
                try:
                    left = None if deadline is None else deadline - time.monotonic()
                    async with asyncio.timeout(left):  # `wait_for` loses a cancellation that comes together with a ring
                        await event.wait()
                except TimeoutError:
                    return cursor
        finally:
            with self._lock:
                self._waiting.discard(waiter)

    # ------------------------------------------------------------------------- the rest expects the lock

    def _ring(self, *topics: Topic) -> None:
        for topic in topics:
            self._counts[topic] += 1
        for loop, event in list(self._waiting):
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # that loop was closed with a wait in it
                self._waiting.discard((loop, event))

    def _held(self, lease: Lease) -> RememberedJob | None:
        job = self._jobs.get(lease.id)
        return job if job is not None and job.state is State.RUNNING and job.starts == lease.attempt else None

    def _live(self, key: str | None) -> RememberedJob | None:
        live = (job for job in self._jobs.values() if job.message.options.key == key and not job.state.ended)
        return None if key is None else next(live, None)

    def _end(self, job: RememberedJob, state: State, failure: Failure | None = None) -> None:
        ending = [(job, state, failure)]
        for job, state, failure in ending:  # grows as it goes: children end after their parents
            self._endings += 1
            job.state, job.failure, job.finished, job.ended = state, failure, self._clock(), self._endings
            job.due = job.expires = None
            parent = job.message.id
            for child in map(self._jobs.get, self._children.get(parent, ())):
                if child is None or parent not in child.after:
                    continue
                if state is State.COMPLETED:
                    child.after.remove(parent)
                elif child.state is State.PENDING and all(child is not other for other, _, _ in ending):
                    ending.append((child, State.CANCELLED, unmet(parent, state)))
        self._ring(Topic.NEWS, Topic.ENDED, Topic.WORK)  # a child, or one that its limits held back, may start now


def _silent(worker: WorkerInfo, now: float) -> bool:
    return worker.lease <= 0 or abs(now - worker.beat) > worker.lease


def _ended(job: RememberedJob) -> int:
    return job.ended or 0
