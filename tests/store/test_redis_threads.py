"""Pins the verbs of a Redis store that run in the caller's own thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from making import CODE, claim, completed, message, start, worker

from cellq.errors import StoreUnavailable
from cellq.message import Part, Pushed, Topic
from cellq.store.contract import Here
from cellq.store.redis import RedisStore
from cellq.store.redis.threads import INLINE
from servers import Server


@pytest.fixture
async def store(valkey: Server, namespace: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(f"{valkey.url}?namespace={namespace}")
    await store.open()
    await store.push([message(queue="other")], {})  # from now on the server knows the scripts
    await store.get([b"?" * 16])
    yield store
    await store.close()


async def test_it_is_a_store_of_this_kind(store: RedisStore) -> None:
    assert isinstance(store, Here)


async def test_what_a_thread_pushes_is_there_and_what_ended_is_read(store: RedisStore) -> None:
    one, two = message(key="k"), message(key="k")
    assert store.push_here([one], {CODE: b"code"}) == [Pushed(one.id, True)]
    assert store.push_here([one, two], {CODE: b"code"}) == [Pushed(one.id, False), Pushed(one.id, False)]
    (got,) = await claim(store, worker())
    await store.finish([completed(got.lease)])
    rows = store.get_here([b"?" * 16, one.id], [Part.RESULT, Part.PAYLOAD, Part.CODE])
    assert rows is not None
    assert rows == await store.get([b"?" * 16, one.id], [Part.RESULT, Part.PAYLOAD, Part.CODE])


async def test_large_values_take_the_long_way(store: RedisStore) -> None:
    big = b"x" * (INLINE + 1)
    assert store.push_here([message(payload=big)], {}) is None
    (lease,) = await start(store)
    await store.finish([completed(lease, big)])
    assert store.get_here([lease.id], [Part.RESULT]) is None
    assert store.get_here([lease.id]) is not None


async def test_a_thread_that_waits_is_woken(store: RedisStore) -> None:
    cursor = store.wait_here(Topic.WORK, 0, 0)
    assert cursor > 0
    assert store.wait_here(Topic.WORK, cursor, 0.01) == cursor
    waiting = asyncio.create_task(asyncio.to_thread(_wait_twice, store))
    while not any(thread.topics and thread.busy.locked() for thread in store._threads._all):
        await asyncio.sleep(0.001)  # until it sleeps
    await store.push([message()], {})
    before, after = await waiting
    assert after > before
    assert store.wait_here(Topic.WORK, cursor, 0) > cursor


def _wait_twice(store: RedisStore) -> tuple[int, int]:
    cursor = store.wait_here(Topic.WORK, 0, 0)
    return cursor, store.wait_here(Topic.WORK, cursor, 10)


async def test_a_connection_that_was_cut_counts_as_a_ring(store: RedisStore, valkey: Server) -> None:
    cursor = store.wait_here(Topic.WORK, 0, 0)
    asked = message()
    with valkey.client() as client:
        for kind in ("normal", "pubsub"):
            client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    assert store.wait_here(Topic.WORK, cursor, 1) > cursor
    assert store.get_here([asked.id]) in (None, [None])
    assert store.get_here([asked.id]) == [None]


async def test_a_closed_store_says_so_to_threads_too(store: RedisStore) -> None:
    store.wait_here(Topic.WORK, 0, 0)
    await store.close()
    for ask in (
        lambda: store.wait_here(Topic.WORK, 1, 1),
        lambda: store.get_here([b"?" * 16]),
        lambda: store.push_here([message()], {}),
    ):
        with pytest.raises(StoreUnavailable, match="closed"):
            ask()


async def test_threads_do_not_get_in_each_others_way(store: RedisStore) -> None:
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(50):
            asked = message()
            pushed = store.push_here([asked], {})
            rows = store.get_here([asked.id])
            if pushed != [Pushed(asked.id, True)] or rows is None or rows[0] is None or rows[0].id != asked.id:
                wrong.append((pushed, rows))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert wrong == []
