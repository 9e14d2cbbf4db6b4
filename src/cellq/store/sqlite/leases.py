"""Who is alive: beats, and taking back what dead workers held.

The lease is the worker's row, renewed by one small write however many jobs it runs. A worker is dead when

  it signed off                               ─┐
  its process is gone (this machine only)     ─┼─▶ taken back in the next claim of anyone
  it has been silent for longer than its lease─┘   (the last one: only by a claimer that is fit to judge)

A laptop that was suspended wakes with every worker's beat too old. Whoever comes first must not bury the others: a
claimer whose own beat is too old takes nothing back for silence, nor, once it has beaten again, for a third of a lease.

Attempts: `job.attempt` counts starts and is half of the lease, so it never goes back: else a released job, started by
another worker under the same number, could be finished by the first. Starts that do not count are `job.refunds`, and
what people see and policies go by is `attempt - refunds`.
"""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Sequence

import psutil

from cellq.message import Beat, Lease, Topic, WorkerInfo
from cellq.store.failures import failure_text, lost
from cellq.store.sqlite import conditions
from cellq.store.sqlite.statements import statements
from cellq.store.sqlite.turn import CANCELLED, FAILED, RUNNING, Turn

_BEAT = statements("beat")

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


def dead(
    sql: sqlite3.Connection, now: float, processes: Processes, claimer: bytes
) -> list[tuple[bytes, str, int]] | None:
    """The workers whose jobs are to be taken back: id, host, process. None when the claimer itself is unknown."""
    workers = sql.execute(_BEAT.workers).fetchall()
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


def bury(turn: Turn, worker: bytes, host: str, pid: int) -> None:
    """Forget a dead worker, and take back what it held; `conditions.unblock` has to follow."""
    for seq, job_id, line, attempt, retries, stop in turn.sql.execute(_BEAT.held, (worker,)).fetchall():
        conditions.leaves(turn, seq)
        if not stop and attempt <= retries:
            turn.sql.execute(_BEAT.return_to_line, (seq,))
            continue
        state = CANCELLED if stop else FAILED
        failure = None if stop else failure_text(lost(host, pid, attempt, retries))
        turn.sql.execute(_BEAT.bury, (state, turn.now, turn.end(line, state), failure, seq))
        conditions.ended(turn, job_id, state)
    turn.sql.execute(_BEAT.forget, (worker,))
    turn.ring(Topic.WORK, Topic.NEWS, Topic.ENDED)


def _silent(now: float, last: float, lease: float) -> bool:
    # A beat from the future is no better than an old one: the clock was set back, and the living soon beat again.
    return lease <= 0 or abs(now - last) > lease
