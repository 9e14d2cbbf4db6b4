"""What only one process can have is made anew for cells where that is just as good, and refused where it is in use."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
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


async def test_a_task_that_has_ended_keeps_its_result() -> None:
    async def work() -> int:
        return 4

    task = asyncio.create_task(work(), name="mine")
    with pytest.raises(NotPicklable, match="not ended"):
        there(task)
    await task
    new = there(task)
    assert isinstance(new, asyncio.Task)
    assert (await new, new.get_name(), new.get_coro().__qualname__) == (4, "mine", work.__qualname__)


async def test_a_task_that_has_failed_keeps_its_error() -> None:
    async def work() -> None:
        raise KeyError("gone")

    task = asyncio.create_task(work())
    await asyncio.wait([task])
    assert repr(there(task).exception()) == "KeyError('gone')"


async def test_the_running_loop_is_that_of_the_receiver() -> None:
    loop = asyncio.get_running_loop()
    assert there(loop) is loop


def test_a_view_of_a_dict_shows_the_dict_that_came_with_it() -> None:
    held = {"a": 1}
    came = there([held, held.keys(), held.items()])
    came[0]["b"] = 2
    assert [list(came[1]), list(came[2])] == [["a", "b"], [("a", 1), ("b", 2)]]


def test_a_masked_array_gets_no_fill_value() -> None:
    array = np.ma.masked_array([1, 2, 3], mask=[0, 1, 0])
    assert there(array)._fill_value is None
    assert there(array).mean() == 2.0


def test_an_iteration_over_arrays_that_has_ended() -> None:
    walk = np.nditer(np.arange(4))
    with pytest.raises(NotPicklable, match="not ended"):
        there(walk)
    assert [int(item) for item in walk] == [0, 1, 2, 3]
    assert there(walk).finished


def test_a_widget_is_a_widget_of_the_receivers_own() -> None:
    slider = widgets.IntSlider(value=3)
    new = there(slider)
    assert (new.value, new.model_id == slider.model_id) == (3, False)


def test_a_cursor_that_has_rows_left_is_refused() -> None:
    cursor = sqlite3.connect(":memory:").cursor()
    cursor.execute("select 1 union select 2")
    cursor.fetchone()
    with pytest.raises(NotPicklable, match="rows to fetch"):
        dumps(cursor, anew=True)
    cursor.fetchall()
    assert there(cursor).fetchall() == []
    cursor.execute("create table t (a)")
    cursor.executemany("insert into t values (?)", [(1,)])
    cursor.connection.commit()
    assert there(cursor).execute("select a from t").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(3),
        np.array(5),
        np.zeros((2, 0)),
        np.asfortranarray(np.ones((2, 3))),
        np.array(["2020-01-01"], "M8[D]"),
    ],
)
def test_a_small_array_owns_its_memory(array: Any) -> None:
    new = there(array)
    assert new.flags.owndata
    assert new.flags.f_contiguous == array.flags.f_contiguous
    assert (new == array).all()
    assert new.dtype == array.dtype


def test_an_array_that_may_not_be_changed_stays_so() -> None:
    array = np.arange(3)
    array.flags.writeable = False
    assert not there(array).flags.writeable
