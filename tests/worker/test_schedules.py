"""Schedules are ticked once each, whoever looks and whoever dies; what was missed is made up or skipped, as asked."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator

import pytest
from ticks import Clock, World

import cellq
from cellq import cron
from cellq.client.portal import portal
from cellq.client.schedule import Register
from cellq.errors import Expired
from cellq.ids import instant_id
from cellq.message import Action, Filter, Part, State
from cellq.store.contract import Store
from cellq.store.memory import MemoryStore
from cellq.store.redis import RedisStore
from cellq.store.sqlite import SQLiteStore
from cellq.timetable import QUEUE, Progress, Timetable
from cellq.wire.sealing import Purpose

NOON = 1_795_348_800.0  # 2026-11-22 12:00 UTC
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@pytest.fixture(params=["memory", "sqlite", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(kind: str, tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> Iterator[World]:
    """An empty store of each kind, at noon."""
    makers: dict[str, Callable[[Clock], Store]] = {
        "sqlite": lambda clock: SQLiteStore(tmp_path / "jobs.db", clock=clock)
    }
    if kind == "memory":
        shared: list[Store] = []
        makers[kind] = lambda clock: (shared or shared.append(MemoryStore(clock=clock)) or shared)[0]
    if kind == "redis":
        url = request.getfixturevalue("redis_url")
        makers[kind] = lambda clock: RedisStore(url, clock=clock)
    made = World(makers[kind], NOON)
    yield made
    made.close()


def work(*args: object) -> object:
    return args


# ------------------------------------------------------------------------------------------------------- ticking


def test_fifty_schedulers_enqueue_each_tick_once(world: World) -> None:
    schedulers = [world.scheduler() for _ in range(50)]
    world.cron("minutely", "* * * * *", work, 1)
    ticked = 0
    for _ in range(60):
        world.clock.now += MINUTE
        ticked += world.look(*schedulers)
    assert world.ticks("minutely") == [NOON + MINUTE * n for n in range(1, 61)]
    assert ticked == 60


def test_nothing_is_ticked_before_its_instant(world: World) -> None:
    scheduler = world.scheduler()
    world.cron("quarterly", "*/15 * * * *", work)
    for seconds in (0, 1, 898.9):
        world.clock.now = NOON + seconds
        assert world.look(scheduler) == 0
    world.clock.now = NOON + 900.1
    assert world.look(scheduler) == 1
    assert world.look(scheduler) == 0
    assert world.ticks("quarterly") == [NOON + 900]


def test_many_schedules_are_ticked_together(world: World) -> None:
    scheduler = world.scheduler()
    for n in range(100):
        world.cron(f"s{n}", "*/5 * * * *", work, n)
    world.clock.now += 5 * MINUTE
    assert [world.look(scheduler), world.look(scheduler), world.look(scheduler)] == [64, 36, 0]
    assert len(world.queue.jobs(limit=None)) == 100


@pytest.mark.parametrize("behind", [-5.0, 5.0], ids=["behind", "ahead"])
def test_schedulers_whose_clocks_differ_tick_once(world: World, behind: float) -> None:
    exact, other = world.scheduler(), world.scheduler()
    other.ticker._clock = lambda: world.clock.now + behind
    world.cron("minutely", "* * * * *", work)
    for _ in range(10 * 12 + 2):
        world.clock.now += 5.0
        world.look(other)
        world.look(exact)
    ticks = world.ticks("minutely")
    assert ticks[:10] == [NOON + MINUTE * n for n in range(1, 11)]
    assert len(ticks) <= 11  # the one that is ahead may be at the next already


def test_a_clock_that_was_a_year_ahead_does_not_stop_a_schedule(world: World) -> None:
    scheduler = world.scheduler()
    world.cron("hourly", "0 * * * *", work)
    scheduler.ticker._clock = lambda: world.clock.now + 365 * DAY
    world.clock.now += HOUR
    world.look(scheduler)
    scheduler.ticker._clock = world.clock
    for _ in range(5):
        world.clock.now += HOUR
        world.look(scheduler)
    assert NOON + 5 * HOUR in world.ticks("hourly")


# -------------------------------------------------------------------------------------------------------- missed


def test_missed_instants_are_made_up_once(world: World) -> None:
    scheduler = world.scheduler()
    world.cron("hourly", "0 * * * *", work)
    world.clock.now += 10 * HOUR + 1800
    world.look(scheduler)
    assert world.ticks("hourly") == [NOON + 10 * HOUR]
    world.clock.now += 1800
    world.look(scheduler)
    assert world.ticks("hourly") == [NOON + 10 * HOUR, NOON + 11 * HOUR]


def test_missed_instants_are_skipped_where_that_is_asked_for(world: World) -> None:
    scheduler = world.scheduler()
    world.cron("hourly", "0 * * * *", work, missed="skip")
    world.clock.now += 10 * HOUR + 1800
    world.look(scheduler)
    assert world.ticks("hourly") == []
    world.clock.now += 1801
    world.look(scheduler)
    assert world.ticks("hourly") == [NOON + 11 * HOUR]


def test_an_instant_that_is_a_little_late_is_not_missed(world: World) -> None:
    scheduler = world.scheduler()
    world.cron("hourly", "0 * * * *", work, missed="skip")
    world.clock.now += HOUR + 45
    world.look(scheduler)
    assert world.ticks("hourly") == [NOON + HOUR]


@pytest.mark.parametrize(("missed", "expected"), [("once", [3, 4]), ("skip", [4])])
def test_instants_that_pass_during_a_pause_count_as_missed(world: World, missed: str, expected: list[int]) -> None:
    scheduler = world.scheduler()
    world.cron("hourly", "0 * * * *", work, missed=missed)
    assert world.pause("hourly").paused
    world.clock.now += 3 * HOUR + 600
    assert world.look(scheduler) == 0
    assert not world.resume("hourly").paused
    world.look(scheduler)
    world.clock.now = NOON + 4 * HOUR
    world.look(scheduler)
    assert world.ticks("hourly") == [NOON + n * HOUR for n in expected]


# ------------------------------------------------------------------------------------------------------ changing


def test_a_paused_schedule_survives_pruning_and_years(world: World) -> None:
    world.cron("hourly", "0 * * * *", work)
    world.pause("hourly")
    world.clock.now += 3 * 365 * DAY
    scheduler = world.scheduler()
    world.queue.prune(completed=0, failed=0, cancelled=0)
    world.look(scheduler)
    assert [(one.name, one.paused) for one in world.queue.schedules()] == [("hourly", True)]
    world.resume("hourly")
    assert world.look(scheduler) == 1


def test_a_removed_schedule_is_gone_and_what_it_enqueued_stays(world: World) -> None:
    scheduler = world.scheduler()
    schedule = world.cron("hourly", "0 * * * *", work)
    world.clock.now += HOUR
    world.look(scheduler)
    assert schedule.remove()
    assert not schedule.remove()
    assert world.queue.schedules() == []
    world.clock.now += HOUR
    assert world.look(scheduler) == 0
    assert world.ticks("hourly") == [NOON + HOUR]
    with pytest.raises(Expired, match="there is no schedule 'hourly'"):
        schedule.pause()


def test_what_is_replaced_keeps_when_it_last_ran(world: World) -> None:
    scheduler = world.scheduler()
    world.cron("hourly", "0 * * * *", work, "old")
    world.clock.now += HOUR
    world.look(scheduler)
    replaced = world.cron("hourly", "0 * * * *", work, "new")
    assert replaced.last is not None
    assert replaced.last.timestamp() == NOON + HOUR
    assert world.look(scheduler) == 0
    world.clock.now += HOUR
    world.look(scheduler)
    assert world.ticks("hourly") == [NOON + HOUR, NOON + 2 * HOUR]


def test_another_expression_makes_up_nothing_of_its_own_past(world: World) -> None:
    scheduler = world.scheduler()
    world.cron("daily", "0 3 * * *", work)
    world.clock.now += 30 * MINUTE
    world.cron("daily", "15 * * * *", work)
    assert world.look(scheduler) == 0
    world.clock.now += 45 * MINUTE
    world.look(scheduler)
    assert world.ticks("daily") == [NOON + 75 * MINUTE]


def test_the_same_again_changes_nothing(world: World) -> None:
    world.cron("hourly", "0 * * * *", work, 1)
    (before,) = job_ids(world)
    world.cron("hourly", "0  *  * * *", work, 1)
    assert job_ids(world) == [before]
    world.cron("hourly", "0 * * * *", work, 2)
    assert job_ids(world) != [before]


def test_what_is_replaced_while_paused_stays_paused(world: World) -> None:
    world.cron("hourly", "0 * * * *", work, 1)
    world.pause("hourly")
    assert world.cron("hourly", "0 * * * *", work, 2).paused


def test_replaced_while_it_is_ticked_it_ticks_once(world: World) -> None:
    scheduler = world.scheduler()
    world.cron("hourly", "0 * * * *", work, "old")
    world.clock.now += HOUR
    claims = world.call(scheduler.claim())
    replacing = portal().start(world.register.pause("hourly"))
    try:
        while not rows(world)[0].cancelling:
            time.sleep(0.005)  # until the change has begun
        world.call(scheduler.ticker.tick(claims))
    finally:
        paused = replacing.result(30)
    assert paused.progress.last == NOON + HOUR
    world.resume("hourly")
    assert world.look(scheduler) == 0
    assert world.ticks("hourly") == [NOON + HOUR]


def test_two_notebooks_that_replace_it_at_once_leave_one(world: World) -> None:
    world.cron("hourly", "0 * * * *", work, 0)
    twin = world.queue._twin
    changes = []
    for n in range(1, 9):
        call, code = twin._call(work, (n,), {})
        table = Timetable.of(call, name="hourly", expression="0 * * * *", zone="UTC", missed="once", now=NOON)
        changes.append(
            portal().start(Register(world.connection, world.clock).put(table, call.code, call.payload, code))
        )
    for change in changes:
        change.result(30)
    assert len(rows(world)) == 1
    scheduler = world.scheduler()
    world.clock.now += HOUR
    assert world.look(scheduler) == 1
    assert world.ticks("hourly") == [NOON + HOUR]


def test_who_dies_between_the_two_steps_of_a_change_leaves_a_paused_schedule(world: World) -> None:
    world.cron("hourly", "0 * * * *", work)
    store = world.call(world.connection.ready())
    world.call(store.change([rows(world)[0].id], Action.CANCEL))
    (found,) = world.queue.schedules()
    assert found.paused
    world.resume("hourly")
    assert not found.refresh().paused
    world.clock.now += HOUR
    assert world.look(world.scheduler()) == 1


# ---------------------------------------------------------------------------------------------------------- calls


def test_calls_have_the_options_that_were_asked_for(world: World) -> None:
    queue = world.queue.options(queue="reports", priority=3, timeout=9, retries=2, key="one-at-a-time", expires=60)
    world.cron("hourly", "0 * * * *", work, queue=queue)
    world.clock.now += HOUR
    world.look(world.scheduler())
    store = world.call(world.connection.ready())
    (row,) = world.call(store.find(Filter(queue="reports"))).rows
    assert (row.name, row.priority, row.timeout, row.retries, row.key) == ("hourly", 3, 9, 2, "one-at-a-time")
    assert row.expires == world.clock.now + 60
    assert json.loads(row.origin)["schedule"] == "hourly"
    assert row.id == instant_id(Timetable.read(rows(world)[0].origin).root, NOON + HOUR)


def test_with_a_key_no_call_joins_the_one_before(world: World) -> None:
    scheduler = world.scheduler()
    world.cron("hourly", "0 * * * *", work, queue=world.queue.options(key="one-at-a-time"))
    for _ in range(3):
        world.clock.now += HOUR
        world.look(scheduler)
    assert world.ticks("hourly") == [NOON + HOUR]


def test_a_call_can_be_enqueued_besides(world: World) -> None:
    schedule = world.cron("hourly", "0 * * * *", work, 7)
    job = schedule.run_now()
    assert job.name == "hourly"
    assert [found.id for found in world.queue.jobs(name="hourly")] == [job.id]
    assert schedule.refresh().last is None


def test_large_arguments_travel_with_every_call_and_leave_no_file_behind(world: World) -> None:
    scheduler, large = world.scheduler(), os.urandom(2**21)
    world.cron("hourly", "0 * * * *", work, 1)
    schedule = world.cron("hourly", "0 * * * *", work, large)
    for hour in range(1, 3):
        world.clock.now = NOON + hour * HOUR
        world.pause("hourly")
        world.resume("hourly")
        world.look(scheduler)
    schedule.remove()
    store = world.call(world.connection.ready())
    calls = world.call(store.find(Filter(name="hourly"))).rows
    assert len(calls) == 2
    for call in world.call(store.get([call.id for call in calls], [Part.PAYLOAD])):
        seal = world.connection.seal
        opened = seal.open(call.payload, purpose=Purpose.CALL, job_id=call.id, code=call.code_digest)
        assert opened == ((large,), {})
    if store.spill_dir is not None:
        left = sorted(path.name for path in store.spill_dir.iterdir())
        assert left == (sorted(f"{call.id.hex()}.payload" for call in calls) if "sqlite" in store.url else [])


def test_a_schedule_that_waits_for_jobs_is_refused(world: World) -> None:
    parent = world.queue.enqueue(work)
    with pytest.raises(ValueError, match="cannot wait for other jobs"):
        world.queue.options(after=parent).cron("hourly", "0 * * * *", work)
    with pytest.raises(ValueError, match="cannot wait for other jobs"):
        world.queue.cron("hourly", "0 * * * *", work, parent)


def test_bad_input_is_refused_at_the_call(world: World) -> None:
    with pytest.raises(ValueError, match="bad minute '61'"):
        world.queue.cron("x", "61 * * * *", work)
    with pytest.raises(ValueError, match="no time zone 'Mars'"):
        world.queue.cron("x", "* * * * *", work, zone="Mars")
    with pytest.raises(ValueError, match="missed must be 'once' or 'skip', not 'never'"):
        world.queue.cron("x", "* * * * *", work, missed="never")
    with pytest.raises(TypeError, match="a schedule needs a name"):
        world.queue.cron("", "* * * * *", work)
    assert world.queue.schedules() == []


def test_what_cannot_be_ticked_says_so_and_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = world.scheduler()
    schedule = world.cron("hourly", "0 * * * *", work)
    world.cron("other", "0 * * * *", work)
    good, monkeypatched = scheduler.ticker._reseal, []

    def refuse(blob, of, to, code):
        if not monkeypatched:
            monkeypatched.append(1)
            raise cellq.Untrusted("signed with another secret")
        return good(blob, of, to, code)

    scheduler.ticker._reseal = refuse
    world.clock.now += HOUR
    assert world.look(scheduler) == 2
    assert schedule.refresh().trouble == "signed with another secret"
    assert world.ticks("other") == [NOON + HOUR]
    world.clock.now += MINUTE
    assert world.look(scheduler) == 1
    assert schedule.refresh().trouble == ""
    assert world.ticks("hourly") == [NOON + HOUR]


# ---------------------------------------------------------------------------------------------------------- death


def test_whoever_takes_over_enqueues_the_same_call(world: World) -> None:
    dying, heir = world.scheduler(lease=5.0), world.scheduler()
    world.cron("hourly", "0 * * * *", work)
    for hour in range(1, 4):
        world.clock.now = NOON + hour * HOUR
        world.call(dying.beat())
        claims = world.call(dying.claim())
        dying.store.finish, finish = _die, dying.store.finish  # type: ignore[method-assign]
        with pytest.raises(_Died):
            world.call(dying.ticker.tick(claims))
        dying.store.finish = finish  # type: ignore[method-assign]
        world.clock.now += 30.0
        until_ticked = [world.look(heir) for _ in range(3)]
        assert sum(until_ticked) == 1
    assert world.ticks("hourly") == [NOON + hour * HOUR for hour in range(1, 4)]
    assert rows(world)[0].state is State.PENDING


class _Died(BaseException):
    pass


async def _die(_: object) -> list[bool]:
    raise _Died


DYING = """
    import asyncio, functools, os, signal, sys
    from cellq.client.connection import Connection
    from cellq.client.schedule import call_of
    from cellq.store import open_store
    from cellq.worker.ticking import tick_forever

    async def die(outcomes):
        os.kill(os.getpid(), signal.SIGKILL)

    async def main():
        connection = Connection(sys.argv[1])
        store = open_store(connection.full_url)
        await store.open()
        store.finish = die
        await tick_forever(store, functools.partial(call_of, connection), lease=0.5, started=lambda: None)

    asyncio.run(main())
"""


def _due(queue: cellq.Queue, fn: Callable[..., object], *args: object, ago: float = HOUR) -> float:
    """A schedule of this name that missed an instant at which nobody ran; gives the time of its making."""
    twin = queue._twin
    call, code = twin._call(fn, args, {})
    made = time.time() - ago
    table = Timetable.of(call, name="hourly", expression="* * * * *", zone="UTC", missed="once", now=made)
    connection = queue.asynchronous().connection
    portal().call(Register(connection).put(table, call.code, call.payload, code))
    return made


def test_a_worker_killed_between_push_and_finish_costs_nothing(queue: cellq.Queue, until) -> None:
    _due(queue, work, 1)
    dead = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DYING), queue.asynchronous().connection.full_url], timeout=60
    )
    assert dead.returncode == -9
    (pushed,) = queue.jobs(name="hourly")
    with cellq.Worker(queue, slots=1):
        until(lambda: queue.schedules()[0].last, "another worker has taken over")
        assert pushed.result(30) == (1,)
    ids = [job.id for job in queue.jobs(name="hourly")]
    assert pushed.id in ids
    assert len(ids) == len(set(ids)) <= 2  # the clock may have come to the next minute meanwhile


def test_a_worker_of_another_queue_ticks_and_runs_what_a_notebook_defined(queue: cellq.Queue, until) -> None:
    factor = 6

    def times(x):
        return factor * x

    _due(queue, times, 7)
    with cellq.Worker("elsewhere", url=queue.asynchronous().connection.full_url, slots=0):
        (job, *_) = until(lambda: queue.jobs(name="hourly"), "a worker of another queue has ticked")
    with cellq.Worker(queue, slots=1):
        assert job.result(30) == 42


def test_a_worker_that_is_full_ticks(queue: cellq.Queue, until, tmp_path: pathlib.Path) -> None:
    gate = tmp_path / "gate"

    def hold(gate):
        while not gate.exists():
            time.sleep(0.01)

    with cellq.Worker(queue, slots=1, concurrency=0):
        running = queue.enqueue(hold, gate)
        until(lambda: running.state is State.RUNNING, "the only slot is taken")
        _due(queue, work)
        until(lambda: queue.jobs(name="hourly"), "the worker has ticked")
        assert running.state is State.RUNNING
        gate.touch()
        running.result(30)


def test_a_worker_with_a_long_queue_before_it_looks_at_what_comes_due(queue: cellq.Queue, until) -> None:
    connection, now = queue.asynchronous().connection, time.time()
    call, code = queue._twin._call(work, (), {})
    table = Timetable.of(call, name="hourly", expression="* * * * *", zone="UTC", missed="once", now=now)
    seconds_before = cron.next_after("* * * * *", "UTC", now) - 4.0
    queue.map(time.sleep, [0.02] * 600)
    portal().call(Register(connection, lambda: seconds_before).put(table, call.code, call.payload, code))

    def started() -> bool:
        return portal().call(portal().call(connection.ready()).find(Filter(queue=QUEUE))).rows[0].started is not None

    with cellq.Worker(queue, slots=1, concurrency=0, drain=0):
        until(started, "the worker has looked at the schedule")
        assert queue.count()[State.PENDING] > 50


# -------------------------------------------------------------------------------------------------------- hiding


def test_schedules_are_no_jobs_and_no_queue_of_their_users(world: World) -> None:
    world.cron("hourly", "0 * * * *", work)
    assert world.queue.jobs() == []
    assert world.queue.recent() == []
    assert sum(world.queue.count().values()) == 0


def test_how_far_a_schedule_is_survives_being_written_down() -> None:
    progress = Progress(since=NOON, last=NOON - 1.5, trouble="no")
    assert Progress.read(progress.text()) == progress
    assert Progress.read("") is None
    assert Progress.read('[{"n": 1}]') is None


def job_ids(world: World) -> list[bytes]:
    return [row.id for row in rows(world)]


def rows(world: World) -> list:
    store = world.call(world.connection.ready())
    return world.call(store.find(Filter(queue=QUEUE))).rows
