"""Waking those who wait: the scripts publish what happened, and one connection per handle listens.

Each ring is counted, and published when somebody sleeps: who is about to sleep says so, and learns the count.

    sleeper: arm ──▶ count as known? no: look at once; yes: sleep ◀── published, with the count ── script that rings

So a busy worker is not woken by each push, and nothing falls between its last look and its sleep.

Pub/sub forgets. So a listener is told of everything as soon as it listens, and again after each reconnect: whatever was
said in between, it looks. While the server is gone nobody is woken, for there is nothing to be seen.

A quiet connection may be a dead one: after `_QUIET` seconds without a word we ask, and after as long again without an
answer we begin anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from cellq.errors import StoreUnavailable
from cellq.message import Topic

_QUIET = 15.0
_LOOK = 1.0
_PAUSE_FIRST = 0.05
_PAUSE_MOST = 2.0
_jitter = random.Random()  # not the process's own generator: in a notebook that one is the user's


class Bell:
    """What was heard, as a number per topic that only rises.

    Args:
        tag: what our channels begin with.
        connect: gives a new connection to the server.
        arm: says that we are about to sleep, and gives how often the topic was rung so far.
    """

    def __init__(
        self, tag: bytes, connect: Callable[[], Awaitable[Any]], arm: Callable[[Topic], Awaitable[int]]
    ) -> None:
        self._channels = {topic: b"%s:bell:%d" % (tag, topic) for topic in Topic}
        self._connect = connect
        self._arm = arm
        self._rings = dict.fromkeys(Topic, -1)  # how often each was rung, as far as we know
        self._heard = dict.fromkeys(Topic, 1)
        self._armed: set[Topic] = set()  # the next ring of these is sent to us
        self._wanted: set[Topic] = set()
        self._listening: set[Topic] = set()
        self._sleepers: dict[Topic, list[asyncio.Future[None]]] = {topic: [] for topic in Topic}
        self._connection: Any = None
        self._failed: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self._last = 0.0

    def hears(self, topic: Topic) -> bool:
        """Whether it was asked to `listen` to this topic, and has not been closed since."""
        return topic in self._wanted

    async def wait(self, topic: Topic, cursor: int, timeout: float | None) -> int:
        """Sleep until this topic was rung since `cursor`; the newer cursor, or the same one after the timeout."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while self._heard[topic] == cursor:
            armed = topic in self._armed
            if not armed:
                try:
                    async with asyncio.timeout(None if timeout is None else max(timeout, _LOOK)):
                        armed = not await self.look(topic)
                except (StoreUnavailable, TimeoutError):
                    pass  # what is rung meanwhile is seen when it answers again
            left = None if deadline is None else deadline - loop.time()
            if self._heard[topic] != cursor or (left is not None and left <= 0):
                break
            await self._sleep(topic, left if armed else min(_LOOK, _LOOK if left is None else left))
        return self._heard[topic]

    async def look(self, topic: Topic) -> bool:
        """Whether it was rung since we last knew; if not, its next ring is sent to us.

        Raises:
            StoreUnavailable: the server does not tell.
        """
        return self.armed(topic, await self._arm(topic))

    def armed(self, topic: Topic, rings: int) -> bool:
        """The next ring of this topic is sent to us, and it was rung so often before; whether that is news."""
        known = self._rings[topic]
        if rings >= known:  # else a ring that came in between has been heard already, and was the one we armed for
            self._armed.add(topic)
        if rings == known:
            return False
        self._rings[topic] = rings
        self._ring(topic)
        return True

    async def listen(self, topic: Topic, patience: float) -> None:
        """Hear of this topic from now on; does nothing when it is heard already.

        Raises:
            Exception: what was wrong with the last connection, after `patience` seconds without one.
        """
        if topic in self._wanted and topic in self._listening:
            return
        self._wanted.add(topic)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="bell")
        elif self._connection is not None:
            await self._subscribe(self._connection, {topic})
        deadline = asyncio.get_running_loop().time() + patience
        while topic not in self._listening:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise self._failed or TimeoutError("no answer to SUBSCRIBE")
            await self._sleep(topic, left)

    async def close(self) -> None:
        """Hear of nothing any more."""
        task, self._task = self._task, None
        self._listening.clear()
        self._wanted.clear()
        self._armed.clear()
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _sleep(self, topic: Topic, timeout: float | None) -> None:
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers[topic].append(sleeper)
        try:
            if timeout is None:
                await sleeper
            else:
                await asyncio.wait((sleeper,), timeout=timeout)
        finally:
            with suppress(ValueError):
                self._sleepers[topic].remove(sleeper)

    def _ring(self, topic: Topic) -> None:
        self._heard[topic] += 1
        sleepers, self._sleepers[topic] = self._sleepers[topic], []
        for sleeper in sleepers:
            if not sleeper.done():
                sleeper.set_result(None)

    # ------------------------------------------------------------------------------------- listening

    async def _run(self) -> None:
        pause = _PAUSE_FIRST
        while True:
            try:
                connection = await self._connect()
                try:
                    self._connection = connection
                    await self._subscribe(connection, self._wanted)
                    pause = _PAUSE_FIRST
                    await self._hear(connection)
                finally:
                    self._connection = None
                    self._listening.clear()
                    with suppress(Exception):
                        await connection.disconnect(nowait=True)
            except Exception as error:
                self._failed = error
            await asyncio.sleep(pause * _jitter.uniform(0.5, 1.0))
            pause = min(pause * 2, _PAUSE_MOST)

    async def _subscribe(self, connection: Any, topics: set[Topic]) -> None:
        await connection.send_command("SUBSCRIBE", *(self._channels[topic] for topic in topics), check_health=False)

    async def _hear(self, connection: Any) -> None:
        loop = asyncio.get_running_loop()
        topics = {channel: topic for topic, channel in self._channels.items()}
        self._last = loop.time()
        asking = asyncio.create_task(self._ask_when_quiet(connection), name="bell asks")
        try:
            async with asyncio.timeout(2 * _QUIET) as limit:
                while True:
                    kind, channel, rings = (*await connection.read_response(), None)[:3]
                    self._last = loop.time()
                    limit.reschedule(self._last + 2 * _QUIET)
                    if kind == b"subscribe":
                        self._listening.add(topics[channel])
                        self._armed.discard(topics[channel])
                        self._ring(topics[channel])
                    elif kind == b"message":
                        self._rings[topics[channel]] = int(rings)
                        self._armed.discard(topics[channel])
                        self._ring(topics[channel])
        finally:
            asking.cancel()

    async def _ask_when_quiet(self, connection: Any) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(self._last + _QUIET - loop.time(), 1.0))
            if loop.time() - self._last >= _QUIET:
                await connection.send_command("PING", check_health=False)
