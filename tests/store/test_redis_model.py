"""Pins that stores on Valkey, Redis and a Cluster agree with the reference in memory (see `test_model`)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from test_model import HUNT, Model

from cellq.message import Message
from cellq.store.contract import Store
from cellq.store.redis import RedisStore
from leaks import leaks
from servers import Cluster, Server

pytestmark = pytest.mark.timeout(0)


class RedisModel(Model):
    """The same programs on a server that a fixture has started."""

    server: ClassVar[Server | Cluster]
    numbers: ClassVar[itertools.count[int]] = itertools.count()

    def make(self) -> Store:
        self.namespace = f"model{next(self.numbers)}"
        return RedisStore(f"{self.server.url}?namespace={self.namespace}", clock=self.clock)

    async def push_ahead(self, one: Message, bodies: Mapping[bytes, bytes]) -> None:
        if await asyncio.to_thread(self.other.push_here, [one], bodies) is None:  # type: ignore[attr-defined]
            await self.other.push([one], bodies)  # the server has not seen the script yet

    def teardown(self) -> None:
        super().teardown()
        if isinstance(self.server, Server):
            with self.server.client() as client:
                assert leaks(client, self.namespace) == []


def _tests(examples: int) -> Any:
    class Tests(RedisModel):
        pass

    Tests.TestCase.settings = settings(
        max_examples=HUNT or examples,
        stateful_step_count=50,
        derandomize=not HUNT,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    return Tests.TestCase


@pytest.fixture(autouse=True)
def _server(request: pytest.FixtureRequest) -> None:
    RedisModel.server = request.getfixturevalue(request.cls.on)


class TestValkeyModel(_tests(40)):  # type: ignore[misc]
    on = "valkey"


class TestRedis7Model(_tests(10)):  # type: ignore[misc]
    on = "redis7"


class TestClusterModel(_tests(10)):  # type: ignore[misc]
    on = "cluster"
