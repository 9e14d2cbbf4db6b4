"""What a worker with two slots costs while it has nothing to do."""

from __future__ import annotations

import time
from pathlib import Path

from figures import Line
from measuring import cpu_seconds
from stand import stand


def measure(room: Path, *, quick: bool) -> list[Line]:
    """Processor time of worker, zygote and slots, in percent of one processor."""
    period, turns = (5.0, 1) if quick else (20.0, 3)
    percents = []
    with stand(room, "idle") as (queue, pid):
        queue.close()
        time.sleep(2.0)
        for _ in range(turns):
            before, start = cpu_seconds(pid), time.perf_counter()
            time.sleep(period)
            percents.append(100 * (cpu_seconds(pid) - before) / (time.perf_counter() - start))
    return [Line(what=f"idle for {period:g} s: worker, zygote, slots", unit="%", ours=percents, goal=0.1, limit=0.2)]
