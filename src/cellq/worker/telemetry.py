"""Tells OpenTelemetry what becomes of jobs: metrics, and a span for each attempt.

Names follow OpenTelemetry's semantic conventions for messaging, where those have one; what is cellq's own says so. (See
opentelemetry.io/docs/specs/semconv/messaging, "messaging-metrics" and "messaging-spans": in development still.)

    messaging.client.consumed.messages   counter          attempts that have ended
    messaging.process.duration           histogram, s     how long an attempt took
    cellq.job.wait.duration              histogram, s     from the making of a job to the start of its first attempt
    cellq.job.active                     up-down counter  attempts under way

    messaging.system             "cellq"         error.type               class of the failure; only where there is one
    messaging.operation.name     "process"       messaging.cellq.task     name of the task
    messaging.destination.name   the queue       messaging.cellq.outcome  completed, failed, retry, released, stopped

"retry" runs again, "released" was sent back and costs no attempt (it waits for a rate limit), "stopped" was cancelled
or taken from this worker: a middleware cannot tell these two apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from cellq.call import Handler, Message
from cellq.errors import RejectMessage, RemoteError, RetryMessage
from cellq.worker.middleware import Middleware

_SCOPE = "cellq"
_CONVENTIONS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
_BUCKETS = [*_CONVENTIONS, 30, 60, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600]
"""Bounds in seconds: those of the conventions, which end where the work of a notebook begins, and longer ones."""


class OpenTelemetry(Middleware):
    """Tells OpenTelemetry of each attempt: how many, how they ended, how long they waited and took. Needs its API.

    Where to it goes is the business of an OpenTelemetry SDK that the program sets up, in the worker's process; without
    one it goes nowhere, as with everything that speaks to OpenTelemetry.

    Put it first. Then the waits in other middlewares count as part of an attempt, and what `Retry` runs again is a
    "retry"; put last, it sees the attempts as failed before `Retry` does.

    Args:
        meter_provider: another than the global one.
        tracer_provider: another than the global one.
        spans: make a span for each attempt. What a job does inside its slot is in another process, and not below it.
        clock: gives the time in epoch seconds.

    Raises:
        ModuleNotFoundError: the API is missing. A worker must not start that would be silent.
    """

    def __init__(
        self,
        meter_provider: Any = None,
        tracer_provider: Any = None,
        *,
        spans: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            metrics = importlib.import_module("opentelemetry.metrics")
            self._trace = importlib.import_module("opentelemetry.trace")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "the OpenTelemetry middleware needs the package opentelemetry-api: pip install 'cellq[opentelemetry]'"
            ) from error
        self._clock = clock
        self._tracer = self._trace.get_tracer(_SCOPE, tracer_provider=tracer_provider) if spans else None
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._ended = meter.create_counter(
            "messaging.client.consumed.messages", unit="{message}", description="Attempts that have ended."
        )
        self._active = meter.create_up_down_counter(
            "cellq.job.active", unit="{job}", description="Attempts that are under way."
        )
        self._took, self._waited = (
            meter.create_histogram(name, unit="s", description=what, explicit_bucket_boundaries_advisory=_BUCKETS)
            for name, what in (
                ("messaging.process.duration", "How long an attempt took."),
                ("cellq.job.wait.duration", "From the making of a job to the start of its first attempt."),
            )
        )

    async def handle(self, message: Message, next_handler: Handler) -> object:
        """See `Middleware.handle`."""
        about = {
            "messaging.system": "cellq",
            "messaging.operation.name": "process",
            "messaging.destination.name": message.queue,
            "messaging.cellq.task": message.task,
        }
        if message.attempt == 1:  # when a later one could have started, nobody knows here
            self._waited.record(max(0.0, self._clock() - message.created), about)
        self._active.add(1, about)
        began = time.monotonic()
        outcome = {"messaging.cellq.outcome": "completed"}
        try:
            with self._span(message, about) as span:
                try:
                    return await next_handler(message)
                except BaseException as error:
                    outcome = _outcome(error)
                    if span is not None:
                        self._tell(span, outcome, error)
                    raise
        finally:
            self._active.add(-1, about)
            self._took.record(time.monotonic() - began, about | outcome)
            self._ended.add(1, about | outcome)

    @contextlib.contextmanager
    def _span(self, message: Message, about: dict[str, str]) -> Iterator[Any]:
        if self._tracer is None:
            yield None
            return
        with self._tracer.start_as_current_span(
            f"process {message.queue}",
            kind=self._trace.SpanKind.CONSUMER,
            attributes={
                **about,
                "messaging.operation.type": "process",
                "messaging.message.id": message.id,
                "messaging.cellq.attempt": message.attempt,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    def _tell(self, span: Any, outcome: dict[str, str], error: BaseException) -> None:
        """Put a failure on its span: as the job raised it, far away, where it did."""
        span.set_attributes(outcome)
        kind = outcome.get("error.type")
        if kind is None:
            return
        cause = _cause(error)
        said = {"exception.type": kind, "exception.message": str(cause)}
        if isinstance(cause, RemoteError) and cause.traceback:
            said["exception.stacktrace"] = cause.traceback
        span.add_event("exception", said)
        span.set_status(self._trace.StatusCode.ERROR, str(cause))


def _outcome(error: BaseException) -> dict[str, str]:
    """How an attempt ended that did not complete, and the class of its failure."""
    if isinstance(error, asyncio.CancelledError):
        return {"messaging.cellq.outcome": "stopped"}
    if isinstance(error, RetryMessage) and not error.counts:
        return {"messaging.cellq.outcome": "released"}
    again = isinstance(error, RetryMessage) or (isinstance(error, RemoteError) and error.again)
    outcome = {"messaging.cellq.outcome": "retry" if again else "failed"}
    cause = _cause(error)
    if isinstance(cause, RemoteError):
        outcome["error.type"] = cause.types[0] if cause.types else cause.cause
    elif isinstance(cause, RejectMessage):
        outcome["error.type"] = "rejected"
    elif not isinstance(cause, RetryMessage):  # who asks to run again has not failed
        outcome["error.type"] = f"{type(cause).__module__}.{type(cause).__qualname__}"
    return outcome


def _cause(error: BaseException) -> BaseException:
    """The job's own failure, where a middleware has made something else of it."""
    inner = error.__cause__
    return inner if isinstance(error, RetryMessage | RejectMessage) and isinstance(inner, RemoteError) else error
