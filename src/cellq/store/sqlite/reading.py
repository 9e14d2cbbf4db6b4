"""Looking at jobs without changing anything: get, find, tail, count."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from cellq.ids import JobId
from cellq.message import ENDED, Blob, Counts, Failure, Filter, Heard, Kind, Page, Part, QueueCount, Row, State, Tail
from cellq.store.sqlite.leases import alive
from cellq.store.sqlite.spill import SpillFolder
from cellq.store.sqlite.turn import BLOCKED, CODES, DELAYED, PENDING, READY, RUNNING, STATES, WAITING, Lines

_COLUMNS = (
    "seq, id, line, name, task, kind, state, priority, attempt - refunds, retries, timeout, key, code, created, due,"
    " started, finished, ended, worker, stop, progress, failure, origin, concurrency_key, max_running, expires,"
    " ctx"
)
_WIDTH = _COLUMNS.count(",") + 1
_JOBS = "job LEFT JOIN term ON term.job = seq"
_TOO = ["", "", "", *[" AND ended IS NOT NULL"] * 3, *[" AND state > 5"] * 2]  # else no partial index is seen to fit
_FEW = 50  # jobs of which one qualifies
_MANY = 20_000  # gathering that many by the indexes takes 20 ms
_PARTS = {Part.PAYLOAD: "payload", Part.RESULT: "result", Part.ERROR: "error"}
_KINDS = {kind.value: kind for kind in Kind}


def get(
    sql: sqlite3.Connection, lines: Lines, folder: SpillFolder, now: float, ids: Sequence[JobId], parts: Sequence[Part]
) -> list[Row | None]:
    """See `Store.get`."""
    columns = [part for part in _PARTS if part in parts]
    query = f"SELECT {', '.join([_COLUMNS, *(_PARTS[part] for part in columns)])} FROM {_JOBS} WHERE id = ?"
    rows: list[Row | None] = []
    code: dict[bytes, Blob | None] = {}
    for job_id in ids:
        found = sql.execute(query, (job_id,)).fetchone()
        if found is None:
            rows.append(None)
            continue
        blobs = {_PARTS[part]: folder.blob(held) for part, held in zip(columns, found[_WIDTH:], strict=True)}
        if Part.CODE in parts:
            digest = found[12]
            if digest not in code:
                held = sql.execute("SELECT body FROM code WHERE digest = ?", (digest,)).fetchone()
                code[digest] = folder.blob(held[0]) if held else None
            blobs["code"] = code[digest]
        rows.append(_row(sql, lines, now, found, blobs))
    return rows


def find(sql: sqlite3.Connection, lines: Lines, now: float, wanted: Filter, after: bytes | None, limit: int) -> Page:
    """See `Store.find`. Two steps: which jobs, by their numbers alone; then their rows."""
    conditions: list[str] = []
    values: list[object] = []
    if wanted.queue is not None:
        conditions.append("line IN (SELECT line.id FROM line JOIN queue ON queue.id = line.queue WHERE queue.name = ?)")
        values.append(wanted.queue)
    if wanted.name is not None:
        conditions.append("name = ?")
        values.append(wanted.name)
    if wanted.key is not None:
        conditions.append("key = ?")
        values.append(wanted.key)
    if wanted.suffix:
        # By the index on ids alone; the rows themselves are not touched.
        conditions.append("seq IN (SELECT seq FROM job WHERE substr(lower(hex(id)), ?) = ?)")
        values += [-len(wanted.suffix), wanted.suffix.lower()]
    if wanted.created_after is not None:
        conditions.append("created > ?")
        values.append(wanted.created_after)
    states = wanted.states or tuple(State)
    limit = max(limit, 1)
    mark = None if after is None else int.from_bytes(after, "big")
    if wanted.ended_after is not None:
        since = wanted.ended_after if mark is None else mark
        where = " AND ".join(["state = ?", "ended > ?", *conditions])
        order = f"SELECT ended, seq FROM job WHERE {where} ORDER BY ended LIMIT ?"
        found = []
        for state in ENDED.intersection(
            states
        ):  # one search per state is in order already; together they would be sorted
            found += sql.execute(order, (CODES[state], since, *values, limit + 1)).fetchall()
        found.sort()
    else:
        if wanted.states:
            conditions.append(_in_states(sql, wanted.states))
        if mark is not None:
            conditions.append("seq < ?")
            values.append(mark)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f"SELECT seq, seq FROM job {where} ORDER BY seq DESC LIMIT ?"
        found = sql.execute(query, (*values, limit + 1)).fetchall()
    page, more = found[:limit], len(found) > limit
    query = f"SELECT {_COLUMNS} FROM {_JOBS} WHERE seq = ?"
    rows = [_row(sql, lines, now, sql.execute(query, (seq,)).fetchone(), {}) for _, seq in page]
    return Page(rows, page[-1][0].to_bytes(8, "big") if more else None)


def tail(sql: sqlite3.Connection, job_id: JobId, after: int, limit: int) -> Tail:
    """See `Store.tail`."""
    job = sql.execute("SELECT seq, dropped FROM job WHERE id = ?", (job_id,)).fetchone()
    if job is None:
        return Tail([], after, 0)
    rows = sql.execute(
        "SELECT place, attempt, at, kind, data FROM event WHERE job = ? AND place > ? ORDER BY place LIMIT ?",
        (job[0], after, max(limit, 1)),
    ).fetchall()
    return Tail([Heard(*row) for row in rows], rows[-1][0] if rows else after, job[1])


def count(sql: sqlite3.Connection, now: float) -> Counts:
    """See `Store.count`."""
    known: dict[int, tuple[str, bool, int | None]] = {}
    states: dict[int, dict[State, int]] = {}
    for queue_id, name, paused, limit in sql.execute("SELECT id, name, paused, max_running FROM queue ORDER BY name"):
        known[queue_id] = (name, bool(paused), limit or None)
        states[queue_id] = dict.fromkeys(State, 0)
    queue_of = dict(sql.execute("SELECT id, queue FROM line"))
    for line, queue_id in queue_of.items():
        for state in PENDING:
            query = f"SELECT count(*) FROM job WHERE state = {state}{_TOO[state]} AND line = ?"
            (jobs,) = sql.execute(query, (line,)).fetchone()
            states[queue_id][STATES[state]] += jobs
    for line, state, jobs in (
        *sql.execute(f"SELECT line, {RUNNING}, count(*) FROM job WHERE state = {RUNNING} GROUP BY line"),
        *sql.execute("SELECT line, state, jobs FROM tally WHERE line > 0"),
    ):
        states[queue_of[line]][STATES[state]] += jobs
    oldest = _oldest(sql)
    queues = {
        name: QueueCount(states=states[queue_id], paused=paused, max_running=limit, oldest=oldest.get(queue_id))
        for queue_id, (name, paused, limit) in known.items()
    }
    return Counts(queues=queues, workers=tuple(alive(sql, now)))


def _in_states(sql: sqlite3.Connection, wanted: Sequence[State]) -> str:
    """The condition for jobs in these states.

    The search goes from the newest job to older ones. Where few jobs qualify (the running ones, beside a million ended)
    it would meet them late, so they are gathered by the indexes first.
    """
    jobs = dict(sql.execute("SELECT state, sum(jobs) FROM tally WHERE line > 0 GROUP BY state"))
    for code in (*PENDING, RUNNING):
        few = f"SELECT 1 FROM job WHERE state = {code}{_TOO[code]} LIMIT {_MANY}"
        (jobs[code],) = sql.execute(f"SELECT count(*) FROM ({few})").fetchone()
    codes = [code for code, state in enumerate(STATES) if state in wanted]
    qualify = sum(jobs.get(code, 0) for code in codes)
    if qualify >= _MANY or qualify * _FEW > sum(jobs.values()):
        return f"state IN ({', '.join(map(str, codes))})"
    # Written out one by one: only then each partial index is used.
    by_index = (f"SELECT seq FROM job WHERE state = {code}{_TOO[code]}" for code in codes)
    return f"seq IN ({' UNION ALL '.join(by_index)})"


def _oldest(sql: sqlite3.Connection) -> Mapping[int, float]:
    """When the pending job that was pushed first was created, by queue.

    In the ready index a line's jobs are ordered by priority first, so this hops from one priority to the next.
    """
    first: dict[int, int] = {}

    def consider(queue_id: int, seq: int | None) -> None:
        if seq is not None:
            first[queue_id] = min(seq, first.get(queue_id, seq))

    for line, queue_id in sql.execute("SELECT id, queue FROM line").fetchall():
        below = 2**31
        while hop := sql.execute(
            f"SELECT priority, seq FROM job WHERE state = {READY} AND line = ? AND priority < ?"
            " ORDER BY priority DESC, seq LIMIT 1",
            (line, below),
        ).fetchone():
            below, seq = hop
            consider(queue_id, seq)
        for state in (DELAYED, WAITING, BLOCKED):
            query = f"SELECT min(seq) FROM job WHERE state = {state}{_TOO[state]} AND line = ?"
            consider(queue_id, sql.execute(query, (line,)).fetchone()[0])
    return {
        queue_id: sql.execute("SELECT created FROM job WHERE seq = ?", (seq,)).fetchone()[0]
        for queue_id, seq in first.items()
    }


def _row(
    sql: sqlite3.Connection, lines: Lines, now: float, found: Sequence[Any], blobs: Mapping[str, Blob | None]
) -> Row:
    seq, job_id, line, name, task, kind, state, priority, attempt, retries, timeout, key, code, created, *rest = found
    due, started, finished, ended, worker, stop, progress, failure, origin, *rest = rest
    concurrency_key, max_running, expires, ctx, *_ = rest
    asked_of = lines.get(sql, line)
    return Row(
        id=job_id,
        queue=asked_of.queue,
        name=name,
        task=task,
        kind=_KINDS[kind],
        state=STATES[state],
        priority=priority,
        attempt=attempt,
        retries=retries,
        timeout=timeout,
        key=key,
        concurrency_key=concurrency_key,
        max_running=max_running or 1,
        runtime=asked_of.runtime,
        code_digest=code,
        created=created,
        due=due if due is not None and due > now else None,
        expires=expires,
        after=_after(sql, seq) if state == WAITING else (),
        started=started,
        finished=finished,
        ended=ended,
        worker=worker,
        cancelling=state == RUNNING and bool(stop),
        progress=progress,
        failure=_failure(failure),
        origin=origin,
        ctx=ctx,
        **blobs,
    )


def _after(sql: sqlite3.Connection, seq: int) -> tuple[JobId, ...]:
    return tuple(parent for (parent,) in sql.execute("SELECT parent FROM edge WHERE child = ? ORDER BY place", (seq,)))


def _failure(text: str | None) -> Failure | None:
    if text is None:
        return None
    cause, types, message, traceback = json.loads(text)
    return Failure(cause=cause, types=tuple(types), message=message, traceback=traceback)
