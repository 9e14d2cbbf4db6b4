"""What a schedule is: the call to enqueue, and when.

A schedule is a job of its own kind. It waits in a reserved queue until its next instant. Whichever worker claims it
then enqueues the call, and lets it wait again:

    push ──▶ waits ── due, claim ──▶ running: push the call of this instant ── finish(released, delay) ──┐
               ▲                                                                                         │
               └─────────────────────────────────────────────────────────────────────────────────────────┘

The call's id is made of the schedule's root and the instant, and a push is idempotent by id: whoever dies half way, and
whoever takes over, enqueues it once. The root stays the same when a schedule is changed, which gives it another job.

What does not change is the JSON in the job's `origin`. What does (since when instants are due, which one was ticked
last) is the JSON in its `ctx`, and as workers alone read that, the same in its progress.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cellq import cron
from cellq.ids import JobId, instant_id, new_id
from cellq.message import Blob, Counts, Kind, Message, Row
from cellq.options import Options

QUEUE = "cellq:schedules"
"""Where schedules wait. No line of a user's: what lists queues and jobs for people leaves it out."""

MISSED = ("once", "skip")

LATE = 60.0
"""Seconds after which an instant that was not ticked counts as missed."""

_PAUSED = "paused"
"""The runtime of a paused schedule: a job for a Python that no worker has, so none claims it."""

_FOR_EVER = 2**31 - 1
_SET_BACK = 3600.0
"""Seconds by which a schedule may be ahead of the clock until that was set back for certain."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a schedule is.

    Attributes:
        since: instants up to this one are done with (epoch seconds).
        last: the instant that was ticked last; None before the first.
        trouble: why it could not be ticked the last time it was tried.
    """

    since: float
    last: float | None = None
    trouble: str = ""

    def text(self) -> str:
        """As `ctx` and the job's progress hold it."""
        return json.dumps([dataclasses.asdict(self)])

    @classmethod
    def read(cls, text: str) -> Progress | None:
        """What `text` gave; None for anything else."""
        try:
            (found,) = json.loads(text)
            return cls(**found)
        except (ValueError, TypeError):
            return None


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """One schedule.

    Attributes:
        expression, zone: when; see `cron`.
        missed: of the instants that passed while nothing ran, "once" ticks one for all, "skip" none.
        root: what the ids of its calls are made of, and what their sealed arguments belong to.
        start: how far it was when its job was made.
        kind, task, runtime, options, ctx, origin: of its calls, as in a `Message`.
    """

    name: str
    expression: str
    zone: str
    missed: str
    root: JobId
    start: Progress
    kind: Kind
    task: str
    runtime: str
    options: Options
    ctx: str
    origin: str

    @classmethod
    def of(cls, call: Message, *, name: str, expression: str, zone: str, missed: str, now: float) -> Timetable:
        """A schedule for a call like this one, whose id becomes its root.

        Raises:
            TypeError, ValueError: an argument makes no sense.
        """
        if not isinstance(name, str) or not name:
            raise TypeError(f"a schedule needs a name, not {name!r}")
        check_missed(missed)
        if call.parents:
            raise ValueError(f"schedule {name!r} cannot wait for other jobs, neither by after= nor by an argument")
        cron.next_after(expression, zone, now)
        return cls(
            name=name,
            expression=" ".join(expression.split()),
            zone=zone,
            missed=missed,
            root=call.id,
            start=Progress(since=now),
            kind=call.kind,
            task=call.task,
            runtime=call.runtime,
            options=call.options if call.options.name else dataclasses.replace(call.options, name=name),
            ctx=call.ctx,
            origin=call.origin,
        )

    def text(self) -> str:
        """As the `origin` of its job holds it."""
        told = dataclasses.asdict(self)
        del told["options"]["after"]
        return json.dumps(told | {"root": self.root.hex()})

    @classmethod
    def read(cls, text: str) -> Timetable:
        """What `text` gave.

        Raises:
            ValueError: it is something else, or from another version of cellq.
        """
        try:
            told: dict[str, Any] = json.loads(text)
            return cls(
                **told
                | {
                    "root": bytes.fromhex(told["root"]),
                    "start": Progress(**told["start"]),
                    "kind": Kind(told["kind"]),
                    "options": Options(**told["options"]),
                }
            )
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"this schedule was not made by this version of cellq: {error}") from error

    # ------------------------------------------------------------------------------------------------- its job

    def job(self, code: bytes, payload: Blob, *, paused: bool, now: float) -> Message:
        """The job that is this schedule from now on. A worker that dies with it spends an attempt: it has plenty."""
        due = cron.next_after(self.expression, self.zone, self.start.since)
        options = Options(
            queue=QUEUE,
            name=self.name,
            key=key_of(self.name),
            retries=_FOR_EVER,
            backoff=0.0,
            delay=max(0.0, due - now),
        )
        return Message(
            id=new_id(),
            kind=Kind.SCHEDULE,
            task=self.task,
            code=code,
            payload=payload,
            runtime=_PAUSED if paused else "",
            options=options,
            origin=self.text(),
            ctx=self.start.text(),
        )

    def progress(self, row: Row) -> Progress:
        """How far it is, as its job tells."""
        return Progress.read(row.progress) or self.start

    # ----------------------------------------------------------------------------------------------- its calls

    def due(self, since: float, now: float) -> tuple[float | None, float]:
        """The instant to tick now, if there is one, and up to which moment all is done with then.

        Args:
            since: up to which moment all is done with already. Clocks differ: it may be a little ahead of ours.

        Raises:
            ValueError: nobody here knows its zone.
        """
        if now < since < now + _SET_BACK:
            return None, since
        instant = cron.latest(self.expression, self.zone, since, now) if since < now else None
        if instant is not None and self.missed == "skip" and now - instant > LATE:
            instant = None
        return instant, now

    def call(self, instant: float, code: bytes, payload: Blob) -> Message:
        """The call of an instant.

        Args:
            payload: the arguments, sealed for `call_id(instant)`.
        """
        return self.call_now(self.call_id(instant), code, payload, {"schedule": self.name, "instant": instant})

    def call_now(self, job_id: JobId, code: bytes, payload: Blob, why: dict[str, Any]) -> Message:
        """A call with this id, whose origin tells why it is there besides."""
        return Message(
            id=job_id,
            kind=self.kind,
            task=self.task,
            code=code,
            payload=payload,
            runtime=self.runtime,
            options=self.options,
            origin=json.dumps(json.loads(self.origin or "{}") | why),
            ctx=self.ctx,
        )

    def call_id(self, instant: float) -> JobId:
        """The id of an instant's call."""
        return instant_id(self.root, instant)


def own_rows(rows: Iterable[Row]) -> list[Row]:
    """Those of them that people have enqueued. (Who lists jobs or queues for people asks this, and `own_counts`.)"""
    return [row for row in rows if row.queue != QUEUE]


def own_counts(counts: Counts) -> Counts:
    """The same without the queue in which schedules wait."""
    return dataclasses.replace(counts, queues={name: line for name, line in counts.queues.items() if name != QUEUE})


def check_missed(missed: str) -> None:
    """Refuse what is no rule for missed instants.

    Raises:
        ValueError: it is none.
    """
    if missed not in MISSED:
        raise ValueError(f"missed must be {' or '.join(map(repr, MISSED))}, not {missed!r}")


def key_of(name: str) -> str:
    """The key of a schedule's job: a name is there once."""
    return f"cellq:schedule:{name}"


def is_paused(row: Row) -> bool:
    """Whether this schedule is not ticked. (One that has ended: whoever was about to change it died half way.)"""
    return was_paused(row) or row.state.ended


def was_paused(row: Row) -> bool:
    """Whether somebody has paused this schedule, be it about to be changed or not."""
    return row.runtime == _PAUSED
