"""Pins what a database that cannot be used gives: `StoreUnavailable` with path and cause, and nothing half written."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from making import Clock, check_counts, message, worker

from cellq.errors import StoreUnavailable
from cellq.message import Filter, QueueSettings
from cellq.store.sqlite import SQLiteStore, schema
from cellq.store.sqlite.gate import Gate
from cellq.store.sqlite.schema import prepare

CHILD = str(Path(__file__).parent / "store_child.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is, or is to be."""
    return tmp_path / "jobs.db"


@pytest.fixture
async def open_sqlite(path: Path) -> AsyncIterator[SQLiteStore]:
    """An open store in an empty database."""
    store = SQLiteStore(path, clock=Clock(), patience=0.2)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that any user can reach (pytest's own are for one user only)."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


async def refusal(path: Path) -> str:
    """What opening says; that it names the path is checked here for all."""
    with pytest.raises(StoreUnavailable) as refused:
        await SQLiteStore(path, patience=0.2).open()
    assert str(path) in str(refused.value)
    return str(refused.value)


def run(what: str, *arguments: object) -> str:
    """What a process of `store_child.py` says before it ends."""
    done = subprocess.run(
        [sys.executable, CHILD, what, *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout))


# ------------------------------------------------------------------------------------------- at opening


async def test_a_missing_folder_is_made_for_this_user_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".cellq" / "jobs.db"
    store = SQLiteStore(path)
    await store.open()
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    await store.close()


async def test_an_empty_file_is_a_new_database(path: Path) -> None:
    path.touch()
    store = SQLiteStore(path)
    await store.open()
    await store.close()


async def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_text("a diary\n" * 1000)
    assert "not a cellq database" in await refusal(path)
    assert path.read_text() == "a diary\n" * 1000


async def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as sql:
        sql.execute("CREATE TABLE diary (entry)")
    sql.close()
    before = path.read_bytes()
    assert "another program" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_newer_schema(path: Path, open_sqlite: SQLiteStore) -> None:
    await open_sqlite._connection.read(lambda sql: sql.execute("PRAGMA user_version = 99"))
    assert "newer cellq" in await refusal(path)


async def test_an_older_schema_is_brought_up_to_date_with_its_jobs(
    path: Path, open_sqlite: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = message()
    await open_sqlite.push([asked], {})
    known = schema.migrations()
    monkeypatch.setattr(schema, "migrations", lambda: (*known, ("ALTER TABLE job ADD COLUMN colour TEXT",)))
    newer = SQLiteStore(path)
    await newer.open()
    assert [row.id for row in (await newer.find(Filter())).rows] == [asked.id]
    version = await newer._connection.read(lambda sql: sql.execute("PRAGMA user_version").fetchone())
    assert version == (len(known) + 1,)
    await newer.close()
    monkeypatch.undo()
    assert "newer cellq" in await refusal(path)


async def test_a_failed_migration_leaves_the_old_schema(
    path: Path, open_sqlite: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = schema.migrations()
    monkeypatch.setattr(schema, "migrations", lambda: (*known, ("ALTER TABLE job ADD COLUMN colour", "NONSENSE")))
    await refusal(path)
    monkeypatch.undo()
    again = SQLiteStore(path)
    await again.open()
    await again.push([message()], {})
    await again.close()


async def test_many_who_create_it_at_once_agree(path: Path) -> None:
    stores = [SQLiteStore(path) for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(*(store.push([message()], {}) for store in stores))
    assert len((await stores[0].find(Filter())).rows) == 8
    for store in stores:
        await store.close()


async def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    assert "cannot be opened" in await refusal(tmp_path)


async def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    await refusal(tmp_path / "file" / "jobs.db")


def test_a_folder_where_one_may_not_write(public_folder: Path) -> None:
    path = public_folder / "jobs.db"
    public_folder.chmod(0o555)
    said = run("unprivileged", path)
    assert said.startswith(str(path))
    assert "Permission denied" in said


async def test_a_database_that_one_may_only_read(public_folder: Path) -> None:
    path = public_folder / "jobs.db"
    store = SQLiteStore(path)
    await store.open()
    await store.close()
    path.chmod(0o444)
    path.with_name("jobs.db.lock").chmod(0o666)
    public_folder.chmod(0o555)
    assert "read-only" in run("unprivileged", path)


def test_a_folder_without_shared_locks_is_refused(path: Path) -> None:
    sql = sqlite3.connect(f"file:{path}?vfs=unix-dotfile", uri=True, isolation_level=None)
    gate = Gate(path.with_name("gate"), 1.0)
    with pytest.raises(StoreUnavailable, match="network folder"):
        prepare(sql, gate, path, "normal")
    gate.close()
    sql.close()


def test_an_unknown_durability_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="durability"):
        SQLiteStore(path, durability="much")


# -------------------------------------------------------------------------------------------- while open


async def test_a_damaged_file(path: Path) -> None:
    store = SQLiteStore(path)
    await store.open()
    asked = [message(payload=b"x" * 900) for _ in range(500)]
    await store.push(asked, {})
    await store.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))

    async def read_all() -> None:
        await store.open()
        await store.get([one.id for one in asked])

    with pytest.raises(StoreUnavailable, match="damaged") as refused:
        await read_all()
    assert str(path) in str(refused.value)
    await store.close()


async def test_a_full_disk_leaves_nothing_half_written_and_can_be_tried_again(open_sqlite: SQLiteStore) -> None:
    first = message()
    await open_sqlite.push([first], {})
    await limit_pages(open_sqlite, 60)
    asked = [message(payload=b"x" * 50_000) for _ in range(20)]
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        await open_sqlite.push(asked, {})
    assert [row.id for row in (await open_sqlite.find(Filter())).rows] == [first.id]
    await check_counts(open_sqlite)
    await limit_pages(open_sqlite, 1_000_000)
    assert all(pushed.created for pushed in await open_sqlite.push(asked, {}))


async def test_on_a_full_disk_what_fits_is_written_beside_what_does_not(open_sqlite: SQLiteStore) -> None:
    await open_sqlite.push([message()], {})
    await limit_pages(open_sqlite, 60)
    sizes = [10, 900_000, 20, 900_000, 30]
    answers = await asyncio.gather(
        *(open_sqlite.push([message(payload=b"x" * size)], {}) for size in sizes), return_exceptions=True
    )
    assert [isinstance(answer, StoreUnavailable) for answer in answers] == [size > 1000 for size in sizes]


async def limit_pages(store: SQLiteStore, pages: int) -> None:
    """Let the disk be full at this many pages."""
    await store._connection.read(lambda sql: sql.execute(f"PRAGMA max_page_count = {pages}").fetchone())


async def test_a_database_that_another_program_keeps_locked(path: Path, open_sqlite: SQLiteStore) -> None:
    holder = subprocess.Popen(
        [sys.executable, CHILD, "lock", str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(StoreUnavailable, match="keeps it locked") as refused:
        await open_sqlite.push([message()], {})
    assert str(path) in str(refused.value)
    assert (await open_sqlite.find(Filter())).rows == []
    holder.kill()
    holder.communicate()
    assert (await open_sqlite.push([message()], {}))[0].created


async def test_a_database_that_another_cellq_keeps_locked(path: Path, open_sqlite: SQLiteStore) -> None:
    gate = Gate(path.with_name("jobs.db.lock"), 1.0)
    gate.enter()
    with pytest.raises(StoreUnavailable, match="other cellq processes"):
        await open_sqlite.push([message()], {})
    gate.close()
    assert (await open_sqlite.push([message()], {}))[0].created


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_deleted_under_us_is_noticed_by_the_next_beat(
    path: Path, open_sqlite: SQLiteStore, replaced: bool
) -> None:
    await open_sqlite.beat(worker(), [])
    path.rename(path.with_name("away.db"))
    if replaced:
        path.touch()
    with pytest.raises(StoreUnavailable, match="deleted or replaced"):
        await open_sqlite.beat(worker(), [])


async def test_a_closed_store_says_so(open_sqlite: SQLiteStore) -> None:
    await open_sqlite.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await open_sqlite.push([message()], {})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_handle_in_a_forked_child_says_so(path: Path) -> None:
    assert "forked" in run("fork", path)


def test_an_unclosed_store_does_not_keep_the_process_alive(path: Path) -> None:
    assert run("leave_open", path) == "done"


# ----------------------------------------------------------------------------------------- the connection


async def test_functions_run_on_the_thread_of_aiosqlite(open_sqlite: SQLiteStore) -> None:
    """`_Courier` rests on `executescript` handing its argument on unseen: a change of aiosqlite shows here."""
    connection = open_sqlite._connection
    assert await connection.read(lambda sql: (type(sql).__mro__[1], sql.execute("SELECT 1").fetchone())) == (
        sqlite3.Connection,
        (1,),
    )
    with pytest.raises(ZeroDivisionError):
        await connection.read(lambda sql: 1 // 0)


async def test_a_cancelled_caller_tears_no_transaction(open_sqlite: SQLiteStore) -> None:
    batches = [[message() for _ in range(50)] for _ in range(10)]
    tasks = [asyncio.create_task(open_sqlite.push(batch, {})) for batch in batches]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    kept = []
    for batch in batches:
        rows = await open_sqlite.get([one.id for one in batch])
        assert len({row is None for row in rows}) == 1
        kept.append(rows[0] is not None)
    assert all(kept[1::2])
    await check_counts(open_sqlite)


async def test_work_that_raises_spoils_nothing_beside_it(open_sqlite: SQLiteStore) -> None:
    def broken(turn: object) -> None:
        raise RuntimeError("broken")

    answers = await asyncio.gather(
        *(open_sqlite.push([message(queue=f"q{n}")], {}) for n in range(5)),
        open_sqlite._connection.write(broken),
        open_sqlite.tune("q9", QueueSettings(paused=True)),
        return_exceptions=True,
    )
    assert [answer for answer in answers if isinstance(answer, RuntimeError)] == [answers[5]]
    assert (await open_sqlite.count()).queues["q9"].paused
    await check_counts(open_sqlite)
