"""A large array as argument and as result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import work
from figures import Line
from measuring import in_turns, timed
from rivals import pool as pools
from stand import stand

import cellq


def measure(room: Path, *, quick: bool) -> list[Line]:
    """50 MB of floats in and out, against the pool."""
    megabytes = 50
    array = np.random.default_rng(1).random(megabytes * 10**6 // 8)
    with stand(room, "arrays") as (queue, _), pools.pool() as pool:
        found = in_turns(
            {
                "cellq": lambda: _trip(array, lambda: _ours(queue, array)),
                "pool": lambda: _trip(array, lambda: pool.submit(work.nothing, array).result()),
            },
            3 if quick else 7,
        )
    return [
        Line(
            what=f"{megabytes} MB of floats in and out",
            unit="s",
            ours=found["cellq"]["seconds"],
            rival="pool",
            theirs=found["pool"]["seconds"],
            goal=1,
            limit=2,
        )
    ]


def _ours(queue: cellq.Queue, array: Any) -> Any:
    job = queue.enqueue(work.nothing, array)
    return job.result()


def _trip(array: Any, trip: Callable[[], Any]) -> Mapping[str, float]:
    came: list[Any] = []
    seconds = timed(lambda: came.append(trip()))
    start = time.perf_counter()
    if not np.array_equal(came[0], array):  # reads it all: an array that is mapped must be paid for as well
        raise AssertionError("another array came back")
    return {"seconds": seconds + time.perf_counter() - start}
