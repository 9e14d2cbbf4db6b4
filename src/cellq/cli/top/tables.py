"""A picture in words: three tables of text, the same for a live terminal and for a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cellq.cli.jobs import remark, took
from cellq.cli.queues import rules
from cellq.cli.screen import duration, number, visible
from cellq.cli.top.picture import Picture, Usage
from cellq.ids import short_id
from cellq.message import QueueCount, Row, State, WorkerInfo


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table. `key` tells what it is about: by it the line is found again in a later picture."""

    key: bytes | str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        elastic: headings of the columns that may be cut short; numbers stand right-aligned in those of `numbers`.
        spare: headings of the columns that a narrow terminal does without, in this order.
        empty: what is said instead when it has no lines.
        more: what is said below about lines that are not here.
    """

    headings: tuple[str, ...]
    lines: Sequence[Line]
    elastic: frozenset[str]
    empty: str
    numbers: frozenset[str] = frozenset()
    spare: tuple[str, ...] = ()
    more: str = ""

    def cut(self, most: int) -> Table:
        """The first lines of it, and how many others there are: at most `most` lines on the screen."""
        if len(self.lines) <= most:
            return self
        kept = max(0, most - 1)
        more = f"and {len(self.lines) - kept:,} more"
        return replace(self, lines=self.lines[:kept], more=more)


def told(picture: Picture) -> str:
    """The whole in one line."""
    workers = picture.counts.workers
    busy, slots = sum(worker.busy for worker in workers), sum(worker.slots for worker in workers)
    running, pending = picture.count(State.RUNNING), picture.count(State.PENDING)
    return (
        f"{number(len(workers), 'worker')}, {busy:,} of {number(slots, 'slot')} busy, "
        f"{running:,} running, {pending:,} pending"
    )


def queues(picture: Picture) -> Table:
    """The queues: those with something to do first."""
    states = tuple(state.value for state in State)
    ordered = sorted(picture.counts.queues.items(), key=lambda item: (not _awake(item[1]), item[0]))
    lines = [
        Line(
            name,
            (
                visible(name),
                *(f"{queue.states.get(state, 0):,}" for state in State),
                "" if queue.oldest is None else duration(picture.at - queue.oldest),
                rules(queue),
            ),
        )
        for name, queue in ordered
    ]
    return Table(
        ("queue", *states, "oldest waits", ""),
        lines,
        frozenset({"queue"}),
        "no jobs",
        frozenset(states),
        ("cancelled", "oldest waits", "completed", "failed"),
    )


def _awake(queue: QueueCount) -> bool:
    return queue.paused or any(queue.states.get(state) for state in (State.PENDING, State.RUNNING))


def workers(picture: Picture) -> Table:
    """The workers that are alive. CPU and memory are those of all their processes, as far as they run here."""
    lines = [
        Line(
            worker.id,
            (
                str(worker.pid),
                visible(worker.host),
                visible(", ".join(worker.queues)),
                worker.runtime,
                f"{worker.busy} of {worker.slots}",
                *_used(picture.used.get(worker.id)),
                _moment(worker.started, picture.at),
            ),
        )
        for worker in picture.counts.workers
    ]
    return Table(
        ("worker", "machine", "queues", "Python", "busy slots", "CPU", "memory", "started"),
        lines,
        frozenset({"machine", "queues"}),
        "no worker is running; start one with: cellq start",
        frozenset({"CPU", "memory"}),
        ("started", "Python", "memory", "queues", "CPU"),
    )


def jobs(picture: Picture) -> Table:
    """A page of the running jobs. CPU and memory are those of the process that runs one, which coroutines share."""
    known = {worker.id: worker for worker in picture.counts.workers}
    lines = [
        Line(
            row.id,
            (
                short_id(row.id),
                "stopping" if row.cancelling else row.state.value,
                visible(row.name or row.task),
                visible(row.queue),
                took(row),
                _whose(known.get(row.worker or b""), picture),
                *_used(picture.used.get(row.id)),
                visible(remark(row)),
            ),
        )
        for row in picture.running
    ]
    return Table(
        ("id", "state", "name", "queue", "took", "worker", "CPU", "memory", "what else"),
        lines,
        frozenset({"name", "queue", "what else"}),
        "no job is running",
        frozenset({"CPU", "memory"}),
        ("memory", "CPU", "worker", "queue", "what else", "state"),
        _others(picture),
    )


def _others(picture: Picture) -> str:
    before = picture.earlier
    behind = max(0, picture.count(State.RUNNING) - before - len(picture.running)) if picture.after else 0
    told = [f"{before:,} above" if before else "", f"{behind:,} more" if behind else ""]
    return f"and {' and '.join(filter(None, told))}" if before or behind else ""


def _whose(worker: WorkerInfo | None, picture: Picture) -> str:
    if worker is None:
        return ""
    return str(worker.pid) if worker.id in picture.here else f"{worker.pid} on {visible(worker.host)}"


def _used(usage: Usage | None) -> tuple[str, str]:
    if usage is None:
        return "", ""
    memory = usage.memory
    size = f"{memory / 2**20:,.0f} MB" if memory < 2**30 else f"{memory / 2**30:.1f} GB"
    return "" if usage.cpu is None else f"{usage.cpu:.0f} %", size


def _moment(when: float, now: float) -> str:
    """A time of today, or a date and a time; in the time of this machine."""
    there = datetime.fromtimestamp(when).astimezone()
    today = there.date() == datetime.fromtimestamp(now).astimezone().date()
    return there.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def name_of(row: Row) -> str:
    """A job as questions and notes call it."""
    return f"{visible(row.name or row.task)} ({short_id(row.id)})"
