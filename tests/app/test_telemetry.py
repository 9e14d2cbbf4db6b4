"""The OpenTelemetry middleware against the SDK: metrics and spans, for every way in which an attempt may end."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import cellq
from cellq.call import Message

REMOTE = cellq.RemoteError(
    "HTTPError: 503", types=("httpx.HTTPError", "builtins.Exception"), traceback="Traceback of the slot"
)
AGAIN = cellq.RemoteError("it took too long", cause="timeout", again=True)


def retried() -> cellq.RetryMessage:
    wish = cellq.RetryMessage(1.0, "attempt 1 of 3")
    wish.__cause__ = REMOTE
    return wish


class Seen:
    """What the SDK has been told."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._spans = InMemorySpanExporter()
        self.meters = MeterProvider([self._reader])
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))

    def middleware(self, **options: Any) -> cellq.Middleware:
        return cellq.OpenTelemetry(self.meters, self.tracers, **options)

    def metric(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """The attributes and data points of one metric."""
        data = self._reader.get_metrics_data()
        found = [
            metric
            for resource in (data.resource_metrics if data is not None else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]
        return [(dict(point.attributes), point) for metric in found for point in metric.data.data_points]

    def ended(self) -> dict[tuple[str, str, str], int]:
        """How many attempts ended, by queue, task and outcome."""
        return {
            (
                about["messaging.destination.name"],
                about["messaging.cellq.task"],
                about["messaging.cellq.outcome"],
            ): point.value
            for about, point in self.metric("messaging.client.consumed.messages")
        }

    def active(self) -> int:
        return sum(point.value for _, point in self.metric("cellq.job.active"))

    @property
    def spans(self) -> list[Any]:
        return list(self._spans.get_finished_spans())


@pytest.fixture
def seen() -> Seen:
    return Seen()


def message(attempt: int = 1) -> Message:
    made = Message(task="github:fetch", queue="github")
    made.attempt = attempt
    return made


@pytest.mark.parametrize(
    ("raised", "outcome", "kind"),
    [
        (None, "completed", None),
        (REMOTE, "failed", "httpx.HTTPError"),
        (AGAIN, "retry", "timeout"),
        (retried(), "retry", "httpx.HTTPError"),
        (cellq.RetryMessage(1.0, "not yet"), "retry", None),
        (cellq.RetryMessage(1.0, "waits for its turn", counts=False), "released", None),
        (cellq.RejectMessage("never"), "failed", "rejected"),
        (OSError("of another middleware"), "failed", "builtins.OSError"),
        (asyncio.CancelledError(), "stopped", None),
    ],
    ids=["value", "failure", "retries", "Retry", "RetryMessage", "RateLimit", "RejectMessage", "middleware", "stop"],
)
async def test_how_an_attempt_ended(seen, raised, outcome, kind) -> None:
    async def job(_: Message) -> object:
        assert seen.active() == 1
        if raised is not None:
            raise raised
        return "sealed"

    handling = seen.middleware().handle(message(), job)
    if raised is None:
        assert await handling == "sealed"
    else:
        with pytest.raises(type(raised)) as caught:
            await handling
        assert caught.value is raised

    assert seen.ended() == {("github", "github:fetch", outcome): 1}
    assert seen.active() == 0
    ((about, took),) = seen.metric("messaging.process.duration")
    assert took.count == 1
    expected = {
        "messaging.system": "cellq",
        "messaging.operation.name": "process",
        "messaging.destination.name": "github",
        "messaging.cellq.task": "github:fetch",
        "messaging.cellq.outcome": outcome,
    }
    assert about == expected | ({} if kind is None else {"error.type": kind})
    (span,) = seen.spans
    assert span.status.status_code is (StatusCode.UNSET if kind is None else StatusCode.ERROR)
    assert span.attributes.get("error.type") == kind


async def test_a_span_tells_which_attempt_it_was_and_what_the_job_raised_where_it_ran(seen) -> None:
    async def job(_: Message) -> object:
        raise REMOTE

    made = message(attempt=2)
    with pytest.raises(cellq.RemoteError):
        await seen.middleware().handle(made, job)
    (span,) = seen.spans
    assert (span.name, span.kind) == ("process github", SpanKind.CONSUMER)
    assert span.attributes["messaging.message.id"] == made.id
    assert span.attributes["messaging.cellq.attempt"] == 2
    assert span.attributes["messaging.operation.type"] == "process"
    (event,) = span.events
    assert event.name == "exception"
    assert dict(event.attributes) == {
        "exception.type": "httpx.HTTPError",
        "exception.message": "HTTPError: 503",
        "exception.stacktrace": "Traceback of the slot",
    }


async def test_without_spans_there_are_none(seen) -> None:
    async def job(_: Message) -> object:
        return None

    await seen.middleware(spans=False).handle(message(), job)
    assert seen.spans == []
    assert sum(seen.ended().values()) == 1


async def test_the_wait_is_that_for_the_first_attempt(seen) -> None:
    made = message()
    middleware = seen.middleware(clock=lambda: made.created + 40)

    async def job(_: Message) -> object:
        return None

    await middleware.handle(made, job)
    made.attempt = 2
    await middleware.handle(made, job)
    ((about, waited),) = seen.metric("cellq.job.wait.duration")
    assert (waited.count, waited.sum) == (1, pytest.approx(40))
    assert "messaging.cellq.outcome" not in about
    assert max(waited.explicit_bounds) == 24 * 3600, (
        "jobs take longer than the messages that the conventions have in mind"
    )


def test_jobs_of_a_real_worker(seen, queue, until, tmp_path) -> None:
    def held(opened: str) -> None:
        import pathlib
        import time

        while not pathlib.Path(opened).exists():
            time.sleep(0.01)  # between two looks at the gate

    layers = [seen.middleware(), cellq.Retry(max_tries=2, min_delay=0.0, max_delay=0.0)]
    with cellq.Worker(queue, slots=1, middlewares=layers, grace=0.5):
        assert queue.enqueue(pow, 2, 10).result(30) == 1024
        assert queue.enqueue(divmod, 1, 0).wait(30)
        endless = queue.enqueue(held, str(tmp_path / "never"))
        until(lambda: endless.state == "running" and seen.active() == 1, "it runs")
        endless.cancel()
        assert endless.wait(30)
        gate = tmp_path / "opened"
        last = queue.options(queue="default").enqueue(held, str(gate))
        gate.touch()
        assert last.wait(30)
        until(lambda: seen.active() == 0, "all have ended")
    task = endless.name
    assert seen.ended() == {
        ("default", "pow", "completed"): 1,
        ("default", "divmod", "retry"): 1,
        ("default", "divmod", "failed"): 1,
        ("default", task, "stopped"): 1,
        ("default", task, "completed"): 1,
    }
    failed = [span for span in seen.spans if span.attributes.get("error.type") == "builtins.ZeroDivisionError"]
    assert [span.attributes["messaging.cellq.attempt"] for span in failed] == [1, 2]
    assert "ZeroDivisionError" in failed[0].events[0].attributes["exception.stacktrace"]


@pytest.mark.parametrize("module", ["opentelemetry.metrics", "opentelemetry.trace"])
def test_without_its_api_it_is_an_error_at_start(monkeypatch: pytest.MonkeyPatch, module) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError, match=r"cellq\[opentelemetry\]"):
        cellq.OpenTelemetry()
