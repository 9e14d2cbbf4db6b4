"""The stores that the shared suite runs against, each empty and with a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from making import Clock, check_counts

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
