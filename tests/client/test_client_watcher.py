"""Whoever waits for a job is told in the end, whatever happens on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import pytest

from cellq.client.watcher import Watcher, until_ended
from cellq.errors import StoreUnavailable
from cellq.ids import JobId, new_id
from cellq.message import Action, Kind, Message, Part, Row, State
from cellq.options import Options
from cellq.store.memory import MemoryStore


async def waited_for(store: MemoryStore) -> JobId:
    """A job that nobody has started."""
    job = Message(
        id=new_id(), kind=Kind.CALL, task="t", code=b"", payload=b"", runtime="", options=Options(), origin=""
    )
    await store.push([job], {})
    return job.id


class Once:
    """Counts calls of `get`, and lets one of them fail."""

    def __init__(self, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self._get = store.get
        self.calls = 0
        self.fails = False
        monkeypatch.setattr(store, "get", self.get)

    async def get(self, ids: Sequence[JobId], parts: Sequence[Part] = ()) -> list[Row | None]:
        self.calls += 1
        if self.fails:
            self.fails = False
            raise StoreUnavailable("away for a moment")
        return await self._get(ids, parts)


async def reached(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0)  # what is waited for is done by this loop


async def test_a_look_that_fails_is_made_again_though_nobody_rings_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    await store.open()
    job_id = await waited_for(store)
    watcher, once = Watcher(store), Once(store, monkeypatch)
    waiting = asyncio.create_task(until_ended(watcher, job_id, None))
    await reached(lambda: once.calls == 1, "it was looked at once")
    await reached(lambda: watcher._runner is not None, "it is waited for")
    once.fails = True
    await store.change([job_id], Action.CANCEL)
    async with asyncio.timeout(5):  # the next look at all rows would be after ten seconds
        row = await waiting
    assert row is not None
    assert row.state is State.CANCELLED
    await watcher.stop()
    await store.close()


async def test_who_waits_while_its_first_look_is_stopped_is_not_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    await store.open()
    job_id = await waited_for(store)
    watcher, looking = Watcher(store), asyncio.Event()

    async def stuck(ids: Sequence[JobId], parts: Sequence[Part] = ()) -> list[Row | None]:
        looking.set()
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(store, "get", stuck)
    waiting = asyncio.create_task(until_ended(watcher, job_id, None))
    async with asyncio.timeout(10):
        await looking.wait()
        await watcher.stop()
        watcher.give_up(StoreUnavailable("closed"))
        with pytest.raises(StoreUnavailable, match="closed"):
            await waiting
    await store.close()
