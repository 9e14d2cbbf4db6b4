"""The stores that the shared suite runs against, each empty and with a clock that the test moves."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from making import Clock, check_counts

from cellq.message import Topic
from cellq.store.contract import Store
from cellq.store.memory import MemoryStore
from cellq.store.redis import RedisStore
from cellq.store.sqlite import SQLiteStore
from leaks import leaks
from servers import VALKEY, Cluster, Server, redis_server

_namespaces = itertools.count()


@pytest.fixture
def clock() -> Clock:
    """The stores' clock."""
    return Clock()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Valkey server for all tests; each takes a namespace of its own."""
    with Server(VALKEY, tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def redis7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same of Redis."""
    with Server(redis_server(), tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes for all tests."""
    with Cluster(VALKEY, tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture
def namespace() -> str:
    """A part of the server that nobody else uses."""
    return f"test{next(_namespaces)}"


@pytest.fixture
def armed(valkey: Server, namespace: str) -> Callable[[], set[Topic]]:
    """The topics whose next ring is published."""

    def ask() -> set[Topic]:
        with valkey.client() as client:
            return {Topic(int(topic)) for topic in client.hkeys(f"{{{namespace}}}:armed")}

    return ask


@pytest.fixture(params=["memory", "sqlite", "valkey", "redis7", "cluster"])
async def store(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path, namespace: str) -> AsyncIterator[Store]:
    """An open store. Another kind joins the suite by joining `params`."""
    kinds: dict[str, Callable[[], Store]] = {
        "memory": lambda: MemoryStore(clock=clock),
        "sqlite": lambda: SQLiteStore(tmp_path / "jobs.db", clock=clock),
    }
    server: Server | Cluster | None = None
    if request.param not in kinds:
        server = request.getfixturevalue(request.param)
        url = f"{server.url}?namespace={namespace}"
        kinds[request.param] = lambda: RedisStore(url, clock=clock)
    made = kinds[request.param]()
    await made.open()
    yield made
    await check_counts(made)
    await made.close()
    if isinstance(server, Server):
        assert leaks(server.client(), namespace) == []
