"""Pins claim, beat, report and finish of every store: order, fencing, expired leases, refunds, cancel requests."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from making import ROOM, Clock, claim, completed, failed, in_state, message, released, row, start, worker

from cellq.message import Action, Ending, Event, Failure, Filter, Kind, Lane, Lease, Outcome, Part, QueueSettings, State
from cellq.store.contract import Store

A, B = worker("a"), worker("b")
NOBODY = Lease(b"?" * 16, 1)


# --------------------------------------------------------------------------------------------- claim


async def test_a_claim_carries_all_that_is_needed_to_run_it(store: Store, clock: Clock) -> None:
    asked = message(name="fit", timeout=9.0, retries=2, backoff=3.0, isolated=True)
    await store.push([asked], {})
    (got,) = await claim(store, A)
    assert got.lease == Lease(asked.id, 1)
    assert (got.queue, got.task, got.kind, got.code, got.payload) == (
        "default",
        asked.task,
        Kind.CALL,
        asked.code,
        asked.payload,
    )
    assert (got.timeout, got.retries, got.backoff, got.isolated) == (9.0, 2, 3.0, True)
    assert (got.origin, got.ctx, got.attempt) == (asked.origin, "{}", 1)
    found = await row(store, asked.id)
    assert (found.state, found.attempt, found.worker, found.started) == (State.RUNNING, 1, A.id, clock.now)


async def test_larger_priority_first_then_first_in_first_out(store: Store) -> None:
    asked = [message(priority=n % 3) for n in range(9)]
    await store.push(asked, {})
    expected = sorted(range(9), key=lambda n: (-(n % 3), n))
    got = [one.lease.id for _ in range(3) for one in await claim(store, A, 3)]
    assert got == [asked[n].id for n in expected]


async def test_order_holds_across_runtimes_and_queues(store: Store) -> None:
    asked = [message(runtime="", priority=1), message(queue="q", priority=2), message(priority=1), message(queue="q")]
    await store.push(asked, {})
    got = await claim(store, A, 3, ("default", "q"))
    assert [one.lease.id for one in got] == [asked[1].id, asked[0].id, asked[2].id]


async def test_a_worker_gets_only_its_own_or_any_runtime(store: Store) -> None:
    asked = [message(runtime="3.12"), message(runtime="3.11"), message(runtime="")]
    await store.push(asked, {})
    assert [one.lease.id for one in await claim(store, A)] == [asked[1].id, asked[2].id]


async def test_room_is_counted_by_lane(store: Store) -> None:
    sync = [message() for _ in range(3)]
    coroutines = [message(Kind.COROUTINE) for _ in range(3)]
    cell = message(Kind.CELL)
    await store.push([*sync, *coroutines, cell], {})
    await store.beat(A, [])
    got = await store.claim(A.id, ["default"], {Lane.SYNC: 1, Lane.COROUTINES: 2}, "3.11")
    assert [one.lease.id for one in got.claims] == [sync[0].id, coroutines[0].id, coroutines[1].id]
    assert (await store.claim(A.id, ["default"], {Lane.SYNC: 0}, "3.11")).claims == []
    rest = await store.claim(A.id, ["default"], {Lane.SYNC: 9}, "3.11")
    assert [one.lease.id for one in rest.claims] == [sync[1].id, sync[2].id, cell.id]


async def test_a_delayed_job_waits_until_it_is_due(store: Store, clock: Clock) -> None:
    later, soon = message(delay=20, priority=9), message(delay=10)
    await store.push([later, soon], {})
    assert (await row(store, soon.id)).due == clock.now + 10
    await store.beat(A, [])
    got = await store.claim(A.id, ["default"], ROOM, "3.11")
    assert (got.claims, got.next_due) == ([], clock.now + 10)
    clock.step(10)
    assert (await row(store, soon.id)).due is None
    got = await store.claim(A.id, ["default"], ROOM, "3.11")
    assert ([one.lease.id for one in got.claims], got.next_due) == ([soon.id], clock.now + 10)
    clock.step(10)
    got = await store.claim(A.id, ["default"], ROOM, "3.11")
    assert ([one.lease.id for one in got.claims], got.next_due) == ([later.id], None)


async def test_once_due_a_job_stays_due_when_the_clock_is_set_back(store: Store, clock: Clock) -> None:
    first, second = message(delay=10), message(delay=10)
    await store.push([first, second], {})
    clock.step(10)
    assert [one.lease.id for one in await claim(store, A, 1)] == [first.id]
    clock.step(-5)
    assert (await row(store, second.id)).due is None
    assert [one.lease.id for one in await claim(store, A)] == [second.id]


async def test_a_due_job_takes_the_place_of_its_priority(store: Store, clock: Clock) -> None:
    ready, urgent = message(), message(priority=1, delay=5)
    await store.push([ready, urgent], {})
    clock.step(5)
    assert [one.lease.id for one in await claim(store, A, 1)] == [urgent.id]


async def test_a_paused_queue_gives_nothing_until_it_is_resumed(store: Store) -> None:
    await store.push([message(), message(delay=5)], {})
    await store.tune("default", QueueSettings(paused=True))
    await store.beat(A, [])
    assert await store.claim(A.id, ["default"], ROOM, "3.11") == ([], None)
    await store.tune("default", QueueSettings(paused=False))
    assert len(await claim(store, A)) == 1


async def test_pausing_lets_running_jobs_run_on(store: Store) -> None:
    (lease,) = await start(store)
    await store.tune("default", QueueSettings(paused=True))
    assert await store.finish([completed(lease)]) == [True]


async def test_an_unknown_worker_gets_nothing(store: Store) -> None:
    await store.push([message()], {})
    assert await store.claim(b"!" * 16, ["default"], ROOM, "3.11") == ([], None)


async def test_many_claimers_get_each_job_once(store: Store) -> None:
    await store.push([message() for _ in range(1000)], {})
    who = [worker(str(n)) for n in range(16)]
    for one in who:
        await store.beat(one, [])
    got: list[bytes] = []

    async def drain(me: bytes) -> None:
        while claims := (await store.claim(me, ["default"], {Lane.SYNC: 7}, "3.11")).claims:
            got.extend(one.lease.id for one in claims)

    await asyncio.gather(*(drain(one.id) for one in who))
    assert len(got) == len(set(got)) == 1000


# ---------------------------------------------------------------------------------------------- beat


async def test_beat_names_what_is_lost_and_what_to_stop(store: Store) -> None:
    leases = await start(store, 3, A)
    await store.finish([completed(leases[0])])
    await store.change([leases[1].id], Action.CANCEL)
    assert await store.beat(A, []) == ([], [])
    asked = [*leases, Lease(leases[2].id, 7), NOBODY, leases[1]]
    assert await store.beat(A, asked) == ([leases[0], asked[3], NOBODY], [leases[1], leases[1]])


async def test_beating_keeps_jobs_for_ever(store: Store, clock: Clock) -> None:
    (lease,) = await start(store, who=A)
    for _ in range(10):
        clock.step(A.lease)
        assert await store.beat(A, [lease]) == ([], [])
        assert await claim(store, B) == []


# ------------------------------------------------------------------------------------- dead workers


async def test_jobs_of_a_silent_worker_are_run_again(store: Store, clock: Clock) -> None:
    (lease,) = await start(store, who=A, retries=1)
    clock.step(A.lease)
    assert await claim(store, B) == []
    clock.step(0.1)
    (again,) = await claim(store, B)
    assert (again.lease.id, again.attempt) == (lease.id, 2)
    assert await store.beat(A, [lease]) == ([lease], [])


async def test_without_an_attempt_left_they_fail_as_lost(store: Store, clock: Clock) -> None:
    (lease,) = await start(store, who=A)
    clock.step(A.lease + 1)
    assert await claim(store, B) == []
    found = await row(store, lease.id)
    assert (found.state, found.finished, found.ended, found.worker) == (State.FAILED, clock.now, 1, A.id)
    assert found.failure is not None
    assert found.failure.cause == "lost"
    assert "elsewhere" in found.failure.message
    assert await store.finish([completed(lease)]) == [False]


async def test_they_are_taken_back_in_the_order_of_their_workers_ids(store: Store, clock: Clock) -> None:
    leases = [lease for who in (B, A) for lease in await start(store, who=who)]
    for who in (A, B, A):  # whoever came first, or beat last
        await store.beat(who, [])
    clock.step(16)
    await claim(store, worker("c"))
    ended = (await store.find(Filter(ended_after=0))).rows
    assert [one.id for one in ended] == [lease.id for lease in reversed(leases)]


async def test_a_job_that_kills_its_worker_each_time_ends(store: Store, clock: Clock) -> None:
    (lease,) = await start(store, who=worker("0"), retries=3)
    for n in range(1, 4):
        clock.step(100)
        (again,) = await claim(store, worker(str(n)))
        assert again.attempt == n + 1
    clock.step(100)
    assert await claim(store, B) == []
    assert (await row(store, lease.id)).state is State.FAILED


async def test_a_lost_job_that_was_to_be_cancelled_is_cancelled(store: Store, clock: Clock) -> None:
    (lease,) = await start(store, who=A, retries=5)
    await store.change([lease.id], Action.CANCEL)
    clock.step(A.lease + 1)
    assert await claim(store, B) == []
    found = await row(store, lease.id)
    assert (found.state, found.cancelling, found.failure) == (State.CANCELLED, False, None)


async def test_signing_off_gives_jobs_back_at_the_next_claim(store: Store) -> None:
    (lease,) = await start(store, who=A, retries=1)
    await store.beat(replace(A, lease=0), [])
    assert [info.id for info in (await store.count()).workers] == []
    assert [one.lease.id for one in await claim(store, B)] == [lease.id]


async def test_a_late_finish_is_accepted_while_nobody_took_the_job_back(store: Store, clock: Clock) -> None:
    (lease,) = await start(store, who=A)
    clock.step(1000)
    assert await store.finish([completed(lease)]) == [True]


async def test_after_a_suspend_nobody_takes_back_at_once(store: Store, clock: Clock) -> None:
    (lease,) = await start(store, who=A, retries=1)
    await store.beat(B, [])
    clock.step(3600)
    assert (await store.claim(B.id, ["default"], ROOM, "3.11")).claims == []
    assert await claim(store, B) == []
    assert await store.beat(A, [lease]) == ([], [])


async def test_after_a_suspend_the_silent_are_given_a_third_of_a_lease(store: Store, clock: Clock) -> None:
    (lease,) = await start(store, who=A, retries=1)
    await store.beat(B, [])
    clock.step(3600)
    assert await claim(store, B) == []
    clock.step(B.lease / 3)
    assert [one.lease.id for one in await claim(store, B)] == [lease.id]


async def test_a_clock_set_back_buries_nobody(store: Store, clock: Clock) -> None:
    (lease,) = await start(store, who=A, retries=1)
    await store.beat(B, [])
    clock.step(-3600)
    assert await claim(store, B) == []
    assert await store.beat(A, [lease]) == ([], [])
    clock.step(B.lease / 3)
    assert await claim(store, B) == []


# ------------------------------------------------------------------------------------------ fencing


@pytest.mark.parametrize("stale_first", [True, False])
@pytest.mark.parametrize("ending", Ending)
async def test_a_superseded_attempt_records_nothing(
    store: Store, clock: Clock, stale_first: bool, ending: Ending
) -> None:
    (old,) = await start(store, who=A, retries=1)
    clock.step(A.lease + 1)
    (again,) = await claim(store, B)
    late = Outcome(lease=old, ending=ending, result=b"late", error=b"late", ctx='{"late": 1}')
    if stale_first:
        assert await store.finish([late, completed(again.lease)]) == [False, True]
    else:
        assert await store.finish([completed(again.lease)]) == [True]
        assert await store.finish([late]) == [False]
    (found,) = await store.get([old.id], [Part.RESULT, Part.ERROR])
    assert found is not None
    assert (found.state, found.result, found.error) == (State.COMPLETED, b"result", None)


async def test_stale_reports_keep_nothing(store: Store, clock: Clock) -> None:
    (old,) = await start(store, who=A, retries=1)
    clock.step(A.lease + 1)
    (again,) = await claim(store, B)
    events = [Event(old, "stream", "late"), Event(old, "progress", "late"), Event(NOBODY, "stream", "")]
    assert await store.report([*events, Event(again.lease, "stream", "now"), events[0]]) == [old, NOBODY]
    assert [heard.data for heard in (await store.tail(old.id)).events] == ["now"]
    assert (await row(store, old.id)).progress == ""


@pytest.mark.parametrize("state", [State.PENDING, State.COMPLETED, State.FAILED, State.CANCELLED])
async def test_only_running_jobs_report_and_finish(store: Store, state: State) -> None:
    lease = Lease(await in_state(store, state), 1)
    assert await store.report([]) == []
    assert await store.finish([]) == []
    assert await store.report([Event(lease, "stream", "")]) == [lease]
    assert await store.finish([completed(lease), completed(NOBODY)]) == [False, False]
    assert (await row(store, lease.id)).state is state


async def test_the_same_lease_twice_in_a_batch_counts_once(store: Store) -> None:
    one, two = await start(store, 2)
    assert await store.finish([completed(one), failed(one), completed(two), completed(one)]) == [
        True,
        False,
        True,
        False,
    ]
    assert (await row(store, one.id)).state is State.COMPLETED


# ------------------------------------------------------------------------------------ report, finish


async def test_the_last_progress_wins(store: Store) -> None:
    (lease,) = await start(store)
    await store.report([Event(lease, "progress", "[1]"), Event(lease, "progress", "[2]")])
    assert (await row(store, lease.id)).progress == "[2]"
    assert (await store.tail(lease.id)).events == []


@pytest.mark.parametrize(
    ("ending", "state"),
    [(Ending.COMPLETED, State.COMPLETED), (Ending.FAILED, State.FAILED), (Ending.CANCELLED, State.CANCELLED)],
)
async def test_state_result_failure_and_error_are_written_together(
    store: Store, clock: Clock, ending: Ending, state: State
) -> None:
    (lease,) = await start(store)
    outcome = replace(failed(lease), ending=ending, result=b"result")
    assert await store.finish([outcome]) == [True]
    (found,) = await store.get([lease.id], [Part.RESULT, Part.ERROR])
    assert found is not None
    assert (found.state, found.result, found.error, found.failure) == (state, b"result", b"error", outcome.failure)
    assert (found.finished, found.ended, found.worker) == (clock.now, 1, worker().id)


async def test_an_empty_result_is_no_missing_one(store: Store) -> None:
    (lease,) = await start(store)
    await store.finish([completed(lease, b"")])
    (found,) = await store.get([lease.id], [Part.RESULT])
    assert found is not None
    assert found.result == b""


async def test_retry_comes_after_its_delay_with_the_attempt_spent(store: Store, clock: Clock) -> None:
    (lease,) = await start(store, retries=1)
    assert await store.finish([replace(failed(lease, Ending.RETRY, 5), ctx='{"n": 1}')]) == [True]
    found = await row(store, lease.id)
    assert (found.state, found.attempt, found.due, found.worker) == (State.PENDING, 1, clock.now + 5, None)
    assert found.failure is not None
    assert await claim(store, A) == []
    clock.step(5)
    (again,) = await claim(store, A)
    assert (again.attempt, again.ctx) == (2, '{"n": 1}')
    await store.finish([completed(again.lease)])
    assert (await row(store, lease.id)).failure is None


async def test_release_refunds_the_attempt_at_once(store: Store) -> None:
    (lease,) = await start(store)
    assert await store.finish([released(lease)]) == [True]
    found = await row(store, lease.id)
    assert (found.state, found.attempt, found.due, found.worker) == (State.PENDING, 0, None, None)
    (again,) = await claim(store, A)
    assert again.attempt == 1
    assert (await row(store, lease.id)).attempt == 1


async def test_a_release_may_have_a_delay(store: Store, clock: Clock) -> None:
    (lease,) = await start(store)
    assert await store.finish([replace(released(lease), delay=5.0, ctx='{"n": 1}')]) == [True]
    found = await row(store, lease.id)
    assert (found.state, found.attempt, found.due) == (State.PENDING, 0, clock.now + 5)
    assert found.ctx == '{"n": 1}'
    assert await claim(store, A) == []
    clock.step(5)
    (again,) = await claim(store, A)
    assert (again.attempt, again.ctx) == (1, '{"n": 1}')


async def test_a_released_lease_is_stale_also_when_another_runs_the_same_attempt(store: Store) -> None:
    (lease,) = await start(store, who=A)
    await store.finish([released(lease)])
    (again,) = await claim(store, B)
    assert await store.finish([completed(lease, b"stale")]) == [False]
    assert await store.finish([completed(again.lease)]) == [True]


async def test_refunds_do_not_eat_attempts_when_a_worker_dies(store: Store, clock: Clock) -> None:
    (lease,) = await start(store, who=A, retries=1)
    for _ in range(5):
        await store.finish([released(lease)])
        ((lease, *_),) = [(one.lease,) for one in await claim(store, A)]
    clock.step(A.lease + 1)
    (again,) = await claim(store, B)
    assert again.attempt == 2


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        (Ending.COMPLETED, State.COMPLETED),
        (Ending.FAILED, State.FAILED),
        (Ending.CANCELLED, State.CANCELLED),
        (Ending.RETRY, State.CANCELLED),
        (Ending.RELEASED, State.CANCELLED),
    ],
)
async def test_a_job_asked_to_stop_is_not_run_again(store: Store, ending: Ending, state: State) -> None:
    (lease,) = await start(store, retries=5)
    await store.change([lease.id], Action.CANCEL)
    assert (await row(store, lease.id)).cancelling
    assert await store.finish([Outcome(lease=lease, ending=ending)]) == [True]
    found = await row(store, lease.id)
    assert (found.state, found.cancelling) == (state, False)


async def test_a_retry_spends_its_attempt_also_after_a_refund(store: Store) -> None:
    (lease,) = await start(store, who=A, retries=3)
    await store.finish([released(lease)])
    (again,) = await claim(store, A)
    assert await store.finish([failed(again.lease, Ending.RETRY)]) == [True]
    assert (await row(store, lease.id)).attempt == 1
    (third,) = await claim(store, A)
    assert (third.attempt, third.refunds) == (2, 1)


async def test_after_a_cancel_request_a_later_run_is_not_asked_to_stop(store: Store) -> None:
    (lease,) = await start(store, who=A, retries=5)
    await store.change([lease.id], Action.CANCEL)
    assert await store.finish([failed(lease, Ending.RETRY, 5)]) == [True]
    found = await row(store, lease.id)
    assert (found.state, found.due, found.cancelling) == (State.CANCELLED, None, False)
    assert await claim(store, A) == []
    await store.change([lease.id], Action.RETRY)
    (again,) = await claim(store, A)
    assert await store.beat(A, [again.lease]) == ([], [])


async def test_a_failure_whose_words_are_no_text_is_kept(store: Store) -> None:
    (lease,) = await start(store)
    words = Failure(cause="exception", types=("OSError",), message="no \udcff", traceback="\udcff, line 1")
    assert await store.finish([Outcome(lease=lease, ending=Ending.FAILED, failure=words)]) == [True]
    (found,) = await store.get([lease.id])
    assert found is not None
    assert found.failure is not None
    assert (found.state, found.failure.types) == (State.FAILED, ("OSError",))
    assert found.failure.message.startswith("no ")
