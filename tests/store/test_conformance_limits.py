"""Pins limits of what runs at once, and jobs that expire, in every store."""

from __future__ import annotations

from making import CODE, ROOM, Clock, claim, completed, failed, message, released, row, start, worker

from cellq.message import Action, Changed, Claims, Ending, Kind, Lane, Lease, Outcome, QueueSettings, State
from cellq.store.contract import EXPIRED_AT_ONCE, Store

A, B = worker("a"), worker("b")


async def claimed(store: Store, n: int = 10, queues: tuple[str, ...] = ("default",)) -> list[bytes]:
    """The ids of what worker A gets."""
    return [one.lease.id for one in await claim(store, A, n, queues)]


# --------------------------------------------------------------------------------------------- of a queue


async def test_no_more_jobs_of_a_queue_run_than_its_limit(store: Store) -> None:
    asked = [message() for _ in range(4)]
    await store.tune("default", QueueSettings(max_running=2))
    await store.push(asked, {})
    assert await claimed(store) == [asked[0].id, asked[1].id]
    assert [one.lease.id for one in await claim(store, B)] == []
    await store.finish([failed(Lease(asked[0].id, 1))])
    assert await claimed(store) == [asked[2].id]
    await store.tune("default", QueueSettings(max_running=0))
    assert await claimed(store) == [asked[3].id]


async def test_the_lanes_of_a_queue_share_its_limit(store: Store) -> None:
    asked = [message(Kind.COROUTINE), message(), message(Kind.COROUTINE, priority=1)]
    await store.tune("default", QueueSettings(max_running=2))
    await store.push(asked, {})
    assert await claimed(store) == [asked[2].id, asked[0].id]


async def test_a_full_queue_leaves_the_room_to_others(store: Store) -> None:
    full, open_ = [message(priority=5) for _ in range(3)], [message(queue="q") for _ in range(3)]
    await store.tune("default", QueueSettings(max_running=1))
    await store.push([*full, *open_], {})
    assert await claimed(store, 3, ("default", "q")) == [full[0].id, open_[0].id, open_[1].id]


async def test_settings_of_a_queue_change_one_by_one(store: Store) -> None:
    await store.tune("default", QueueSettings(max_running=1))
    await store.tune("default", QueueSettings(paused=True))
    told = (await store.count()).queues["default"]
    assert (told.paused, told.max_running) == (True, 1)
    await store.tune("default", QueueSettings(paused=False))
    await store.push([message(), message()], {CODE: b"code"})
    assert len(await claimed(store)) == 1


async def test_a_released_job_makes_room_for_the_next(store: Store) -> None:
    await store.tune("default", QueueSettings(max_running=1))
    first, second = message(), message(priority=1)
    await store.push([first], {})
    assert await claimed(store) == [first.id]
    await store.push([second], {})
    await store.finish([released(Lease(first.id, 1))])
    assert await claimed(store) == [second.id]


# --------------------------------------------------------------------------------------------- of a key


async def test_no_more_jobs_of_a_concurrency_key_run_than_they_allow(store: Store) -> None:
    asked = [message(concurrency_key="gpu", max_running=2) for _ in range(4)]
    await store.push(asked, {})
    assert await claimed(store) == [asked[0].id, asked[1].id]
    await store.finish([completed(Lease(asked[1].id, 1))])
    assert [one.lease.id for one in await claim(store, B)] == [asked[2].id]
    assert await claimed(store) == []


async def test_the_key_counts_across_queues_lanes_and_runtimes(store: Store) -> None:
    await start(store, who=A, concurrency_key="gpu")
    others = [message(queue="q"), message(Kind.COROUTINE), message(runtime="")]
    limited = [
        message(queue="q", concurrency_key="gpu"),
        message(Kind.COROUTINE, concurrency_key="gpu"),
        message(runtime="", concurrency_key="gpu"),
    ]
    await store.push([*limited, *others], {})
    assert await claimed(store, 10, ("default", "q")) == [one.id for one in others]


async def test_those_held_back_keep_their_place(store: Store) -> None:
    (lease,) = await start(store, who=A, concurrency_key="gpu")
    low, high = [message(concurrency_key="gpu") for _ in range(3)], message(concurrency_key="gpu", priority=1)
    await store.push(low, {})
    assert await claimed(store) == []
    await store.push([high], {})
    assert await claimed(store) == []
    got = []
    while True:
        await store.finish([completed(lease)])
        ids = await claimed(store)
        if not ids:
            break
        got += ids
        lease = Lease(ids[0], 1)
    assert got == [high.id, *(one.id for one in low)]


async def test_many_that_are_held_back_do_not_hide_those_behind_them(store: Store) -> None:
    await start(store, who=A, concurrency_key="gpu")
    await store.push([message(concurrency_key="gpu", priority=1) for _ in range(500)], {})
    free = message()
    await store.push([free], {})
    assert await claimed(store, 1) == [free.id]


async def test_one_that_stands_first_but_cannot_start_holds_nobody_back(store: Store) -> None:
    (lease,) = await start(store, who=A, concurrency_key="gpu")
    paused, other = message(queue="paused", concurrency_key="gpu", priority=9), message(concurrency_key="gpu")
    await store.push([paused, other], {})
    assert await claimed(store, 10, ("default", "paused")) == []
    await store.tune("paused", QueueSettings(paused=True))
    await store.finish([completed(lease)])
    assert await claimed(store, 10, ("default", "paused")) == [other.id]


async def test_cancelling_the_first_that_waits_lets_the_next_one_start(store: Store) -> None:
    (lease,) = await start(store, who=A, concurrency_key="gpu")
    first, second = message(concurrency_key="gpu"), message(concurrency_key="gpu")
    await store.push([first, second], {})
    assert await claimed(store) == []
    await store.finish([completed(lease)])
    assert await store.change([first.id], Action.CANCEL) == [Changed.DONE]
    assert await claimed(store) == [second.id]


async def test_each_job_goes_by_its_own_number(store: Store) -> None:
    asked = [message(concurrency_key="gpu", max_running=most) for most in (3, 3, 1, 3, 3)]
    await store.push(asked, {})
    assert await claimed(store) == [asked[n].id for n in (0, 1, 3)]
    await store.finish([completed(Lease(asked[n].id, 1)) for n in (0, 1)])
    assert await claimed(store) == [asked[4].id]
    await store.finish([completed(Lease(asked[n].id, 1)) for n in (3, 4)])
    assert await claimed(store) == [asked[2].id]


async def test_a_dead_worker_frees_the_places_it_held(store: Store, clock: Clock) -> None:
    await start(store, who=B, concurrency_key="gpu")
    waiting = message(concurrency_key="gpu")
    await store.push([waiting], {})
    assert await claimed(store) == []
    clock.step(8)
    assert await claimed(store) == []
    clock.step(8)
    assert await claimed(store) == [waiting.id]


async def test_a_row_tells_its_limits(store: Store) -> None:
    asked = message(concurrency_key="gpu", max_running=7, expires=9.0)
    await store.push([asked], {})
    found = await row(store, asked.id)
    assert (found.concurrency_key, found.max_running) == ("gpu", 7)


# ------------------------------------------------------------------------------------------------- expiry


async def test_a_job_that_nobody_started_in_time_is_cancelled(store: Store, clock: Clock) -> None:
    asked = message(expires=10.0)
    await store.push([asked], {})
    assert (await row(store, asked.id)).expires == clock.now + 10
    clock.step(10)
    assert await claimed(store) == []
    found = await row(store, asked.id)
    assert (found.state, found.expires) == (State.CANCELLED, None)
    assert found.failure is not None
    assert found.failure.cause == "expired"


async def test_a_started_job_expires_no_more(store: Store, clock: Clock) -> None:
    asked = message(expires=10.0, retries=1)
    await store.push([asked], {})
    assert await claimed(store) == [asked.id]
    assert (await row(store, asked.id)).expires is None
    clock.step(14)
    await store.finish([Outcome(lease=Lease(asked.id, 1), ending=Ending.RETRY)])
    assert await claimed(store) == [asked.id]


async def test_run_again_it_expires_no_more(store: Store, clock: Clock) -> None:
    asked = message(expires=10.0)
    await store.push([asked], {})
    clock.step(11)
    await claimed(store)
    assert await store.change([asked.id], Action.RETRY) == [Changed.DONE]
    assert await claimed(store) == [asked.id]


async def test_whatever_waits_expires_in_the_order_of_its_time(store: Store, clock: Clock) -> None:
    await start(store, who=A, concurrency_key="gpu")
    (parent,) = await start(store, who=A)
    asked = [
        message(expires=12.0, queue="paused"),
        message(expires=11.0, after=(parent.id,)),
        message(expires=10.0, concurrency_key="gpu"),
        message(expires=9.0, delay=8.0),
        message(expires=8.0, runtime="3.9"),
        message(Kind.COROUTINE, expires=7.0),
    ]
    await store.push(asked, {})
    await store.tune("paused", QueueSettings(paused=True))
    await store.beat(A, [])
    await store.claim(A.id, ["default"], {Lane.SYNC: 10}, "3.11")
    clock.step(13)
    assert await claimed(store) == []
    found = [await row(store, one.id) for one in reversed(asked)]
    assert [one.state for one in found] == [State.CANCELLED] * len(asked)
    assert sorted(found, key=lambda one: one.ended or 0) == found


async def test_what_waits_for_an_expired_job_is_cancelled(store: Store, clock: Clock) -> None:
    parent = message(expires=5.0)
    child = message(after=(parent.id,), expires=5.0)
    await store.push([parent, child], {})
    clock.step(6)
    await claimed(store)
    found = await row(store, child.id)
    assert found.failure is not None
    assert (found.state, found.failure.cause) == (State.CANCELLED, "dependency")


async def test_a_claim_says_when_the_next_job_expires(store: Store, clock: Clock) -> None:
    await store.push([message(expires=5.0, queue="other"), message(delay=9.0)], {})
    await store.beat(A, [])
    assert (await store.claim(A.id, ["default"], ROOM, "3.11")).next_due == clock.now + 5
    clock.step(6)
    assert (await store.claim(A.id, ["default"], ROOM, "3.11")).next_due == clock.now + 3


async def test_a_claim_cancels_only_so_many(store: Store, clock: Clock) -> None:
    await store.push([message(expires=5.0, code=b"") for _ in range(EXPIRED_AT_ONCE + 1)], {})
    clock.step(6)
    await store.beat(A, [])
    assert await store.claim(A.id, ["default"], ROOM, "3.11") == Claims([], clock.now)
    assert (await store.count()).queues["default"].states[State.CANCELLED] == EXPIRED_AT_ONCE
    assert await store.claim(A.id, ["default"], ROOM, "3.11") == Claims([], None)
