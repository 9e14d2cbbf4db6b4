"""One slot: a child process and what it has been given.

How a job is stopped (cancel, timeout, shutdown, lease lost), and how long each step may take:

    ask: CANCEL frame ──grace──▶ (coroutines: SIGINT, half a second) ──▶ kill the process group ──▶ a new child
     └▶ KeyboardInterrupt, or task.cancel()

How many jobs a sync slot is given at a time (its window): one, until jobs turn out to take milliseconds; then more, up
to what it can do in `WINDOW_SECONDS`. What it has not started is called back as soon as one job takes longer, so
that nothing waits behind a long job. Jobs that may have to be killed on time (a timeout) or that want a process of
their own (cells, isolated jobs) are always alone.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cellq.call import Place
from cellq.errors import WorkerUnavailable
from cellq.frames import Done, Frame, flat
from cellq.ids import short_id
from cellq.message import Claim, Event, Kind, Lane, Lease
from cellq.worker.inputs import Supplied
from cellq.worker.nursery import Child, Nursery

log = logging.getLogger("cellq.worker")

WINDOW_SECONDS = 0.02
WINDOW_MOST = 256
RECALL_AFTER = 0.05
_SIGINT_GRACE = 0.5


class Why(StrEnum):
    """Why a running job is being stopped."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    LOST = "lost"


@dataclass(eq=False)
class Placed:
    """A claim in a slot."""

    claim: Claim
    number: int
    since: float
    why: Why | None = None
    timer: asyncio.TimerHandle | None = None


@dataclass(frozen=True)
class Ended:
    """How a placed job came out: what its child said, or (when `done` is None) how its child died.

    Attributes:
        started: False when user code of it had certainly not begun, or had ended and its outcome was lost with the
            child: it may be given to someone else without counting this attempt.
        how: what became of the child, in words.
    """

    placed: Placed
    done: Done | None
    started: bool = True
    how: str = ""


class Watcher:
    """Who is told what happens in a slot: the supervisor."""

    def heard(self, event: Event) -> None:
        """A job said something."""

    def ended(self, ended: Ended) -> None:
        """A job is over, one way or another."""

    def returned(self, claims: list[Claim]) -> None:
        """Claims that the slot had not started."""

    def wanted(self, slot: Slot, claim: Claim) -> None:
        """The slot needs the code of this claim."""

    def freed(self) -> None:
        """The slot may have room again."""


def alone(claim: Claim) -> bool:
    """Whether a sync slot runs this claim with nothing before or behind it."""
    return fresh(claim) or claim.timeout is not None


def fresh(claim: Claim) -> bool:
    """Whether this claim wants a process that nobody has used."""
    return claim.kind is Kind.CELL or claim.isolated


class Slot:
    """One child, replaced when it dies, has been used by a cell, or is due for recycling.

    Args:
        concurrency: most jobs at a time in the coroutines lane; ignored for the sync lane.
        grace: seconds between asking a job to stop and killing it.
        max_jobs: replace the child after so many jobs.
        max_memory: replace the child when it holds more bytes after a job.
        keep: cells run in the child that is there, one after the other, and find what those before them left.
    """

    def __init__(
        self,
        nursery: Nursery,
        watcher: Watcher,
        lane: Lane,
        *,
        concurrency: int = 1,
        grace: float = 2.0,
        max_jobs: int | None = None,
        max_memory: int | None = None,
        keep: bool = False,
    ) -> None:
        self.lane = lane
        self.placed: dict[int, Placed] = {}
        self._nursery = nursery
        self._watcher = watcher
        self._grace = grace
        self._max_jobs = max_jobs
        self._max_memory = max_memory
        self._keep = keep
        self._concurrency = concurrency
        self._window = 1 if lane is Lane.SYNC else concurrency
        self._numbers = itertools.count(1)
        self._occupied = False  # by a job that runs alone
        self._child: Child | None = None
        self._jobs_of_child = 0
        self._stillborn = 0  # processes in a row that died before they had begun a job
        self._last_done = 0.0
        self._starting: asyncio.Task[None] | None = None
        self._closing = False

    # ------------------------------------------------------------------------------------ its room

    @property
    def ready(self) -> bool:
        """It has a child that can be given work."""
        return self._child is not None and not self._closing

    @property
    def pid(self) -> int:
        """Process id of the child, 0 while there is none."""
        return self._child.pid if self._child is not None else 0

    @property
    def idle(self) -> bool:
        """It is ready, and has nothing to do."""
        return self.ready and not self.placed

    def room(self) -> int:
        """How many more jobs it takes now. A window is topped up when it is half empty: batches are cheaper."""
        if not self.ready or self._occupied:
            return 0
        used = len(self.placed)
        if self.lane is Lane.SYNC and used and used > self._window // 2:
            return 0
        return max(0, self._window - used)

    # ------------------------------------------------------------------------------ giving it work

    async def start(self) -> None:
        """Get a child.

        Raises:
            WorkerUnavailable: none came up.
        """
        child = await self._nursery.birth(self.lane)
        child.on_frame = lambda kind, value: self._hear(child, kind, value)
        child.on_exit = lambda how: self._on_exit(child, how)
        self._child = child
        self._jobs_of_child = 0
        self._watcher.freed()

    def give(self, claims: Sequence[Claim]) -> None:
        """Place claims: at most `room()`; one that must be `alone` only by itself, when the slot is idle."""
        child = self._child
        assert child is not None
        if self.lane is Lane.SYNC and alone(claims[0]):
            self._occupied = True
            self._window = 1  # more of the kind may follow, and none of them waits behind another
        now = self._last_done = time.monotonic()
        tickets = [self._ticket(claim, now) for claim in claims]
        if child.used and not self._keep and any(fresh(claim) for claim in claims):
            self._replace(tickets)
        else:
            self._send(child, tickets)

    def _send(self, child: Child, tickets: list[tuple[object, ...]]) -> None:
        child.used = True
        self._jobs_of_child += len(tickets)
        child.send(Frame.RUN, tickets)

    def _ticket(self, claim: Claim, now: float) -> tuple[object, ...]:
        """Note a claim as placed; the fields of its `frames.Ticket`, as a frame carries them."""
        placed = Placed(claim, next(self._numbers), now)
        self.placed[placed.number] = placed
        if claim.timeout is not None:
            self._set_timer(placed, claim.timeout, functools.partial(self._stop, placed, Why.TIMEOUT))
        return (
            placed.number,
            claim.lease.id,
            claim.lease.attempt,
            str(claim.kind),
            claim.task,
            claim.queue,
            claim.code,
            flat(claim.payload),
            claim.refunds,
            claim.results if isinstance(claim, Supplied) else (),
        )

    def learn(self, digest: bytes, sealed: object) -> None:
        """Hand the child the code it asked for; None when there is none."""
        if self._child is not None:
            self._child.send(Frame.CODE, (digest, sealed))

    def learn_task(self, digest: bytes, place: Place) -> None:
        """Tell the child where the function of a registered task is."""
        if self._child is not None:
            self._child.send(Frame.TASK, (digest, place))

    def stop(self, lease: Lease, why: Why) -> bool:
        """Stop this job if it is here and not being stopped already; whether it was."""
        for placed in self.placed.values():
            if placed.claim.lease == lease and placed.why is None:
                self._stop(placed, why)
                return True
        return False

    def renew(self) -> None:
        """Change the child for a new one if nobody has used it."""
        if self.lane is Lane.SYNC and self.idle and self._child is not None and not self._child.used:
            self._replace()

    def recall(self, *, force: bool = False) -> None:
        """Call back what is not started, if one job has been running for long (or in any case)."""
        if self._child is None or not self.placed or self.lane is not Lane.SYNC:
            return
        if force or (len(self.placed) > 1 and time.monotonic() - self._last_done > RECALL_AFTER):
            self._window = 1
            self._last_done = time.monotonic()
            self._child.order(Frame.RECALL, None)

    async def close(self) -> None:
        """End the child when it is idle, or now if it is not."""
        self._closing = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._child is not None:
            self._child.kill() if self.placed else self._child.send(Frame.STOP, None)

    # ----------------------------------------------------------------------------- stopping a job

    def _stop(self, placed: Placed, why: Why) -> None:
        if placed.why is not None:
            return
        placed.why = why
        if self._child is None:  # it waits for a new process
            self._watcher.ended(Ended(self._take_out(placed.number), None, started=False, how="was not started"))
            return
        self._child.order(Frame.CANCEL, placed.number)
        self._set_timer(placed, self._grace, lambda: self._insist(placed))

    def _insist(self, placed: Placed) -> None:
        """It was asked, and did not stop."""
        if self._child is None:
            return
        if self.lane is Lane.COROUTINES:
            self._child.interrupt()
            self._set_timer(placed, _SIGINT_GRACE, self._child.kill)
        else:
            self._child.kill()

    def _set_timer(self, placed: Placed, seconds: float, then: Callable[[], None]) -> None:
        if placed.timer is not None:
            placed.timer.cancel()
        placed.timer = asyncio.get_running_loop().call_later(seconds, then)

    # ------------------------------------------------------------------------- hearing from the child

    def _hear(self, child: Child, kind: Frame, value: object) -> None:
        match kind, value:
            case Frame.DONE, list(entries):
                self._on_done([Done(*entry) for entry in entries])
            case Frame.EVENTS, list(said):
                for job_id, attempt, event, data in said:
                    self._watcher.heard(Event(Lease(job_id, attempt), event, data))
            case Frame.RECALLED, list(numbers):
                back = [self._take_out(number) for number in numbers if number in self.placed]
                stopped = [p for p in back if p.why not in (None, Why.SHUTDOWN)]
                for placed in stopped:
                    self._watcher.ended(Ended(placed, None, started=False, how="was not started"))
                self._watcher.returned([p.claim for p in back if p not in stopped])
                self._watcher.freed()
            case Frame.NEED, bytes(digest):
                for placed in self.placed.values():
                    if placed.claim.code == digest:
                        self._watcher.wanted(self, placed.claim)
                        break
                else:
                    child.send(Frame.CODE, (digest, None))
            case _:
                log.error("slot %d sent an unexpected %s", child.pid, kind.name)

    def _on_done(self, entries: list[Done]) -> None:
        spent = 0.0
        single = single_use = False
        for done in entries:
            placed = self._take_out(done.number)
            spent += done.seconds
            single = alone(placed.claim)
            single_use = single_use or fresh(placed.claim)
            self._watcher.ended(Ended(placed, done))
        self._last_done = time.monotonic()
        if self.lane is Lane.SYNC and not single:
            fit = int(WINDOW_SECONDS / max(spent / len(entries), 1e-6))
            self._window = max(1, min(fit, self._window * 2, WINDOW_MOST))
        if not self.placed and ((single_use and not self._keep) or self._worn()):
            self._replace()
        else:
            self._watcher.freed()

    def _worn(self) -> bool:
        if self._max_jobs is not None and self._jobs_of_child >= self._max_jobs:
            return True
        return self._max_memory is not None and self._child is not None and self._child.memory() > self._max_memory

    def _take_out(self, number: int) -> Placed:
        placed = self.placed.pop(number)
        if placed.timer is not None:
            placed.timer.cancel()
        if not self.placed:
            self._occupied = False
        return placed

    def _on_exit(self, child: Child, how: str) -> None:
        if child is not self._child:
            return
        self._child = None
        current, _ = child.current()
        self._stillborn = 0 if current else self._stillborn + 1
        if not self._closing:
            log.log(logging.INFO if current else logging.ERROR, "the process of a slot (%d) %s", child.pid, how)
        for number in sorted(self.placed):
            placed = self._take_out(number)
            # Before `current`: it had ended, but its outcome was lost. After: it was never begun.
            hit = self.lane is Lane.COROUTINES or number == current or placed.why is not None
            self._watcher.ended(Ended(placed, None, started=hit, how=how))
        if not self._closing:
            self._start_soon()

    # ------------------------------------------------------------------------- replacing the child

    def _replace(self, tickets: Sequence[tuple[object, ...]] = ()) -> None:
        """Retire the child, which is idle, and go on with another; these tickets are for that one."""
        old, self._child = self._child, None
        if old is not None:
            old.on_exit = lambda _how: None
            old.send(Frame.STOP, None)
        if self.lane is Lane.SYNC:
            self._window = 1
        self._start_soon(tickets)

    def _start_soon(self, tickets: Sequence[tuple[object, ...]] = ()) -> None:
        self._starting = asyncio.create_task(self._start_again(tickets))

    async def _start_again(self, tickets: Sequence[tuple[object, ...]]) -> None:
        while not self._closing:
            # A process that dies before it does anything is a fault of this machine's: do not fork in a frenzy.
            if self._stillborn:
                await asyncio.sleep(min(0.1 * 2**self._stillborn, 10.0))
            try:
                await self.start()
                break
            except WorkerUnavailable as error:
                log.error("%s; trying again", error)
                self._stillborn += 1
        waiting = [ticket for ticket in tickets if ticket[0] in self.placed]  # not stopped in the meantime
        if self._child is not None and waiting:
            self._send(self._child, waiting)

    def __repr__(self) -> str:
        jobs = ", ".join(short_id(p.claim.lease.id) for p in self.placed.values())
        return f"<Slot {self.lane.name.lower()} pid={self.pid} jobs=[{jobs}]>"
