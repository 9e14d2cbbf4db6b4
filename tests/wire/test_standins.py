"""What only one process can have is made anew for cells where that is just as good, and refused where it is in use."""

from __future__ import annotations

import concurrent.futures
import io
import queue
import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from cellq.errors import NotPicklable
from cellq.wire.pickling import dumps, loads


def there(value: Any) -> Any:
    return loads(*dumps(value, anew=True))


def test_a_function_call_does_not_get_them() -> None:
    with pytest.raises(NotPicklable, match="lock"):
        dumps(threading.Lock())


def test_locks_events_and_queues() -> None:
    event = threading.Event()
    event.set()
    jobs: queue.Queue[int] = queue.Queue()
    jobs.put(1)
    lock, rlock, event2, jobs2 = there((threading.Lock(), threading.RLock(), event, jobs))
    assert lock.acquire(blocking=False)
    assert rlock.acquire(blocking=False)
    assert event2.is_set()
    assert (jobs2.get(), jobs2.empty()) == (1, True)


def test_a_held_lock_is_refused() -> None:
    with (lock := threading.Lock()), pytest.raises(NotPicklable, match=r"it\[0\] is a lock that is held"):
        dumps([lock], anew=True)


def test_a_local_keeps_what_it_had() -> None:
    local = threading.local()
    local.x = 1
    assert there(local).x == 1


def test_an_ended_future_and_executor() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(pow, 2, 3)
    future2, pool2 = there((future, pool))
    assert future2.result() == 8
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool2.submit(pow, 1, 1)


@pytest.mark.parametrize("pattern", [r"b(\w)", r"(?P<x>a.)c", r"^abc$"])
def test_a_match(pattern: str) -> None:
    found = re.search(pattern, "abc")
    again = there(found)
    assert found is not None
    assert (again.span(), again.groups(), again.groupdict(), again.re) == (
        found.span(), found.groups(), found.groupdict(), found.re,
    )  # fmt: skip


def test_a_generator_that_has_not_begun() -> None:
    base = 10

    def count(n: int, *more: int, step: int = 1, **rest: int) -> Any:
        yield from (base + n, *more, step, rest)

    assert list(there(count(1, 2, step=3, z=4))) == [11, 2, 3, {"z": 4}]
    assert list(there(i * base for i in [1, 2])) == [10, 20]


def test_a_generator_that_has_begun_is_refused() -> None:
    generator = (i for i in range(3))
    next(generator)
    with pytest.raises(NotPicklable, match="generator"):
        dumps(generator, anew=True)


def test_a_closed_file(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as file:
        file.write("x")
    again = there(file)
    assert (again.closed, again.name, again.mode, type(again)) == (True, file.name, "w", io.TextIOWrapper)


def test_an_open_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as file, pytest.raises(NotPicklable, match="open file"):
        dumps(file, anew=True)


def test_a_connection_to_a_database_file(tmp_path: Path) -> None:
    first = sqlite3.connect(tmp_path / "x.db")
    first.execute("create table t (a)")
    cursor = first.cursor()
    second, cursor2 = there((first, cursor))
    assert cursor2.connection is second
    second.execute("insert into t values (1)")
    second.commit()
    assert first.execute("select a from t").fetchall() == [(1,)]
    first.close()
    second.close()
    with pytest.raises(sqlite3.ProgrammingError):
        there(first).execute("select 1")


def test_a_database_in_memory_comes_along() -> None:
    first = sqlite3.connect(":memory:")
    first.execute("create table t as select 5 as a")
    first.commit()
    assert there(first).execute("select a from t").fetchall() == [(5,)]


def test_an_open_transaction_is_refused(tmp_path: Path) -> None:
    first = sqlite3.connect(tmp_path / "x.db")
    first.execute("create table t (a)")
    first.execute("insert into t values (1)")
    with pytest.raises(NotPicklable, match="transaction"):
        dumps({"db": first}, anew=True)
