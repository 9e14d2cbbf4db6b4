"""Claiming, beating, and taking back what dead workers held.

The lease is the worker's row, renewed by one small write however many jobs it runs. A worker is dead when

  it signed off                               ─┐
  its process is gone (this machine only)     ─┼─▶ taken back in the next claim of anyone
  it has been silent for longer than its lease─┘   (the last one: only by a claimer that is fit to judge)

A laptop that was suspended wakes with every worker's beat too old. Whoever comes first must not bury the others: a
claimer whose own beat is too old takes nothing back for silence, nor, once it has beaten again, for a third of a lease.

Attempts: `job.attempt` counts starts and is half of the lease, so it never goes back: else a released job, started by
another worker under the same number, could be finished by the first. Starts that do not count are `job.refunds`, and
what people see and policies go by is `attempt - refunds`.

What the journals hold comes into rows in the next transaction, which mostly is a claim. Where that claim would choose
exactly those jobs, they become rows as running ones, instead of being added, looked for and changed:

    arrivals ── nothing else waits, room for all, nobody dead ──▶ rows, running     (half the statements)
        └────── else ──▶ rows, ready ──▶ chosen among all that are ready ──▶ running
"""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence

import psutil

from cellq.message import Beat, Claim, Claims, Kind, Lane, Lease, Message, Topic, WorkerInfo, lane_of
from cellq.store.failures import failure_text, lost
from cellq.store.sqlite import asking
from cellq.store.sqlite.spill import SpillFolder
from cellq.store.sqlite.statements import statements
from cellq.store.sqlite.turn import CANCELLED, FAILED, RUNNING, Turn

_CLAIM = statements("claim")
_BEAT = statements("beat")

_KINDS = {kind.value: kind for kind in Kind}
_LOOK_EVERY = 0.5


class Processes:
    """Which processes of this machine are gone; looks at most every half second, and remembers whom it missed."""

    def __init__(self) -> None:
        self.host = socket.gethostname()
        self._next = 0.0
        self._missed: set[tuple[int, float]] = set()

    def missing(self, workers: Sequence[tuple[str, int, float]]) -> list[bool]:
        """Whether each of these (host, process, its start) is known to be gone."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _LOOK_EVERY
            self._missed = {(pid, started) for host, pid, started in workers if self.gone(host, pid, started)}
        return [host == self.host and (pid, started) in self._missed for host, pid, started in workers]

    def gone(self, host: str, pid: int, started: float) -> bool:
        """True when that process of this machine has ended (its number may have been given to another since)."""
        if host != self.host or pid <= 0:
            return False
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            return started > 0 and process.create_time() > started + 2
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False


def idle(
    sql: sqlite3.Connection,
    now: float,
    processes: Processes,
    worker: bytes,
    queues: Sequence[str],
    room: Mapping[Lane, int],
    runtime: str,
) -> Claims | None:
    """What `claim` would answer that has nothing to do, without writing; None when it might have something to do."""
    dead = _dead(sql, now, processes, worker)
    if dead is None:
        return Claims([], None)
    if dead:
        return None
    next_due: float | None = None
    for _, lane, due, ready in _lines(sql, queues, runtime):
        if room.get(lane, 0) > 0:
            if ready or (due is not None and due <= now):
                return None
            next_due = _sooner(due, next_due)
    return Claims([], next_due)


def claim(
    turn: Turn,
    folder: SpillFolder,
    processes: Processes,
    worker: bytes,
    queues: Sequence[str],
    room: Mapping[Lane, int],
    runtime: str,
) -> Claims:
    """See `Store.claim`."""
    sql = turn.sql
    dead = _dead(sql, turn.now, processes, worker)
    if turn.arrivals:
        if dead == [] and (arrived := _claim_arrivals(turn, worker, _lines(sql, queues, runtime), room)) is not None:
            return arrived
        asking.land(turn)
    if dead is None:
        return Claims([], None)
    for of in dead:
        _bury(turn, *of)
    next_due: float | None = None
    found: dict[Lane, list[tuple[int, int]]] = {}
    for line, lane, due, ready in _lines(sql, queues, runtime):
        places = room.get(lane, 0)
        if places <= 0:
            continue
        if due is not None and due <= turn.now:
            ready = sql.execute(_CLAIM.promote, (line, turn.now)).rowcount
            (due,) = sql.execute(_CLAIM.next_due, (line,)).fetchone()
        next_due = _sooner(due, next_due)
        if ready:
            found.setdefault(lane, []).extend(sql.execute(_CLAIM.ready, (line, places)))
    chosen = [seq for lane, jobs in found.items() for _, seq in sorted(jobs)[: room[lane]]]
    if not chosen:
        return Claims([], next_due)
    started = sql.execute(_CLAIM.start, (worker, turn.now, json.dumps(chosen))).fetchall()
    started.sort()  # by priority, then seq, which no two have in common
    claims = []
    for _, _, line, job_id, attempt, task, kind, code, payload, timeout, *rest in started:
        retries, backoff, isolated, origin, ctx, refunds = rest
        claims.append(
            Claim(
                lease=Lease(job_id, attempt),
                queue=turn.line(line).queue,
                task=task,
                kind=_KINDS[kind],
                code=code,
                payload=folder.blob(payload) or b"",
                timeout=timeout,
                retries=retries,
                backoff=backoff,
                isolated=bool(isolated),
                origin=origin,
                ctx=ctx,
                refunds=refunds,
            )
        )
    turn.ring(Topic.NEWS)
    return Claims(claims, next_due)


def _claim_arrivals(
    turn: Turn, worker: bytes, lines: Iterable[tuple[int, Lane, float | None, int]], room: Mapping[Lane, int]
) -> Claims | None:
    """Start what has just arrived; None, and no job is added, unless that is what the claim would choose anyway."""
    next_due: float | None = None
    open_lines = set()
    for line, lane, due, ready in lines:
        if room.get(lane, 0) > 0:
            if ready or (due is not None and due <= turn.now):
                return None
            next_due = _sooner(due, next_due)
            open_lines.add(line)
    left = dict(room)
    for _, message, _, _ in turn.arrivals:
        lane = lane_of(message.kind)
        left[lane] = left.get(lane, 0) - 1
        line = turn.line_id(message.options.queue, lane, message.runtime)
        if left[lane] < 0 or line not in open_lines or message.options.delay:
            return None
    arrived = [arrival.message for arrival in turn.arrivals]
    # One that is pushed a second time is there already, in whatever state.
    started = [one for one, pushed in zip(arrived, asking.land(turn, worker), strict=True) if pushed.created]
    started.sort(key=lambda one: -one.options.priority)  # those of one priority stay in the order of pushing
    if started:
        turn.ring(Topic.NEWS)
    return Claims([_first_claim(message) for message in started], next_due)


def _first_claim(message: Message) -> Claim:
    options = message.options
    return Claim(
        lease=Lease(message.id, 1),
        queue=options.queue,
        task=message.task,
        kind=message.kind,
        code=message.code,
        payload=message.payload,
        timeout=options.timeout,
        retries=options.retries,
        backoff=options.backoff,
        isolated=options.isolated,
        origin=message.origin,
        ctx=message.ctx,
    )


def beat(turn: Turn, worker: WorkerInfo, leases: Sequence[Lease]) -> Beat:
    """See `Store.beat`."""
    sql, now = turn.sql, turn.now
    known = sql.execute(_BEAT.known, (worker.id,)).fetchone()
    if worker.lease <= 0:
        if known:
            sql.execute(_BEAT.sign_off, (worker.id,))
            turn.ring(Topic.WORK, Topic.NEWS)
    else:
        judges = 0.0
        if known is None or known[0] <= 0:
            turn.ring(Topic.NEWS)
        else:
            lease, last, judges = known
            if _silent(now, last, lease):
                judges = now + worker.lease / 3
        sql.execute(
            _BEAT.beat,
            (
                worker.id,
                worker.host,
                worker.pid,
                worker.started,
                worker.runtime,
                json.dumps(worker.queues),
                worker.slots,
                worker.busy,
                worker.lease,
                worker.detail,
                now,
                judges,
            ),
        )
    gone, stop = [], []
    for lease_ in leases:
        state, attempt, stopping = sql.execute(_BEAT.standing, (lease_.id,)).fetchone() or (None, 0, 0)
        if state != RUNNING or attempt != lease_.attempt:
            gone.append(lease_)
        elif stopping:
            stop.append(lease_)
    return Beat(gone, stop)


def alive(sql: sqlite3.Connection, now: float) -> list[WorkerInfo]:
    """The workers that are alive, those started first first."""
    rows = sql.execute(
        "SELECT id, host, pid, started, runtime, queues, slots, busy, lease, detail, beat FROM worker"
        " ORDER BY started, id"
    )
    return [
        WorkerInfo(
            id=id_,
            host=host,
            pid=pid,
            started=started,
            runtime=runtime,
            queues=tuple(json.loads(queues)),
            slots=slots,
            busy=busy,
            lease=lease,
            detail=detail,
            beat=last,
        )
        for id_, host, pid, started, runtime, queues, slots, busy, lease, detail, last in rows
        if not _silent(now, last, lease)
    ]


def _lines(sql: sqlite3.Connection, queues: Sequence[str], runtime: str) -> list[tuple[int, Lane, float | None, int]]:
    """The lines one may claim from: number, lane, when a delayed job is due next, whether there are ready ones."""
    which = _CLAIM.lines.format(queues=", ".join("?" * len(queues)))  # `json_each` would take as long as all the rest
    return sql.execute(which, (*queues, runtime)).fetchall()


def _sooner(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else min(one, other)


def _dead(
    sql: sqlite3.Connection, now: float, processes: Processes, claimer: bytes
) -> list[tuple[bytes, str, int]] | None:
    """The workers whose jobs are to be taken back: id, host, process. None when the claimer itself is unknown."""
    workers = sql.execute(_CLAIM.workers).fetchall()
    own = next((row for row in workers if row[0] == claimer), None)
    if own is None or own[4] <= 0:
        return None
    if len(workers) == 1:
        return []
    judges = not _silent(now, own[5], own[4]) and not 0 < own[6] - now <= own[4]
    missing = processes.missing([row[1:4] for row in workers])
    return [
        (worker, host, pid)
        for (worker, host, pid, _, lease, last, _), gone in zip(workers, missing, strict=True)
        if worker != claimer and (lease <= 0 or gone or (judges and _silent(now, last, lease)))
    ]


def _bury(turn: Turn, worker: bytes, host: str, pid: int) -> None:
    for seq, line, attempt, retries, stop in turn.sql.execute(_CLAIM.held, (worker,)).fetchall():
        if not stop and attempt <= retries:
            turn.sql.execute(_CLAIM.return_to_line, (seq,))
            continue
        state = CANCELLED if stop else FAILED
        failure = None if stop else failure_text(lost(host, pid, attempt, retries))
        turn.sql.execute(_CLAIM.bury, (state, turn.now, turn.end(line, state), failure, seq))
    turn.sql.execute(_CLAIM.forget, (worker,))
    turn.ring(Topic.WORK, Topic.NEWS, Topic.ENDED)


def _silent(now: float, last: float, lease: float) -> bool:
    # A beat from the future is no better than an old one: the clock was set back, and the living soon beat again.
    return lease <= 0 or abs(now - last) > lease
