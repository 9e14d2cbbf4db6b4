"""A server that goes and comes back again and again: every job ends once, and the worker that was there stays there."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import cellq
from cellq import State
from leaks import leaks
from servers import VALKEY, Server

RESTARTS = int(os.environ.get("CELLQ_TEST_RESTARTS", "5"))  # 20 make it 5,000 jobs
STRIDE = 250  # jobs that end between two restarts
BATCH = 50

pytestmark = pytest.mark.timeout(60 + 20 * RESTARTS)


@pytest.fixture
def own(tmp_path: pathlib.Path) -> Iterator[Server]:
    """A server of this test's own that forgets nothing."""
    program = os.environ.get("CELLQ_TEST_SERVER", VALKEY)
    with Server(program, tmp_path, "--appendonly", "yes", "--appendfsync", "always") as started:
        yield started


@pytest.fixture
def queue(own: Server) -> Iterator[cellq.Queue]:
    with cellq.Queue(own.url) as q:
        yield q


def work(number: int, path: str) -> int:
    """Take a millisecond, and leave a trace of having been run."""
    time.sleep(0.001)
    with open(path, "a") as file:
        file.write(f"{number}\n")
    return -number


def stream(queue: cellq.Queue, start_worker, traces: pathlib.Path, until, disturb: Callable[[int], None]) -> None:
    """Enqueue jobs, disturb after each stride of them that has ended, and see that each ended well, and once."""
    total = STRIDE * RESTARTS
    worker = start_worker("-n", "2")

    def enqueue() -> list[cellq.Job[int]]:
        batches = [range(first, first + BATCH) for first in range(0, total, BATCH)]
        return [job for batch in batches for job in queue.map(work, batch, [str(traces)] * BATCH)]

    with ThreadPoolExecutor(1) as pool:
        enqueuing = pool.submit(enqueue)
        for number in range(RESTARTS):
            enough = number * STRIDE + STRIDE // 2
            until(lambda n=enough: queue.count()[State.COMPLETED] >= n, f"{enough} jobs have ended")
            disturb(number)
        jobs = enqueuing.result(60)
    assert [job.result(timeout=60) for job in jobs] == [-number for number in range(total)]
    assert {job.attempt for job in jobs} == {1}
    assert queue.count() == {**dict.fromkeys(State, 0), State.COMPLETED: total}
    assert sorted(map(int, traces.read_text().split())) == list(range(total))
    assert worker.process.poll() is None
    assert [found.pid for found in queue.workers()] == [worker.pid]


def test_a_server_that_is_restarted_loses_and_repeats_nothing(own, queue, start_worker, tmp_path, until) -> None:
    """Every second time it ends without a word."""

    def restart(number: int) -> None:
        if number % 2:
            own.stop()
        else:
            own.kill()
        own.start()

    stream(queue, start_worker, tmp_path / "traces", until, restart)
    with own.client() as client:
        assert leaks(client, "cellq") == []


def test_a_server_that_cuts_every_connection_loses_and_repeats_nothing(
    own, queue, start_worker, tmp_path, until
) -> None:
    def cut(_: int) -> None:
        for kind in ("normal", "pubsub"):
            client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    with own.client() as client:
        stream(queue, start_worker, tmp_path / "traces", until, cut)
        assert leaks(client, "cellq") == []


def test_a_worker_can_be_stopped_while_its_server_is_away(own: Server, start_worker) -> None:
    """Whatever its patience is with a server: a container that does not end by itself is killed."""
    worker = start_worker(url=f"{own.url}?patience=600")
    own.kill()
    worker.process.terminate()
    assert worker.process.wait(60) == 0
    assert "ends while its store is away" in worker.log.read_text()
