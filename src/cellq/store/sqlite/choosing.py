"""Choosing: which of the ready jobs are to start.

Jobs stand ready in lines (a queue, a lane, a runtime), each in the order in which they are to start. Without limits the
first few of each line are all there is to know. With them each job that starts counts for those behind it, so the lines
are merged, and the jobs looked at one by one:

    line 1  ▪▪▪▪▪▪▪ ┐             ┌─▶ starts; the next blocked one of its group comes to stand, if its key is not full
    line 2  ▪▪▪     ├─▶ the next ─┼─▶ its key is full: blocked
    groups  ▪ ▪     ┘             └─▶ its lane or its queue is full: so they are for all of its line, which is left

What a group is, and why it is enough to look at its first one: see `conditions`.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cellq.message import Lane
from cellq.store.sqlite import conditions
from cellq.store.sqlite.conditions import Group
from cellq.store.sqlite.statements import statements
from cellq.store.sqlite.turn import Turn, Uses

_SQL = statements("claim")


class Line(NamedTuple):
    """A line one may claim from.

    Attributes:
        limit: how many jobs of its queue may run at once; 0 for no limit.
        due: when the next one of its delayed jobs is due.
        ready: whether there are ready ones.
    """

    id: int
    lane: Lane
    queue: int
    limit: int
    due: float | None
    ready: int


def lines(
    sql: sqlite3.Connection, queues: Sequence[str], room: Mapping[Lane, int], runtime: str
) -> tuple[list[Line], bool]:
    """The lines that a worker with this room may claim from; and, for the same look, whether any job has terms."""
    which = _SQL.lines.format(queues=", ".join("?" * len(queues)))  # `json_each` would take as long as all the rest
    rows = sql.execute(which, (*queues, runtime)).fetchall()
    terms = rows[0][-1] if rows else Uses.of(sql).terms
    return [Line._make(row[:-1]) for row in rows if room.get(row[1], 0) > 0], bool(terms)


def places(sql: sqlite3.Connection, among: Sequence[Line]) -> dict[int, int]:
    """How many more jobs may start of each queue that is limited."""
    limits = {line.queue: line.limit for line in among if line.limit}
    if not limits:
        return {}
    running = dict(sql.execute(_SQL.running))
    return {queue: max(0, limit - running.get(queue, 0)) for queue, limit in limits.items()}


def choose(sql: sqlite3.Connection, among: Sequence[Line], room: Mapping[Lane, int]) -> list[int]:
    """The jobs to start, where there are no limits."""
    found: dict[Lane, list[tuple[int, int]]] = {}
    for line in among:
        found.setdefault(line.lane, []).extend(sql.execute(_SQL.ready, (line.id, room[line.lane])))
    return [seq for lane, jobs in found.items() for _, seq in sorted(jobs)[: room[lane]]]


class _Candidate(NamedTuple):
    """A job that stands first of those that are ready in its line, or that are blocked in its group.

    Attributes:
        stream: the others that are ready; None if it is blocked.
    """

    rank: int
    seq: int
    line: Line
    group: Group | None
    stream: Iterator[Any] | None


def choose_within_limits(turn: Turn, among: Sequence[Line], room: Mapping[Lane, int]) -> list[int]:
    """The jobs to start, where there may be limits. Nothing is written before all are chosen: rows are being read."""
    sql = turn.sql
    left, free = dict(room), places(sql, among)
    running = conditions.Running(sql)
    chosen: list[int] = []
    full: list[tuple[Group, int, int]] = []
    next_ones: dict[Group, list[_Candidate]] = {}
    standing: list[_Candidate] = []

    def stand(line: Line, stream: Iterator[Any]) -> None:
        for rank, seq, key, most in stream:
            group = None if key is None else Group(key, most, line.id)
            heapq.heappush(standing, _Candidate(rank, seq, line, group, stream))
            break

    streams = [sql.execute(_SQL.standing, (line.id,)) for line in among]
    for line, stream in zip(among, streams, strict=True):
        stand(line, stream)
    while standing:
        one = heapq.heappop(standing)
        line, group = one.line, one.group
        if not left[line.lane] or not free.get(line.queue, 1):
            continue
        if one.stream is not None:
            stand(line, one.stream)
        if group is not None and running[group.key] >= group.most:
            if one.stream is not None:
                full.append((group, one.rank, one.seq))
            continue
        chosen.append(one.seq)
        left[line.lane] -= 1
        if line.limit:
            free[line.queue] -= 1
        if group is not None:
            running[group.key] += 1
            if running[group.key] < group.most:
                known = next_ones.setdefault(group, [])
                behind = known[-1][:2] if known else conditions.FIRST
                if found := conditions.next_of_group(sql, group, behind):
                    known.append(_Candidate(*found, line, group, None))
                    heapq.heappush(standing, known[-1])
    for stream in streams:
        stream.close()
    conditions.block(turn, full)
    started = set(chosen)
    for group, ones in next_ones.items():
        for one in ones:
            if one.seq in started:
                conditions.remove_blocked(turn, group, one.rank, one.seq)
            elif running[group.key] < group.most:
                conditions.make_ready(turn, group, one.rank, one.seq)
    return chosen
