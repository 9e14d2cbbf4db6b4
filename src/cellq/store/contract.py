"""What every store does: fourteen verbs, plus open and close.

A store keeps rows and bytes and is the only place where a job's state changes (the moves are in `message.TRANSITIONS`).
It sees no Python object of a user's. Every write takes a sequence and is one transaction (SQLite) or one script call
(Redis); one element is a sequence of one. Times come from the store's clock. No verb but `wait` blocks.

Eligible for `claim`: pending, due, not waiting for another job, in a queue that is not paused, of this worker's runtime
(or of any), for a lane that has room, while fewer jobs run than its queue's `max_running`, and fewer of its
`concurrency_key` than its own. Order: larger priority first, then the one pushed first (one that comes back keeps its
place); each that starts counts for the limits of those behind it.

A job waits while one of its parents (`Message.parents`) has not completed. When a parent ends otherwise, or is not in
the store at the push, those that wait for it are cancelled with cause "dependency", and those that wait for them: in
the same transaction, whatever ended it, parents before children, children of one parent in the order of pushing. What
has completed once is waited for no more. A cancelled job that is run again waits for what is left; it is refused while
one of those has ended or is gone.

A job with `expires` that has never started by then is cancelled with cause "expired" inside the next `claim` of anyone,
whatever its queue and whether it waits: before anything starts, by that time, then in the order of pushing. Once
started, or run again, it expires no more. A claim that finds `EXPIRED_AT_ONCE` of them starts nothing, and is due again
at once.

A lease `(job id, attempt)` is current while the job is running, its attempt is that number, and its worker is alive.
A worker is alive while its last `beat` is younger than its own `lease` seconds. What a worker that is no longer alive
held is taken back inside the next `claim` of anyone: pending again, or failed with cause "lost" when no attempt is left
(an attempt taken back this way is spent: a job that kills its worker each time must not loop for ever).
Fencing is by the token alone: a late `finish` whose lease nobody has taken back is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from cellq.ids import JobId
from cellq.message import (
    Action,
    Beat,
    Blob,
    Changed,
    Claims,
    Counts,
    Event,
    Filter,
    Keep,
    Lane,
    Lease,
    Message,
    Outcome,
    Page,
    Part,
    Pushed,
    QueueSettings,
    Row,
    Tail,
    Topic,
    WorkerInfo,
)

EXPIRED_AT_ONCE = 1000
"""How many jobs one `claim` cancels because they have expired."""

LOG_CAP = 32 * 2**20
"""Bytes of event data kept per job; what comes after is counted, not kept (errors are always kept)."""


@runtime_checkable
class Here(Protocol):
    """What a store on this machine may offer besides: verbs that run in the caller's own thread, and block it.

    None means that the verb itself must be used; then nothing has been done.
    """

    def push_here(self, messages: Sequence[Message], code: Mapping[bytes, Blob]) -> list[Pushed] | None:
        """As `Store.push`."""
        ...

    def wait_here(self, topic: Topic, cursor: int, timeout: float) -> int:
        """As `Store.wait`; returns after a second at the latest."""
        ...

    def get_here(self, ids: Sequence[JobId], parts: Sequence[Part] = ()) -> list[Row | None] | None:
        """As `Store.get`."""
        ...


class Store(Protocol):
    """Where jobs live.

    Attributes:
        url: where that is, for people: without the password.
        full_url: the same with its password: to connect with, also from another process; never to be shown.
        spill_dir: large sealed values may be put there first (see `Spill`).
    """

    url: str
    full_url: str
    spill_dir: Path | None

    async def open(self) -> None:
        """Connect, and create or migrate the schema.

        Raises:
            StoreUnavailable: with the address, the cause and what to do.
        """
        ...

    async def close(self) -> None:
        """Finish what is in flight and let go of every resource; harmless when closed already."""
        ...

    async def push(self, messages: Sequence[Message], code: Mapping[bytes, Blob]) -> list[Pushed]:
        """Add jobs; all of them or none.

        Idempotent by id. A message whose key is held by a live job is not added: the answer is that job's id.
        `code` maps the SHA-256 digest of a sealed function to its bytes; one blob is stored once.
        """
        ...

    async def claim(
        self,
        worker: bytes,
        queues: Sequence[str],
        room: Mapping[Lane, int],
        runtime: str,
    ) -> Claims:
        """Take back what dead workers held, then hand out at most `room[lane]` eligible jobs of each lane.

        The claimed jobs are running with attempt + 1 and belong to `worker`, which must have beaten before. `next_due`
        is when the next delayed job that it could run is due, or the next job of anyone expires.
        """
        ...

    async def beat(self, worker: WorkerInfo, leases: Sequence[Lease]) -> Beat:
        """Register the worker, renew what it holds, and tell which of `leases` are lost and which to stop.

        A beat with `worker.lease` 0 signs it off: it is forgotten, and what it may still hold is taken back at the
        next claim.
        """
        ...

    async def report(self, events: Sequence[Event]) -> list[Lease]:
        """Append events in order, set progress (the last wins); gives the stale leases, of which nothing is kept."""
        ...

    async def finish(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """The only way out of `running`. State, result, failure and error are written together.

        False for a stale lease: nothing was written for it.
        """
        ...

    async def get(self, ids: Sequence[JobId], parts: Sequence[Part] = ()) -> list[Row | None]:
        """The rows in the order asked for, None for an unknown id; blobs only as named in `parts`."""
        ...

    async def find(self, wanted: Filter, after: bytes | None = None, limit: int = 100) -> Page:
        """A page of rows, newest first (with `ended_after`: in order of ending). Stable while jobs are added."""
        ...

    async def tail(self, job_id: JobId, after: int = 0, limit: int = 1000) -> Tail:
        """Events after place `after` of a job's log, at most `limit`."""
        ...

    async def count(self) -> Counts:
        """Jobs by queue and state, and the workers that are alive; one consistent picture."""
        ...

    async def change(self, ids: Sequence[JobId], action: Action) -> list[Changed]:
        """Cancel, retry or delete. Idempotent; each answer says what happened.

        Cancel: pending → cancelled at once; running → asked (its worker learns of it with `beat`).
        Retry: ended → pending with all attempts before it, its old result, failure and log gone.
        Delete: ended → gone, with all its blobs; refused while pending or running.
        """
        ...

    async def tune(self, queue: str, settings: QueueSettings) -> None:
        """Pause, resume or limit a queue; takes effect at the next claim. Running jobs run on."""
        ...

    async def take(self, bucket: str, rate: float, burst: float) -> float:
        """Take a token from a bucket that all workers share.

        Args:
            rate: tokens added per second.
            burst: how many the bucket holds; a new bucket is full.

        Returns:
            0.0 when a token was taken, else the seconds until one is there (nothing was taken).
        """
        ...

    async def prune(self, keep: Keep, limit: int = 500) -> int:
        """Delete ended jobs past their keep with their blobs and events, and workers long silent.

        At most `limit` jobs per call, oldest ending first; gives how many were deleted.
        """
        ...

    async def wait(self, topic: Topic, cursor: int, timeout: float | None) -> int:
        """Sleep until something may have changed since `cursor` was returned; start with 0, which returns at once.

        A wake without a change is allowed, a change without a wake is not: read the rows *after* the call that
        gave you the cursor. Returns the newer cursor, or the same one after `timeout` seconds.
        """
        ...
