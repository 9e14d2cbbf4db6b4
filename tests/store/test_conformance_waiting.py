"""Pins wait, take and the handle's life of every store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from making import Clock, claim, completed, failed, in_state, message, released, start, worker

from cellq.message import Action, Ending, Event, Lease, QueueSettings, State, Topic
from cellq.store import open_store
from cellq.store.contract import Store

Ring = Callable[[Store, Lease], Awaitable[object]]

RINGS: dict[str, tuple[Topic, Ring]] = {
    "push": (Topic.WORK, lambda store, lease: store.push([message()], {})),
    "resume": (Topic.WORK, lambda store, lease: store.tune("default", QueueSettings())),
    "try again": (Topic.WORK, lambda store, lease: store.finish([failed(lease, Ending.RETRY)])),
    "release": (Topic.WORK, lambda store, lease: store.finish([released(lease)])),
    "cancel": (Topic.STOP, lambda store, lease: store.change([lease.id], Action.CANCEL)),
    "report": (Topic.NEWS, lambda store, lease: store.report([Event(lease, "stream", "{}")])),
    "progress": (Topic.NEWS, lambda store, lease: store.report([Event(lease, "progress", "{}")])),
    "finish": (Topic.NEWS, lambda store, lease: store.finish([completed(lease)])),
}


async def test_the_first_wait_returns_at_once_and_the_next_one_sleeps(store: Store) -> None:
    cursor = await store.wait(Topic.WORK, 0, None)
    assert cursor > 0
    assert await store.wait(Topic.WORK, cursor, 0) == cursor
    assert await store.wait(Topic.WORK, cursor, 0.01) == cursor


@pytest.mark.parametrize("cause", RINGS)
async def test_what_wakes_whom(store: Store, cause: str) -> None:
    topic, ring = RINGS[cause]
    (lease,) = await start(store, retries=1)
    store.safety_poll = None  # type: ignore[attr-defined]
    cursor = await store.wait(topic, 0, None)
    waiting = asyncio.create_task(store.wait(topic, cursor, 10))
    await asyncio.sleep(0)
    await ring(store, lease)
    assert await waiting > cursor


async def test_claim_and_retry_and_reclaim_wake(store: Store, clock: Clock) -> None:
    job_id = await in_state(store, State.FAILED)
    work, news = [await store.wait(topic, 0, None) for topic in (Topic.WORK, Topic.NEWS)]
    await store.change([job_id], Action.RETRY)
    assert await store.wait(Topic.WORK, work, 10) > work
    news = await store.wait(Topic.NEWS, news, 10)
    await claim(store, worker("a"))
    assert await store.wait(Topic.NEWS, news, 10) > news
    clock.step(100)
    work, news = [await store.wait(topic, 0, None) for topic in (Topic.WORK, Topic.NEWS)]
    await claim(store, worker("b"))
    assert await store.wait(Topic.WORK, work, 10) > work
    assert await store.wait(Topic.NEWS, news, 10) > news


async def test_a_change_before_the_wait_is_not_missed(store: Store) -> None:
    cursor = await store.wait(Topic.WORK, 0, None)
    await store.push([message()], {})
    assert await store.wait(Topic.WORK, cursor, 10) > cursor


async def test_a_cancelled_wait_leaves_others_waiting(store: Store) -> None:
    cursor = await store.wait(Topic.WORK, 0, None)
    first, second = [asyncio.create_task(store.wait(Topic.WORK, cursor, 10)) for _ in range(2)]
    await asyncio.sleep(0)
    first.cancel()
    await store.push([message()], {})
    assert await second > cursor
    assert first.cancelled()


# ---------------------------------------------------------------------------------------------- take


async def test_a_bucket_is_full_at_first_and_fills_with_time(store: Store, clock: Clock) -> None:
    assert [await store.take("b", 2.0, 3) for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(0.5)]
    clock.step(0.25)
    wait = await store.take("b", 2.0, 3)
    assert wait == pytest.approx(0.25)
    clock.step(wait)
    assert await store.take("b", 2.0, 3) == 0.0
    clock.step(1000)
    assert [await store.take("b", 2.0, 3) for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(0.5)]


async def test_buckets_are_apart_and_a_clock_set_back_adds_nothing(store: Store, clock: Clock) -> None:
    assert await store.take("a", 1.0, 1) == 0.0
    assert await store.take("b", 1.0, 1) == 0.0
    clock.step(-100)
    assert await store.take("a", 1.0, 1) == pytest.approx(1.0)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0), (1, 0.5), (float("nan"), 1)])
async def test_an_impossible_bucket_is_refused(store: Store, rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="bucket"):
        await store.take("b", rate, burst)


# ------------------------------------------------------------------------------------------ the handle


async def test_opening_and_closing_twice_is_harmless(store: Store) -> None:
    await store.open()
    await store.close()
    await store.close()
    await store.open()
    assert await store.get([b"?" * 16]) == [None]


def test_the_same_name_in_memory_is_the_same_store() -> None:
    assert open_store("memory://one") is open_store("memory://one")
    assert open_store("memory://one") is not open_store("memory://two")


def test_an_unknown_url_is_refused() -> None:
    with pytest.raises(ValueError, match="known stores"):
        open_store("ftp://host")


def test_a_store_in_memory_serves_several_event_loops() -> None:
    store = open_store("memory://loops")
    cursor = asyncio.run(store.wait(Topic.WORK, 0, None))

    async def wait_for_the_other_loop() -> int:
        push = asyncio.to_thread(lambda: asyncio.run(store.push([message()], {})))
        newer, _ = await asyncio.gather(store.wait(Topic.WORK, cursor, 10), push)
        return newer

    assert asyncio.run(wait_for_the_other_loop()) > cursor
