"""What keeps a pending job from starting: other jobs, its concurrency key, its time. Few jobs know any of it.

                ┌─▶ WAITING ─── all its parents have completed (DELAYED follows, if it has a delay) ──┐
                │                                                                                     ▼
     pushed ────┼─▶ DELAYED ─── due ──────────────────────────────────────────────────────────────▶ READY ──▶ RUNNING
                │                                                                                   ▲   │
                └─▶ BLOCKED ─── there is a place, and it is the first one of its group ─────────────┘   │
                       ▲                                                                                │
                       └─────────────────────────── met by a claim, and its key is full ────────────────┘

Only READY jobs are in the index that claims read, so a claim costs the same whatever waits elsewhere. From each of
these states a job is cancelled when it expires, and from WAITING when a parent ends without having completed.

Jobs of one key, one `max_running` and one line are a *group*: either all of them may start or none, so it is enough
that the first one is to be seen. While fewer jobs of the key run than the group allows,

    some READY job of the group stands before all its BLOCKED ones.

So a claim that chooses among READY jobs misses none. What could break this is followed by `unblock`, which makes the
first one of each group READY: a job of the key leaves RUNNING, a READY one ends without having started, or one is
pushed (as BLOCKED: of 100,000 in one push, one becomes READY). A claim that starts one looks at the next one of its
group itself (see `choosing`). More READY jobs than needed do no harm: the claim that meets them blocks them.

A full *queue* needs none of this: a claim passes over its lines.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from cellq.ids import JobId
from cellq.message import Message, State, Topic
from cellq.store.contract import EXPIRED_AT_ONCE
from cellq.store.failures import EXPIRED, failure_text, unmet
from cellq.store.sqlite.statements import statements
from cellq.store.sqlite.turn import BLOCKED, CANCELLED, COMPLETED, READY, STATES, WAITING, Turn

_SQL = statements("conditions")

_NEVER = (None, State.FAILED, State.CANCELLED)  # parents in these states will not complete by themselves
_LAST = 2**62  # no line and no rank has that number

FIRST = (-_LAST, 0)
"""The place before the first one of a group: its rank (the less, the sooner) and its number."""

Parent = tuple[JobId, State | None]
"""A job that has not completed, and its state; None when it is not in the store."""


class Group(NamedTuple):
    """What jobs have in common that may start under the same conditions."""

    key: str
    most: int
    line: int


class Running(dict[str, int]):
    """How many jobs of a key run; counted when it is first asked for."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        super().__init__()
        self._sql = sql

    def __missing__(self, key: str) -> int:
        (count,) = self._sql.execute(_SQL.running, (key,)).fetchone()
        self[key] = count
        return int(count)


# ------------------------------------------------------------------------------------------------ pushed


def concern(message: Message) -> bool:
    """Whether any of this is about that job."""
    options = message.options
    return bool(
        options.after
        or message.inputs
        or options.expires is not None
        or options.concurrency_key is not None
        or options.max_running != 1
    )


def parents_left(turn: Turn, message: Message) -> list[Parent]:
    """What a job that is being pushed has to wait for."""
    left: list[Parent] = []
    for parent in message.parents:
        (state,) = turn.sql.execute(_SQL.parent, (parent,)).fetchone() or (None,)
        if state != COMPLETED:
            left.append((parent, None if state is None else STATES[state]))
    return left


def add(
    turn: Turn, seq: int, line: int, state: int, message: Message, parents: Sequence[Parent], expires: float | None
) -> None:
    """Note the conditions of a job that has just been added in this state, WAITING if it has parents."""
    sql, options = turn.sql, message.options
    term = (seq, expires, options.concurrency_key, options.max_running, b"".join(message.inputs) or None)
    sql.execute(_SQL.add_term, term)
    sql.executemany(_SQL.add_edge, [(seq, place, parent) for place, (parent, _) in enumerate(parents)])
    turn.use(edges=bool(parents))
    if state == BLOCKED:
        sql.execute(_SQL.add_blocked, (options.concurrency_key, options.max_running, line, -options.priority, seq))
        turn.freed.add(str(options.concurrency_key))
    for parent, became in parents:
        if became in _NEVER:
            cancel(turn, seq, message.id, line, state, failure_text(unmet(parent, became)))
            break


# ------------------------------------------------------------------------------------------------- ended


def ended(turn: Turn, job_id: JobId, state: int) -> None:
    """A job has ended: what waited for it may start, or is cancelled, and so on."""
    if not turn.uses.edges:
        return
    if state != COMPLETED:
        _cancel_children(turn, job_id, STATES[state])
        return
    if turn.sql.execute(_SQL.let_start, (job_id,)).rowcount:
        turn.ring(Topic.WORK)
    turn.sql.execute(_SQL.forget_parent, (job_id,))


def cancel(turn: Turn, seq: int, job_id: JobId, line: int, state: int, failure: str | None = None) -> None:
    """End a pending job that is in this state, and what waits for it."""
    _cancel_one(turn, seq, line, state, failure)
    ended(turn, job_id, CANCELLED)


def _cancel_children(turn: Turn, parent: JobId, state: State) -> None:
    parents = [(parent, state)]
    for parent, state in parents:  # grows as it goes: children end after their parents
        failure = failure_text(unmet(parent, state))
        for seq, child, line in turn.sql.execute(_SQL.children, (parent,)).fetchall():
            _cancel_one(turn, seq, line, WAITING, failure)
            parents.append((child, State.CANCELLED))


def _cancel_one(turn: Turn, seq: int, line: int, state: int, failure: str | None) -> None:
    sql = turn.sql
    if turn.uses.terms:
        for key, most in sql.execute(_SQL.drop_terms, (seq,)).fetchall():
            if state == BLOCKED:
                sql.execute(_SQL.cancel_blocked, (key, most, line, seq))
            elif state == READY and key is not None:
                turn.freed.add(key)
    sql.execute(_SQL.cancel, (turn.now, turn.end(line, CANCELLED), failure, seq))


def expire(turn: Turn) -> bool:
    """Cancel the jobs whose time is over; False when that were as many as may be at once."""
    late = turn.sql.execute(_SQL.late, (turn.now, EXPIRED_AT_ONCE)).fetchall()
    for (seq,) in late:
        state, job_id, line = turn.sql.execute(_SQL.standing, (seq,)).fetchone()
        if state != CANCELLED:  # not ended as the child of one before it
            cancel(turn, seq, job_id, line, state, failure_text(EXPIRED))
    return len(late) < EXPIRED_AT_ONCE


def left_to_wait_for(turn: Turn, seq: int) -> list[Parent]:
    """What a job that has ended would wait for if it were run again."""
    if not turn.uses.edges:
        return []
    rows = turn.sql.execute(_SQL.left_to_wait_for, (seq,))
    return [(parent, None if state is None else STATES[state]) for parent, state in rows]


def hopeless(parents: Sequence[Parent]) -> bool:
    """Whether one of these will not complete by itself."""
    return any(state in _NEVER for _, state in parents)


def forget(turn: Turn, seq: int) -> None:
    """The job is deleted."""
    if turn.uses.terms:
        turn.sql.execute(_SQL.forget_terms, (seq,))
    if turn.uses.edges:
        turn.sql.execute(_SQL.forget_edges, (seq,))


# ----------------------------------------------------------------------------------------------- running


def start(turn: Turn, which: str) -> dict[int, tuple[JobId, ...]]:
    """Jobs start (a JSON list of their numbers); gives the inputs of those that have any."""
    rows = turn.sql.execute(_SQL.start, (which,)).fetchall()
    return {seq: tuple(ids[n : n + 16] for n in range(0, len(ids), 16)) for seq, ids in rows if ids}


def leaves(turn: Turn, seq: int) -> None:
    """A job runs no more; `unblock` has to follow."""
    uses = turn.uses
    if uses.terms:
        turn.freed.update(key for (key,) in turn.sql.execute(_SQL.leave, (seq,)).fetchall())
    if uses.limits:
        turn.ring(Topic.WORK)  # there is a place in its queue


def unblock(turn: Turn) -> None:
    """Make the first one ready of each group in whose key a place has, or may have, become free."""
    if not turn.freed:
        return
    running = Running(turn.sql)
    for key in sorted(turn.freed):
        most, line = running[key], _LAST  # groups that allow no more are full
        # From group to group: behind the last rank, or SQLite walks through all of the group it has just been at.
        while first := turn.sql.execute(_SQL.next_group, (key, most, line, _LAST)).fetchone():
            most, line, rank, seq = first
            make_ready(turn, Group(key, most, line), rank, seq)
            turn.ring(Topic.WORK)
    turn.freed.clear()


def next_of_group(sql: sqlite3.Connection, group: Group, behind: tuple[int, int]) -> tuple[int, int] | None:
    """The first blocked one of a group behind this place: its rank and number."""
    found: tuple[int, int] | None = sql.execute(_SQL.next_of_group, (*group, *behind)).fetchone()
    return found


def block(turn: Turn, jobs: Sequence[tuple[Group, int, int]]) -> None:
    """Move ready jobs to BLOCKED; each with its rank and number."""
    turn.sql.executemany(_SQL.block, [(seq,) for _, _, seq in jobs])
    turn.sql.executemany(_SQL.add_blocked, [(*group, rank, seq) for group, rank, seq in jobs])


def make_ready(turn: Turn, group: Group, rank: int, seq: int) -> None:
    """Move a blocked job to READY."""
    remove_blocked(turn, group, rank, seq)
    turn.sql.execute(_SQL.unblock, (seq,))


def remove_blocked(turn: Turn, group: Group, rank: int, seq: int) -> None:
    """A blocked job is to leave that state."""
    turn.sql.execute(_SQL.remove_blocked, (*group, rank, seq))


def next_expiry(sql: sqlite3.Connection) -> float | None:
    """When the next job expires."""
    moment: float | None
    (moment,) = sql.execute(_SQL.next_expiry).fetchone()
    return moment
