"""The master dies in the middle of the work and Sentinel promotes its replica: the same worker goes on there."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Iterator

import pytest

import cellq
from cellq import State
from leaks import leaks
from servers import VALKEY, Server

JOBS = 600
PROGRAM = os.environ.get("CELLQ_TEST_SERVER", VALKEY)


@pytest.fixture
def master(tmp_path: pathlib.Path) -> Iterator[Server]:
    with Server(PROGRAM, tmp_path) as started:
        yield started


@pytest.fixture
def replica(master: Server, tmp_path: pathlib.Path, until) -> Iterator[Server]:
    """What follows the master, and has caught up with it."""
    place = tmp_path / "replica"
    place.mkdir()
    with Server(PROGRAM, place, "--replicaof", "127.0.0.1", str(master.port)) as started:
        with started.client() as client:
            until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        yield started


@pytest.fixture
def queue(master: Server, replica: Server, tmp_path: pathlib.Path, until) -> Iterator[cellq.Queue]:
    """A queue on whatever is the master, as a Sentinel knows it."""
    place = tmp_path / "sentinel"
    place.mkdir()
    config = place / "sentinel.conf"
    config.write_text(
        f"sentinel monitor jobs 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds jobs 500\n"
        "sentinel failover-timeout jobs 3000\n"
    )
    with Server(PROGRAM, place, sentinel=config) as sentinel:
        with sentinel.client() as client:
            until(lambda: client.execute_command("SENTINEL", "REPLICAS", "jobs"), "the Sentinel knows the replica")
        with cellq.Queue(f"redis+sentinel://127.0.0.1:{sentinel.port}/jobs?patience=60") as q:
            yield q


def work(number: int) -> int:
    """Take a few milliseconds."""
    time.sleep(0.003)
    return -number


def test_work_goes_on_with_the_replica(master, replica, queue, start_worker, until) -> None:
    """What the master had confirmed and not yet passed on is run again: replication does not wait."""
    jobs = queue.options(retries=3).map(work, range(JOBS))
    with master.client() as client:
        assert client.wait(1, 10_000) == 1, "the replica has not got the jobs"
    worker = start_worker("-n", "2", "--lease", "2")
    until(lambda: queue.count()[State.COMPLETED] >= JOBS // 6, "work is under way")
    master.kill()
    assert jobs.results(timeout=90) == [-number for number in range(JOBS)]
    assert worker.process.poll() is None
    with replica.client() as client:
        assert client.info("replication")["role"] == "master"
        assert leaks(client, "cellq") == []
