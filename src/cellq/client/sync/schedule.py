"""The schedules of a store, for everybody who may block."""

from __future__ import annotations

from typing import Any, Self

from cellq.client.portal import settle
from cellq.client.schedule import AsyncSchedule, Entry, ScheduleFacts
from cellq.client.sync.job import Job


class Schedule(ScheduleFacts):
    """A schedule: a call that is enqueued at every instant of a cron expression.

    Made by `Queue.cron`, found by `Queue.schedules`. Its properties tell what was last seen; `refresh()` looks again.
    """

    __slots__ = ("_twin",)

    def __init__(self, twin: AsyncSchedule) -> None:
        self._twin = twin

    def _seen(self) -> Entry:
        return self._twin._seen()

    def refresh(self) -> Self:
        """Look at it again.

        Raises:
            Expired: it was removed.
        """
        settle(self._twin.refresh())
        return self

    def pause(self) -> None:
        """Enqueue nothing until it is resumed; calls that are enqueued already run.

        Raises:
            Expired: it was removed.
        """
        settle(self._twin.pause())

    def resume(self) -> None:
        """Take `pause` back. The instants that passed meanwhile count as missed.

        Raises:
            Expired: it was removed.
        """
        settle(self._twin.resume())

    def remove(self) -> bool:
        """Take it out of the store; calls that are enqueued already run. False when it was gone."""
        return settle(self._twin.remove())

    def run_now(self) -> Job[Any]:
        """Enqueue its call now, besides those of its instants, and give the job.

        Raises:
            Expired: it was removed.
        """
        return Job(settle(self._twin.run_now())._record)
