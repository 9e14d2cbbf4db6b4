"""The stores that the shared suite runs against, each empty and with a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from making import Clock

from cellq.message import Filter, State
from cellq.store.contract import Store
from cellq.store.memory import MemoryStore
from cellq.store.sqlite import SQLiteStore


@pytest.fixture
def clock() -> Clock:
    """The stores' clock."""
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> AsyncIterator[Store]:
    """An open store. Another kind joins the suite by joining `params`."""
    kinds: dict[str, Callable[[], Store]] = {
        "memory": lambda: MemoryStore(clock=clock),
        "sqlite": lambda: SQLiteStore(tmp_path / "jobs.db", clock=clock),
    }
    made = kinds[request.param]()
    await made.open()
    yield made
    await check_counts(made)
    await made.close()


async def check_counts(store: Store) -> None:
    """Whatever a test did: what `count` says must be what a full count of the rows gives."""
    counted: dict[tuple[str, State], int] = {}
    after = None
    while True:
        page = await store.find(Filter(), after, 500)
        for row in page.rows:
            counted[row.queue, row.state] = counted.get((row.queue, row.state), 0) + 1
        after = page.after
        if after is None:
            break
    told = {
        (queue, state): jobs
        for queue, numbers in (await store.count()).queues.items()
        for state, jobs in numbers.states.items()
        if jobs
    }
    assert told == counted
