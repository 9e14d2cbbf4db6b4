"""What stands in a store at one moment, as far as it is shown, and what that costs this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import psutil

from cellq.ids import JobId
from cellq.message import Counts, Filter, Row, State, WorkerInfo
from cellq.store.contract import Store
from cellq.timetable import own_counts, own_rows
from cellq.worker import launch

_FRESH = 1.9
"""Seconds for which CPU and memory are not asked for again: over less, the CPU is a random number."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What processes use: `cpu` in percent of one core, None when not measured yet; `memory` in bytes."""

    cpu: float | None
    memory: int


class Gauges:
    """CPU and memory of processes of this machine. CPU is what was used since the last reading."""

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}
        self._used: dict[int, Usage] = {}
        self._read = 0.0

    def stale(self) -> None:
        """Have the next `read` measure again, however short after the last."""
        self._read = 0.0

    def read(self, pids: Iterable[int]) -> None:
        """Measure these processes, and forget all others."""
        fresh = time.monotonic() - self._read < _FRESH
        used = {pid: self._used[pid] if fresh and pid in self._used else self._measure(pid) for pid in pids}
        self._used = {pid: usage for pid, usage in used.items() if usage is not None}
        self._processes = {pid: process for pid, process in self._processes.items() if pid in self._used}
        if not fresh:
            self._read = time.monotonic()

    def _measure(self, pid: int) -> Usage | None:
        try:
            process = self._processes.get(pid)
            if process is None or not process.is_running():
                process = self._processes[pid] = psutil.Process(pid)
                process.cpu_percent()  # the first look only begins to count
                return Usage(None, process.memory_info().rss)
            return Usage(process.cpu_percent(), process.memory_info().rss)
        except psutil.Error:
            return None

    def of(self, pids: Iterable[int]) -> Usage | None:
        """What these processes use together; None when none of them was found."""
        found = [self._used[pid] for pid in pids if pid in self._used]
        if not found:
            return None
        cpus = [usage.cpu for usage in found if usage.cpu is not None]
        return Usage(sum(cpus) if cpus else None, sum(usage.memory for usage in found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A store at one moment.

    Attributes:
        at: epoch seconds.
        counts: jobs by queue and state, and the workers that are alive.
        running: one page of the running jobs, newest first.
        earlier: how many running jobs are on the pages before it, about.
        after: where the next page begins; None when this is the last one.
        here: the ids of those workers that run on this machine.
        used: what a worker's processes use together, by its id; and the process that runs a job, by the job's id.
    """

    at: float
    counts: Counts
    running: list[Row]
    earlier: int
    after: bytes | None
    here: frozenset[bytes]
    used: Mapping[bytes | JobId, Usage]

    def count(self, state: State) -> int:
        """Jobs in this state, in all queues."""
        return sum(queue.states.get(state, 0) for queue in self.counts.queues.values())


async def look(
    store: Store, gauges: Gauges, room: Callable[[Counts], int], *, page: bytes | None = None, earlier: int = 0
) -> Picture:
    """Read what is shown.

    Args:
        room: tells for how many running jobs there is room beside the rest.
        page: where they begin: `Picture.after` of the page before.
        earlier: see `Picture`.

    Raises:
        StoreUnavailable: the store cannot be reached.
    """
    counts = own_counts(await store.count())
    running, after = await store.find(Filter(states=(State.RUNNING,)), page, room(counts))
    local = launch.local(counts.workers)
    processes = {worker.id: _processes(worker) for worker in local}
    slots = {job: pid for worker in local for job, pid in _slots(worker).items()}
    gauges.read({pid for pids in processes.values() for pid in pids})
    groups = processes | {row.id: [slots[row.id]] for row in running if row.id in slots}
    return Picture(
        at=time.time(),
        counts=counts,
        running=own_rows(running),
        earlier=earlier,
        after=after,
        here=frozenset(processes),
        used={key: usage for key, pids in groups.items() if (usage := gauges.of(pids)) is not None},
    )


def _processes(worker: WorkerInfo) -> list[int]:
    """A worker's own process and those of its slots."""
    return list(dict.fromkeys([worker.pid, *filter(None, json.loads(worker.detail).get("pids", []))]))


def _slots(worker: WorkerInfo) -> dict[JobId, int]:
    """Which process runs which job, as the worker told with its last beat."""
    return {bytes.fromhex(job["id"]): job["pid"] for job in json.loads(worker.detail).get("jobs", [])}
