"""From `enqueue` to the result in hand, when nothing else is going on and the worker is warm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import work
from figures import Line
from measuring import in_turns, percentile, single
from rivals import huey as hueys
from rivals import pool as pools
from stand import stand


def measure(room: Path, *, quick: bool) -> list[Line]:
    """Round trips of single jobs, against the pool and huey."""
    count = 50 if quick else 200
    with stand(room, "roundtrip") as (queue, _), pools.pool() as pool, hueys.huey(room) as huey:
        found = in_turns(
            {
                "cellq": lambda: _trips(lambda: queue.enqueue(work.nothing, 1).result(), count),
                "pool": lambda: _trips(lambda: pool.submit(work.nothing, 1).result(), count),
                "huey": lambda: _trips(lambda: hueys.result(huey.nothing(1)), count // 10),
            },
            3 if quick else 5,
        )
    ours, pool_, huey_ = found["cellq"], found["pool"], found["huey"]
    what = "round trip, idle and warm, {}".format
    return [
        Line(what=what("p50"), unit="ms", ours=ours["50"], rival="pool", theirs=pool_["50"], goal=1.2, limit=3),
        Line(what=what("p90"), unit="ms", ours=ours["90"], rival="pool", theirs=pool_["90"]),
        Line(what=what("p50"), unit="ms", ours=ours["50"], rival="huey", theirs=huey_["50"]),
        Line(what=what("p90"), unit="ms", ours=ours["90"], rival="huey", theirs=huey_["90"]),
    ]


def _trips(trip: Callable[[], object], count: int) -> Mapping[str, float]:
    times = single(trip, count)
    return {"50": percentile(times, 50), "90": percentile(times, 90)}
