"""The words everybody uses: what is asked for, what happens to it, and which changes are legal.

Everything here is a plain frozen record. Stores keep these, workers move them, clients read them;
user values appear only as sealed bytes (`Blob`), which nobody but a client or a slot opens.

A job's life:

                        claim                    finish(completed)
        push ──▶ pending ─────▶ running ─────────────────────────▶ completed
                  ▲  │             │  │  finish(failed), no attempt left
                  │  │             │  └──────────────────────────▶ failed
                  │  │ cancel      │     finish(cancelled)
                  │  └─────────────┼─────────────────────────────▶ cancelled
                  │                │
                  └────────────────┘  finish(retry | released), or the lease ran out
                  ▲
                  └── change(retry) brings an ended job back

"Scheduled" (due later) and "retrying" (attempt > 0) are labels of pending, not states.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from cellq.ids import JobId
from cellq.options import Options


class State(StrEnum):
    """Where a job is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """True once nothing more will happen by itself."""
        return self in ENDED


ENDED = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})


class Ending(StrEnum):
    """How one attempt ended, as the worker reports it to `Store.finish`."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETRY = "retry"  # again after a delay; the attempt is spent
    RELEASED = "released"  # never really ran (shutdown, recall): the attempt is refunded


class Action(StrEnum):
    """What `Store.change` can be asked to do to a job from outside."""

    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"


class Changed(StrEnum):
    """What `Store.change` did, for each job."""

    DONE = "done"  # it is cancelled / pending again / gone now
    ASKED = "asked"  # it is running: its worker will be told to stop it
    ALREADY = "already"  # nothing to do: it is in that condition already
    REFUSED = "refused"  # not legal from its present state
    UNKNOWN = "unknown"  # no such job


# The one table of legal moves. Whatever is not listed here is refused by every store.
TRANSITIONS: Mapping[State, Mapping[str, State]] = MappingProxyType(
    {
        State.PENDING: MappingProxyType(
            {"claim": State.RUNNING, Action.CANCEL: State.CANCELLED},
        ),
        State.RUNNING: MappingProxyType(
            {
                Ending.COMPLETED: State.COMPLETED,
                Ending.FAILED: State.FAILED,
                Ending.CANCELLED: State.CANCELLED,
                Ending.RETRY: State.PENDING,
                Ending.RELEASED: State.PENDING,
            },
        ),
        State.COMPLETED: MappingProxyType({Action.RETRY: State.PENDING}),
        State.FAILED: MappingProxyType({Action.RETRY: State.PENDING}),
        State.CANCELLED: MappingProxyType({Action.RETRY: State.PENDING}),
    }
)


class Kind(StrEnum):
    """What a job's payload is."""

    CALL = "call"  # a plain function and its arguments
    COROUTINE = "coroutine"  # an async function and its arguments
    CELL = "cell"  # a notebook cell
    SCHEDULE = "schedule"  # enqueues a call at each of its instants


class Lane(IntEnum):
    """What a job needs: a main thread to itself, a place in an event loop, or only its worker."""

    SYNC = 0
    COROUTINES = 1
    SCHEDULES = 2


def lane_of(kind: Kind) -> Lane:
    """The lane in which jobs of this kind run."""
    return _LANES.get(kind, Lane.SYNC)


_LANES = {Kind.COROUTINE: Lane.COROUTINES, Kind.SCHEDULE: Lane.SCHEDULES}


# --------------------------------------------------------------------------------------------- blobs


@dataclass(frozen=True, slots=True)
class Spill:
    """A large sealed value that lives in a file of its own instead of in a row.

    Whoever makes one has written and closed the file at `path` (absolute, on this machine) inside the store's
    `spill_dir`; the store then owns it and removes it with its job.
    """

    path: str
    size: int  # bytes


Blob = bytes | Spill
"""A sealed value: signed bytes, or the file that holds them."""


# ------------------------------------------------------------------------------------------- asking


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One call, sealed and ready to be pushed.

    Attributes:
        code: SHA-256 of the sealed code blob; b"" for a cell, whose payload carries its source.
        payload: sealed arguments, or the sealed parcel of a cell.
        runtime: Python minor version it was pickled by ("3.11"), "" when any will do.
        origin: JSON about where it came from (notebook, cell); opaque to the store.
        ctx: JSON that middleware keeps across attempts.
        inputs: the jobs whose results are among its arguments.
    """

    id: JobId
    kind: Kind
    task: str
    code: bytes
    payload: Blob
    runtime: str
    options: Options
    origin: str = ""
    ctx: str = "{}"
    inputs: tuple[JobId, ...] = ()

    @property
    def parents(self) -> tuple[JobId, ...]:
        """The jobs that must have completed before it may start, each one once."""
        return tuple(dict.fromkeys((*self.options.after, *self.inputs)))


class Pushed(NamedTuple):
    """The answer to one pushed message: `created` is False when the id or the key was there already."""

    id: JobId
    created: bool


# ------------------------------------------------------------------------------------------- running


class Lease(NamedTuple):
    """The right to speak for a running job: every write about it shows its lease and is refused when it is stale."""

    id: JobId
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job handed to a worker, with all it needs to run it.

    Attributes:
        refunds: starts that did not count (released ones). The numbers in leases never repeat, so after a refund they
            run ahead of the attempts that count: policies ask `attempt`, writes show `lease`.
        inputs: the jobs whose results are among its arguments; they have completed.
    """

    lease: Lease
    queue: str
    task: str
    kind: Kind
    code: bytes
    payload: Blob
    timeout: float | None
    retries: int
    backoff: float
    isolated: bool
    origin: str
    ctx: str
    refunds: int = 0
    inputs: tuple[JobId, ...] = ()

    @classmethod
    def of(cls, message: Message, lease: Lease, *, ctx: str | None = None, refunds: int = 0) -> Claim:
        """What a worker is handed that starts this message."""
        options = message.options
        return cls(
            lease=lease,
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
            ctx=message.ctx if ctx is None else ctx,
            refunds=refunds,
            inputs=message.inputs,
        )

    @property
    def attempt(self) -> int:
        """Which attempt this is, 1 for the first; the job may have `retries + 1` of them."""
        return self.lease.attempt - self.refunds


class Claims(NamedTuple):
    """The answer to a claim: jobs by priority, then age; and when there may be more (epoch seconds, store's clock)."""

    claims: list[Claim]
    next_due: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt failed, in plain text: it is read where the exception itself must not be unpickled.

    Attributes:
        cause: "exception", "timeout", "lost" (its process died), "result" (cannot be pickled), "untrusted",
            "cancelled", "retry" (it asked to run again), "rejected" (it, or a middleware, wants no other attempt),
            "refused" (its worker runs no such thing), "middleware" (which raised), "dependency" (a job that it was to
            run after did not complete) or "expired" (it did not start in time).
        types: qualified names of the exception's classes, most special first.
        message: what people read first, one or two lines.
        traceback: as formatted in the slot, may hold ANSI colours.
    """

    cause: str
    types: tuple[str, ...] = ()
    message: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt ended. `delay` (seconds) is for RETRY and RELEASED; `ctx` replaces the job's when not None."""

    lease: Lease
    ending: Ending
    result: Blob | None = None
    failure: Failure | None = None
    error: Blob | None = None
    delay: float = 0.0
    ctx: str | None = None


class Event(NamedTuple):
    """Something a running job said. `data` is JSON.

    kinds: "stream", "display_data", "update_display_data", "clear_output", "execute_result", "error" with the content
    of the Jupyter message of that name; "progress" with the state of one bar (kept as the job's latest progress, not
    appended).
    """

    lease: Lease
    kind: str
    data: str


class Heard(NamedTuple):
    """An event as read back: its place in the job's log, which attempt said it, when, and what."""

    seq: int
    attempt: int
    at: float
    kind: str
    data: str

    @property
    def content(self) -> dict[str, Any]:
        """The content of the Jupyter message of this kind."""
        found: dict[str, Any] = json.loads(self.data)
        return found


class Tail(NamedTuple):
    """Events after a place in the log. Read on from `next`; `dropped` counts bytes beyond the log's cap."""

    events: list[Heard]
    next: int
    dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker as it introduces itself with each beat. `lease` is how long it may stay silent, in seconds."""

    id: bytes
    host: str
    pid: int
    started: float  # epoch seconds; with the pid it tells a process from a later one of the same number
    runtime: str
    queues: tuple[str, ...]
    slots: int
    busy: int = 0
    lease: float = 15.0
    detail: str = "{}"  # JSON for people: jobs at hand, memory, version
    beat: float = 0.0  # set by the store


class Beat(NamedTuple):
    """What a worker learns from a beat: leases it has lost, and leases it is asked to stop."""

    lost: list[Lease]
    cancel: list[Lease]


# ------------------------------------------------------------------------------------------- reading


class Part(IntEnum):
    """Blobs that `Store.get` adds to a row on request."""

    PAYLOAD = 0
    CODE = 1
    RESULT = 2
    ERROR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A job as it stands in the store. Times are epoch seconds, UTC; blobs are None unless asked for.

    Attributes:
        due: when it may start; None when it may at once.
        expires: when it will be cancelled if it has not started; None once it has, or if never.
        after: the jobs it still waits for.
        ended: a number that rises with each job that ends in this store: a cursor for those who wait for many.
        cancelling: it is running and has been asked to stop.
        progress: JSON of its bars, "" before the first.
        ctx: JSON that middleware keeps across attempts.
    """

    id: JobId
    queue: str
    name: str
    task: str
    kind: Kind
    state: State
    priority: int
    attempt: int
    retries: int
    timeout: float | None
    key: str | None
    concurrency_key: str | None
    max_running: int
    runtime: str
    code_digest: bytes
    created: float
    due: float | None
    expires: float | None
    after: tuple[JobId, ...]
    started: float | None
    finished: float | None
    ended: int | None
    worker: bytes | None
    cancelling: bool
    progress: str
    failure: Failure | None
    origin: str
    ctx: str = "{}"
    payload: Blob | None = None
    code: Blob | None = None
    result: Blob | None = None
    error: Blob | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which jobs `Store.find` looks for; None or empty means any.

    Attributes:
        suffix: the last hex digits of the id (what people see and type).
        ended_after: only jobs that ended after this `Row.ended` number, in that order.
    """

    queue: str | None = None
    states: tuple[State, ...] = ()
    name: str | None = None
    key: str | None = None
    suffix: str | None = None
    created_after: float | None = None
    ended_after: int | None = None


class Page(NamedTuple):
    """One page of `Store.find`; `after` goes into the next call, None when this was the last page."""

    rows: list[Row]
    after: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCount:
    """One queue in numbers. `oldest` is when its oldest pending job was created (epoch seconds)."""

    states: Mapping[State, int]
    paused: bool = False
    max_running: int | None = None
    oldest: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The store in numbers."""

    queues: Mapping[str, QueueCount]
    workers: tuple[WorkerInfo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """What `Store.tune` sets for a queue; what is None stays as it is.

    Args:
        paused: none of its jobs is started.
        max_running: how many of its jobs may run at once, on all workers together; 0 for no limit.

    Raises:
        TypeError, ValueError: it is no such thing.
    """

    paused: bool | None = None
    max_running: int | None = None

    def __post_init__(self) -> None:
        if self.paused is not None and not isinstance(self.paused, bool):
            raise TypeError(f"paused must be True, False or None, not {self.paused!r}")
        most = self.max_running
        if most is not None and (not isinstance(most, int) or isinstance(most, bool)):
            raise TypeError(f"max_running must be a whole number or None, not {most!r}")
        if most is not None and not 0 <= most < 2**31:
            raise ValueError(f"max_running must be 1 or more, or 0 for no limit, not {most}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long ended jobs are kept, in seconds, by how they ended; None keeps them."""

    completed: float | None = None
    failed: float | None = None
    cancelled: float | None = None
    states: tuple[State, ...] = field(default=(State.COMPLETED, State.FAILED, State.CANCELLED))


class Topic(IntEnum):
    """What a doorbell rings for."""

    WORK = 0  # a worker may find something to claim
    STOP = 1  # a worker may find something to stop
    NEWS = 2  # a client may find a state, an event or progress it has not seen
    ENDED = 3  # a client may find a job that has ended, or is gone
