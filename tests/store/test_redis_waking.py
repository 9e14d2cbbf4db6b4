"""Pins who asks a Redis store to be woken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from making import CODE, claim, completed, message, start, worker

from cellq.message import Lane, Topic
from cellq.store.redis import RedisStore
from servers import Server


@pytest.fixture
async def store(valkey: Server, namespace: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(f"{valkey.url}?namespace={namespace}")
    await store.open()
    await store.push([message(queue="other")], {})  # from now on the server knows the script
    yield store
    await store.close()


async def test_a_claim_that_leaves_room_is_woken_by_the_next_push(
    store: RedisStore, armed: Callable[[], set[Topic]]
) -> None:
    await store.push([message(), message()], {CODE: b"code"})
    assert len(await claim(store, worker(), 10)) == 2
    assert armed() == {Topic.WORK}
    await store.push([message()], {})
    assert armed() == set()


async def test_a_claim_that_is_filled_asks_for_no_ring(store: RedisStore, armed: Callable[[], set[Topic]]) -> None:
    await store.push([message(), message()], {CODE: b"code"})
    await store.beat(worker(), [])
    claims = await store.claim(worker().id, ("default",), {Lane.SYNC: 2}, "3.11")
    assert len(claims.claims) == 2
    assert armed() == set()


async def test_a_ring_between_the_last_look_and_the_claim_is_heard(store: RedisStore) -> None:
    cursor = await store.wait(Topic.WORK, 0, 0)
    cursor = await store.wait(Topic.WORK, cursor, 0.01)
    for _ in range(3):
        await store.push([message(queue="elsewhere")], {})
        await claim(store, worker())
        async with asyncio.timeout(5):
            cursor = await store.wait(Topic.WORK, cursor, None)


async def test_who_waited_after_a_push_is_expected_to_wait_after_the_next(
    store: RedisStore, armed: Callable[[], set[Topic]]
) -> None:
    store.wait_here(Topic.ENDED, 0, 0)
    (lease,) = await start(store)
    await store.finish([completed(lease)])
    cursor = store.wait_here(Topic.ENDED, 0, 0)
    store.wait_here(Topic.ENDED, cursor, 1)  # the ring is used up
    asked = message(queue="elsewhere")
    store.push_here([asked], {})
    assert Topic.ENDED in armed()
    (again,) = await start(store)
    cursor = store.wait_here(Topic.ENDED, 0, 0)
    await store.finish([completed(again)])
    assert store.wait_here(Topic.ENDED, cursor, 1) > cursor


async def test_who_does_not_wait_between_pushes_is_not_told_of_endings(
    store: RedisStore, armed: Callable[[], set[Topic]]
) -> None:
    store.wait_here(Topic.ENDED, 0, 0)
    store.push_here([message(queue="elsewhere")], {})
    (lease,) = await start(store)
    await store.finish([completed(lease)])
    store.push_here([message(queue="elsewhere")], {})
    assert Topic.ENDED not in armed()


async def test_whoever_waited_before_the_store_was_closed_and_opened_again_is_woken(store: RedisStore) -> None:
    cursor = await store.wait(Topic.ENDED, 0, 0)
    (lease,) = await start(store)
    await store.close()
    await store.open()
    cursor = await store.wait(Topic.ENDED, cursor, 0)
    waiting = asyncio.create_task(store.wait(Topic.ENDED, cursor, 30))
    await store.finish([completed(lease)])
    async with asyncio.timeout(5):
        assert await waiting > cursor
