"""What wraps the handling of a message in the worker: one shape, and the built-in ones.

    claim ──▶ Sentry ──▶ Retry ──▶ RateLimit ──▶ the job, in its slot
                                                     │
    outcome ◀── … ◀────── … ◀────── … ◀──────────────┘ returns, or raises RemoteError, RetryMessage, RejectMessage

Applied outermost first. A middleware runs in the worker's process, which never unpickles what a job returned or raised:
what it gets is a `RemoteError`, the failure as text. It may

  return          what came from inside stands; a job that failed is not completed by a middleware that says nothing
  RetryMessage    the job runs again after a delay
  RejectMessage   the job has failed, whatever attempts it has left
  anything else   the job has failed, with the middleware's traceback

and may stop waiting (`asyncio.timeout`): then the job's code is stopped, too. When the job is cancelled, or the worker
ends, `asyncio.CancelledError` comes from wherever a middleware waits, and is to be let through.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import random
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cellq.call import Handler, Message
from cellq.errors import RejectMessage, RemoteError, RetryMessage
from cellq.options import per_second, seconds

_random = random.Random()
"""Not the global generator: a program that seeds that one expects its numbers for itself."""


class Middleware(ABC):
    """Wraps the handling of messages. One object serves many at a time, and several workers of an `App`."""

    @abstractmethod
    async def handle(self, message: Message, next_handler: Handler) -> object:
        """See one message through.

        Args:
            message: the call; its `ctx` is kept across attempts.
            next_handler: await `next_handler(message)` to go on inwards.

        Raises:
            RetryMessage, RejectMessage: the job shall run again, or not at all.
        """


def chain(middlewares: Sequence[Middleware], job: Handler) -> Handler:
    """One handler for all of it, the first middleware outermost."""
    handler = job
    for middleware in reversed(middlewares):
        handler = _before(middleware, handler)
    return handler


def _before(middleware: Middleware, inner: Handler) -> Handler:
    return lambda message: middleware.handle(message, inner)


def check(middlewares: Sequence[Middleware]) -> list[Middleware]:
    """The middlewares as a list.

    Raises:
        TypeError: one of them is none.
    """
    for one in middlewares:
        if not isinstance(one, Middleware):
            raise TypeError(f"a middleware is an object of a class derived from cellq.Middleware, not {one!r}")
    return list(middlewares)


# --------------------------------------------------------------------------------------------------- built in


class Retry(Middleware):
    """Runs a job again that failed, after a pause that grows.

    Args:
        max_tries: how often it may run in all.
        min_delay: pause after the first failure, in seconds.
        max_delay: the longest pause, in seconds.
        backoff: what a pause is multiplied with to give the next.
        jitter: which part of a pause is random, 0 to 1; so that what failed together does not return together.
        on: only failures of these classes, given as names ("ConnectionError", "httpx.HTTPError") or as classes;
            all when empty. A timeout is a "JobTimeout" and a "TimeoutError", a killed process a "JobLost".

    Raises:
        TypeError, ValueError: an argument makes no sense.
    """

    def __init__(
        self,
        max_tries: int = 3,
        *,
        min_delay: float = 1.0,
        max_delay: float = 60.0,
        backoff: float = 2.0,
        jitter: float = 0.5,
        on: Sequence[str | type[BaseException]] = (),
    ) -> None:
        if not isinstance(max_tries, int) or max_tries < 1:
            raise ValueError(f"max_tries must be a whole number of 1 or more, not {max_tries!r}")
        if not 0 <= min_delay <= max_delay < math.inf:
            raise ValueError(f"delays are seconds, 0 <= min_delay <= max_delay, not {min_delay!r} and {max_delay!r}")
        if not backoff >= 1 or not 0 <= jitter <= 1:
            raise ValueError(f"backoff must be 1 or more and jitter 0 to 1, not {backoff!r} and {jitter!r}")
        if isinstance(on, str | type):
            raise TypeError(f"on must be several classes or names, as in on=({on!r},)")
        self.max_tries, self.on = max_tries, tuple(on)
        self.min_delay, self.max_delay, self.backoff, self.jitter = min_delay, max_delay, backoff, jitter

    def delay(self, attempt: int, random_part: float) -> float:
        """Seconds to wait after this attempt (1 for the first); `random_part` is 0 to 1."""
        # Not a power first: that overflows after a thousand attempts.
        growth = min((attempt - 1) * math.log(self.backoff), 700.0)
        pause = min(self.min_delay * math.exp(growth), self.max_delay)
        return pause * (1 - self.jitter * random_part)

    async def handle(self, message: Message, next_handler: Handler) -> object:
        """See `Middleware.handle`."""
        try:
            return await next_handler(message)
        except RetryMessage as wish:
            if wish.counts and message.attempt >= self.max_tries:
                raise RejectMessage(f"asked to run again ({wish}) after {_times(self.max_tries)}") from wish
            raise
        except RemoteError as error:
            wanted = not self.on or any(error.matches(kind) for kind in self.on)
            if not wanted or message.attempt >= self.max_tries:
                raise
            pause = self.delay(message.attempt, _random.random())
            raise RetryMessage(pause, f"attempt {message.attempt} of {self.max_tries}: {error}") from error


@dataclass(eq=False)
class _Line:
    """Those who wait in this worker for tokens of one bucket. Only the first of them asks the store."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    promised: float = 0.0  # up to when tokens are promised to those sent back, on the monotonic clock


class RateLimit(Middleware):
    """Starts at most so many jobs in a time, counted over all workers of the store.

    Who is near its turn waits here; who is not goes back into the queue until then, and that costs no attempt. So few
    jobs are held by a worker that cannot start them, and the jobs of other tasks pass by.

    Args:
        rate: "10/s", "100/m", "1000/h", or a number per second.
        burst: how many may start at once after a pause; a fifth of a second's worth, and at least 1, when None.
        bucket: those of one name share one limit; the message's queue when None.
        patience: seconds that a job waits here at most.

    Raises:
        TypeError, ValueError: an argument makes no sense.
    """

    def __init__(
        self, rate: str | float, *, burst: float | None = None, bucket: str | None = None, patience: float = 1.0
    ) -> None:
        self.rate = per_second(rate)
        self._words = rate.strip() if isinstance(rate, str) else f"{rate:g}/s"
        # Tokens that are taken late would be lost to a bucket of one: the rate would not be reached.
        self.burst = max(1.0, self.rate / 5) if burst is None else float(burst)
        if not self.burst >= 1:
            raise ValueError(f"burst must be 1 or more, not {burst!r}")
        self.bucket = bucket
        self.patience = seconds("patience", patience)
        self._lines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Line]] = (
            weakref.WeakKeyDictionary()
        )

    async def handle(self, message: Message, next_handler: Handler) -> object:
        """See `Middleware.handle`."""
        bucket = f"queue {message.queue}" if self.bucket is None else self.bucket
        line = self._lines.setdefault(asyncio.get_running_loop(), {}).setdefault(bucket, _Line())
        if line.waiting or (wait := await message.take(bucket, self.rate, self.burst)) > 0:
            if line.waiting:
                wait = line.waiting / self.rate
            if wait > self.patience:
                self._send_back(bucket, line, wait)
            line.waiting += 1
            try:
                with message.resting():
                    async with line.turn:
                        await self._take(message, bucket, line)
            finally:
                line.waiting -= 1
        return await next_handler(message)

    async def _take(self, message: Message, bucket: str, line: _Line) -> None:
        latest = time.monotonic() + 2 * self.patience
        while (wait := await message.take(bucket, self.rate, self.burst)) > 0:
            if time.monotonic() + wait > latest:
                self._send_back(bucket, line, wait)
            await asyncio.sleep(wait)

    def _send_back(self, bucket: str, line: _Line, wait: float) -> None:
        now = time.monotonic()
        turn = max(now + wait, line.promised)
        line.promised = turn + 1 / self.rate
        raise RetryMessage(turn - now, f"over the rate limit of {bucket} ({self._words})", counts=False)


class Timeout(Middleware):
    """Stops an attempt that takes longer. It begins when the job gets its slot; a job's own shorter timeout stands.

    Args:
        limit: seconds, or a timedelta.
    """

    def __init__(self, limit: float | timedelta) -> None:
        self.limit = seconds("limit", limit)

    async def handle(self, message: Message, next_handler: Handler) -> object:
        """See `Middleware.handle`."""
        message.timeout = self.limit if message.timeout is None else min(message.timeout, self.limit)
        return await next_handler(message)


class MaxAge(Middleware):
    """Rejects a job that is about to start later than so long after it was made.

    Args:
        limit: seconds, or a timedelta.
        clock: gives the time in epoch seconds.
    """

    def __init__(self, limit: float | timedelta, *, clock: Callable[[], float] = time.time) -> None:
        self.limit = seconds("limit", limit)
        self._clock = clock

    async def handle(self, message: Message, next_handler: Handler) -> object:
        """See `Middleware.handle`."""
        age = self._clock() - message.created
        if age > self.limit:
            raise RejectMessage(f"it is {age:.0f} s old, and was to start within {self.limit:g} s")
        return await next_handler(message)


class Sentry(Middleware):
    """Tells Sentry of jobs that fail; not of those that are to run again. Needs `sentry-sdk`.

    What is told: the task, the job's id and attempt, and the failure as text. Arguments are not.

    Args:
        dsn: where to; None leaves that to an SDK that the program has set up, or to its environment.
        options: for `sentry_sdk.init`.

    Raises:
        ModuleNotFoundError: the SDK is missing. A worker must not start that would be silent.
    """

    def __init__(self, dsn: str | None = None, **options: Any) -> None:
        try:
            self._sentry = importlib.import_module("sentry_sdk")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "the Sentry middleware needs the package sentry-sdk: pip install 'cellq[sentry]'"
            ) from error
        if dsn is not None or options:
            self._sentry.init(dsn=dsn, **options)

    async def handle(self, message: Message, next_handler: Handler) -> object:
        """See `Middleware.handle`."""
        try:
            return await next_handler(message)
        except RetryMessage:
            raise
        except Exception as error:
            if isinstance(error, RemoteError) and error.again:
                raise
            with self._sentry.new_scope() as scope:
                scope.set_tag("task", message.task)
                scope.set_tag("queue", message.queue)
                job = {"id": message.id, "attempt": message.attempt, "ctx": message.ctx}
                if isinstance(error, RemoteError):
                    scope.set_context("job", job | {"traceback": error.traceback})
                    scope.capture_event({"level": "error", "exception": {"values": [_event(error)]}})
                else:
                    scope.set_context("job", job)
                    scope.capture_exception(error)
            raise


def _event(error: RemoteError) -> dict[str, str]:
    """A failure as Sentry groups it: by its own class, not by ours."""
    module, _, name = (error.types[0] if error.types else f"cellq.{error.cause}").rpartition(".")
    return {"type": name, "module": module, "value": error.message.removeprefix(f"{name}: ")}


def _times(number: int) -> str:
    return "1 try" if number == 1 else f"{number} tries"
