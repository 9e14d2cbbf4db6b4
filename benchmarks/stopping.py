"""How long it takes until a job that was cancelled is over, and until the death of its process is known."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import work
from figures import Line
from stand import stand, until

import cellq
from cellq import JobLost, State

_GRACES = (0.5, 2.0)
_BEYOND = 1.0  # seconds that a stop may take beyond the grace
_KINDS: dict[str, Callable[[], object]] = {
    "a Python loop": work.python_loop,
    "a sleep": work.sleep,
    "a regex that holds the GIL": work.regex,
    "a C call that holds the GIL": work.c_call,
    "a subprocess": work.child_process,
}


def measure(room: Path, *, quick: bool) -> list[Line]:
    """Cancelled jobs of five kinds with two graces; a process that is killed."""
    turns = 1 if quick else 3
    lines = []
    for grace in _GRACES:
        with stand(room, f"stopping-{grace}", "--grace", str(grace)) as (queue, _):
            for name, function in _KINDS.items():
                seconds = [_cancelled(queue, function) for _ in range(turns)]
                what = f"cancel {name}, grace {grace:g} s"
                lines.append(Line(what=what, unit="s", ours=seconds, limit=grace + _BEYOND))
            if grace == _GRACES[0]:
                killed = [_killed(queue) for _ in range(3 * turns)]
    what = "SIGKILL of a slot until JobLost is raised"
    return [*lines, Line(what=what, unit="s", ours=killed, goal=0.1, limit=0.5)]


def _cancelled(queue: cellq.Queue, function: Callable[[], object]) -> float:
    job = queue.enqueue(function)
    until(lambda: job.state is State.RUNNING, "the job runs")
    time.sleep(0.3)  # it is in the middle of it
    start = time.perf_counter()
    job.cancel()
    job.wait()
    return time.perf_counter() - start


def _killed(queue: cellq.Queue) -> float:
    job = queue.enqueue(work.announced_sleep)
    until(lambda: job.logs().strip(), "the job has said who it is")
    start = time.perf_counter()
    os.kill(int(job.logs()), signal.SIGKILL)
    error = job.exception()
    if not isinstance(error, JobLost):
        raise AssertionError(f"JobLost was expected, not {error!r}")
    return time.perf_counter() - start
