"""The store as `cellq doctor` finds it: the file first, without changing it, then the jobs and workers in it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from cellq import settings
from cellq.cli.findings import Finding, Verdict, note, ok, wrong
from cellq.cli.place import opened, what_is_missing
from cellq.cli.screen import number, size
from cellq.errors import StoreUnavailable
from cellq.message import Counts, Filter, Row, State, WorkerInfo
from cellq.store.contract import Store
from cellq.store.sqlite.schema import APPLICATION_ID
from cellq.store.sqlite.statements import migrations
from cellq.timetable import own_counts, own_rows

_LITTLE_SPACE = 1_000_000_000
_NO_SPACE = 100_000_000
_MANY = 5_000  # waiting jobs that are looked at one by one
_PAGE = 500


def of_store(url: str) -> Iterator[Finding]:
    """All there is to say about the store behind a full URL."""
    missing = what_is_missing(url)
    if missing:
        yield wrong("store", missing)
        return
    usable = True
    if url.startswith("sqlite:"):
        for finding in _of_file(settings.sqlite_path(url)):
            usable &= finding.verdict is not Verdict.WRONG or finding.subject not in _FATAL
            usable &= finding is not _UNMADE
            yield finding
    if usable:
        yield from asyncio.run(_of_contents(url))


# ------------------------------------------------------------------------------------------------ the file

_FATAL = ("store", "schema", "integrity")
_UNMADE = note("schema", "there is none yet; the first job makes it")


def _of_file(path: Path) -> Iterator[Finding]:
    if not path.is_file():
        yield wrong("store", f"{path} is not a file", "give another --url")
        return
    beside = [path.with_name(path.name + end) for end in ("-wal", "-shm")]
    log = sum(file.stat().st_size for file in beside[:1] if file.exists())
    yield ok("store", f"{path}, {size(path.stat().st_size + log)}")
    yield from _of_permissions(path)
    yield _of_space(path.parent)
    # A connection of SQLite's own, for reading only: to open these files by hand would drop locks that others rely on.
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5.0)) as sql:
            yield from _of_database(sql)
    except sqlite3.Error as error:
        yield wrong(*_diagnosis(error))


def _of_permissions(path: Path) -> Iterator[Finding]:
    """Who may read and write it."""
    if os.name != "posix":
        return
    for place, means in ((path, os.R_OK | os.W_OK), (path.parent, os.R_OK | os.W_OK | os.X_OK)):
        if not os.access(place, means):
            yield wrong("permissions", f"you may not write to {place}", "change its owner, or use another store")
            return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o022:
        yield wrong("permissions", f"{mode:o}: others may write to it", f"chmod 600 {path}")
    elif mode & 0o044:
        yield note("permissions", f"{mode:o}: others may read your jobs", f"chmod 600 {path}")
    else:
        yield ok("permissions", f"{mode:o}")


def _of_space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    if free < _NO_SPACE:
        return wrong("disk", f"only {size(free)} free in {folder}", "free some space; cellq prune --completed 7d helps")
    if free < _LITTLE_SPACE:
        return note("disk", f"only {size(free)} free in {folder}", "cellq prune --completed 7d frees some")
    return ok("disk", f"{size(free)} free")


def _of_database(sql: sqlite3.Connection) -> Iterator[Finding]:
    """Is it ours, of our age, undamaged, and shareable?"""
    (application_id,) = sql.execute("PRAGMA application_id").fetchone()
    (schema,) = sql.execute("PRAGMA user_version").fetchone()
    (tables,) = sql.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not (application_id or schema or tables):
        yield _UNMADE
        return
    if application_id != APPLICATION_ID:
        yield wrong("schema", "it is a database of another program", "give another --url; cellq leaves this one alone")
        return
    known = len(migrations())
    if schema > known:
        yield wrong(
            "schema", f"{schema}: it was written by a newer cellq, this one knows {known}", "pip install -U cellq"
        )
        return
    yield ok("schema", str(schema) if schema == known else f"{schema}, the next use brings it to {known}")
    (mode,) = sql.execute("PRAGMA journal_mode").fetchone()
    yield ok("journal", mode) if mode == "wal" else note("journal", f"{mode}; the next use makes it wal")
    problems = [line for (line,) in sql.execute("PRAGMA quick_check(3)")]
    if problems != ["ok"]:
        yield wrong("integrity", "; ".join(problems), _RECOVER)
        return
    yield ok("integrity", "quick check passed")


_RECOVER = "stop the workers and move the file away to start anew; `sqlite3 FILE .recover` may save its rows"


def _diagnosis(error: sqlite3.Error) -> tuple[str, str, str]:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return "schema", "it is not a database at all, or its head is damaged", f"give another --url, or {_RECOVER}"
    if code == sqlite3.SQLITE_CORRUPT:
        return "integrity", f"it is damaged ({error})", _RECOVER
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "store", "another program keeps it locked", "close whatever has it open and try again"
    return "store", f"it cannot be opened ({error})", "check that you may read and write it and its folder"


# ------------------------------------------------------------------------------------------- what is in it


async def _of_contents(url: str) -> list[Finding]:
    try:
        async with opened(url) as store:
            counts = own_counts(await store.count())
            waiting = await _rows(store, State.PENDING)
            running = await _rows(store, State.RUNNING)
    except StoreUnavailable as error:
        return [wrong("store", "it cannot be used", str(error))]
    return [
        _of_counts(counts),
        _of_workers(counts.workers),
        *_of_waiting(counts, waiting),
        *_of_running(counts.workers, running),
    ]


async def _rows(store: Store, state: State) -> list[Row]:
    rows: list[Row] = []
    after = None
    while len(rows) < _MANY:
        page = await store.find(Filter(states=(state,)), after, _PAGE)
        rows += own_rows(page.rows)
        after = page.after
        if after is None:
            break
    return rows


def _of_counts(counts: Counts) -> Finding:
    total: Counter[State] = Counter()
    for line in counts.queues.values():
        total.update(line.states)
    told = ", ".join(f"{total[state]:,} {state}" for state in State if total[state])
    return ok("jobs", told or "none")


def _of_workers(workers: tuple[WorkerInfo, ...]) -> Finding:
    if not workers:
        return ok("workers", "none is running")
    told = ", ".join(
        f"{worker.host} {worker.pid} (Python {worker.runtime}, {number(worker.slots, 'slot')})" for worker in workers
    )
    return ok("workers", told)


def _of_waiting(counts: Counts, waiting: list[Row]) -> Iterator[Finding]:
    """Does anybody serve the jobs that could start now?"""
    for name, line in counts.queues.items():
        if line.paused and line.states.get(State.PENDING, 0):
            yield note("paused", f"jobs wait in queue {name}, which is paused", f"cellq resume {name}")
    stuck: Counter[tuple[str, str]] = Counter(
        (row.queue, row.runtime) for row in waiting if row.due is None and not counts.queues[row.queue].paused
    )
    for (name, runtime), jobs in sorted(stuck.items()):
        serving = {worker.runtime for worker in counts.workers if name in worker.queues}
        wait = f"{number(jobs, 'job')} in queue {name} {'waits' if jobs == 1 else 'wait'}"
        if not serving:
            option = "" if name == "default" else f" -q {name}"
            yield wrong("waiting", f"{wait}, and no worker serves it", f"start one: cellq worker{option}")
        elif runtime and runtime not in serving:
            yield wrong(
                "runtime",
                f"{wait} for a worker with Python {runtime}; those that serve it have {', '.join(sorted(serving))}",
                f"start a worker with Python {runtime}, or cancel the jobs and enqueue them again",
            )


def _of_running(workers: tuple[WorkerInfo, ...], running: list[Row]) -> Iterator[Finding]:
    """Jobs whose worker is silent come back with the next claim of any worker; is there one?"""
    alive = {worker.id for worker in workers}
    orphans = [row for row in running if row.worker not in alive]
    if not orphans:
        return
    text = f"{number(len(orphans), 'running job')} lost the worker"
    if workers:
        yield note("lost", f"{text}; the workers that are alive take over")
    else:
        yield wrong("lost", f"{text}, and no other is there to take over", "start one: cellq worker")
