"""Taking turns, counting processor time, and knowing when the machine was not ours alone."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

TURN = Callable[[], Mapping[str, float]]
"""One turn of one contestant: name of a value, and the value."""


_REST = 0.01  # seconds before a single call


def in_turns(contestants: Mapping[str, TURN], turns: int, *, warm_up: int = 1) -> dict[str, dict[str, list[float]]]:
    """Let everybody have a turn, then everybody the next: A B C A B C …

    Args:
        turns: how many count.
        warm_up: how many come before those and do not count.

    Returns:
        By contestant and name of the value: one value per turn.
    """
    found: dict[str, dict[str, list[float]]] = {name: {} for name in contestants}
    for number in range(warm_up + turns):
        for name, turn in contestants.items():
            for key, value in turn().items():
                if number >= warm_up:
                    found[name].setdefault(key, []).append(value)
    return found


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work()` took."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def single(work: Callable[[], object], count: int) -> list[float]:
    """Milliseconds of each of so many calls, with a rest before each: everybody has gone back to sleep."""
    times = []
    for _ in range(count):
        time.sleep(_REST)
        times.append(1000 * timed(work))
    return times


def percentile(values: Iterable[float], percent: int) -> float:
    """The value that so many percent of `values` do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def cpu_seconds(*roots: int) -> float:
    """Processor seconds that these processes and their living descendants have used so far."""
    total = 0.0
    for pid in roots:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            try:
                total += _of_one(one)
            except (psutil.Error, OSError):
                continue  # it has ended meanwhile
    return total


def _of_one(process: psutil.Process) -> float:
    # Linux counts nanoseconds here; `cpu_times` counts in steps of 10 ms, too coarse for an idle process.
    stats = list(Path(f"/proc/{process.pid}/task").glob("*/schedstat"))
    if stats:
        return sum(int(stat.read_text().split()[0]) for stat in stats) / 1e9
    times = process.cpu_times()
    return float(times.user + times.system)


class Machine:
    """How busy the machine is with what is not ours."""

    busy_over = 10.0
    """Percent of all processors used by others above which figures are doubtful."""

    def others(self, seconds: float = 1.0) -> float:
        """Percent of all processors that are in use now, while we do nothing."""
        return psutil.cpu_percent(seconds)

    def __str__(self) -> str:
        load = " ".join(f"{one:.2f}" for one in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
        return f"{os.cpu_count()} processors, load average {load}"
