"""Pins what several processes on one database rely on: wakes, kills, fair shares, each job run once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from making import Clock, check_counts, in_state, message, worker

from cellq.errors import StoreUnavailable
from cellq.message import Claims, Filter, Lane, QueueSettings, State, Topic, WorkerInfo
from cellq.store.sqlite import SQLiteStore

ME = worker("me")
CHILD = str(Path(__file__).parent / "store_child.py")


class Child:
    """A process of `store_child.py`."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, CHILD, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def hear(self) -> Any:
        """The next line it says; None at its end."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def go_on(self) -> None:
        """Give it a word."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Kill it if need be, and let go of it."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def children() -> Iterator[list[Child]]:
    """Processes that are ended with the test."""
    started: list[Child] = []
    yield started
    for child in started:
        child.end()


@pytest.mark.timeout(60)
async def test_every_wake_arrives_with_the_safety_poll_off(tmp_path: Path, children: list[Child]) -> None:
    store = SQLiteStore(tmp_path / "jobs.db")
    store.safety_poll = None
    await store.open()
    cursor = await store.wait(Topic.NEWS, 0, None)
    children.append(Child("serve", store.path))
    await asyncio.to_thread(children[0].hear)
    for _ in range(300):
        asked = message()
        await store.push([asked], {})
        while True:
            (found,) = await store.get([asked.id])
            assert found is not None
            if found.state.ended:
                break
            newer = await store.wait(Topic.NEWS, cursor, 10)
            assert newer != cursor, f"nobody rang for a job that is {found.state}"
            cursor = newer
    await store.close()


async def test_the_safety_poll_finds_what_nobody_rang_for(tmp_path: Path) -> None:
    store, silent = SQLiteStore(tmp_path / "jobs.db"), SQLiteStore(tmp_path / "jobs.db")
    store.safety_poll = 0.01
    await store.open()
    await silent.open()
    cursor = await store.wait(Topic.WORK, 0, None)
    await silent._connection.write(lambda turn: turn.sql.execute("DELETE FROM bell"))
    cursor = await store.wait(Topic.WORK, cursor, 10)
    await silent.push([message()], {})
    assert await store.wait(Topic.WORK, cursor, 10) > cursor
    await store.close()
    await silent.close()


async def test_two_handles_of_one_process_ring_each_other(tmp_path: Path) -> None:
    one, two = SQLiteStore(tmp_path / "jobs.db"), SQLiteStore(tmp_path / "jobs.db")
    one.safety_poll = None
    await one.open()
    await two.open()
    cursor = await one.wait(Topic.WORK, 0, None)
    await two.push([message()], {})
    assert await one.wait(Topic.WORK, cursor, 10) > cursor
    await one.close()
    await two.close()


async def test_a_bell_that_nobody_answers_is_taken_down(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "jobs.db")
    await store.open()
    gone = (1, b"s" * 16, 7, "here", 1)  # port 1: nobody listens there
    await store._connection.write(lambda turn: turn.sql.execute("INSERT INTO bell VALUES (?, ?, ?, ?, ?)", gone))

    async def hanging() -> int:
        bells = await store._connection.read(lambda sql: sql.execute("SELECT count(*) FROM bell").fetchone())
        return int(bells[0])

    async with asyncio.timeout(10):
        while await hanging():
            await store.push([message()], {})
    await store.close()


@pytest.mark.timeout(60)
async def test_a_kill_at_any_moment_loses_nothing_acknowledged(tmp_path: Path, children: list[Child]) -> None:
    path = tmp_path / "jobs.db"
    pushed: set[str] = set()
    finished: set[str] = set()
    for round_ in range(8):
        child = Child("churn", path)
        children.append(child)
        for _ in range(3 + 5 * round_):
            what, ids = child.hear()
            (pushed if what == "pushed" else finished).update(ids)
        os.kill(child.process.pid, signal.SIGKILL)
        while said := child.hear():
            (pushed if said[0] == "pushed" else finished).update(said[1])
        child.end()
    with sqlite3.connect(path) as sql:
        assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    sql.close()
    store = SQLiteStore(path)
    await store.open()
    # A job may have been finished that was pushed right before a kill, so that nobody acknowledged the push.
    rows = await store.get([bytes.fromhex(job_id) for job_id in pushed | finished])
    assert None not in rows
    done = {row.id.hex() for row in rows if row is not None and row.state is State.COMPLETED}
    assert finished <= done
    await check_counts(store)
    await store.close()


@pytest.mark.timeout(60)
async def test_jobs_of_a_killed_worker_on_this_machine_come_back_at_once(tmp_path: Path, children: list[Child]) -> None:
    store = SQLiteStore(tmp_path / "jobs.db")
    await store.open()
    children.append(Child("lock", tmp_path / "other.db"))  # any process that stays
    children[0].hear()
    host = store._processes.host
    theirs = worker("theirs", lease=600.0, host=host, pid=children[0].process.pid)
    ours = worker("ours", lease=600.0, host=host, pid=os.getpid())
    await store.beat(theirs, [])
    await store.beat(ours, [])
    await store.push([message(retries=1)], {})
    (taken,) = (await store.claim(theirs.id, ["default"], {Lane.SYNC: 1}, "3.11")).claims

    async def try_to_claim(who: WorkerInfo) -> bytes | None:
        claims = (await store.claim(who.id, ["default"], {Lane.SYNC: 1}, "3.11")).claims
        return claims[0].lease.id if claims else None

    assert await try_to_claim(ours) is None
    os.kill(children[0].process.pid, signal.SIGKILL)  # and it stays a zombie until we ask how it ended
    async with asyncio.timeout(10):
        while (got := await try_to_claim(ours)) is None:
            await asyncio.sleep(0.01)
    assert got == taken.lease.id
    await store.close()


@pytest.mark.timeout(100)
async def test_sixteen_processes_share_one_database(tmp_path: Path, children: list[Child]) -> None:
    processes, pushes = 16, 333
    path = tmp_path / "jobs.db"
    children += [Child("race", path, pushes) for _ in range(processes)]
    for child in children:
        assert child.hear() == "ready"
    for child in children:
        child.go_on()
    shares = [child.hear() for child in children]
    assert None not in shares, "a process failed"
    ran = [job_id for share in shares for job_id in share]
    assert len(ran) == len(set(ran)) == processes * pushes
    assert min(map(len, shares)) > pushes / 3, f"unfair shares: {sorted(map(len, shares))}"
    store = SQLiteStore(path)
    await store.open()
    assert (await store.find(Filter(states=(State.PENDING, State.RUNNING, State.FAILED)))).rows == []
    await check_counts(store)
    await store.close()


async def test_a_claim_of_nothing_waits_for_no_writer(tmp_path: Path) -> None:
    clock = Clock()
    one, other = [SQLiteStore(tmp_path / "jobs.db", clock=clock, patience=0.01) for _ in range(2)]
    await one.open()
    await other.open()
    await one.beat(ME, [])
    await one.tune("paused", QueueSettings(paused=True))
    await one.push([message(queue="paused"), message(delay=10), message(runtime="3.12")], {})

    async def claims() -> Claims:
        return await one.claim(ME.id, ["default", "paused"], {Lane.SYNC: 1}, "3.11")

    due = clock.now + 10
    await other._connection.read(lambda sql: sql.execute("BEGIN IMMEDIATE"))
    assert await claims() == ([], due)
    clock.step(10)
    with pytest.raises(StoreUnavailable):  # there is something now
        await claims()
    await other._connection.read(lambda sql: sql.execute("ROLLBACK"))
    assert len((await claims()).claims) == 1
    assert await claims() == ([], None)
    await one.close()
    await other.close()


async def test_a_claim_of_nothing_notices_the_dead(tmp_path: Path) -> None:
    clock = Clock()
    store = SQLiteStore(tmp_path / "jobs.db", clock=clock)
    await store.open()
    await in_state(store, State.RUNNING, who=worker("dead"), retries=1)
    clock.step(worker().lease + 1)
    assert store._idle is False
    await store.beat(ME, [])
    store._idle = True
    assert len((await store.claim(ME.id, ["default"], {Lane.SYNC: 1}, "3.11")).claims) == 1
    await store.close()
