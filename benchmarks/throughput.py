"""Many small jobs, enqueued one by one, and all their results fetched one by one: what a simple program does."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import work
from figures import Line
from measuring import cpu_seconds, in_turns
from rivals import huey as hueys
from rivals import pool as pools
from stand import stand

import cellq


def measure(room: Path, *, quick: bool) -> list[Line]:
    """No-op jobs one by one, against the pool and huey."""
    count = 500 if quick else 3000
    with stand(room, "throughput") as (queue, pid), pools.pool() as pool, hueys.huey(room) as huey:
        found = in_turns(
            {
                "cellq": lambda: _ours(queue, pid, count),
                "pool": lambda: _pool(pool, count),
                "huey": lambda: _huey(huey, count // 5),
            },
            3 if quick else 7,
        )
    ours, pool_, huey_ = found["cellq"], found["pool"], found["huey"]
    each = "no-ops one by one: enqueue, then fetch all"
    return [
        Line(
            what=each,
            unit="/s",
            ours=ours["rate"],
            rival="pool",
            theirs=pool_["rate"],
            more_is_better=True,
            goal=2,
            limit=1,
        ),
        Line(
            what=each,
            unit="/s",
            ours=ours["rate"],
            rival="huey",
            theirs=huey_["rate"],
            more_is_better=True,
            goal=5,
        ),
        Line(what="  of it, enqueuing alone", unit="/s", ours=ours["enqueue"], more_is_better=True),
        Line(
            what="  processor time per job, all processes",
            unit="us",
            ours=ours["cpu"],
            rival="pool",
            theirs=pool_["cpu"],
        ),
    ]


def _ours(queue: cellq.Queue, pid: int, count: int) -> Mapping[str, float]:
    cpu, start = cpu_seconds(os.getpid(), pid), time.perf_counter()
    jobs = [queue.enqueue(work.nothing, n) for n in range(count)]
    enqueued = time.perf_counter()
    results = [job.result() for job in jobs]
    return _rates(count, start, enqueued, cpu_seconds(os.getpid(), pid) - cpu, results)


def _pool(pool: ProcessPoolExecutor, count: int) -> Mapping[str, float]:
    cpu, start = cpu_seconds(os.getpid(), *pools.processes(pool)), time.perf_counter()
    futures = [pool.submit(work.nothing, n) for n in range(count)]
    enqueued = time.perf_counter()
    results = [future.result() for future in futures]
    return _rates(count, start, enqueued, cpu_seconds(os.getpid(), *pools.processes(pool)) - cpu, results)


def _huey(huey: hueys.Huey, count: int) -> Mapping[str, float]:
    start = time.perf_counter()
    handles = [huey.nothing(n) for n in range(count)]
    enqueued = time.perf_counter()
    results = [hueys.result(handle) for handle in handles]
    return _rates(count, start, enqueued, 0.0, results)


def _rates(count: int, start: float, enqueued: float, cpu: float, results: list[int]) -> Mapping[str, float]:
    seconds = time.perf_counter() - start
    if results != list(range(count)):
        raise AssertionError("results are missing or in the wrong order")
    return {"rate": count / seconds, "enqueue": count / (enqueued - start), "cpu": cpu / count * 1e6}
