"""Gathers what slots report into few store calls.

While one call is on its way to the store the next batch gathers. Single outcomes are written at once; when several
came together more are likely to follow, and the next write waits a few milliseconds for them, because each
transaction stands in the way of those who push. Events of a job are written before its outcome, because a store
refuses events of an ended job. A store that cannot be reached loses nothing: what was not written is kept and tried
again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from cellq.errors import StoreUnavailable
from cellq.ids import short_id
from cellq.message import Event, Lease, Outcome
from cellq.store.contract import Store

log = logging.getLogger("cellq.worker")

STREAM_PACE = 0.005
"""Seconds between two writes (and between two claims) of a worker while jobs stream through it."""

_RETRY_FIRST = 0.05
_RETRY_MOST = 5.0
_jitter = random.Random()  # a worker may run in a notebook's process (`testing`, `with Worker`)


class Funnel:
    """One writer for events and outcomes.

    Args:
        store: where they go.
        on_stale: told of leases that turned out not to be ours any more.
    """

    def __init__(self, store: Store, on_stale: Callable[[Lease], None]) -> None:
        self._store = store
        self._on_stale = on_stale
        self._events: list[Event] = []
        self._outcomes: list[Outcome] = []
        self._filled = asyncio.Event()
        self._closing = False

    def event(self, event: Event) -> None:
        """Write this event soon."""
        self._events.append(event)
        self._filled.set()

    def outcome(self, outcome: Outcome) -> None:
        """Write this outcome soon, after every event handed in before."""
        self._outcomes.append(outcome)
        self._filled.set()

    async def run(self) -> None:
        """Write until closed and empty."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._events or self._outcomes:
                events, self._events = self._events, []
                outcomes, self._outcomes = self._outcomes, []
                await self._write(events, outcomes)
                if len(outcomes) > 1 and not self._closing:
                    await asyncio.sleep(STREAM_PACE)
            if self._closing:
                return

    def close(self) -> None:
        """Let `run` end once everything is written."""
        self._closing = True
        self._filled.set()

    async def _write(self, events: list[Event], outcomes: list[Outcome]) -> None:
        pause = _RETRY_FIRST
        while True:
            try:
                if events:
                    for lease in await self._store.report(events):
                        self._on_stale(lease)
                    events = []
                if outcomes:
                    accepted = await self._store.finish(outcomes)
                    for outcome, ok in zip(outcomes, accepted, strict=True):
                        if not ok:
                            log.warning(
                                "job %s: attempt %d was no longer ours, its outcome is dropped",
                                short_id(outcome.lease.id),
                                outcome.lease.attempt,
                            )
                return
            except StoreUnavailable as error:
                log.error("%s; %d outcomes are kept and tried again", error, len(outcomes))
                await asyncio.sleep(pause * _jitter.uniform(0.5, 1.0))
                pause = min(pause * 2, _RETRY_MOST)
