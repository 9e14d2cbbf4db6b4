"""What the benchmarks ask of a queue: for those that block, and for those that live in an event loop."""

from __future__ import annotations

import abc
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

SERVER = "CELLQ_BENCHMARK_SERVER"
"""The environment variable that tells worker processes where the server is."""

PATIENCE = 20


def script(name: str) -> str:
    """The path of a command that a package has installed."""
    return str(Path(sys.executable).with_name(name))


class Client(abc.ABC):
    """A program that enqueues `work.nothing(n)` and `work.now()`, and fetches what they return."""

    @abc.abstractmethod
    def one_by_one(self, count: int) -> list[Any]:
        """Enqueue so many `nothing(n)` one by one, then fetch all results in order."""

    @abc.abstractmethod
    def trip(self) -> None:
        """One job, from enqueue to result."""

    @abc.abstractmethod
    def fill(self, count: int) -> Callable[[], list[float]]:
        """Enqueue so many `now()`; gives what fetches all their results."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the server."""


class Blocking(Client):
    """A client whose calls block."""

    @abc.abstractmethod
    def enqueue(self, task: str, n: int) -> Any:
        """Enqueue `work.<task>(n)`; gives a handle."""

    @abc.abstractmethod
    def result(self, handle: Any) -> Any:
        """Wait for what it returned."""

    def one_by_one(self, count: int) -> list[Any]:
        handles = [self.enqueue("nothing", n) for n in range(count)]
        return [self.result(handle) for handle in handles]

    def trip(self) -> None:
        self.result(self.enqueue("nothing", 1))

    def fill(self, count: int) -> Callable[[], list[float]]:
        handles = [self.enqueue("now", n) for n in range(count)]
        return lambda: [self.result(handle) for handle in handles]

    def close(self) -> None:
        pass


class Looping(Client):
    """A client of coroutines, in a loop that runs while it is asked for something."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, work: Awaitable[Any]) -> Any:
        """Run this in the client's loop."""

        async def whole() -> Any:
            return await work

        return self._runner.run(whole())

    @abc.abstractmethod
    async def enqueue(self, task: str, n: int) -> Any:
        """Enqueue `work.<task>(n)`; gives a handle."""

    @abc.abstractmethod
    async def result(self, handle: Any) -> Any:
        """Wait for what it returned."""

    def one_by_one(self, count: int) -> list[Any]:
        async def both() -> list[Any]:
            handles = [await self.enqueue("nothing", n) for n in range(count)]
            return [await self.result(handle) for handle in handles]

        return list(self.run(both()))

    def trip(self) -> None:
        async def both() -> None:
            await self.result(await self.enqueue("nothing", 1))

        self.run(both())

    def fill(self, count: int) -> Callable[[], list[float]]:
        async def push() -> list[Any]:
            return [await self.enqueue("now", n) for n in range(count)]

        async def fetch(handles: list[Any]) -> list[float]:
            return [await self.result(handle) for handle in handles]

        handles = self.run(push())
        return lambda: self.run(fetch(handles))

    def close(self) -> None:
        self._runner.close()
