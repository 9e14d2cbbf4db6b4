"""Each middleware by itself, and the way a claim takes through several: against a slot that a test plays."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import types
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import cellq
from cellq.call import Handler, Message
from cellq.ids import new_id
from cellq.message import Claim, Ending, Failure, Kind, Lease, Outcome
from cellq.store.memory import MemoryStore
from cellq.worker.handling import Completed, Handling
from cellq.worker.middleware import MaxAge, Middleware, RateLimit, Retry, Sentry, Timeout, chain
from cellq.worker.program import Program
from cellq.worker.slot import Ended, Placed, Why

FAILURE = Failure(
    cause="exception",
    types=("httpx.HTTPError", "builtins.Exception", "builtins.BaseException"),
    message="HTTPError: 503",
    traceback="Traceback…",
)


def claim(*, ctx: str = "{}", attempt: int = 1, retries: int = 0, timeout: float | None = None, **more: Any) -> Claim:
    fields: dict[str, Any] = {
        "lease": Lease(new_id(), attempt), "queue": "default", "task": "github:fetch", "kind": Kind.COROUTINE,
        "code": b"", "payload": b"", "timeout": timeout, "retries": retries, "backoff": 1.0, "isolated": False,
        "origin": "", "ctx": ctx,
    }  # fmt: skip
    return Claim(**(fields | more))


class Desk:
    """A worker of which the test is the slots: what is placed waits until the test says how it ended."""

    def __init__(self, *middlewares: Middleware, opened: Any = None, **program: Any) -> None:
        self.store = MemoryStore()
        self.placed: list[Claim] = []
        self.withdrawn: list[Lease] = []
        self.outcomes: list[Outcome] = []
        self.in_slot = True
        self.answers: Callable[[Claim], Outcome | None] | None = None
        self._changed = asyncio.Event()
        self.handling = Handling(
            self.store,
            self,
            Program(middlewares=middlewares, open_arguments=lambda _: opened, **program),
        )

    # What handling asks of a worker:

    def place(self, claim: Claim) -> None:
        self.placed.append(claim)
        self._changed.set()
        if self.answers is not None and (answer := self.answers(claim)) is not None:
            asyncio.get_running_loop().call_soon(self.end, claim, answer)

    def withdraw(self, lease: Lease) -> bool:
        self.withdrawn.append(lease)
        self._changed.set()
        return self.in_slot

    def outcome(self, ended: Ended) -> Outcome | None:
        outcome: Outcome | None = ended.done  # type: ignore[assignment]  # the test says it outright
        return outcome

    def finish(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._changed.set()

    def freed(self) -> None:
        self._changed.set()

    # What tests do:

    def end(self, claim: Claim, outcome: Outcome | None, why: Why | None = None) -> None:
        """Report how a placed claim ended."""
        if outcome is not None:
            outcome = replace(outcome, lease=claim.lease)
        assert self.handling.ended(Ended(Placed(claim, 1, 0.0, why), outcome))  # type: ignore[arg-type]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.01)
        assert condition(), what

    async def through(self, claim: Claim, *answers: Outcome) -> Outcome:
        """See a claim through to its outcome, its slot answering so."""
        left = list(answers)
        self.answers = lambda _: left.pop(0)
        assert self.handling.begin([claim]) == []
        await self.until(lambda: not self.handling, "it is through")
        return self.outcomes.pop()


def completed() -> Outcome:
    return Outcome(lease=Lease(b"", 0), ending=Ending.COMPLETED, result=b"sealed")


def failed(ending: Ending = Ending.FAILED, failure: Failure = FAILURE, delay: float = 0.0) -> Outcome:
    return Outcome(lease=Lease(b"", 0), ending=ending, failure=failure, error=b"sealed", delay=delay)


class Noting(Middleware):
    """Writes down what passes it."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name, self.seen = name, seen

    async def handle(self, message: Message, next_handler: Handler) -> object:
        self.seen.append(f"{self.name} in")
        try:
            return await next_handler(message)
        finally:
            self.seen.append(f"{self.name} out")


class Doing(Middleware):
    """Does what the test wants."""

    def __init__(self, what: Callable[[Message, Handler], Awaitable[object]]) -> None:
        self.what = what

    async def handle(self, message: Message, next_handler: Handler) -> object:
        return await self.what(message, next_handler)


# ------------------------------------------------------------------------------------------------- the chain


async def test_the_first_middleware_is_the_outermost() -> None:
    seen: list[str] = []

    async def job(_: Message) -> object:
        seen.append("job")
        return None

    await chain([Noting("a", seen), Noting("b", seen)], job)(Message())
    assert seen == ["a in", "b in", "job", "b out", "a out"]


async def test_claims_without_middleware_are_not_touched() -> None:
    desk = Desk()
    claims = [claim(), claim(ctx='{"max_tries": 3}'), claim(ctx='{"mine": 1}')]
    assert desk.handling.begin(claims) == claims
    assert not desk.handling


async def test_middleware_of_one_task_is_inside_that_of_the_worker_and_of_no_other_task() -> None:
    seen: list[str] = []
    desk = Desk(Noting("worker", seen), of_tasks={"github:fetch": (Noting("task", seen),)})
    await desk.through(claim(), completed())
    assert seen == ["worker in", "task in", "task out", "worker out"]
    seen.clear()
    await desk.through(claim(task="github:store"), completed())
    assert seen == ["worker in", "worker out"]


async def test_what_the_slot_said_stands_when_the_chain_says_nothing() -> None:
    desk = Desk(Noting("a", []))
    job = claim()
    assert await desk.through(job, completed()) == replace(completed(), lease=job.lease)
    again = failed(Ending.RETRY, delay=7.0)  # by the option `retries`
    assert await desk.through(job, again) == replace(again, lease=job.lease)


async def test_a_middleware_sees_the_failure_as_text() -> None:
    seen: list[cellq.RemoteError] = []

    async def look(message: Message, next_handler: Handler) -> object:
        try:
            return await next_handler(message)
        except cellq.RemoteError as error:
            seen.append(error)
            raise

    await Desk(Doing(look)).through(claim(), failed())
    (error,) = seen
    assert (error.types, error.message, error.traceback) == (FAILURE.types, FAILURE.message, FAILURE.traceback)
    assert error.matches("HTTPError")
    assert error.matches("httpx.HTTPError")
    assert error.matches(Exception)
    assert not error.matches("ValueError")


async def test_a_middleware_cannot_complete_a_job_that_failed() -> None:
    async def swallow(message: Message, next_handler: Handler) -> object:
        with contextlib.suppress(cellq.RemoteError):
            await next_handler(message)
        return None

    outcome = await Desk(Doing(swallow)).through(claim(), failed())
    assert (outcome.ending, outcome.failure) == (Ending.FAILED, FAILURE)


async def test_a_middleware_that_returns_without_running_the_job_fails_it_and_says_so() -> None:
    async def skip(_: Message, __: Handler) -> object:
        return None

    outcome = await Desk(Doing(skip)).through(claim())
    assert outcome.ending is Ending.FAILED
    assert "returned without running the job" in outcome.failure.message


async def test_an_error_of_a_middleware_fails_the_job_with_its_traceback() -> None:
    async def broken(message: Message, next_handler: Handler) -> object:
        await next_handler(message)
        raise KeyError("nonsense")

    outcome = await Desk(Doing(broken)).through(claim(retries=5), completed())
    assert outcome.ending is Ending.FAILED
    assert outcome.failure.cause == "middleware"
    assert outcome.failure.types[0] == "builtins.KeyError"
    assert "in broken" in outcome.failure.traceback


async def test_retry_message_runs_the_job_again_later_with_the_reason() -> None:
    async def later(_: Message, __: Handler) -> object:
        raise cellq.RetryMessage(12.5, "the API is away")

    outcome = await Desk(Doing(later)).through(claim())
    assert (outcome.ending, outcome.delay) == (Ending.RETRY, 12.5)
    assert outcome.failure.message == "the API is away"


async def test_retry_message_after_a_failure_keeps_the_failure() -> None:
    async def later(message: Message, next_handler: Handler) -> object:
        try:
            return await next_handler(message)
        except cellq.RemoteError as error:
            raise cellq.RetryMessage(3.0, "again") from error

    outcome = await Desk(Doing(later)).through(claim(), failed())
    assert (outcome.ending, outcome.delay, outcome.failure, outcome.error) == (Ending.RETRY, 3.0, FAILURE, b"sealed")


async def test_a_job_that_asks_for_ever_ends_with_its_last_try() -> None:
    async def later(_: Message, __: Handler) -> object:
        raise cellq.RetryMessage(1.0, "not yet")

    desk = Desk(Doing(later))
    assert (await desk.through(claim(ctx='{"max_tries": 2}', attempt=1))).ending is Ending.RETRY
    outcome = await desk.through(claim(ctx='{"max_tries": 2}', attempt=2))
    assert outcome.ending is Ending.FAILED
    assert outcome.failure.message == "asked to run again (not yet), but has had its 2 tries"


async def test_reject_message_fails_the_job_and_says_so() -> None:
    async def reject(_: Message, __: Handler) -> object:
        raise cellq.RejectMessage("the address is blocked")

    outcome = await Desk(Doing(reject)).through(claim(retries=5))
    assert (outcome.ending, outcome.failure.cause) == (Ending.FAILED, "rejected")
    assert outcome.failure.message == "rejected: the address is blocked"


async def test_ctx_is_written_when_it_changed_and_refused_when_it_is_no_json() -> None:
    async def note(message: Message, next_handler: Handler) -> object:
        message.ctx["seen"] = message.ctx.get("seen", 0) + 1
        return await next_handler(message)

    async def spoil(message: Message, next_handler: Handler) -> object:
        message.ctx["seen"] = {1, 2}
        return await next_handler(message)

    outcome = await Desk(Doing(note)).through(claim(ctx='{"seen": 1}'), completed())
    assert json.loads(outcome.ctx) == {"seen": 2}
    assert (await Desk(Noting("", [])).through(claim(ctx='{"seen": 1}'), completed())).ctx is None
    outcome = await Desk(Doing(spoil)).through(claim(), completed())
    assert outcome.ending is Ending.FAILED
    assert "no JSON" in outcome.failure.message


async def test_arguments_are_opened_only_for_who_asks() -> None:
    asked: list[tuple[Any, ...]] = []

    async def read(message: Message, next_handler: Handler) -> object:
        asked.append((message.args, message.kwargs, message.task, message.attempt))
        return await next_handler(message)

    await Desk(Doing(read), opened=((1,), {"x": 2})).through(claim(attempt=3), completed())
    assert asked == [((1,), {"x": 2}, "github:fetch", 3)]


async def test_a_middleware_may_run_the_job_twice_one_after_the_other() -> None:
    async def twice(message: Message, next_handler: Handler) -> object:
        with contextlib.suppress(cellq.RemoteError):
            await next_handler(message)
        return await next_handler(message)

    desk = Desk(Doing(twice))
    assert (await desk.through(claim(), failed(), completed())).ending is Ending.COMPLETED
    assert len(desk.placed) == 2


async def test_a_job_cannot_run_twice_at_a_time() -> None:
    async def both(message: Message, next_handler: Handler) -> object:
        async with asyncio.TaskGroup() as group:
            group.create_task(next_handler(message))  # type: ignore[arg-type]
            group.create_task(next_handler(message))  # type: ignore[arg-type]
        return None

    desk = Desk(Doing(both))
    desk.in_slot = False
    assert desk.handling.begin([claim()]) == []
    await desk.until(lambda: desk.outcomes, "it has failed")
    assert "twice at a time" in desk.outcomes[0].failure.traceback


# --------------------------------------------------------------------------------------------------- stopping


async def test_a_cancel_while_a_middleware_waits_ends_the_job_cancelled() -> None:
    async def wait(_: Message, __: Handler) -> object:
        return await asyncio.Event().wait()

    desk, job = Desk(Doing(wait)), claim()
    desk.handling.begin([job])
    await asyncio.sleep(0)
    assert desk.handling.leases() == [job.lease]
    assert desk.handling.stop(job.lease, Why.CANCEL)
    await desk.until(lambda: not desk.handling, "it is through")
    assert desk.outcomes[0].ending is Ending.CANCELLED


@pytest.mark.parametrize(
    ("why", "ending"), [(Why.SHUTDOWN, Ending.RELEASED), (Why.CANCEL, Ending.CANCELLED)], ids=["shutdown", "cancel"]
)
async def test_a_stop_in_the_slot_is_final_whatever_the_chain_makes_of_it(why: Why, ending: Ending) -> None:
    async def stubborn(message: Message, next_handler: Handler) -> object:
        try:
            return await next_handler(message)
        except BaseException as error:
            raise cellq.RetryMessage(1.0, "I know better") from error

    desk, job = Desk(Doing(stubborn)), claim()
    desk.handling.begin([job])
    await desk.until(lambda: desk.placed, "it is placed")
    assert desk.handling.leases() == []  # its slot has it
    desk.end(job, Outcome(lease=job.lease, ending=ending), why)
    await desk.until(lambda: not desk.handling, "it is through")
    assert [outcome.ending for outcome in desk.outcomes] == [ending]


async def test_a_stop_before_the_first_step_gives_the_job_back() -> None:
    desk = Desk(Noting("", []))
    desk.handling.begin([claim()])
    desk.handling.release()
    await desk.until(lambda: not desk.handling, "it is through")
    assert [outcome.ending for outcome in desk.outcomes] == [Ending.RELEASED]


async def test_nothing_is_said_about_a_job_that_was_lost_to_another_worker() -> None:
    desk, job = Desk(Noting("", [])), claim()
    desk.handling.begin([job])
    await desk.until(lambda: desk.placed, "it is placed")
    desk.end(job, None, Why.LOST)
    await desk.until(lambda: not desk.handling, "it is through")
    assert desk.outcomes == []


async def test_a_job_that_completed_stays_completed_when_the_worker_ends_during_its_middleware() -> None:
    async def linger(message: Message, next_handler: Handler) -> object:
        await next_handler(message)
        return await asyncio.Event().wait()

    desk, job = Desk(Doing(linger)), claim()
    desk.answers = lambda _: completed()
    desk.handling.begin([job])
    await desk.until(lambda: desk.placed and desk.handling.leases(), "the job has ended")
    desk.handling.release()  # only those that have not begun
    await asyncio.sleep(0)
    assert desk.handling
    await desk.handling.close()
    assert [outcome.ending for outcome in desk.outcomes] == [Ending.COMPLETED]


async def test_a_middleware_that_stops_waiting_stops_the_code() -> None:
    async def impatient(message: Message, next_handler: Handler) -> object:
        async with asyncio.timeout(0.01):
            return await next_handler(message)

    desk, job = Desk(Doing(impatient)), claim()
    desk.handling.begin([job])
    await desk.until(lambda: desk.withdrawn, "its slot is told to stop it")
    assert not desk.outcomes  # the code may still be running
    desk.end(job, Outcome(lease=job.lease, ending=Ending.CANCELLED), Why.CANCEL)
    await desk.until(lambda: not desk.handling, "it is through")
    assert desk.outcomes[0].ending is Ending.FAILED
    assert desk.outcomes[0].failure.types[0] == "builtins.TimeoutError"


async def test_room_is_taken_by_who_waits_and_not_by_who_rests() -> None:
    async def rest(message: Message, _: Handler) -> object:
        with message.resting():
            return await asyncio.Event().wait()

    async def wait(_: Message, __: Handler) -> object:
        return await asyncio.Event().wait()

    desk = Desk(of_tasks={"rest": (Doing(rest),), "wait": (Doing(wait),)})
    desk.handling.begin([claim(task="wait"), *(claim(task="rest") for _ in range(103))])
    await asyncio.sleep(0)
    (lane,) = desk.handling.held()
    assert desk.handling.held() == Counter({lane: 1 + 3})  # a hundred may rest
    desk.handling.release()
    await desk.until(lambda: not desk.handling, "all are given back")
    assert {outcome.ending for outcome in desk.outcomes} == {Ending.RELEASED}


# --------------------------------------------------------------------------------------------------- built in


async def test_retry_grows_its_pauses_up_to_a_cap() -> None:
    retry = Retry(max_tries=9, min_delay=1.0, max_delay=60.0, backoff=2.0, jitter=0.5)
    assert [round(retry.delay(n, 0.0), 3) for n in (1, 2, 3, 7, 5000)] == [1.0, 2.0, 4.0, 60.0, 60.0]
    assert [round(retry.delay(n, 1.0), 3) for n in (1, 2, 3)] == [0.5, 1.0, 2.0]


async def test_retry_counts_the_attempts_of_the_store() -> None:
    desk = Desk(Retry(max_tries=3, min_delay=0.5, jitter=0.0))
    outcome = await desk.through(claim(attempt=2), failed())
    assert (outcome.ending, outcome.delay, outcome.failure) == (Ending.RETRY, 1.0, FAILURE)
    assert (await desk.through(claim(attempt=3), failed())).ending is Ending.FAILED


@pytest.mark.parametrize(
    ("on", "ending"),
    [
        (("HTTPError",), Ending.RETRY),
        (("httpx.HTTPError",), Ending.RETRY),
        ((Exception,), Ending.RETRY),
        (("ValueError", KeyError), Ending.FAILED),
    ],
)
async def test_retry_only_on_some_exceptions(on: tuple[Any, ...], ending: Ending) -> None:
    assert (await Desk(Retry(on=on)).through(claim(), failed())).ending is ending


async def test_retry_knows_a_timeout_by_name() -> None:
    late = failed(failure=Failure(cause="timeout", message="stopped"))
    assert (await Desk(Retry(on=("TimeoutError",))).through(claim(), late)).ending is Ending.RETRY
    assert (await Desk(Retry(on=("JobLost",))).through(claim(), late)).ending is Ending.FAILED


async def test_retry_lets_a_rejection_through() -> None:
    rejected = failed(failure=Failure(cause="rejected", message="RejectMessage: no"))
    outcome = await Desk(Retry()).through(claim(), rejected)
    assert (outcome.ending, outcome.failure.cause) == (Ending.FAILED, "rejected")


async def test_timeout_is_set_for_the_slot_and_a_shorter_one_stands() -> None:
    desk = Desk(Timeout(timedelta(seconds=30)))
    await desk.through(claim(), completed())
    await desk.through(claim(timeout=5.0), completed())
    await desk.through(claim(timeout=50.0), completed())
    assert [placed.timeout for placed in desk.placed] == [30.0, 5.0, 30.0]


async def test_a_timeout_that_is_none_fails_the_job_before_it_is_placed() -> None:
    async def spoil(message: Message, next_handler: Handler) -> object:
        message.timeout = -1
        return await next_handler(message)

    desk = Desk(Doing(spoil))
    outcome = await desk.through(claim())
    assert "message.timeout must be 0 or more seconds" in outcome.failure.message
    assert desk.placed == []


async def test_a_ctx_that_cannot_be_read_harms_nobody() -> None:
    desk = Desk(Noting("", []))
    for text in ("[]", "{", "null"):
        assert (await desk.through(claim(ctx=text), completed())).ending is Ending.COMPLETED


async def test_max_age_rejects_what_is_too_old() -> None:
    now = [0.0]
    desk = Desk(MaxAge(timedelta(hours=1), clock=lambda: now[0]))
    job = claim()
    now[0] = int.from_bytes(job.lease.id[:6], "big") / 1000 + 3599
    assert (await desk.through(job, completed())).ending is Ending.COMPLETED
    now[0] += 2
    outcome = await desk.through(job, completed())
    assert (outcome.ending, outcome.failure.cause) == (Ending.FAILED, "rejected")
    assert "was to start within 3600 s" in outcome.failure.message


async def test_a_messages_own_rules_are_kept_by_any_worker() -> None:
    desk = Desk()
    old = claim(ctx='{"max_age": 0.001}', lease=Lease(b"\0" * 16, 1))
    assert (await desk.through(old, completed())).failure.cause == "rejected"
    limited = [claim(ctx='{"max_rate": "1/h"}') for _ in range(2)]
    assert (await desk.through(limited[0], completed())).ending is Ending.COMPLETED
    outcome = await desk.through(limited[1])
    assert outcome.ending is Ending.RELEASED  # that costs no attempt
    assert 3590 < outcome.delay <= 3600
    assert json.loads(outcome.ctx)["held"] == [0, "over the rate limit of task github:fetch (1/h)"]


async def test_why_a_message_was_sent_back_is_forgotten_when_a_worker_has_it_again() -> None:
    seen: list[dict[str, Any]] = []

    async def look(message: Message, next_handler: Handler) -> object:
        seen.append(dict(message.ctx))
        return await next_handler(message)

    outcome = await Desk(Doing(look)).through(claim(ctx='{"held": [0, "its turn"], "n": 1}'), completed())
    assert seen == [{"n": 1}]
    assert outcome.ctx == '{"n": 1}'


async def test_rate_limit_makes_who_is_near_wait_and_sends_others_back_one_after_the_other() -> None:
    desk = Desk(RateLimit("10/s", burst=1))
    desk.answers = lambda _: completed()
    assert desk.handling.begin([claim() for _ in range(30)]) == []
    await desk.until(lambda: not desk.handling, "all are through")
    ran = [outcome for outcome in desk.outcomes if outcome.ending is Ending.COMPLETED]
    back = sorted(outcome.delay for outcome in desk.outcomes if outcome.ending is Ending.RELEASED)
    assert 8 <= len(ran) <= 14  # one at once, and those whose turn is within a second
    assert len(ran) + len(back) == 30
    assert all(later - sooner > 0.09 for sooner, later in itertools.pairwise(back))


async def test_limits_of_two_tasks_do_not_touch_each_other() -> None:
    desk = Desk(of_tasks={name: (RateLimit("1/h", bucket=name),) for name in "ab"})
    assert (await desk.through(claim(task="a"), completed())).ending is Ending.COMPLETED
    assert (await desk.through(claim(task="b"), completed())).ending is Ending.COMPLETED
    assert (await desk.through(claim(task="a"))).ending is Ending.RELEASED


def test_sentry_without_its_sdk_is_an_error_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with pytest.raises(ModuleNotFoundError, match=r"cellq\[sentry\]"):
        Sentry("https://key@example.org/1")


class FakeScope:
    """What `sentry_sdk.new_scope()` gives, as far as it is used."""

    def __init__(self, told: list[Any]) -> None:
        self.told, self.tags, self.contexts = told, {}, {}

    def __enter__(self) -> FakeScope:
        return self

    def __exit__(self, *_: object) -> None: ...

    def set_tag(self, name: str, value: object) -> None:
        self.tags[name] = value

    def set_context(self, name: str, value: object) -> None:
        self.contexts[name] = value

    def capture_event(self, event: Any) -> None:
        self.told.append((event, self))

    def capture_exception(self, error: BaseException) -> None:
        self.told.append((error, self))


async def test_sentry_is_told_of_failures_and_not_of_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    begun: list[Any] = []
    sdk = types.SimpleNamespace(init=lambda **options: begun.append(options), new_scope=lambda: FakeScope(told))
    monkeypatch.setitem(sys.modules, "sentry_sdk", sdk)
    desk = Desk(Sentry("https://key@example.org/1", environment="test"), Retry(max_tries=2))
    assert begun == [{"dsn": "https://key@example.org/1", "environment": "test"}]
    await desk.through(claim(attempt=1), failed())
    await desk.through(claim(attempt=3), failed(Ending.RETRY))  # by the option `retries`
    assert told == []
    await desk.through(claim(attempt=2), failed())
    ((event, scope),) = told
    assert event["exception"]["values"] == [{"type": "HTTPError", "module": "httpx", "value": "503"}]
    assert scope.tags == {"task": "github:fetch", "queue": "default"}
    assert scope.contexts["job"]["attempt"] == 2
    assert scope.contexts["job"]["traceback"] == "Traceback…"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(max_tries=0),
        lambda: Retry(min_delay=5, max_delay=1),
        lambda: Retry(on="ValueError"),
        lambda: RateLimit("10"),
        lambda: RateLimit("0/s"),
        lambda: RateLimit("10/s", burst=0),
        lambda: Timeout(0),
        lambda: MaxAge(-1),
        lambda: cellq.RetryMessage(-1.0),
        lambda: cellq.Worker("x", url="memory://x", middlewares=[Retry]),  # the class instead of an object
    ],
)
def test_nonsense_is_refused_at_once(make: Callable[[], object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        make()


def test_completed_tells_nothing_of_the_value() -> None:
    assert Completed(completed()).outcome.result == b"sealed"
