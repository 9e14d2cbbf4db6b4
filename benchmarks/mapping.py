"""One call that makes 20,000 jobs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import work
from figures import Line
from measuring import in_turns
from rivals import pool as pools
from stand import stand

import cellq


def measure(room: Path, *, quick: bool) -> list[Line]:
    """`map` over no-ops, against the pool's (chunksize 1: one task per call, as ours)."""
    count = 4000 if quick else 20_000
    with stand(room, "mapping") as (queue, _), pools.pool() as pool:
        found = in_turns({"cellq": lambda: _ours(queue, count), "pool": lambda: _pool(pool, count)}, 3 if quick else 5)
    ours, theirs = found["cellq"], found["pool"]
    return [
        Line(
            what=f"map of {count:,} no-ops: until enqueued",
            unit="/s",
            ours=ours["enqueue"],
            more_is_better=True,
            goal=40_000,
        ),
        Line(
            what="  the same beside the pool's",
            unit="/s",
            ours=ours["enqueue"],
            rival="pool",
            theirs=theirs["enqueue"],
            more_is_better=True,
        ),
        Line(
            what="  until all results are here",
            unit="/s",
            ours=ours["rate"],
            rival="pool",
            theirs=theirs["rate"],
            more_is_better=True,
        ),
    ]


def _ours(queue: cellq.Queue, count: int) -> Mapping[str, float]:
    start = time.perf_counter()
    group = queue.map(work.nothing, range(count))
    enqueued = time.perf_counter()
    return _rates(count, start, enqueued, group.results())


def _pool(pool: ProcessPoolExecutor, count: int) -> Mapping[str, float]:
    start = time.perf_counter()
    results = pool.map(work.nothing, range(count), chunksize=1)
    enqueued = time.perf_counter()
    return _rates(count, start, enqueued, list(results))


def _rates(count: int, start: float, enqueued: float, results: list[int]) -> Mapping[str, float]:
    seconds = time.perf_counter() - start
    if results != list(range(count)):
        raise AssertionError("results are missing or in the wrong order")
    return {"rate": count / seconds, "enqueue": count / (enqueued - start)}
