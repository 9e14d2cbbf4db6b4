"""Jobs among the arguments of a call arrive as what they returned; and what the worker does until it has those."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import cellq
from cellq.cell.parcel import pack
from cellq.errors import StoreUnavailable
from cellq.message import Part
from cellq.store.memory import MemoryStore
from cellq.wire.sealing import SPILL_OVER
from waiting import until


def give(value: Any) -> Any:
    return value


def total(*parts: Any) -> int:
    return sum(sum(part) if isinstance(part, list) else part for part in parts)


def types_and_identity(one: Any, other: Any, *, box: dict[str, Any]) -> Any:
    return type(one).__name__, one is other, box["deep"][0] is one


async def double(value: int) -> int:
    await asyncio.sleep(0)
    return 2 * value


def wait_for(path: str) -> str:
    while not pathlib.Path(path).exists():
        time.sleep(0.01)
    return "waited"


NOTEBOOK = """
class Point:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return isinstance(other, Point) and other.x == self.x

def load(): return [Point(1), Point(2)]
def shift(points, by): return [Point(point.x + by) for point in points]
def join(left, right, *, by):
    assert all(isinstance(point, Point) for point in left + right)
    return [(one.x, other.x, one == other) for one, other in zip(left, right)], by.x
"""


# --------------------------------------------------------------------------------- what arrives (all stores)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def served(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[cellq.Queue]:
    """A queue with a worker in this program."""
    url = {"memory": f"memory://{tmp_path.name}", "sqlite": f"sqlite:///{tmp_path}/jobs.db"}.get(request.param)
    with (
        cellq.Queue(url or request.getfixturevalue("redis_url")) as queue,
        cellq.Worker(queue, slots=1, concurrency=5, grace=0.5),
    ):
        yield queue


def test_a_diamond_of_functions_from_the_notebook(served: cellq.Queue) -> None:
    here: dict[str, Any] = {"__name__": "__main__"}
    exec(NOTEBOOK, here)
    a = served.enqueue(here["load"])
    b, c = served.enqueue(here["shift"], a, 1), served.enqueue(here["shift"], a, by=10)
    d = served.enqueue(here["join"], b, c, by=here["Point"](7))
    assert d.result(30) == ([(2, 11, False), (3, 12, False)], 7)
    assert b.result(30) == [here["Point"](2), here["Point"](3)]


def test_one_job_twice_is_one_object(served: cellq.Queue) -> None:
    first = served.enqueue(give, [1, 2])
    again = served.get(first.id)  # another handle of the same job
    told = served.enqueue(types_and_identity, first, again, box={"deep": (first.asynchronous(),)})
    assert told.result(30) == ("list", True, True)


def test_a_group_is_the_list_of_its_results_in_order(served: cellq.Queue) -> None:
    group = served.map(give, range(20))
    assert served.enqueue(give, group).result(30) == list(range(20))
    assert served.enqueue(give, {"some": group[5:8], "none": group[0:0]}).result(30) == {"some": [5, 6, 7], "none": []}


@pytest.mark.parametrize("value", [None, np.arange(SPILL_OVER, dtype="u2")], ids=["None", "large"])
def test_any_result_arrives(value: Any, served: cellq.Queue) -> None:
    echoed = served.enqueue(give, served.enqueue(give, value)).result(30)
    assert np.array_equal(echoed, value)


def test_coroutines_take_results_and_give_them(served: cellq.Queue) -> None:
    job = served.enqueue(double, served.enqueue(double, served.enqueue(give, 1)))
    assert job.result(30) == 4
    assert served.enqueue(give, job).result(30) == 4


def test_of_a_cell_it_is_the_last_value(served: cellq.Queue) -> None:
    packed = pack("x = 20\nx + 1", {"__name__": "__main__"})
    cell = served.push_cell(packed.parcel, task="cell [1]", origin="")
    assert served.enqueue(give, cell).result(30) == 21


def test_a_function_that_holds_a_job_has_a_handle(served: cellq.Queue) -> None:
    first = served.enqueue(give, 1)
    assert served.enqueue(lambda: (type(first).__name__, first.id)).result(30) == ("Job", first.id)
    assert served.enqueue(lambda call: call(), lambda: first.id).result(30) == first.id
    assert served.enqueue(lambda result, call: (result, call()), first, lambda: 1).result(30) == (1, 1)


def test_a_thousand_jobs_go_into_one(served: cellq.Queue) -> None:
    group = served.map(give, range(1000))
    assert served.enqueue(total, group).result(60) == sum(range(1000))


def test_a_retried_job_gets_its_inputs_again(served: cellq.Queue, tmp_path: pathlib.Path) -> None:
    def once(value: int, mark: str) -> int:
        if not os.path.exists(mark):
            open(mark, "w").close()
            raise ValueError("the first time")
        return value

    job = served.options(retries=1, backoff=0.01).enqueue(once, served.enqueue(give, 5), str(tmp_path / "mark"))
    assert job.result(30) == 5
    assert job.attempt == 2


def test_an_isolated_job_and_one_with_a_timeout_take_results_too(served: cellq.Queue) -> None:
    first = served.enqueue(give, 5)
    assert served.options(isolated=True).enqueue(give, first).result(30) == 5
    assert served.options(timeout=30).enqueue(give, first).result(30) == 5


# ------------------------------------------------------------------------------------- results that are gone


@pytest.mark.parametrize("gone", ["deleted", "retried"])
def test_a_result_that_is_gone_by_then_fails_the_job(gone: str, served: cellq.Queue, tmp_path: pathlib.Path) -> None:
    line = served.options(queue="other")
    first = line.enqueue(give, 1)
    with cellq.Worker(line, slots=1, concurrency=0):
        first.result(30)
    served.pause()
    child = served.enqueue(give, first)
    if gone == "deleted":
        served.delete([first])
    else:
        first.retry()
    served.resume()
    says = "was pruned or deleted" if gone == "deleted" else "was run again, and is pending now"
    with pytest.raises(cellq.JobFailed, match=rf"the result of job {first.short}.*, is gone: that job {says}"):
        child.result(30)
    assert child.failure is not None
    assert child.failure.cause == "dependency"
    assert served.enqueue(give, 2).result(30) == 2  # the worker goes on


def test_a_result_of_another_job_is_not_opened(tmp_path: pathlib.Path) -> None:
    with cellq.Queue(f"memory://{tmp_path.name}") as queue, cellq.Worker(queue, slots=1, concurrency=0):
        mine, other = queue.enqueue(give, "mine"), queue.enqueue(give, "other")
        mine.wait(30)
        other.wait(30)
        jobs = MemoryStore.named(tmp_path.name)._jobs
        here, there = (jobs[job.row().id] for job in (mine, other))
        here.result = there.result
        with pytest.raises(cellq.Untrusted, match=rf"the result of job {mine.short} \(give\).* The signature"):
            queue.enqueue(give, mine).result(30)


# ----------------------------------------------------------------------------------------- with middleware


class Looks(cellq.Middleware):
    """Notes what it sees of a message's arguments."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def handle(self, message: cellq.Message, next_handler: cellq.Handler) -> object:
        self.seen.append((message.args, message.kwargs))
        return await next_handler(message)


def test_middleware_sees_a_handle_and_the_job_gets_the_result(tmp_path: pathlib.Path) -> None:
    looks = Looks()
    with cellq.Queue(f"memory://{tmp_path.name}") as queue, cellq.Worker(queue, slots=1, middlewares=[looks]):
        first = queue.enqueue(give, 5)
        group = queue.map(give, [1, 2])
        assert queue.enqueue(total, first, group).result(30) == 8
    ((handle, handles),) = (args for args, _ in looks.seen if len(args) == 2)
    assert isinstance(handle, cellq.AsyncJob)
    assert (handle.id, handle.name) == (first.id, "give")
    assert isinstance(handles, cellq.AsyncJobGroup)
    assert [job.id for job in handles] == [job.id for job in group]


def test_middleware_is_told_when_a_result_is_gone(tmp_path: pathlib.Path) -> None:
    told: list[cellq.RemoteError] = []

    class Catches(cellq.Middleware):
        async def handle(self, message: cellq.Message, next_handler: cellq.Handler) -> object:
            try:
                return await next_handler(message)
            except cellq.RemoteError as error:
                told.append(error)
                raise

    with cellq.Queue(f"memory://{tmp_path.name}") as queue, cellq.Worker(queue, slots=1, middlewares=[Catches()]):
        first = queue.enqueue(give, 5)
        first.result(30)
        queue.pause()
        child = queue.enqueue(give, first)
        queue.delete([first])
        queue.resume()
        with pytest.raises(cellq.JobFailed, match="is gone: that job was pruned"):
            child.result(30)
    assert [error.cause for error in told] == ["dependency"]


# --------------------------------------------------------------------------------- while results are fetched


class SlowStore:
    """A store in memory that gives results only when told to."""

    def __init__(self, name: str) -> None:
        self.store = MemoryStore.named(name)
        self.asked, self.give = threading.Event(), threading.Event()
        self.broken = 0
        self._get = self.store.get
        self.store.get = self.get  # type: ignore[method-assign]

    async def get(self, ids: Any, parts: Any = ()) -> Any:
        if list(parts) == [Part.RESULT]:  # a worker asks; clients ask for errors as well
            self.asked.set()
            while not self.give.is_set():
                await asyncio.sleep(0.005)  # between two looks at the event of another thread
            if self.broken:
                self.broken -= 1
                raise StoreUnavailable("the store is away")
        return await self._get(ids, parts)


@pytest.fixture
def slow(tmp_path: pathlib.Path) -> SlowStore:
    return SlowStore(tmp_path.name)


Fetching = tuple[cellq.Queue, cellq.Job[Any]]


@pytest.fixture(params=["bare", "with middleware"])
def fetching(slow: SlowStore, tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> Iterator[Fetching]:
    """A queue, and a job whose worker waits for its inputs."""
    layers = [Looks()] if request.param == "with middleware" else []
    with (
        cellq.Queue(f"memory://{tmp_path.name}") as queue,
        cellq.Worker(queue, slots=2, concurrency=1, lease=0.5, drain=0.1, grace=0.1, middlewares=layers),
    ):
        child = queue.enqueue(give, queue.enqueue(give, 5))
        assert slow.asked.wait(30)
        yield queue, child
        slow.give.set()


def test_other_jobs_run_meanwhile(fetching: Fetching, slow: SlowStore) -> None:
    queue, child = fetching
    assert queue.map(give, range(5)).results(30) == list(range(5))
    assert child.state == "running"
    slow.give.set()
    assert child.result(30) == 5


def test_the_lease_is_kept_meanwhile(fetching: Fetching, slow: SlowStore) -> None:
    queue, child = fetching
    deadline = time.monotonic() + 1.2  # more than two leases, with claims that would take back what is silent
    while time.monotonic() < deadline:
        queue.enqueue(give, 1).result(30)
    slow.give.set()
    assert child.result(30) == 5
    assert child.attempt == 1


def test_it_can_be_cancelled_meanwhile(fetching: Fetching) -> None:
    _, child = fetching
    child.cancel()
    assert child.wait(30)
    assert child.state == "cancelled"
    assert child.failure is not None
    assert child.failure.message == "cancelled before it was started"


def test_a_store_that_is_away_is_asked_again(fetching: Fetching, slow: SlowStore) -> None:
    slow.broken = 1
    slow.give.set()
    assert fetching[1].result(30) == 5


def test_a_worker_that_ends_gives_it_back(slow: SlowStore, tmp_path: pathlib.Path) -> None:
    with cellq.Queue(f"memory://{tmp_path.name}") as queue:
        with cellq.Worker(queue, slots=1, drain=30):
            child = queue.enqueue(give, queue.enqueue(give, 5))
            assert slow.asked.wait(30)
        assert (child.state, child.attempt) == ("pending", 0)
        slow.give.set()
        with cellq.Worker(queue, slots=1):
            assert child.result(30) == 5


# ------------------------------------------------------------------------------------ several processes


def work_and_be_killed(path: str) -> None:
    pathlib.Path(path).touch()
    time.sleep(600)


def test_a_worker_killed_while_it_runs_the_parent_cancels_the_child_with_the_reason(
    queue: cellq.Queue, start_worker: Callable[..., Any], tmp_path: pathlib.Path
) -> None:
    first = start_worker("-n", "1", "--lease", "2")
    parent = queue.enqueue(work_and_be_killed, str(tmp_path / "seen"))
    child = queue.enqueue(give, parent)
    grandchild = queue.options(after=child).enqueue(give, 1)
    until((tmp_path / "seen").exists, "the parent runs")
    os.kill(first.pid, signal.SIGKILL)
    start_worker("-n", "1", "--lease", "2")
    with pytest.raises(cellq.JobLost):
        parent.result(30)
    with pytest.raises(cellq.JobCancelled, match=f"job {parent.short}, which it was to run after, failed"):
        child.result(30)
    with pytest.raises(cellq.JobCancelled, match=f"job {child.short}, which it was to run after, was cancelled"):
        grandchild.result(30)


def count_in(path: str) -> tuple[int, int]:
    """Count this job among those that run, and give how many that are, and its worker; then leave again."""

    def change(by: int) -> int:
        with open(path, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            now = int(file.read() or 0) + by
            file.seek(0)
            file.write(f"{now} ")
            file.flush()
            return now

    now = change(1)
    time.sleep(0.01)
    change(-1)
    return now, os.getppid()


@pytest.mark.parametrize("how", ["line", "key"])
def test_four_workers_never_run_more_than_two_at_once(
    how: str, queue: cellq.Queue, start_worker: Callable[..., Any], tmp_path: pathlib.Path
) -> None:
    counter = tmp_path / "running"
    counter.touch()
    if how == "line":
        queue.limit(2)
        line = queue
    else:
        line = queue.options(concurrency_key="counter", max_running=2)
    for _ in range(4):
        start_worker("-n", "2")
    seen = line.map(count_in, 60 * [str(counter)]).results(60)
    assert max(number for number, _ in seen) == 2  # and not always one after the other
    assert len({worker for _, worker in seen}) > 1
