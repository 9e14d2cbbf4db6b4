"""A queue that is full when the worker starts: how fast it empties.

The time goes from the first start to the last end, by the clocks of those who worked: start-up is not in it, and nobody
watches meanwhile but one look at the number of finished jobs ten times a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count as numbers
from pathlib import Path

import work
from figures import Line
from measuring import cpu_seconds, in_turns
from rivals import huey as hueys
from stand import until, worker

import cellq
from cellq import State

_names = numbers()


def measure(room: Path, *, quick: bool) -> list[Line]:
    """A preloaded queue of no-ops, beside huey's."""
    count = 5000 if quick else 30_000
    found = in_turns(
        {"cellq": lambda: _ours(room, count), "huey": lambda: _huey(room, count // 10)},
        2 if quick else 3,
        warm_up=0 if quick else 1,
    )
    ours, theirs = found["cellq"], found["huey"]
    return [
        Line(
            what=f"drain of {count:,} waiting no-ops",
            unit="/s",
            ours=ours["rate"],
            more_is_better=True,
            goal=15_000,
        ),
        Line(
            what=f"  the same beside huey's drain of {count // 10:,}",
            unit="/s",
            ours=ours["rate"],
            rival="huey",
            theirs=theirs["rate"],
            more_is_better=True,
        ),
        Line(what="  processor time per job, worker and slots", unit="us", ours=ours["cpu"]),
    ]


def _ours(room: Path, count: int) -> Mapping[str, float]:
    with cellq.Queue(room / f"drain-{next(_names)}.db") as queue:
        group = queue.map(work.nothing, range(count))
        with worker(queue.url) as pid:
            until(queue.workers, "the worker is there", pause=0.005)
            cpu = cpu_seconds(pid)
            until(lambda: queue.count()[State.COMPLETED] == count, "the queue is empty", pause=0.1)
            cpu = cpu_seconds(pid) - cpu
        rows = [job.row() for job in (group[0], group[-1])]
        seconds = max(row.finished or 0 for row in rows) - min(row.started or 0 for row in rows)
    return {"rate": count / seconds, "cpu": cpu / count * 1e6}


def _huey(room: Path, count: int) -> Mapping[str, float]:
    database = str(room / f"drain-{next(_names)}-huey.db")
    huey = hueys.on(database)
    handles = [huey.now(n) for n in range(count)]
    with hueys.consumer(database):
        times = [hueys.result(handle) for handle in handles]
    huey.queue.storage.close()
    return {"rate": count / (max(times) - min(times))}
