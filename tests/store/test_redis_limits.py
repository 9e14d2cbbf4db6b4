"""Pins how a Redis store keeps jobs that wait for others or are held back: who is woken, and what lives how long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from making import Clock, claim, completed, failed, message, start, worker

from cellq.message import Action, QueueSettings, Topic
from cellq.store.redis import RedisStore
from leaks import leaks
from servers import Server

A, B = worker("a"), worker("b")
HELD_BACK = 2000


@pytest.fixture
async def store(valkey: Server, clock: Clock, namespace: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(f"{valkey.url}?namespace={namespace}&keep=1h", clock=clock)
    await store.open()
    yield store
    await store.close()
    assert leaks(valkey.client(), namespace) == []


def lives(valkey: Server, namespace: str, *kinds: str) -> dict[str, int]:
    """The keys of these kinds and their times to live."""
    with valkey.client() as client:
        keys = [key for kind in kinds for key in client.keys(f"{{{namespace}}}:{kind}:*")]
        return {key.decode().partition(":")[2]: client.ttl(key) for key in keys}


async def test_what_a_full_key_holds_back_is_in_no_claims_way(
    store: RedisStore, valkey: Server, namespace: str
) -> None:
    await store.push([message(concurrency_key="gpu", max_running=2) for _ in range(HELD_BACK)], {})
    ready = f"{{{namespace}}}:ready:0:3.11:default"
    with valkey.client() as client:
        counts = [client.zcard(ready)]
        for n in (1, 10):
            assert len(await claim(store, A, n)) == 1
            counts.append(client.zcard(ready))
    assert counts == [1, 1, 0]


async def test_a_key_that_nobody_waits_or_runs_for_leaves_nothing(
    store: RedisStore, valkey: Server, namespace: str
) -> None:
    leases = await start(store, 1, A, concurrency_key="gpu")
    asked = message(concurrency_key="gpu", delay=1.0)
    await store.push([asked, message(concurrency_key="gpu", max_running=3, expires=5.0)], {})
    await store.change([asked.id], Action.CANCEL)
    leases += [one.lease for one in await claim(store, A)]
    await store.finish([completed(lease) for lease in leases])
    with valkey.client() as client:
        left = {key.decode().split(":")[1] for key in client.keys(f"{{{namespace}}}:*")}
    assert left.isdisjoint({"limited", "turns", "running", "expiring", "delayed", "ready"})


async def test_edges_live_as_long_as_the_jobs_they_join(store: RedisStore, valkey: Server, namespace: str) -> None:
    (lease,) = await start(store, who=A)
    child = message(after=(lease.id,))
    await store.push([child], {})
    edges = {f"parents:{child.id.hex()}", f"children:{lease.id.hex()}"}
    assert lives(valkey, namespace, "parents", "children") == dict.fromkeys(edges, -1)
    await store.finish([failed(lease)])
    ended = lives(valkey, namespace, "parents", "children")
    assert ended.keys() == edges
    assert all(3600 < seconds <= 7200 for seconds in ended.values())
    await store.change([lease.id, child.id], Action.RETRY)
    assert lives(valkey, namespace, "parents", "children") == dict.fromkeys(edges, -1)
    (got,) = await claim(store, A)
    await store.finish([completed(got.lease)])
    assert lives(valkey, namespace, "parents", "children") == {}


async def test_edges_to_what_never_was_go_with_the_child(store: RedisStore, valkey: Server, namespace: str) -> None:
    child = message(after=(b"?" * 16,))
    await store.push([child], {})
    assert all(3600 < seconds <= 7200 for seconds in lives(valkey, namespace, "parents", "children").values())
    await store.change([child.id], Action.DELETE)
    assert lives(valkey, namespace, "parents", "children") == {}


async def test_an_edge_that_outlived_its_parent_counts_no_more_once_that_has_completed(store: RedisStore) -> None:
    parent = message()
    child = message(after=(parent.id,))
    await store.push([parent, child], {})
    await store.change([parent.id], Action.CANCEL)
    await store.change([parent.id], Action.DELETE)
    await store.push([parent], {})  # once more
    (got,) = await claim(store, A)
    await store.finish([completed(got.lease)])
    await store.change([parent.id, child.id], Action.RETRY)
    assert {got.lease.id for got in await claim(store, A)} == {parent.id, child.id}


@pytest.mark.parametrize("held_back_by", ["key", "queue", "parent"])
async def test_who_sleeps_is_woken_when_a_job_that_was_held_back_may_start(
    store: RedisStore, armed: Callable[[], set[Topic]], held_back_by: str
) -> None:
    options = {"concurrency_key": "gpu"} if held_back_by == "key" else {}
    if held_back_by == "queue":
        await store.tune("default", QueueSettings(max_running=1))
    (lease,) = await start(store, who=A, **options)
    after = (lease.id,) if held_back_by == "parent" else ()
    await store.push([message(after=after, **options)], {})
    assert await claim(store, B) == []
    assert Topic.WORK in armed()
    await store.finish([completed(lease)])
    assert Topic.WORK not in armed()
    assert len(await claim(store, B)) == 1
