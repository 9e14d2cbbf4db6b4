"""What clients ask of a store: jobs pushed, cancelled, tried again, deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat

from cellq.ids import JobId
from cellq.message import Action, Changed, Message, Pushed, QueueSettings, Topic, lane_of
from cellq.store.sqlite import codebook, conditions
from cellq.store.sqlite.statements import statements
from cellq.store.sqlite.turn import BLOCKED, CANCELLED, DELAYED, PENDING, READY, RUNNING, WAITING, Turn

_PUSH = statements("push")
_CHANGE = statements("change")

_NOT_STARTED = (None, 0, None)


def push(
    turn: Turn,
    messages: Sequence[Message],
    payloads: Sequence[bytes | str | None],
    code: Mapping[bytes, bytes | str | None],
    moments: Sequence[float] | None = None,
    worker: bytes | None = None,
) -> list[Pushed]:
    """See `Store.push`; payloads and code as rows are to hold them.

    Args:
        moments: of pushing, when those are past.
        worker: who claims them at once.
    """
    sql = turn.sql
    pushed = []
    first: dict[bytes, int | None] = dict.fromkeys(code)  # the first new job of each code
    for message, payload, now in zip(messages, payloads, moments or repeat(turn.now, len(messages)), strict=True):
        options = message.options
        key = options.key
        if key is not None and not sql.execute(_PUSH.known, (message.id,)).fetchone():
            holder = sql.execute(_PUSH.live_key, (key,)).fetchone()
            if holder is not None:
                pushed.append(Pushed(holder[0], False))
                if isinstance(payload, str):
                    turn.discards.append(payload)
                continue
        state, due = (DELAYED, now + options.delay) if options.delay else (READY, None)
        start: tuple[object, ...] = _NOT_STARTED
        if worker is not None:
            state, start = RUNNING, (worker, 1, turn.now)
        parents: list[conditions.Parent] = []
        if conditional := conditions.concern(message):
            parents = conditions.parents_left(turn, message)
            if parents:
                state = WAITING
            elif state == READY and options.concurrency_key is not None:
                state = BLOCKED
        line = turn.line_id(options.queue, lane_of(message.kind), message.runtime)
        added = sql.execute(
            _PUSH.add,
            (
                message.id,
                state,
                line,
                options.priority,
                due,
                now,
                options.retries,
                options.timeout,
                options.backoff,
                options.isolated,
                message.kind,
                message.task,
                options.name or message.task,
                key,
                message.code,
                message.origin,
                message.ctx,
                payload,
                *start,
            ),
        )
        created = added.rowcount == 1
        if created and message.code and first.get(message.code) is None:
            first[message.code] = added.lastrowid
        if created and conditional:
            seq = added.lastrowid
            assert seq is not None
            expires = None if options.expires is None else now + options.expires
            conditions.add(turn, seq, line, state, message, parents, expires)
        pushed.append(Pushed(message.id, created))
    for digest, witness in first.items():
        codebook.hold(turn, digest, code.get(digest), witness)
    conditions.unblock(turn)
    if moments is None:  # else whoever pushed them has rung
        turn.ring(Topic.WORK)
    return pushed


def land(turn: Turn, worker: bytes | None = None) -> list[Pushed]:
    """Move the turn's arrivals into rows; with `worker`, as jobs that it has started."""
    arrivals = turn.arrivals
    if not arrivals:
        return []
    moments, messages, payloads, _ = zip(*arrivals, strict=True)
    code = {arrival.message.code: arrival.code for arrival in arrivals if arrival.code}
    arrivals.clear()
    return push(turn, messages, payloads, code, moments, worker)


def change(turn: Turn, ids: Sequence[JobId], action: Action) -> list[Changed]:
    """See `Store.change`."""
    changed = [_CHANGES[action](turn, job_id) for job_id in ids]
    conditions.unblock(turn)
    return changed


def tune(turn: Turn, queue: str, settings: QueueSettings) -> None:
    """See `Store.tune`."""
    turn.sql.execute(_CHANGE.tune, (settings.paused, settings.max_running, turn.queue_id(queue)))
    turn.limits_changed()
    turn.ring(Topic.NEWS, Topic.WORK)


def delete(turn: Turn, seq: int, line: int, state: int, code: bytes) -> None:
    """Remove an ended job with its log and its files."""
    for held in turn.sql.execute(_CHANGE.files, (seq,)).fetchone():
        if held is not None:
            turn.discards.append(held)
    turn.sql.execute(_CHANGE.silence, (seq,))
    turn.sql.execute(_CHANGE.delete, (seq,))
    conditions.forget(turn, seq)
    turn.left(line, state)
    codebook.lose(turn, code, seq)
    turn.ring(Topic.NEWS, Topic.ENDED)


def _cancel(turn: Turn, job_id: JobId) -> Changed:
    found = turn.sql.execute(_CHANGE.standing, (job_id,)).fetchone()
    if found is None:
        return Changed.UNKNOWN
    state, seq, line, _, _, stop = found
    if state in PENDING:
        conditions.cancel(turn, seq, job_id, line, state)
        return Changed.DONE
    if state == RUNNING:
        if not stop:
            turn.sql.execute(_CHANGE.ask, (seq,))
            turn.ring(Topic.STOP, Topic.NEWS)
        return Changed.ASKED
    return Changed.ALREADY if state == CANCELLED else Changed.REFUSED


def _retry(turn: Turn, job_id: JobId) -> Changed:
    found = turn.sql.execute(_CHANGE.standing, (job_id,)).fetchone()
    if found is None:
        return Changed.UNKNOWN
    state, seq, line, key, _, _ = found
    if state in PENDING:
        return Changed.ALREADY
    if state == RUNNING or (key is not None and turn.sql.execute(_CHANGE.live_key, (key,)).fetchone()):
        return Changed.REFUSED
    parents = conditions.left_to_wait_for(turn, seq)
    if conditions.hopeless(parents):
        return Changed.REFUSED
    for held in turn.sql.execute(_CHANGE.files, (seq,)).fetchone()[1:]:
        if held is not None:
            turn.discards.append(held)
    turn.sql.execute(_CHANGE.silence, (seq,))
    turn.sql.execute(_CHANGE.retry, (WAITING if parents else READY, seq))
    turn.left(line, state)
    turn.ring(Topic.WORK, Topic.NEWS)
    return Changed.DONE


def _delete(turn: Turn, job_id: JobId) -> Changed:
    found = turn.sql.execute(_CHANGE.standing, (job_id,)).fetchone()
    if found is None:
        return Changed.UNKNOWN
    state, seq, line, _, code, _ = found
    if state == RUNNING or state in PENDING:
        return Changed.REFUSED
    delete(turn, seq, line, state, code)
    return Changed.DONE


_CHANGES: Mapping[Action, Callable[[Turn, JobId], Changed]] = {
    Action.CANCEL: _cancel,
    Action.RETRY: _retry,
    Action.DELETE: _delete,
}
