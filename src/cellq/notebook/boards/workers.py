"""`%workers`, live: who works on this store, what each slot does, and what that costs this machine.

What a worker says of itself comes from its beats. CPU and memory are asked of the operating system, for the workers of
this machine only; nobody announces those, so they are looked at every two seconds while somebody looks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import psutil

from cellq.client.connection import Connection
from cellq.errors import CellqError
from cellq.ids import JobId, short_id
from cellq.message import WorkerInfo
from cellq.notebook.boards import tables
from cellq.notebook.boards.board import Board, Line, Press, moment
from cellq.notebook.boards.live import LiveTable
from cellq.notebook.boards.pump import Pump
from cellq.notebook.workforce import Address, Workforce
from cellq.worker import launch

_COLUMNS = ("process", "machine", "queues", "Python", "busy slots", "runs", "CPU", "memory", "started")
_STARTING = 30.0
"""Seconds after which a start that nothing was heard of is no longer spoken of."""


class WorkersFeed(LiveTable):
    """Keeps a table of workers up to date while somebody looks at it.

    Args:
        connection: to the store.
        pump: of that store.
        workforce: starts and stops workers.
        name: of the queue that a new worker serves.
    """

    tick = 2.0

    def __init__(self, connection: Connection, pump: Pump, workforce: Workforce, name: str) -> None:
        super().__init__(connection, pump)
        self._workforce = workforce
        self._address = Address.of(connection, name)
        self._workers: list[WorkerInfo] = []
        self._gauges = Gauges()
        self._started: dict[int, tuple[launch.Launched, float]] = {}  # by process id, until they have shown up
        self._stopping: set[bytes] = set()

    async def board(self) -> Board:
        """The table as it stands now.

        Raises:
            StoreUnavailable: the store cannot be reached.
        """
        self._workers = list((await (await self._connection.ready()).count()).workers)
        self._stopping &= {worker.id for worker in self._workers}
        self._look_at_starts()
        here = {worker.id for worker in launch.local(self._workers)}
        known = await self._names()
        now = time.time()
        lines: list[Line] = []
        for worker in self._workers:
            lines += self._lines(worker, worker.id in here, known, now)
        self._gauges.forget()
        busy, slots = sum(worker.busy for worker in self._workers), sum(worker.slots for worker in self._workers)
        many = len(self._workers)
        told = f"{'1 worker' if many == 1 else f'{many} workers'} · {busy} of {slots} slots busy"
        head: dict[str, Any] = {
            "told": told if many else f"no worker runs for {self._connection.url}",
            "start": "Starting…" if self._started else "Start a worker",
            "open": not self._started and self._connection.url.startswith("sqlite:"),
            "notes": list(self._notes),
        }
        plain = tables.workers(self._workers, self._connection.url)
        shown = {"text/html": plain._repr_html_(), "text/plain": repr(plain)}
        return Board("workers", head, _COLUMNS, lines, shown)

    def _look_at_starts(self) -> None:
        present = {worker.pid for worker in self._workers}
        for pid, (worker, at) in list(self._started.items()):
            try:
                worker.check()
            except CellqError as error:
                self._notes = str(error).splitlines()
                del self._started[pid]
                continue
            if pid in present or time.monotonic() - at > _STARTING:
                del self._started[pid]

    async def _names(self) -> Mapping[JobId, str]:
        """What the jobs that are being run are called."""
        ids = [job_id for worker in self._workers for _, some in _slots(worker) for job_id, _ in some]
        rows = await self._connection.get(ids) if ids else []
        return {row.id: row.name or row.task for row in rows if row is not None}

    def _lines(self, worker: WorkerInfo, here: bool, known: Mapping[JobId, str], now: float) -> Iterator[Line]:
        stopping = worker.id in self._stopping
        buttons = (Press("stop", "Stopping…" if stopping else "Stop", not stopping),) if here else ()
        yield Line(
            key=worker.id.hex(),
            about=f"worker {worker.pid}",
            state="running" if worker.busy else "",
            cells=(
                f"worker {worker.pid}",
                worker.host,
                ", ".join(worker.queues),
                worker.runtime,
                f"{worker.busy} of {worker.slots}",
                "",
                *(self._gauges.of(worker.pid) if here else ("", "")),
                moment(worker.started, now),
            ),
            buttons=buttons,
        )
        for pid, jobs in _slots(worker):
            names = [f"{known.get(job_id, task)} ({short_id(job_id)})" for job_id, task in jobs]
            doing = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            yield Line(
                key=f"{worker.id.hex()} {pid}",
                about=f"slot {pid}",
                state="running" if jobs else "",
                cells=(
                    f"slot {pid}",
                    "",
                    "",
                    "",
                    "",
                    doing or "idle",
                    *(self._gauges.of(pid) if here else ("", "")),
                    "",
                ),
                inner=True,
            )

    async def _obey(self, command: str, key: str, message: Mapping[str, Any]) -> None:
        if command == "start":
            worker = self._workforce.start(self._address)
            self._started[worker.pid] = (worker, time.monotonic())
        elif command == "stop":
            asked = self._workforce.stop(worker for worker in self._workers if worker.id.hex() == key)
            self._stopping |= {worker.id for worker in asked}


def _slots(worker: WorkerInfo) -> Iterator[tuple[int, list[tuple[JobId, str]]]]:
    """A worker's slots as it told of them with its last beat: process ids, and the jobs in each with their tasks.

    Idle processes beyond its number of slots are spares, or wait for coroutines: nobody needs to see them.
    """
    detail = json.loads(worker.detail)
    jobs = detail.get("jobs", [])
    idle = worker.slots - len({job["pid"] for job in jobs})
    for pid in filter(None, detail.get("pids", [])):
        mine = [(bytes.fromhex(job["id"]), str(job["task"])) for job in jobs if job["pid"] == pid]
        if not mine:
            idle -= 1
            if idle < 0:
                continue
        yield pid, mine


class Gauges:
    """CPU and memory of processes of this machine. CPU is what was used since the last look."""

    def __init__(self) -> None:
        self._known: dict[int, psutil.Process] = {}
        self._seen: set[int] = set()

    def of(self, pid: int) -> tuple[str, str]:
        """A process's CPU in percent of a core, and its memory; two blanks when it is gone."""
        self._seen.add(pid)
        try:
            process = self._known.get(pid)
            if process is None or not process.is_running():
                process = self._known[pid] = psutil.Process(pid)
                process.cpu_percent()  # the first look only begins to count
                return "", _memory(process.memory_info().rss)
            return f"{process.cpu_percent():.0f} %", _memory(process.memory_info().rss)
        except psutil.Error:
            self._known.pop(pid, None)
            return "", ""

    def forget(self) -> None:
        """Drop those that were not asked for since the last call."""
        self._known = {pid: process for pid, process in self._known.items() if pid in self._seen}
        self._seen.clear()


def _memory(size: int) -> str:
    return f"{size / 2**20:,.0f} MB" if size < 2**30 else f"{size / 2**30:.1f} GB"
