"""A queue in a folder of its own and the worker process that serves it, for as long as a benchmark needs them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import work

import cellq

_PATIENCE = 60.0


@contextlib.contextmanager
def stand(room: Path, name: str, *options: str, slots: int = 2) -> Iterator[tuple[cellq.Queue, int]]:
    """A queue on SQLite with a warm `cellq worker` process: the queue, and the worker's process id.

    Args:
        room: where the database goes.
        name: of the database.
        options: more arguments for the command.
    """
    with cellq.Queue(room / f"{name}.db") as queue, worker(queue.url, *options, slots=slots) as pid:
        until(lambda: queue.workers(), "the worker is there")
        # Two at a time, until both slots have been used: the first job of a slot imports what it needs.
        for _ in range(3):
            queue.map(work.nothing, range(20)).results(timeout=_PATIENCE)
        yield queue, pid


@contextlib.contextmanager
def worker(url: str, *options: str, slots: int = 2) -> Iterator[int]:
    """A `cellq worker` process; its process id."""
    with running([*command(url, slots), *options]) as pid:
        yield pid


def command(url: str, slots: int) -> list[str]:
    """The command line of a `cellq worker`."""
    start = [sys.executable, "-P", "-m", "cellq", "worker", "--url", url]
    return [*start, "-n", str(slots), "--log-level", "WARNING"]


@contextlib.contextmanager
def running(command: list[str], **environment: str) -> Iterator[int]:
    """A process that ends with the block."""
    process = subprocess.Popen(command, env=os.environ | environment)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(condition: Callable[[], object], what: str, *, pause: float = 0.02) -> None:
    """Wait for something.

    Raises:
        TimeoutError: it did not happen within a minute.
    """
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited a minute until {what}")
        time.sleep(pause)
