"""Pins what SQLite does about conditions beyond the shared suite: what they cost, who is woken, and older databases."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from making import CODE, ROOM, Clock, check_counts, claim, completed, failed, message, row, start, worker

from cellq.message import Action, Changed, Claims, Keep, Lane, Lease, Message, QueueSettings, State, Topic
from cellq.store.sqlite import SQLiteStore
from cellq.store.sqlite.schema import APPLICATION_ID
from cellq.store.sqlite.statements import migrations, statements

ME = worker("me")
MANY = 100_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sqlite(tmp_path: Path, clock: Clock) -> AsyncIterator[SQLiteStore]:
    """An open store, which no safety poll wakes."""
    store = SQLiteStore(tmp_path / "jobs.db", clock=clock)
    store.safety_poll = None
    await store.open()
    await store.beat(ME, [])
    yield store
    if sum(states(store).values()) < 1000:
        await check_counts(store)
    await store.close()


def connection(store: SQLiteStore) -> sqlite3.Connection:
    """The connection of this store."""
    sql = store._connection._sql
    assert sql is not None
    return sql


@contextmanager
def traced(store: SQLiteStore) -> Iterator[list[str]]:
    """The statements that run meanwhile."""
    seen: list[str] = []
    connection(store).set_trace_callback(seen.append)
    yield seen
    connection(store).set_trace_callback(None)


@contextmanager
def counted(store: SQLiteStore) -> Iterator[Callable[[], int]]:
    """How many instructions SQLite's machine takes meanwhile, in hundreds."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    connection(store).set_progress_handler(step, 100)
    yield lambda: steps
    connection(store).set_progress_handler(None, 0)


def states(store: SQLiteStore) -> dict[int, int]:
    """How many rows there are of each state, as rows hold it."""
    return dict(connection(store).execute("SELECT state, count(*) FROM job GROUP BY state"))


def multiply(store: SQLiteStore, blocked: bytes) -> None:
    """Put many more like this one behind it."""
    sql = connection(store)
    job = dict.fromkeys(one[1] for one in sql.execute("PRAGMA table_info(job)"))
    (first,) = sql.execute("SELECT seq FROM job WHERE id = ?", (blocked,)).fetchone()
    (last,) = sql.execute("SELECT max(seq) FROM job").fetchone()
    columns = ", ".join({"seq": "n", "id": "randomblob(16)"}.get(name, name) for name in job)
    numbers = f"WITH number(n) AS (SELECT {last + 1} UNION ALL SELECT n + 1 FROM number WHERE n < {last + MANY})"
    sql.execute("BEGIN")
    sql.execute(f"INSERT INTO job {numbers} SELECT {columns} FROM number, job WHERE seq = {first}")
    for table in ("term", "blocked"):
        others = ", ".join(one[1] for one in sql.execute(f"PRAGMA table_info({table})") if one[1] != "job")
        sql.execute(
            f"INSERT INTO {table} (job, {others}) {numbers} SELECT n, {others} FROM number, {table} WHERE job = {first}"
        )
    sql.execute("COMMIT")


async def claimed(store: SQLiteStore, n: int = 10) -> list[bytes]:
    """The ids of what the worker gets."""
    return [one.lease.id for one in await claim(store, ME, n)]


def plain(one: str) -> bool:
    """Whether a statement leaves the tables of conditions alone (what has no row in the tally needs no more looks)."""
    return not re.search(r"\b(term|edge|blocked)\b", one)


# ----------------------------------------------------------------------------------------------- the cost


async def test_a_job_without_conditions_asks_nothing_of_their_tables(sqlite: SQLiteStore) -> None:
    with traced(sqlite) as seen:
        (lease,) = await start(sqlite, who=ME)
        await sqlite.finish([completed(lease)])
        await sqlite.claim(ME.id, ["default"], ROOM, "3.11")
    assert [one for one in seen if not plain(one)] == []


async def test_when_the_last_conditions_are_pruned_their_tables_are_empty_and_left_alone_again(
    sqlite: SQLiteStore, clock: Clock
) -> None:
    (lease,) = await start(sqlite, who=ME, concurrency_key="gpu", expires=50.0)
    await sqlite.push([message(after=(lease.id,)), message(concurrency_key="gpu")], {})
    await claimed(sqlite)
    await sqlite.finish([failed(lease)])
    (last,) = [Lease(job_id, 1) for job_id in await claimed(sqlite)]
    await sqlite.finish([completed(last)])
    clock.step(1)
    assert await sqlite.prune(Keep(completed=0, failed=0, cancelled=0)) == 3
    for table in ("job", "term", "edge", "blocked"):
        assert connection(sqlite).execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    await test_a_job_without_conditions_asks_nothing_of_their_tables(sqlite)


async def test_of_many_pushed_at_once_only_the_first_of_a_key_stands_ready(sqlite: SQLiteStore) -> None:
    await sqlite.push([message(concurrency_key="gpu", max_running=3) for _ in range(50)], {})
    assert states(sqlite) == {0: 1, 7: 49}
    assert len(await claimed(sqlite)) == 3


async def test_a_claim_costs_the_same_whatever_is_held_back_by_its_key(sqlite: SQLiteStore) -> None:
    (running,) = await start(sqlite, who=ME, concurrency_key="gpu")
    blocked = message(concurrency_key="gpu", priority=1)
    await sqlite.push([message(), message(), blocked, message()], {})
    with counted(sqlite) as before:
        assert len(await claimed(sqlite, 1)) == 1
    multiply(sqlite, blocked.id)
    with counted(sqlite) as after:
        assert len(await claimed(sqlite, 1)) == 1
    assert after() <= before() + 3
    with counted(sqlite) as ending:  # and the next one of them is found as quickly
        await sqlite.finish([completed(running)])
        assert await claimed(sqlite, 1) == [blocked.id]
    assert ending() <= 3 * before() + 3


async def test_what_a_claim_has_met_in_vain_it_does_not_meet_again(sqlite: SQLiteStore) -> None:
    for _ in range(30):  # one by one, while the key is free: each of them is ready
        await sqlite.push([message(concurrency_key="gpu")], {})
    assert states(sqlite) == {0: 30}
    assert len(await claimed(sqlite)) == 1
    assert states(sqlite) == {2: 1, 7: 29}
    assert await claimed(sqlite) == []
    with traced(sqlite) as seen:
        await sqlite.claim(ME.id, ["default"], ROOM, "3.11")
    assert not [one for one in seen if one.startswith(("BEGIN", "UPDATE"))]


@pytest.mark.parametrize("verb", ["conditions", "claim"])
def test_every_statement_finds_its_rows_by_an_index(verb: str) -> None:
    sql = sqlite3.connect(":memory:")
    for migration in migrations():
        for statement in migration:
            sql.execute(statement)
    small = ("queue", "line", "json_each")
    for name, statement in vars(statements(verb)).items():
        query = statement.format(queues="?, ?") if name == "lines" else statement
        numbered = [int(n) for n in re.findall(r"\?(\d)", query)]
        values = [None] * max([len(re.findall(r"\?(?!\d)", query)), *numbered])
        for *_, step in sql.execute(f"EXPLAIN QUERY PLAN {query}", values):
            whole = re.match(r"SCAN (.*)", step)
            assert not whole or whole[1].startswith(small), f"{name}: {step}"
            assert "ORDER BY" not in step or name == "children", f"{name}: {step}"
    sql.close()


# ---------------------------------------------------------------------------------------------- who wakes


async def limited(store: SQLiteStore) -> Lease:
    await store.tune("default", QueueSettings(max_running=1))
    return (await start(store, who=ME))[0]


async def keyed(store: SQLiteStore) -> Lease:
    (lease,) = await start(store, who=ME, concurrency_key="gpu")
    await store.push([message(concurrency_key="gpu")], {})
    return lease


async def parent(store: SQLiteStore) -> Lease:
    (lease,) = await start(store, who=ME)
    await store.push([message(after=(lease.id,))], {})
    return lease


@pytest.mark.parametrize("what", [limited, keyed, parent])
async def test_who_waits_for_work_is_woken_when_the_end_of_a_job_lets_another_one_start(
    sqlite: SQLiteStore, what: Callable[[SQLiteStore], object]
) -> None:
    lease = await what(sqlite)  # type: ignore[misc]
    await claimed(sqlite)
    cursor = await sqlite.wait(Topic.WORK, 0, None)
    await sqlite.finish([completed(lease)])
    assert await sqlite.wait(Topic.WORK, cursor, 10) > cursor


async def test_the_end_of_a_job_that_keeps_nobody_back_wakes_no_worker(sqlite: SQLiteStore) -> None:
    (lease,) = await start(sqlite, who=ME)
    cursor = await sqlite.wait(Topic.WORK, 0, None)
    await sqlite.finish([completed(lease)])
    assert await sqlite.wait(Topic.WORK, cursor, 0) == cursor


async def test_cancelling_the_first_of_a_key_wakes_workers_for_the_next(sqlite: SQLiteStore) -> None:
    first, second = message(concurrency_key="gpu"), message(concurrency_key="gpu")
    await sqlite.push([first, second], {})
    cursor = await sqlite.wait(Topic.WORK, 0, None)
    assert await sqlite.change([first.id], Action.CANCEL) == [Changed.DONE]
    assert await sqlite.wait(Topic.WORK, cursor, 10) > cursor
    assert await claimed(sqlite) == [second.id]


async def test_a_claim_on_a_full_queue_does_not_write(sqlite: SQLiteStore) -> None:
    await limited(sqlite)
    await sqlite.push([message(), message(delay=5.0)], {})
    assert await claimed(sqlite) == []
    with traced(sqlite) as seen:
        got = await sqlite.claim(ME.id, ["default"], ROOM, "3.11")
    assert got == Claims([], sqlite._clock() + 5.0)
    assert not [one for one in seen if one.startswith("BEGIN")]


async def test_a_claim_that_has_nothing_to_start_still_ends_what_has_expired(sqlite: SQLiteStore, clock: Clock) -> None:
    asked = message(queue="elsewhere", expires=5.0)
    await sqlite.push([asked], {})
    assert await claimed(sqlite) == []
    clock.step(6)
    assert await sqlite.claim(ME.id, ["default"], ROOM, "3.11") == Claims([], None)
    assert (await row(sqlite, asked.id)).state is State.CANCELLED


# ---------------------------------------------------------------------------------------------- journals


@pytest.mark.parametrize(
    "options",
    [{"expires": 5.0}, {"concurrency_key": "gpu"}, {"max_running": 2}, {"after": (b"?" * 16,)}],
    ids=["expires", "concurrency_key", "max_running", "after"],
)
async def test_a_job_with_conditions_is_not_written_ahead(
    sqlite: SQLiteStore, tmp_path: Path, options: dict[str, object]
) -> None:
    asked = message(**options)  # type: ignore[arg-type]
    sqlite.push_here([asked], {CODE: b"code"})
    assert not (tmp_path / "jobs.db.pushed").exists()
    found = await row(sqlite, asked.id)
    assert (found.concurrency_key, found.max_running) == (asked.options.concurrency_key, asked.options.max_running)


async def test_a_parent_in_a_journal_is_known_to_its_child(sqlite: SQLiteStore) -> None:
    first = message(code=b"")
    child = message(after=(first.id,), inputs=(first.id,), code=b"")
    sqlite.push_here([first], {})
    sqlite.push_here([child], {})
    assert (await row(sqlite, child.id)).after == (first.id,)
    assert await claimed(sqlite) == [first.id]


@pytest.mark.parametrize("room", [1, 10])
async def test_what_arrives_in_a_limited_queue_counts_for_its_limit(sqlite: SQLiteStore, room: int) -> None:
    await sqlite.tune("default", QueueSettings(max_running=1))
    arrivals: list[Message] = [message(code=b"") for _ in range(3)]
    for one in arrivals:
        sqlite.push_here([one], {})
    got = await sqlite.claim(ME.id, ["default"], {Lane.SYNC: room}, "3.11")
    assert [one.lease.id for one in got.claims] == [arrivals[0].id]


async def test_what_expires_ends_before_arrivals_start(sqlite: SQLiteStore, clock: Clock) -> None:
    late, arrival = message(queue="elsewhere", expires=5.0), message(code=b"")
    await sqlite.push([late, message(queue="elsewhere", expires=9.0)], {})
    clock.step(6)
    sqlite.push_here([arrival], {})
    got = await sqlite.claim(ME.id, ["default"], ROOM, "3.11")
    assert ([one.lease.id for one in got.claims], got.next_due) == ([arrival.id], clock.now + 3)
    assert (await row(sqlite, late.id)).state is State.CANCELLED


# ----------------------------------------------------------------------------------------- older databases


async def test_a_database_of_the_first_schema_is_brought_up_to_date_with_its_jobs(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "old.db"
    ready, running, ended = (message(payload=b"old") for _ in range(3))
    sql = sqlite3.connect(path)
    for statement in migrations()[0]:
        sql.execute(statement)
    sql.execute("INSERT INTO queue VALUES (1, 'default', 0)")
    sql.execute("INSERT INTO line VALUES (1, 1, 0, '3.11')")
    sql.execute("INSERT INTO tally VALUES (1, 3, 1)")
    sql.execute("UPDATE tally SET jobs = 1 WHERE line = 0")
    columns = "id, state, line, priority, attempt, worker, ended, finished, created, retries, backoff, isolated, kind"
    for one, *row_ in (
        (ready, 0, 1, 0, 0, None, None, None),
        (running, 2, 1, 0, 1, ME.id, None, None),
        (ended, 3, 1, 0, 1, ME.id, 1, clock.now),
    ):
        sql.execute(
            f"INSERT INTO job ({columns}, task, name, code, origin, ctx, payload)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1.0, 0, 1.0, 0, 'call', 't', 't', x'', '', '{}', ?)",
            (one.id, *row_, one.payload),
        )
    sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    sql.execute("PRAGMA user_version = 1")
    sql.commit()
    sql.close()

    store = SQLiteStore(path, clock=clock)
    await store.open()
    child, chained = message(after=(running.id,), code=b""), message(after=(ended.id,), concurrency_key="k", code=b"")
    await store.push([child, chained], {})
    assert (await row(store, child.id)).after == (running.id,)
    assert [one.payload for one in await claim(store, ME, 1)] == [b"old"]
    await store.finish([completed(Lease(running.id, 1))])
    await store.tune("default", QueueSettings(max_running=2))
    assert await claimed(store) == [child.id]
    assert (await row(store, ended.id)).max_running == 1
    await check_counts(store)
    await store.close()
