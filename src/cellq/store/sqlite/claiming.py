"""Claiming: a worker is handed jobs to run.

What the journals hold comes into rows in the next transaction, which mostly is a claim. Where that claim would choose
exactly those jobs, they become rows as running ones, instead of being added, looked for and changed:

    arrivals ── nothing else waits, room for all, nobody dead ──▶ rows, running     (half the statements)
        └────── else ──▶ rows, ready ──▶ chosen among all that are ready ──▶ running

Journals hold no jobs with conditions; a limit or a job that expires now leads to the other way.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

from cellq.message import Claim, Claims, Kind, Lane, Lease, Topic, lane_of
from cellq.store.sqlite import asking, choosing, conditions, leases
from cellq.store.sqlite.spill import SpillFolder
from cellq.store.sqlite.statements import statements
from cellq.store.sqlite.turn import Turn

_SQL = statements("claim")

_KINDS = {kind.value: kind for kind in Kind}


def idle(
    sql: sqlite3.Connection,
    now: float,
    processes: leases.Processes,
    worker: bytes,
    queues: Sequence[str],
    room: Mapping[Lane, int],
    runtime: str,
) -> Claims | None:
    """What `claim` would answer that has nothing to do, without writing; None when it might have something to do."""
    dead = leases.dead(sql, now, processes, worker)
    if dead is None:
        return Claims([], None)
    lines, terms = choosing.lines(sql, queues, room, runtime)
    next_due = conditions.next_expiry(sql) if terms else None
    if dead or _past(next_due, now):
        return None
    free = choosing.places(sql, lines)
    for line in lines:
        if _past(line.due, now) or (line.ready and free.get(line.queue, 1)):
            return None
        next_due = _sooner(line.due, next_due)
    return Claims([], next_due)


def claim(
    turn: Turn,
    folder: SpillFolder,
    processes: leases.Processes,
    worker: bytes,
    queues: Sequence[str],
    room: Mapping[Lane, int],
    runtime: str,
) -> Claims:
    """See `Store.claim`."""
    sql, now = turn.sql, turn.now
    dead = leases.dead(sql, now, processes, worker)
    lines, terms = choosing.lines(sql, queues, room, runtime)
    expires = conditions.next_expiry(sql) if terms else None
    late = _past(expires, now)
    stale = dead != [] or late  # what was read
    if turn.arrivals:
        if not stale and (arrived := _claim_arrivals(turn, worker, lines, room, expires)) is not None:
            return arrived
        asking.land(turn)
        stale = True
    if dead is None:
        return Claims([], None)
    for of in dead:
        leases.bury(turn, *of)
    all_expired = not late or conditions.expire(turn)
    conditions.unblock(turn)
    if not all_expired:
        return Claims([], now)
    if stale:
        lines, terms = choosing.lines(sql, queues, room, runtime)
    next_due: float | None = None
    for n, line in enumerate(lines):
        due = line.due
        if _past(due, now):
            promoted = sql.execute(_SQL.promote, (line.id, now)).rowcount
            (due,) = sql.execute(_SQL.next_due, (line.id,)).fetchone()
            lines[n] = line._replace(ready=promoted)
        next_due = _sooner(due, next_due)
    lines = [line for line in lines if line.ready]
    limited = terms or any(line.limit for line in lines)
    chosen = choosing.choose_within_limits(turn, lines, room) if limited else choosing.choose(sql, lines, room)
    claims = _start(turn, folder, worker, chosen, terms) if chosen else []
    if expires is not None:
        next_due = _sooner(conditions.next_expiry(sql), next_due)
    return Claims(claims, next_due)


def _start(turn: Turn, folder: SpillFolder, worker: bytes, chosen: Sequence[int], terms: bool) -> list[Claim]:
    """Hand these jobs, of which some may have terms, to a worker."""
    which = json.dumps(chosen)
    started = turn.sql.execute(_SQL.start, (worker, turn.now, which)).fetchall()
    started.sort()  # by priority, then seq, which no two have in common
    inputs = conditions.start(turn, which) if terms else {}
    claims = []
    for _, seq, line, job_id, attempt, task, kind, code, payload, timeout, *rest in started:
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
                inputs=inputs.get(seq, ()),
            )
        )
    turn.ring(Topic.NEWS)
    return claims


def _claim_arrivals(
    turn: Turn,
    worker: bytes,
    lines: Sequence[choosing.Line],
    room: Mapping[Lane, int],
    next_due: float | None,
) -> Claims | None:
    """Start what has just arrived; None, and no job is added, unless that is what the claim would choose anyway."""
    open_lines = set()
    for line in lines:
        if line.ready or line.limit or _past(line.due, turn.now):
            return None
        next_due = _sooner(line.due, next_due)
        open_lines.add(line.id)
    left = dict(room)
    for _, message, _, _ in turn.arrivals:
        lane = lane_of(message.kind)
        left[lane] = left.get(lane, 0) - 1
        line_id = turn.line_id(message.options.queue, lane, message.runtime)
        if left[lane] < 0 or line_id not in open_lines or message.options.delay:
            return None
    arrived = [arrival.message for arrival in turn.arrivals]
    # One that is pushed a second time is there already, in whatever state.
    started = [one for one, pushed in zip(arrived, asking.land(turn, worker), strict=True) if pushed.created]
    started.sort(key=lambda one: -one.options.priority)  # those of one priority stay in the order of pushing
    if started:
        turn.ring(Topic.NEWS)
    return Claims([Claim.of(message, Lease(message.id, 1)) for message in started], next_due)


def _past(moment: float | None, now: float) -> bool:
    return moment is not None and moment <= now


def _sooner(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else min(one, other)
