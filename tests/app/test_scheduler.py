"""`Scheduler`: messages of tasks at the instants of cron expressions, by a program that runs nothing itself."""

from __future__ import annotations

import asyncio
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest

import cellq
from cellq.client.portal import portal
from cellq.client.schedule import Register
from cellq.client.task import sealed
from cellq.message import State
from cellq.timetable import Timetable
from waiting import until

HOUR = 3600.0


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "jobs.db") if request.param == "sqlite" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
def worker(url: str) -> cellq.Worker:
    return cellq.Worker("reports", url=url, slots=1)


@pytest.fixture
def queue(url: str) -> Iterator[cellq.Queue]:
    with cellq.Queue(url, "reports") as q:
        yield q


def made_an_hour_ago(message: cellq.Message) -> None:
    """The minutely schedule of this message, as if nothing had run since an hour: it is due at once."""
    queue, call, code = sealed(message)
    table = Timetable.of(
        call, name=message.task, expression="* * * * *", zone="UTC", missed="once", now=time.time() - HOUR
    )
    portal().call(Register(queue.connection).put(table, call.code, call.payload, code))


async def test_it_ticks_and_a_worker_runs_the_task(worker, queue) -> None:
    @worker.task(priority=2)
    def add(x, y):
        return x + y

    made_an_hour_ago(add.message(1, y=2))
    ready = [asyncio.Event(), asyncio.Event()]
    serving = []
    for event in ready:
        scheduler = cellq.Scheduler()
        scheduler.cron("* * * * *", add.message(1, y=2), zone="UTC")
        serving.append(asyncio.create_task(scheduler.serve(ready=event.set)))
    for event in ready:
        await asyncio.wait_for(event.wait(), 30)
    jobs = await asyncio.to_thread(until, lambda: queue.jobs(name="reports:add"), "something was ticked")
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    assert queue.workers() == []  # they have signed off
    with worker:
        assert await asyncio.to_thread(jobs[-1].result, 30) == 3


def test_registering_twice_changes_nothing_and_an_expression_is_replaced(worker, queue) -> None:
    @worker.task()
    async def send(to):
        return to

    def program(expression: str) -> list[cellq.Schedule]:
        scheduler = cellq.Scheduler()
        scheduler.cron(expression, send.message("a"), zone="Europe/Berlin")
        scheduler.cron("@daily", send.message("b"), name="digest", missed="skip", zone="UTC")
        return scheduler.register()

    first, digest = program("*/5 * * * *")
    again, _ = program("*/5 * * * *")
    assert again._seen().row.id == first._seen().row.id
    assert (digest.name, digest.missed, digest.task) == ("digest", "skip", "reports:send")
    program("*/10 * * * *")
    assert [(one.name, one.expression) for one in queue.schedules()] == [
        ("digest", "@daily"),
        ("reports:send", "*/10 * * * *"),
    ]


def test_rules_of_a_task_travel_with_its_calls(worker, queue) -> None:
    @worker.task(max_tries=2, max_rate="10/s")
    async def flaky():
        raise OSError("away")

    scheduler = cellq.Scheduler()
    scheduler.cron("@yearly", flaky.message(), zone="UTC")
    (schedule,) = scheduler.register()
    with worker:
        job = schedule.run_now()
        assert job.wait(30)
    assert (job.state, job.attempt) == (State.FAILED, 2)


def test_two_schedules_of_one_task_need_names(worker) -> None:
    @worker.task()
    def send(to):
        return to

    scheduler = cellq.Scheduler()
    scheduler.cron("@daily", send.message("a"))
    with pytest.raises(ValueError, match="give this one another name: name="):
        scheduler.cron("@hourly", send.message("b"))


def test_bad_input_is_refused_at_the_call(worker) -> None:
    @worker.task()
    def send(to):
        return to

    scheduler = cellq.Scheduler()
    with pytest.raises(ValueError, match="bad hour '25'"):
        scheduler.cron("0 25 * * *", send.message("a"))
    with pytest.raises(ValueError, match="no time zone 'Mars'"):
        scheduler.cron("@daily", send.message("a"), zone="Mars")
    with pytest.raises(ValueError, match="missed must be"):
        scheduler.cron("@daily", send.message("a"), missed="twice")
    with pytest.raises(TypeError, match=r"as task\.message"):
        scheduler.cron("@daily", send)  # type: ignore[arg-type]


PROGRAM = """
    import cellq

    worker = cellq.Worker("reports", url={url!r})

    @worker.task()
    def make(kind):
        return kind

    if __name__ == "__main__":
        scheduler = cellq.Scheduler()
        scheduler.cron("0 3 * * MON-FRI", make.message("daily"), zone="Europe/Berlin")
        scheduler.run(ready=lambda: print("ticks", flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_as_a_program_it_ends_by_a_signal(tmp_path, queue, url, number) -> None:
    path = tmp_path / "schedule.py"
    path.write_text(textwrap.dedent(PROGRAM).format(url=url))
    process = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ticks\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
    (schedule,) = queue.schedules()
    assert (schedule.name, schedule.zone) == ("reports:make", "Europe/Berlin")
