"""Sees claims that have middleware through it: one asyncio task each. Claims without any never come here.

    claims ──▶ begin ──▶ task: middleware ─▶ middleware ─▶ run ── place ──▶ backlog, slot
                 │                                          │                    │
                 ▼ those without                            │◀────── ended ──────┘
              backlog                                       ▼
                         outcome ◀── what the chain returned or raised

A way has two ends that may both speak: the slot says what became of the job (its *base* outcome, the same as without
middleware), the chain what that means. The chain's word counts, except that a stop (a cancel, a shutdown, a lost lease)
is final, and that a chain that says nothing leaves the base as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from cellq.call import Arguments, Message
from cellq.errors import RejectMessage, RemoteError, RetryMessage, StoreUnavailable
from cellq.held import go_on, hold_back
from cellq.ids import id_text, short_id
from cellq.message import Claim, Ending, Failure, Lane, Lease, Outcome, lane_of
from cellq.options import seconds
from cellq.store.contract import Store
from cellq.worker.middleware import MaxAge, Middleware, RateLimit, chain
from cellq.worker.outcomes import ctx_of, no_more_tries, reason_in
from cellq.worker.program import Program
from cellq.worker.slot import Ended, Why

log = logging.getLogger("cellq.worker")

_MOST_RESTING = 100
"""Messages of one lane that may wait in a middleware without taking a place from others."""

_TRY_AGAIN = 1.0  # seconds until the store is asked again that could not be reached
_CLOSING = 5.0  # seconds that middlewares get to end when the worker does

_STOPPED_TYPES = {
    "timeout": ("cellq.errors.JobTimeout", "builtins.TimeoutError"),
    "lost": ("cellq.errors.JobLost",),
}


class Completed(NamedTuple):
    """What a middleware gets from inside when the job has completed; its value stays sealed."""

    outcome: Outcome


class Desk(Protocol):
    """What handling needs of the worker around it."""

    def place(self, claim: Claim) -> None:
        """Have this claim run; `Handling.ended` is told of its end."""

    def withdraw(self, lease: Lease) -> bool:
        """Stop it where it is placed. False when it had not got a slot yet: then no end is told of."""

    def outcome(self, ended: Ended) -> Outcome | None:
        """What an ended attempt means without middleware."""

    def finish(self, outcome: Outcome) -> None:
        """Write this outcome."""

    def freed(self) -> None:
        """There may be room for more claims."""


class Handling:
    """The claims of one worker that are in the hands of middleware.

    Args:
        store: whose buckets are taken from.
        desk: the worker.
        program: knows the middlewares.
    """

    def __init__(self, store: Store, desk: Desk, program: Program) -> None:
        self.store = store
        self.desk = desk
        self.program = program
        self._ways: dict[Lease, Way] = {}
        self._limits: dict[tuple[str, object], RateLimit] = {}

    def __bool__(self) -> bool:
        return bool(self._ways)

    def begin(self, claims: Sequence[Claim]) -> list[Claim]:
        """Take those that have middleware into its hands; gives the others."""
        layered = bool(self.program.middlewares or self.program.of_tasks)
        return [claim for claim in claims if (claim.ctx == "{}" and not layered) or not self._begin(claim)]

    def _begin(self, claim: Claim) -> bool:
        layers = self.program.layers(claim.task)
        ctx = ctx_of(claim)
        if not layers and "max_age" not in ctx and "max_rate" not in ctx:
            return False
        way = self._ways[claim.lease] = Way(self, claim, ctx)
        way.task = asyncio.create_task(self._see_through(way, layers), name=f"handle {short_id(claim.lease.id)}")
        way.task.add_done_callback(functools.partial(self._conclude, way))
        return True

    def _ruled(self, task: str, ctx: dict[str, Any]) -> Iterator[Middleware]:
        """What the message's own rules ask for; see `client.task.RULES`."""
        if (age := ctx.get("max_age")) is not None:
            yield MaxAge(age)
        if (rate := ctx.get("max_rate")) is not None:
            if (task, rate) not in self._limits:
                self._limits[task, rate] = RateLimit(rate, bucket=f"task {task}")
            yield self._limits[task, rate]

    # ------------------------------------------------------------------------------------- what is held

    def leases(self) -> list[Lease]:
        """Of those that are neither in the backlog nor in a slot."""
        return [lease for lease, way in self._ways.items() if not way.placed]

    def held(self) -> Counter[Lane]:
        """How many of each lane wait in a middleware, and take up room."""
        busy: Counter[Lane] = Counter()
        resting: Counter[Lane] = Counter()
        for way in self._ways.values():
            if not way.placed:
                (resting if way.at_rest else busy)[lane_of(way.claim.kind)] += 1
        for lane, number in resting.items():
            busy[lane] += max(0, number - _MOST_RESTING)
        return busy

    # -------------------------------------------------------------------------------- what slots report

    def ended(self, ended: Ended) -> bool:
        """An attempt has ended in its slot; whether it is one of these."""
        way = self._ways.get(ended.placed.claim.lease)
        if way is None:
            return False
        way.end(ended.placed.why, self.desk.outcome(ended))
        return True

    def failed(self, outcome: Outcome) -> bool:
        """One that was placed has failed before any slot had it; whether it is one of these."""
        way = self._ways.get(outcome.lease)
        if way is None:
            return False
        way.end(None, outcome)
        return True

    # ------------------------------------------------------------------------------------------ stopping

    def stop(self, lease: Lease, why: Why) -> bool:
        """Stop one that is in no slot (any more); whether it is one of these."""
        way = self._ways.get(lease)
        if way is None:
            return False
        way.stop(why)
        return True

    def release(self) -> None:
        """Give back those that have not begun to run."""
        for way in self._ways.values():
            if not way.placed and way.base is None:
                way.stop(Why.SHUTDOWN)

    async def close(self) -> None:
        """Give up on what is left: jobs that have ended keep their outcome, others are given back."""
        for way in self._ways.values():
            way.stop(Why.SHUTDOWN)
        tasks = [way.task for way in self._ways.values() if way.task is not None]
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=_CLOSING)
            for task in stuck:
                log.error("%s does not end when it is cancelled; its job comes back when the lease has run out", task)

    # ------------------------------------------------------------------------------------------- one way

    async def _see_through(self, way: Way, layers: Sequence[Middleware]) -> BaseException | None:
        message = way.message
        try:
            await chain((*layers, *self._ruled(message.task, message.ctx)), way.run)(message)
        except BaseException as error:  # a SystemExit of one middleware must not end the worker
            return error
        return None

    def _conclude(self, way: Way, task: asyncio.Task[BaseException | None]) -> None:
        # Not at the end of the task itself: one that is cancelled before its first step does nothing at all.
        outcome = way.outcome(asyncio.CancelledError() if task.cancelled() else task.result())
        if outcome is not None:
            outcome = _with_ctx(outcome, way)
            if outcome.failure is not None and outcome.failure.cause == "middleware":
                log.error("job %s: %s\n%s", way.message.id, outcome.failure.message, outcome.failure.traceback)
            self.desk.finish(outcome)
        del self._ways[way.claim.lease]
        self.desk.freed()


class Way:
    """One claim on its way through middleware.

    Attributes:
        placed: it is in the backlog or in a slot.
        base: what the slot's report means by itself, once there is one.
        at_rest: it waits and needs no room.
    """

    def __init__(self, handling: Handling, claim: Claim, ctx: dict[str, Any]) -> None:
        self.claim = claim
        self.message = Underway(self, ctx)
        self.task: asyncio.Task[BaseException | None] | None = None
        self.placed = False
        self.at_rest = False
        self.base: Outcome | None = None
        self.handling = handling
        self._why: Why | None = None
        self._over = asyncio.Event()
        self._end: asyncio.Future[Outcome] | None = None
        self._dropped = False  # a middleware stopped waiting for it, so it was stopped
        self._raised: Exception | None = None  # what `run` raised about `base`

    async def run(self, message: Message) -> object:
        """The innermost handler: place the claim, and wait for its end."""
        if self.placed:
            raise RuntimeError("this job runs already: next_handler must not be awaited twice at a time")
        if self._why is not None:
            raise asyncio.CancelledError
        timeout = None if message.timeout is None else seconds("message.timeout", message.timeout)
        self.base, self._dropped = None, False
        self._over.clear()
        self._end = asyncio.get_running_loop().create_future()
        self.placed = True
        desk = self.handling.desk
        try:
            desk.place(replace(self.claim, timeout=timeout))
            base = await self._end
        except asyncio.CancelledError:
            if self._why is None:
                # A middleware does not want to wait any longer. The code must not run on with nobody to see it.
                self._dropped = True
                if desk.withdraw(self.claim.lease):
                    while not self._over.is_set():
                        with contextlib.suppress(asyncio.CancelledError):
                            await self._over.wait()
            raise
        finally:
            self.placed = False
        if base.ending is Ending.COMPLETED:
            return Completed(base)
        self._raised = _as_exception(base)
        raise self._raised

    def end(self, why: Why | None, base: Outcome | None) -> None:
        """The slot has reported."""
        self.base = base
        self._over.set()
        if self._end is None or self._end.done():
            return
        if base is None or base.ending in (Ending.RELEASED, Ending.CANCELLED):
            self._why = self._why or why or Why.SHUTDOWN
            self._end.cancel()
        else:
            self._end.set_result(base)

    def stop(self, why: Why) -> None:
        """Whatever it waits for, it shall not any longer."""
        self._why = self._why or why
        if self.task is not None:
            self.task.cancel()

    # -------------------------------------------------------------------------------------- its outcome

    def outcome(self, raised: BaseException | None) -> Outcome | None:
        """What it comes to, now that the chain has returned, or raised this; None: it is not ours to say."""
        if self._why is not None:
            return self._stopped()
        if raised is None:
            if self.base is None or self._dropped:
                did = "stopped the job" if self._dropped else "returned without running the job"
                return self._failed(f"a middleware {did} and gave no reason: raise cellq.RejectMessage(reason)")
            return self.base
        if raised is self._raised and self.base is not None:
            return self.base
        if isinstance(raised, RetryMessage):
            return self._again(raised)
        if isinstance(raised, RejectMessage):
            return self._failed(f"rejected: {raised}" if str(raised) else "rejected", "rejected", raised)
        if isinstance(raised, RemoteError):
            failure = Failure(
                cause=raised.cause, types=raised.types, message=raised.message, traceback=raised.traceback
            )
            return Outcome(lease=self.claim.lease, ending=Ending.FAILED, failure=failure)
        text = f"{type(raised).__qualname__}: {raised}"
        return self._failed(f"a middleware raised {text}", "middleware", raised)

    def _stopped(self) -> Outcome | None:
        if self.base is not None:
            return self.base
        lease = self.claim.lease
        if self._why is Why.CANCEL:
            failure = Failure(cause="cancelled", message="cancelled before it was started")
            return Outcome(lease=lease, ending=Ending.CANCELLED, failure=failure)
        return None if self._why is Why.LOST else Outcome(lease=lease, ending=Ending.RELEASED)

    def _again(self, wish: RetryMessage) -> Outcome:
        lease = self.claim.lease
        if not wish.counts:
            hold_back(self.message.ctx, self.claim.attempt - 1, str(wish))
        if wish.counts and (refusal := no_more_tries(self.message.ctx, self.claim.attempt, str(wish))):
            return self._failed(refusal, "retry", wish)
        failure = self.base.failure if self.base is not None else None
        if failure is None and wish.counts:
            failure = Failure(cause="retry", types=_types(wish), message=str(wish))
        return Outcome(
            lease=lease,
            ending=Ending.RETRY if wish.counts else Ending.RELEASED,
            failure=failure,
            error=self.base.error if self.base is not None else None,
            delay=wish.delay,
        )

    def _failed(self, message: str, cause: str = "middleware", error: BaseException | None = None) -> Outcome:
        inner = self.base.failure if self.base is not None else None
        text = "" if inner is None else inner.traceback
        if error is not None and cause == "middleware":
            text = "".join(traceback.format_exception(error))
        failure = Failure(cause=cause, types=() if error is None else _types(error), message=message, traceback=text)
        return Outcome(lease=self.claim.lease, ending=Ending.FAILED, failure=failure)


class Underway(Message):
    """A message in a worker."""

    def __init__(self, way: Way, ctx: dict[str, Any]) -> None:
        claim = way.claim
        go_on(ctx)
        super().__init__(task=claim.task, ctx=ctx, id=id_text(claim.lease.id), queue=claim.queue, timeout=claim.timeout)
        self.attempt = claim.attempt
        self._arguments = None
        self._way = way

    def _opened(self) -> Arguments:
        if self._arguments is None:
            self._arguments = self._way.handling.program.open_arguments(self._way.claim)
        return self._arguments

    async def take(self, bucket: str, rate: float, burst: float) -> float:
        """See `Message.take`."""
        while True:
            try:
                return await self._way.handling.store.take(bucket, rate, burst)
            except StoreUnavailable as error:
                log.error("%s; trying again", error)
                await asyncio.sleep(_TRY_AGAIN)

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """See `Message.resting`."""
        way = self._way
        way.at_rest = True
        way.handling.desk.freed()
        try:
            yield
        finally:
            way.at_rest = False


def _with_ctx(outcome: Outcome, way: Way) -> Outcome:
    try:
        text = json.dumps(way.message.ctx)
    except (TypeError, ValueError) as error:
        failure = Failure(
            cause="middleware",
            types=_types(error),
            message=f"a middleware wrote into ctx what is no JSON: {error}",
            traceback=repr(way.message.ctx),
        )
        return Outcome(lease=outcome.lease, ending=Ending.FAILED, failure=failure)
    return outcome if text == way.claim.ctx else replace(outcome, ctx=text)


def _as_exception(base: Outcome) -> Exception:
    """What became of a job, for its middleware."""
    failure = base.failure
    assert failure is not None
    if failure.cause == "retry" and base.ending is Ending.RETRY:
        return RetryMessage(base.delay, reason_in(failure.message))
    if failure.cause in ("retry", "rejected"):
        return RejectMessage(reason_in(failure.message) or failure.message)
    types = failure.types or _STOPPED_TYPES.get(failure.cause, ())
    return RemoteError(
        failure.message,
        cause=failure.cause,
        types=types,
        traceback=failure.traceback,
        again=base.ending is Ending.RETRY,
    )


def _types(error: BaseException) -> tuple[str, ...]:
    classes = [cls for cls in type(error).__mro__ if issubclass(cls, BaseException)]
    return tuple(f"{cls.__module__}.{cls.__qualname__}" for cls in classes)
