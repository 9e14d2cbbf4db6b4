"""Pins what a Redis store keeps for how long: times to live, sweeps, and values in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from making import CODE, Clock, claim, completed, failed, in_state, message, start, worker

from cellq.message import Action, Blob, Ending, Event, Keep, Part, Spill, State
from cellq.store.redis import RedisStore
from cellq.store.redis.pieces import PIECE
from cellq.store.redis.threads import INLINE
from leaks import leaks
from servers import Server

BIG = bytes(range(256)) * (INLINE // 256 + 1)
A, B = worker("a"), worker("b")


@pytest.fixture
async def store(valkey: Server, clock: Clock, namespace: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(f"{valkey.url}?namespace={namespace}&keep=1h", clock=clock)
    await store.open()
    yield store
    await store.close()
    assert leaks(valkey.client(), namespace) == []


def keys(valkey: Server, namespace: str, kind: str) -> dict[str, int]:
    """The keys of this kind and their times to live."""
    with valkey.client() as client:
        return {key.decode(): client.ttl(key) for key in client.keys(f"{{{namespace}}}:{kind}:*")}


def content(blob: Blob) -> bytes:
    """The bytes of a value that may lie in a file."""
    return Path(blob.path).read_bytes() if isinstance(blob, Spill) else blob


async def test_ended_jobs_have_a_time_to_live_with_all_that_is_theirs(
    store: RedisStore, valkey: Server, namespace: str
) -> None:
    await store.push([message(payload=BIG)], {CODE: BIG})
    (got,) = await claim(store, A)
    assert content(got.payload) == BIG
    await store.report([Event(got.lease, "stream", "{}")])
    for kind in ("job", "log", "code", "blob"):
        assert set(keys(valkey, namespace, kind).values()) == {-1}, kind
    await store.finish([completed(got.lease, BIG)])
    for kind, count in (("job", 1), ("log", 1), ("code", 1), ("blob", 3)):
        lives = keys(valkey, namespace, kind)
        assert len(lives) == count
        assert all(3600 < seconds <= 7200 for seconds in lives.values()), kind


async def test_a_job_tried_again_stays(store: RedisStore, valkey: Server, namespace: str) -> None:
    await store.push([message(payload=BIG)], {CODE: BIG})
    (got,) = await claim(store, A)
    await store.finish([failed(got.lease)])
    await store.change([got.lease.id], Action.RETRY)
    for kind in ("job", "code", "blob"):
        assert set(keys(valkey, namespace, kind).values()) == {-1}, kind
    (again,) = await claim(store, A)
    assert content(again.payload) == BIG


async def test_a_beating_worker_sweeps_what_is_past_its_time(
    store: RedisStore, clock: Clock, valkey: Server, namespace: str
) -> None:
    for state in reversed(State):
        await in_state(store, state, who=A)
    clock.step(3601)
    store._sweep_at = 0.0
    await store.beat(A, [])
    counts = (await store.count()).queues["default"].states
    assert {state: jobs for state, jobs in counts.items() if jobs} == {State.PENDING: 1, State.RUNNING: 1}
    assert len(keys(valkey, namespace, "job")) == 2


async def test_a_sweep_removes_what_is_left_of_jobs_that_went_by_themselves(
    store: RedisStore, clock: Clock, valkey: Server, namespace: str
) -> None:
    job_id = await in_state(store, State.COMPLETED, queue="a:b")
    with valkey.client() as client:
        client.delete(f"{{{namespace}}}:job:{job_id.hex()}")
    assert await store.get([job_id]) == [None]
    assert await store.prune(Keep(completed=0)) == 1
    assert (await store.count()).queues["a:b"].states[State.COMPLETED] == 0


async def test_values_in_pieces_go_with_their_job(store: RedisStore, valkey: Server, namespace: str) -> None:
    big = BIG * (2 * PIECE // len(BIG) + 1)
    await store.push([message(payload=big, retries=1)], {CODE: BIG})
    (got,) = await claim(store, A)
    await store.finish([failed(got.lease, Ending.RETRY)])
    (got,) = await claim(store, A)
    await store.finish([completed(got.lease, big)])
    (row,) = await store.get([got.lease.id], [Part.PAYLOAD, Part.CODE, Part.RESULT])
    assert row is not None
    assert (row.payload, row.code, row.result) == (big, BIG, big)
    await store.change([got.lease.id], Action.DELETE)
    await store.prune(Keep())
    assert keys(valkey, namespace, "blob") == {}


async def test_values_that_nobody_took_are_dropped(store: RedisStore, valkey: Server, namespace: str) -> None:
    asked = message(payload=BIG, key="k")
    await store.push([asked], {CODE: BIG})
    await store.push([asked, message(payload=BIG, key="k")], {CODE: BIG})
    (lease,) = [one.lease for one in await claim(store, A)]
    assert len(keys(valkey, namespace, "blob")) == 2  # the payload and the code
    await store.finish([completed(lease)])
    assert await store.finish([completed(lease, BIG)]) == [False]
    assert len(keys(valkey, namespace, "blob")) == 2


async def test_very_many_values_go_in_pieces_before_they_are_too_much_for_one_call(store: RedisStore) -> None:
    asked = [message(payload=BIG[:INLINE]) for _ in range(300)]
    await store.push(asked, {})
    rows = await store.get([one.id for one in asked[:3]], [Part.PAYLOAD])
    assert [row and row.payload == BIG[:INLINE] for row in rows] == [True] * 3


async def test_without_an_end_to_keeping_ended_jobs_stay(valkey: Server, namespace: str) -> None:
    store = RedisStore(f"{valkey.url}?namespace={namespace}&keep=0")
    await store.open()
    (lease,) = await start(store)
    await store.finish([completed(lease)])
    assert set(keys(valkey, namespace, "job").values()) == {-1}
    await store.close()


async def test_files_between_worker_and_slot_go_when_they_have_served(store: RedisStore) -> None:
    assert store.spill_dir is not None
    store.spill_dir.mkdir()
    mine, result = store.spill_dir / "mine", store.spill_dir / "result"
    mine.write_bytes(BIG)
    await store.push([message(payload=Spill(path=str(mine), size=len(BIG)))], {})  # type: ignore[arg-type]
    assert list(store.spill_dir.iterdir()) == []
    (got,) = await claim(store, A)
    assert isinstance(got.payload, Spill)
    assert content(got.payload) == BIG
    result.write_bytes(BIG)
    await store.finish([completed(got.lease, Spill(path=str(result), size=len(BIG)))])  # type: ignore[arg-type]
    assert list(store.spill_dir.iterdir()) == []
    (row,) = await store.get([got.lease.id], [Part.RESULT])
    assert row is not None
    assert row.result == BIG
    await store.close()
    assert not store.spill_dir.exists()


async def test_a_payload_that_is_gone_is_handed_out_empty(store: RedisStore, valkey: Server, namespace: str) -> None:
    await store.push([message(payload=BIG)], {})
    with valkey.client() as client:
        client.delete(*client.keys(f"{{{namespace}}}:blob:*"))
    (got,) = await claim(store, A)
    assert got.payload == b""
    await store.finish([failed(got.lease)])


async def test_a_value_that_is_gone_costs_nobody_else_anything(
    store: RedisStore, valkey: Server, namespace: str
) -> None:
    lost, other = await start(store, 2)
    await store.finish([completed(lost, BIG), completed(other, b"small")])
    with valkey.client() as client:
        client.delete(*client.keys(f"{{{namespace}}}:blob:*"))
    rows = await store.get([lost.id, other.id], [Part.RESULT])
    assert [(row.state, row.result) for row in rows if row] == [(State.COMPLETED, None), (State.COMPLETED, b"small")]


async def test_a_job_that_is_run_again_while_it_is_read_is_read_as_it_is_then(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lease,) = await start(store)
    await store.finish([completed(lease, BIG)])
    fetch = store._pieces.fetch

    async def late(held: Sequence[bytes | None]) -> list[bytes | None]:
        monkeypatch.setattr(store._pieces, "fetch", fetch)
        await store.change([lease.id], Action.RETRY)
        return await fetch(held)

    monkeypatch.setattr(store._pieces, "fetch", late)
    (row,) = await store.get([lease.id], [Part.RESULT])
    assert row is not None
    assert (row.state, row.result) == (State.PENDING, None)


async def test_a_value_that_was_not_sent_to_its_end_goes_by_itself(
    store: RedisStore, valkey: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry = store._pieces._carry

    async def interrupted(*command: Any) -> None:
        await carry(*command)
        raise asyncio.CancelledError

    monkeypatch.setattr(store._pieces, "_carry", interrupted)
    with pytest.raises(asyncio.CancelledError):
        await store.push([message(payload=BIG)], {})
    (left,) = keys(valkey, namespace, "blob").values()
    assert 0 < left <= 3600
    with valkey.client() as client:
        client.delete(*client.keys(f"{{{namespace}}}:blob:*"))
