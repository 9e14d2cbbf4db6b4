"""A claim that finds new jobs in the journals gives what it would give had they been in the rows before."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from making import Clock, message, worker

from cellq.errors import StoreUnavailable
from cellq.message import Claims, Filter, Kind, Lane, Message, QueueSettings, State
from cellq.store.memory import MemoryStore
from cellq.store.sqlite import SQLiteStore
from cellq.store.sqlite.turn import Turn

ME, OTHER = worker("me"), worker("other")
ROOM = {Lane.SYNC: 3, Lane.COROUTINES: 3}


def new(kind: Kind = Kind.CALL, **options: object) -> Message:
    return message(kind, code=b"", **options)  # type: ignore[arg-type]


class Pair:
    """A store whose pushes go into a journal, and the reference that has no such thing."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.sqlite = SQLiteStore(path, clock=self.clock)
        self.reference = MemoryStore(clock=self.clock)

    @property
    def both(self) -> tuple[SQLiteStore, MemoryStore]:
        return self.sqlite, self.reference

    async def push(self, *messages: Message) -> None:
        for one in messages:
            self.sqlite.push_here([one], {})
            await self.reference.push([one], {})

    async def claim(self) -> Claims:
        """Both claim the same, and hold the same jobs in the same state afterwards."""
        got, expected = [await store.claim(ME.id, ["default"], ROOM, "3.11") for store in self.both]
        assert got == expected
        rows, expected_rows = [(await store.find(Filter())).rows for store in self.both]
        assert rows == expected_rows
        return got


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    pair = Pair(tmp_path / "jobs.db")
    await pair.sqlite.open()
    for store in pair.both:
        await store.beat(ME, [])
        await store.beat(OTHER, [])
    yield pair
    await pair.sqlite.close()


async def test_they_start_by_priority_and_then_in_the_order_of_pushing(pair: Pair) -> None:
    asked = [new(priority=priority) for priority in (0, 2, 0)]
    await pair.push(*asked)
    claims = (await pair.claim()).claims
    assert [claim.lease.id for claim in claims] == [asked[n].id for n in (1, 0, 2)]


async def test_a_claim_carries_all_that_was_pushed(pair: Pair) -> None:
    await pair.push(new(name="fit", timeout=9.0, retries=2, backoff=3.0, isolated=True, priority=1))
    assert len((await pair.claim()).claims) == 1


async def test_both_lanes_are_served(pair: Pair) -> None:
    await pair.push(new(), new(Kind.COROUTINE), new(Kind.CELL))
    assert len((await pair.claim()).claims) == 3


@pytest.mark.parametrize(
    ("arrivals", "given"),
    [
        ([new() for _ in range(5)], 3),
        ([new(), new(delay=5.0)], 1),
        ([new(), new(queue="elsewhere")], 1),
        ([new(), replace(new(), runtime="3.12")], 1),
        ([replace(new(), runtime="")], 1),
        ([new(), new(key="nightly"), new()], 3),
    ],
    ids=["more than there is room for", "delayed", "another queue", "another runtime", "any runtime", "a key"],
)
async def test_what_cannot_start_waits(pair: Pair, arrivals: list[Message], given: int) -> None:
    await pair.push(new())
    await pair.claim()  # the line is known
    await pair.push(*arrivals)
    assert len((await pair.claim()).claims) == given


async def test_of_a_paused_queue_nothing_starts(pair: Pair) -> None:
    for store in pair.both:
        await store.tune("default", QueueSettings(paused=True))
    await pair.push(new())
    assert (await pair.claim()).claims == []


async def test_a_job_that_waits_already_comes_first(pair: Pair) -> None:
    waiting = [new() for _ in range(3)]
    for store in pair.both:
        await store.push(waiting, {})
    await pair.push(new())
    assert [claim.lease.id for claim in (await pair.claim()).claims] == [one.id for one in waiting]


async def test_a_delayed_job_that_is_due_comes_first(pair: Pair) -> None:
    due = [new(delay=5.0) for _ in range(3)]
    for store in pair.both:
        await store.push(due, {})
    pair.clock.step(6.0)
    await pair.push(new())
    assert [claim.lease.id for claim in (await pair.claim()).claims] == [one.id for one in due]


async def test_the_next_delayed_job_is_told_of(pair: Pair) -> None:
    later = new(delay=5.0)
    for store in pair.both:
        await store.push([later], {})
    await pair.push(new())
    assert (await pair.claim()).next_due == pair.clock.now + 5.0


async def test_what_a_dead_worker_held_comes_first(pair: Pair) -> None:
    held = [new(retries=1) for _ in range(3)]
    for store in pair.both:
        await store.push(held, {})
        await store.claim(OTHER.id, ["default"], ROOM, "3.11")
        await store.beat(replace(OTHER, lease=0.0), [])
    await pair.push(new())
    assert {claim.lease.id for claim in (await pair.claim()).claims} == {one.id for one in held}


async def test_one_that_was_pushed_before_is_not_started_again(pair: Pair) -> None:
    known, fresh = new(), new()
    await pair.push(known)
    await pair.claim()
    await pair.push(known, fresh, fresh)
    assert [claim.lease.id for claim in (await pair.claim()).claims] == [fresh.id]


async def test_an_unknown_worker_gets_nothing_and_nothing_is_lost(pair: Pair) -> None:
    await pair.push(new())
    assert (await pair.sqlite.claim(b"?" * 16, ["default"], ROOM, "3.11")).claims == []
    assert len((await pair.claim()).claims) == 1


async def test_a_claim_that_is_not_committed_leaves_them_in_the_journal(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(_: Turn) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    await pair.push(new(), new())
    with monkeypatch.context() as broken:
        broken.setattr(Turn, "settle", no_more)
        with pytest.raises(StoreUnavailable):
            await pair.sqlite.claim(ME.id, ["default"], ROOM, "3.11")
    assert len((await pair.claim()).claims) == 2


async def test_two_workers_share_what_arrives(pair: Pair) -> None:
    second = SQLiteStore(pair.sqlite.path, clock=pair.clock)
    await second.open()
    asked = [new() for _ in range(6)]
    got = []
    for n, one in enumerate(asked):
        pair.sqlite.push_here([one], {})
        store, who = [(pair.sqlite, ME), (second, OTHER)][n % 2]
        got += [claim.lease.id for claim in (await store.claim(who.id, ["default"], ROOM, "3.11")).claims]
    assert got == [one.id for one in asked]
    await second.close()


async def test_they_are_added_as_running_jobs_without_being_ready_first(pair: Pair) -> None:
    await pair.push(new())
    await pair.claim()
    statements: list[str] = []
    sql = pair.sqlite._connection._sql
    assert sql is not None
    await pair.push(new())
    sql.set_trace_callback(statements.append)
    await pair.sqlite.claim(ME.id, ["default"], ROOM, "3.11")
    sql.set_trace_callback(None)
    assert not [one for one in statements if one.startswith("UPDATE job")]
    (row, *_) = (await pair.sqlite.find(Filter())).rows
    assert row.state is State.RUNNING
