"""Pins push, change, get, find, tail, count and prune of every store."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from making import CODE, Clock, claim, completed, failed, in_state, message, released, row, start, worker

from cellq.message import Action, Changed, Event, Filter, Keep, Part, Pushed, QueueSettings, State, WorkerInfo
from cellq.store.contract import LOG_CAP, Store

FOREVER = 10**9


# ---------------------------------------------------------------------------------------------- push


async def test_pushing_nothing_is_harmless(store: Store) -> None:
    assert await store.push([], {}) == []


async def test_a_pushed_job_is_kept_as_it_was_asked_for(store: Store, clock: Clock) -> None:
    asked = message(name="fit", priority=3, retries=2, timeout=9.5, key="k", queue="q")
    assert await store.push([asked], {CODE: b"code"}) == [Pushed(asked.id, True)]
    (found,) = await store.get([asked.id], list(Part))
    assert found is not None
    assert (found.id, found.queue, found.name, found.task, found.kind) == (
        asked.id,
        "q",
        "fit",
        asked.task,
        asked.kind,
    )
    assert (found.state, found.priority, found.attempt, found.retries) == (State.PENDING, 3, 0, 2)
    assert (found.timeout, found.key, found.runtime, found.code_digest) == (9.5, "k", "3.11", CODE)
    assert (found.created, found.due, found.started, found.finished, found.ended) == (clock.now, None, None, None, None)
    assert (found.worker, found.cancelling, found.progress, found.failure) == (None, False, "", None)
    assert (found.origin, found.payload, found.code) == (asked.origin, b"payload", b"code")
    assert (found.result, found.error) == (None, None)


async def test_a_row_tells_what_middleware_keeps(store: Store) -> None:
    plain, ruled = message(), replace(message(), ctx='{"max_rate": "1/h"}')
    await store.push([plain, ruled], {})
    assert [(await row(store, one.id)).ctx for one in (plain, ruled)] == ["{}", '{"max_rate": "1/h"}']
    leases = [one.lease for one in await claim(store, worker())]
    await store.finish([replace(released(lease), delay=9.0, ctx='{"held": [0, "why"]}') for lease in leases])
    assert [one.ctx for one in (await store.find(Filter())).rows] == ['{"held": [0, "why"]}'] * 2


async def test_an_unnamed_job_is_called_by_its_task(store: Store) -> None:
    assert (await row(store, await in_state(store, State.PENDING))).name == "module.function"


async def test_push_is_idempotent_by_id(store: Store) -> None:
    one, two = message(), message()
    assert await store.push([one, one], {}) == [Pushed(one.id, True), Pushed(one.id, False)]
    assert await store.push([one, two], {}) == [Pushed(one.id, False), Pushed(two.id, True)]


async def test_push_again_of_a_running_job_changes_nothing(store: Store) -> None:
    one = message()
    await store.push([one], {})
    await claim(store, worker())
    assert await store.push([one], {}) == [Pushed(one.id, False)]
    assert (await row(store, one.id)).state is State.RUNNING


async def test_a_key_is_held_by_one_live_job(store: Store) -> None:
    first, second, third = (message(key="k") for _ in range(3))
    assert await store.push([first, second], {}) == [Pushed(first.id, True), Pushed(first.id, False)]
    (running,) = await claim(store, worker())
    assert await store.push([second], {}) == [Pushed(first.id, False)]
    await store.finish([completed(running.lease)])
    assert await store.push([third], {}) == [Pushed(third.id, True)]


async def test_push_again_by_id_wins_over_the_key(store: Store) -> None:
    first, second = message(key="k"), message(key="k")
    await store.push([first], {})
    await store.finish([completed(one.lease) for one in await claim(store, worker())])
    await store.push([second], {})
    assert await store.push([first], {}) == [Pushed(first.id, False)]


async def test_fifty_racing_pushes_of_one_key_make_one_job(store: Store) -> None:
    answers = await asyncio.gather(*(store.push([message(key="k")], {}) for _ in range(50)))
    assert sum(answer[0].created for answer in answers) == 1
    assert len({answer[0].id for answer in answers}) == 1


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)  # a store in memory takes any object
async def test_one_failing_push_does_not_fail_those_beside_it(store: Store) -> None:
    good = [message() for _ in range(20)]
    bad = message(payload=object())  # type: ignore[arg-type]
    answers = await asyncio.gather(
        *(store.push([one], {}) for one in [*good[:10], bad, *good[10:]]), return_exceptions=True
    )
    assert [answer for answer in answers if not isinstance(answer, Exception)] == [[Pushed(m.id, True)] for m in good]


# -------------------------------------------------------------------------------------------- change

CANCEL = {
    State.PENDING: (Changed.DONE, State.CANCELLED),
    State.RUNNING: (Changed.ASKED, State.RUNNING),
    State.COMPLETED: (Changed.REFUSED, State.COMPLETED),
    State.FAILED: (Changed.REFUSED, State.FAILED),
    State.CANCELLED: (Changed.ALREADY, State.CANCELLED),
}
RETRY = {
    State.PENDING: (Changed.ALREADY, State.PENDING),
    State.RUNNING: (Changed.REFUSED, State.RUNNING),
    State.COMPLETED: (Changed.DONE, State.PENDING),
    State.FAILED: (Changed.DONE, State.PENDING),
    State.CANCELLED: (Changed.DONE, State.PENDING),
}
DELETE = {
    State.PENDING: (Changed.REFUSED, State.PENDING),
    State.RUNNING: (Changed.REFUSED, State.RUNNING),
    State.COMPLETED: (Changed.DONE, None),
    State.FAILED: (Changed.DONE, None),
    State.CANCELLED: (Changed.DONE, None),
}
MOVES = [
    pytest.param(action, state, *answer, id=f"{action}-{state}")
    for action, table in ((Action.CANCEL, CANCEL), (Action.RETRY, RETRY), (Action.DELETE, DELETE))
    for state, answer in table.items()
]


@pytest.mark.parametrize(("action", "before", "answer", "after"), MOVES)
async def test_change(store: Store, action: Action, before: State, answer: Changed, after: State | None) -> None:
    job_id = await in_state(store, before)
    assert await store.change([job_id], action) == [answer]
    (found,) = await store.get([job_id])
    assert (found and found.state) == after


@pytest.mark.parametrize("action", Action)
async def test_change_of_none_of_unknown_and_of_the_same_twice(store: Store, action: Action) -> None:
    done = await in_state(store, State.FAILED)
    assert await store.change([], action) == []
    answers = await store.change([b"?" * 16, done, done], action)
    assert answers[0] is Changed.UNKNOWN
    second = {Action.CANCEL: Changed.REFUSED, Action.RETRY: Changed.ALREADY, Action.DELETE: Changed.UNKNOWN}
    assert answers[2] is second[action]


async def test_cancelling_a_running_job_twice_asks_twice(store: Store) -> None:
    job_id = await in_state(store, State.RUNNING)
    assert await store.change([job_id, job_id], Action.CANCEL) == [Changed.ASKED, Changed.ASKED]
    assert (await row(store, job_id)).cancelling


async def test_retry_starts_a_job_afresh(store: Store) -> None:
    (lease,) = await start(store, retries=1)
    await store.report([Event(lease, "stream", "{}"), Event(lease, "progress", "[1]")])
    await store.finish([failed(lease)])
    await store.change([lease.id], Action.RETRY)
    (found,) = await store.get([lease.id], list(Part))
    assert found is not None
    assert (found.state, found.attempt, found.progress) == (State.PENDING, 0, "")
    assert (found.result, found.error, found.failure) == (None, None, None)
    assert (found.started, found.finished, found.ended, found.worker) == (None, None, None, None)
    assert (await store.tail(lease.id)).events == []
    (again,) = await claim(store, worker())
    assert again.attempt == 1
    assert again.lease != lease
    assert await store.finish([completed(lease)]) == [False]


async def test_the_log_goes_on_behind_its_old_end_after_a_retry(store: Store) -> None:
    (lease,) = await start(store)
    await store.report([Event(lease, "stream", "old")] * 3)
    seen = (await store.tail(lease.id)).next
    await store.finish([failed(lease)])
    await store.change([lease.id], Action.RETRY)
    (again,) = await claim(store, worker())
    await store.report([Event(again.lease, "stream", "new")])
    assert [heard.data for heard in (await store.tail(lease.id, seen)).events] == ["new"]


async def test_retry_gives_back_all_attempts_refunded_ones_too(store: Store) -> None:
    (lease,) = await start(store, retries=1)
    await store.finish([released(lease)])
    (again,) = await claim(store, worker())
    await store.finish([failed(again.lease)])
    await store.change([lease.id], Action.RETRY)
    assert (await row(store, lease.id)).attempt == 0
    (third,) = await claim(store, worker())
    assert (third.attempt, third.refunds) == (1, 2)


async def test_after_a_retry_the_log_has_room_again(store: Store) -> None:
    (lease,) = await start(store)
    await store.report([Event(lease, "stream", "x" * LOG_CAP), Event(lease, "stream", "over")])
    assert (await store.tail(lease.id)).dropped == 4
    await store.finish([failed(lease)])
    await store.change([lease.id], Action.RETRY)
    assert (await store.tail(lease.id)).dropped == 0
    (again,) = await claim(store, worker())
    await store.report([Event(again.lease, "stream", "new")])
    log = await store.tail(lease.id)
    assert ([heard.data for heard in log.events], log.dropped) == (["new"], 0)


async def test_retry_is_refused_while_another_job_holds_the_key(store: Store) -> None:
    job_id = await in_state(store, State.FAILED, key="k")
    await store.push([message(key="k")], {})
    assert await store.change([job_id], Action.RETRY) == [Changed.REFUSED]


async def test_a_retried_job_keeps_its_place(store: Store) -> None:
    first = await in_state(store, State.FAILED)
    second = await in_state(store, State.PENDING)
    await store.change([first], Action.RETRY)
    assert [one.lease.id for one in await claim(store, worker())] == [first, second]


# ----------------------------------------------------------------------------------------------- get


async def test_get_answers_in_the_order_asked_for(store: Store) -> None:
    one, two = [await in_state(store, State.PENDING) for _ in range(2)]
    assert await store.get([]) == []
    rows = await store.get([two, b"?" * 16, one, two])
    assert [found and found.id for found in rows] == [two, None, one, two]


async def test_blobs_come_only_when_asked_for(store: Store) -> None:
    (lease,) = await start(store)
    await store.finish([completed(lease)])
    found = await row(store, lease.id)
    assert (found.payload, found.code, found.result, found.error) == (None, None, None, None)
    (found_result,) = await store.get([lease.id], [Part.RESULT])
    assert found_result is not None
    assert (found_result.payload, found_result.result) == (None, b"result")


# ---------------------------------------------------------------------------------------------- find


async def test_find_pages_through_all_newest_first_while_jobs_are_added(store: Store) -> None:
    ids = [await in_state(store, State.PENDING) for _ in range(7)]
    found, after = [], None
    while True:
        page = await store.find(Filter(), after, 3)
        found += [job.id for job in page.rows]
        await in_state(store, State.PENDING)
        after = page.after
        if after is None:
            break
    assert found == ids[::-1]


async def test_find_by_each_criterion(store: Store, clock: Clock) -> None:
    other = await in_state(store, State.PENDING)
    seen_at = clock.now
    clock.step(1)
    job_id = await in_state(store, State.PENDING, queue="q", name="fit", key="k")
    await store.change([job_id], Action.CANCEL)
    for wanted in (
        Filter(queue="q"),
        Filter(states=(State.CANCELLED, State.FAILED)),
        Filter(name="fit"),
        Filter(key="k"),
        Filter(suffix=job_id.hex()[-8:]),
        Filter(suffix=job_id.hex()[-5:].upper()),
        Filter(created_after=seen_at),
        Filter(queue="q", states=(State.CANCELLED,), name="fit", key="k", suffix=job_id.hex()[-3:]),
    ):
        assert [found.id for found in (await store.find(wanted)).rows] == [job_id], wanted
    assert [found.id for found in (await store.find(Filter(states=(State.PENDING,)))).rows] == [other]
    assert (await store.find(Filter(queue="none"))).rows == []


async def test_find_the_few_of_a_state_among_many_and_the_many(store: Store) -> None:
    few = {state: await in_state(store, state) for state in State if state is not State.PENDING}
    many = [message(delay=n % 2) for n in range(300)]
    await store.push(many, {})
    for state, job_id in few.items():
        assert [found.id for found in (await store.find(Filter(states=(state,)))).rows] == [job_id]
    ended = (State.COMPLETED, State.FAILED, State.CANCELLED)
    first = await store.find(Filter(states=ended), None, 2)
    rest = await store.find(Filter(states=ended), first.after, 2)
    newest_first = [few[state] for state in State if state.ended][::-1]
    assert [found.id for found in first.rows + rest.rows] == newest_first
    pending = await store.find(Filter(states=(State.PENDING,)), None, 1000)
    assert [found.id for found in pending.rows] == [one.id for one in many][::-1]


async def test_ended_is_a_rising_cursor_over_all_ways_to_end(store: Store) -> None:
    ids = [
        await in_state(store, state)
        for state in (State.FAILED, State.COMPLETED, State.CANCELLED, State.COMPLETED, State.FAILED)
    ]
    await in_state(store, State.PENDING)
    rows, since, after = [], 0, None
    while True:
        page = await store.find(Filter(ended_after=since), after, 2)
        rows += page.rows
        after = page.after
        if after is None:
            break
    assert [found.id for found in rows] == ids
    numbers = [found.ended or 0 for found in rows]
    assert numbers == sorted(set(numbers))
    assert (await store.find(Filter(ended_after=numbers[-1]))).rows == []


async def test_ended_numbers_are_never_given_twice(store: Store) -> None:
    last = await in_state(store, State.COMPLETED)
    number = (await row(store, last)).ended or 0
    await store.change([last], Action.DELETE)
    newer = await in_state(store, State.COMPLETED)
    assert [found.id for found in (await store.find(Filter(ended_after=number))).rows] == [newer]


# ---------------------------------------------------------------------------------------------- tail


async def test_tail_reads_on_from_where_it_stopped(store: Store, clock: Clock) -> None:
    (lease,) = await start(store)
    assert await store.tail(lease.id) == ([], 0, 0)
    await store.report([Event(lease, "stream", str(n)) for n in range(5)])
    first = await store.tail(lease.id, 0, 2)
    rest = await store.tail(lease.id, first.next)
    heard = first.events + rest.events
    assert [event.data for event in heard] == list("01234")
    assert {(event.attempt, event.at, event.kind) for event in heard} == {(lease.attempt, clock.now, "stream")}
    assert await store.tail(lease.id, rest.next) == ([], rest.next, 0)
    assert await store.tail(lease.id, 2**62) == ([], 2**62, 0)
    assert await store.tail(b"?" * 16, 7) == ([], 7, 0)


async def test_the_log_has_a_cap_and_errors_are_kept_beyond_it(store: Store) -> None:
    (lease,) = await start(store)
    await store.report([Event(lease, "stream", "x" * (LOG_CAP - 10))])
    await store.report([Event(lease, "stream", "é" * 6), Event(lease, "stream", "1234567890")])
    await store.report([Event(lease, "stream", "more"), Event(lease, "error", "why")])
    log = await store.tail(lease.id)
    assert [event.data for event in log.events][1:] == ["1234567890", "why"]
    assert log.dropped == 12 + 4


# --------------------------------------------------------------------------------------------- count


async def test_count_tells_queues_states_oldest_and_workers(store: Store, clock: Clock) -> None:
    who = worker("a")
    for state in (State.RUNNING, State.COMPLETED, State.FAILED, State.CANCELLED):
        await in_state(store, state, who=who)
    oldest = clock.now
    await store.push([message(delay=50)], {})
    clock.step(1)
    await store.push([message(priority=5), message(queue="q", priority=-1)], {})
    await store.tune("empty", QueueSettings(paused=True))
    await store.beat(who, [])
    counts = await store.count()
    assert counts.queues["default"].states == {
        State.PENDING: 2,
        State.RUNNING: 1,
        State.COMPLETED: 1,
        State.FAILED: 1,
        State.CANCELLED: 1,
    }
    assert counts.queues["default"].oldest == oldest
    assert counts.queues["q"].oldest == clock.now
    assert (counts.queues["empty"].paused, counts.queues["empty"].oldest) == (True, None)
    assert counts.workers == (_with_beat(who, clock.now),)
    clock.step(who.lease + 1)
    assert (await store.count()).workers == ()


def _with_beat(info: WorkerInfo, beat: float) -> WorkerInfo:
    return WorkerInfo(**{name: getattr(info, name) for name in info.__slots__ if name != "beat"}, beat=beat)


# --------------------------------------------------------------------------------------------- prune


async def test_prune_deletes_what_is_past_its_keep_oldest_first(store: Store, clock: Clock) -> None:
    old = [await in_state(store, State.COMPLETED) for _ in range(3)]
    kept = await in_state(store, State.FAILED)
    live = await in_state(store, State.PENDING, queue="q")
    clock.step(100)
    young = await in_state(store, State.COMPLETED)
    keep = Keep(completed=50)
    assert await store.prune(keep, 2) == 2
    assert [found and found.id for found in await store.get([*old, kept, live, young])] == [
        None,
        None,
        old[2],
        kept,
        live,
        young,
    ]
    assert await store.prune(keep, 2) == 1
    assert await store.prune(keep, 2) == 0


async def test_prune_takes_logs_and_code_along(store: Store) -> None:
    (lease,) = await start(store)
    await store.report([Event(lease, "stream", "{}")])
    await store.finish([completed(lease)])
    assert await store.prune(Keep(completed=0)) == 1
    assert await store.tail(lease.id) == ([], 0, 0)
    asked = message()
    await store.push([asked], {})
    (found,) = await store.get([asked.id], [Part.CODE])
    assert found is not None
    assert found.code is None


async def test_prune_keeps_code_that_a_job_refers_to(store: Store) -> None:
    gone, stays = await in_state(store, State.COMPLETED), await in_state(store, State.PENDING)
    assert await store.prune(Keep(completed=0)) == 1
    rows = await store.get([gone, stays], [Part.CODE])
    assert rows[0] is None
    assert rows[1] is not None
    assert rows[1].code == b"code"


async def test_prune_keeps_all_by_default(store: Store, clock: Clock) -> None:
    for state in (State.COMPLETED, State.FAILED, State.CANCELLED):
        await in_state(store, state)
    clock.step(FOREVER)
    assert await store.prune(Keep()) == 0
