"""One look at a store for everything on screen that shows it: each change is read once, and nothing polls.

     store ── NEWS ──▶ Pump (one task per store, in the portal's thread)
                          ├── look ──▶ a group's card
                          ├── look ──▶ a live table          at most twice a second,
                          └── look ──▶ …                     however much happens

Without news a feed is looked at only after its own `tick`: for what the store does not tell of (CPU, memory, a worker
that is gone). A feed that has nothing more to show leaves; a pump without feeds ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from typing import Protocol

from cellq.client.connection import Connection
from cellq.client.portal import portal
from cellq.errors import StoreUnavailable
from cellq.message import Topic

log = logging.getLogger("cellq.notebook")

_APART = 0.5
"""Seconds between two looks."""

_LONGEST = 2.0
"""Seconds after which a pump sees which feeds there are, and what their ticks are."""

_AGAIN = 1.0
"""Seconds between two tries while the store is out of reach."""

_PATIENCE = 60.0
"""Seconds for which it may be out of reach before those who show it are told."""


class Feed(Protocol):
    """Something on screen that shows a store."""

    tick: float
    """Seconds after which it is looked at without news."""

    async def look(self) -> bool:
        """Show what has changed; False when there is nothing more to come."""

    def lose(self, error: Exception) -> None:
        """Say that no more is known, and why: it will not be looked at again."""


class Pump:
    """Looks after the feeds of one store. Lives on the portal's loop; `add` and `remove` come from any thread.

    Args:
        connection: the client's side of the store.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._looked: dict[Feed, float] = {}  # each feed, and when it was looked at
        self._turns: weakref.WeakKeyDictionary[Feed, asyncio.Lock] = weakref.WeakKeyDictionary()
        self._task: asyncio.Task[None] | None = None

    def add(self, feed: Feed) -> None:
        """Look after this feed from now on, with a look at once; again, to have it looked at now."""
        portal().start(self._add(feed))

    def remove(self, feed: Feed) -> None:
        """Leave it alone."""
        portal().start(self._remove(feed))

    async def _add(self, feed: Feed) -> None:
        self._looked.setdefault(feed, time.monotonic())
        await self._look(feed)
        if self._looked and self._task is None:
            self._task = asyncio.create_task(self._run())

    async def _remove(self, feed: Feed) -> None:
        self._looked.pop(feed, None)
        if not self._looked and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        cursor, alive = 0, time.monotonic()
        while self._looked:
            began = time.monotonic()
            try:
                store = await self._connection.ready()
                newer = await store.wait(Topic.NEWS, cursor, min(_LONGEST, *(feed.tick for feed in self._looked)))
                alive = time.monotonic()
            except Exception as error:
                if not isinstance(error, StoreUnavailable) or time.monotonic() - alive > _PATIENCE:
                    for feed in list(self._looked):
                        self._lose(feed, error)
                await asyncio.sleep(_AGAIN)
                continue
            news, cursor = newer != cursor, newer
            for feed, looked in list(self._looked.items()):
                if news or time.monotonic() - looked >= feed.tick:
                    await self._look(feed)
            await asyncio.sleep(max(0.0, began + _APART - time.monotonic()))
        self._task = None

    async def _look(self, feed: Feed) -> None:
        async with self._turns.setdefault(feed, asyncio.Lock()):
            if feed not in self._looked:
                return
            self._looked[feed] = time.monotonic()
            try:
                if not await feed.look():
                    self._looked.pop(feed, None)
            except StoreUnavailable as error:
                log.info("%s; looking again", error)
            except Exception as error:  # a table that cannot be drawn must not take the others along
                log.info("cannot show %r", feed, exc_info=True)
                self._lose(feed, error)

    def _lose(self, feed: Feed, error: Exception) -> None:
        self._looked.pop(feed, None)
        try:
            feed.lose(error)
        except Exception:
            log.info("cannot even say so on %r", feed, exc_info=True)


class Pumps:
    """The pumps of a notebook, one per connection."""

    def __init__(self) -> None:
        # A pump lives as long as something is shown through it; the connection must not live longer for its sake.
        self._pumps: weakref.WeakValueDictionary[Connection, Pump] = weakref.WeakValueDictionary()

    def of(self, connection: Connection) -> Pump:
        """The pump of the store behind this connection."""
        return self._pumps.setdefault(connection, Pump(connection))
