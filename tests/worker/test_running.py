"""Jobs run, and what they give comes back: values, exceptions, attempts, many at a time."""

import asyncio
import os
import threading
import time

import numpy as np
import pytest

import cellq


def fail(text):
    raise ValueError(text)


class Awkward(Exception):
    def __init__(self, code, *, detail):
        super().__init__(f"{code}: {detail}")
        self.code = code


def test_a_value_comes_back(shared) -> None:
    assert shared.enqueue(divmod, 17, 5).result(timeout=30) == (3, 2)


def test_none_is_a_result(shared) -> None:
    job = shared.enqueue(print)
    assert job.result(timeout=30) is None
    assert job.state == "completed"


def test_functions_of_this_file_travel_with_what_they_use(shared) -> None:
    factor = 3

    def scale(xs, *, by=factor):
        return [x * by for x in xs]

    assert shared.enqueue(scale, [1, 2]).result(timeout=30) == [3, 6]
    assert shared.enqueue(scale, [1, 2], by=10).result(timeout=30) == [10, 20]


def test_arrays_arrive_writable(shared) -> None:
    def double_in_place(array):
        array *= 2
        return array

    array = shared.enqueue(double_in_place, np.ones(500_000)).result(timeout=30)
    array += 1
    assert array.sum() == 1_500_000


def test_map_keeps_the_order(shared) -> None:
    assert shared.map(pow, range(300), [2] * 300).results(timeout=60) == [n * n for n in range(300)]


def test_an_exception_comes_back_as_the_cause(shared) -> None:
    job = shared.enqueue(fail, "no luck")
    with pytest.raises(cellq.JobFailed, match="no luck") as caught:
        job.result(timeout=30)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "in fail" in caught.value.traceback
    assert "cellq/runner" not in caught.value.traceback


def test_an_exception_with_its_own_constructor_comes_back(shared) -> None:
    def raise_it():
        raise Awkward(7, detail="odd")

    with pytest.raises(cellq.JobFailed, match="7: odd") as caught:
        shared.enqueue(raise_it).result(timeout=30)
    assert caught.value.__cause__.code == 7


def test_a_result_that_cannot_travel_fails_with_its_type(shared) -> None:
    def give_lock():
        print("kept")
        return threading.Lock()

    job = shared.enqueue(give_lock)
    with pytest.raises(cellq.JobFailed, match="lock"):
        job.result(timeout=30)
    assert job.logs() == "kept\n"


@pytest.mark.parametrize("status", [0, 3])
def test_sys_exit_fails_the_job_and_not_the_slot(shared, status) -> None:
    job = shared.enqueue(os.sys.exit, status)
    with pytest.raises(cellq.JobFailed, match="SystemExit"):
        job.result(timeout=30)
    assert shared.enqueue(pow, 2, 2).result(timeout=30) == 4


def test_a_failed_job_is_run_again_as_often_as_asked(shared, tmp_path) -> None:
    path = str(tmp_path / "tries")

    def third_time_lucky():
        with open(path, "a") as file:
            file.write("x")
        if len(open(path).read()) < 3:
            raise OSError("not yet")
        return cellq.current_job().attempt

    job = shared.options(retries=5, backoff=0.01).enqueue(third_time_lucky)
    assert job.result(timeout=30) == 3
    assert job.attempt == 3


def test_without_retries_it_is_run_once(shared, tmp_path) -> None:
    path = str(tmp_path / "tries")

    def count_and_fail():
        with open(path, "a") as file:
            file.write("x")
        raise OSError("never")

    with pytest.raises(cellq.JobFailed):
        shared.enqueue(count_and_fail).result(timeout=30)
    assert open(path).read() == "x"


def test_retry_from_outside_runs_it_again(shared, tmp_path) -> None:
    gate = str(tmp_path / "gate")

    def need_gate():
        if not os.path.exists(gate):
            raise FileNotFoundError(gate)
        return "through"

    job = shared.enqueue(need_gate)
    with pytest.raises(cellq.JobFailed):
        job.result(timeout=30)
    open(gate, "w").close()
    job.retry()
    assert job.result(timeout=30) == "through"


def test_coroutines_run_side_by_side(shared) -> None:
    async def meet(n):
        await asyncio.sleep(0.05)
        return n, os.getpid()

    results = shared.map(meet, range(100)).results(timeout=60)
    assert [n for n, _ in results] == list(range(100))
    assert len({pid for _, pid in results}) == 1


def test_a_delayed_job_waits(shared) -> None:
    asked = time.time()
    started = shared.options(delay=0.3).enqueue(time.time).result(timeout=30)
    assert started >= asked + 0.3


def test_higher_priority_runs_first(queue) -> None:
    low = queue.options(priority=-1).enqueue(time.time_ns)
    normal = [queue.enqueue(time.time_ns) for _ in range(3)]
    high = queue.options(priority=9).enqueue(time.time_ns)
    with cellq.Worker(queue, slots=1):
        order = [job.result(timeout=30) for job in (high, *normal, low)]
    assert order == sorted(order)


def test_a_small_job_does_not_wait_behind_a_long_one(queue, tmp_path) -> None:
    gate = str(tmp_path / "gate")

    def quick_or_slow(slow):
        while slow and not os.path.exists(gate):
            time.sleep(0.005)

    with cellq.Worker(queue, slots=2):
        queue.map(quick_or_slow, [False] * 500).results(timeout=60)  # slots are given many at a time by now
        jobs = list(queue.map(quick_or_slow, [True] + [False] * 200))
        for job in jobs[1:]:
            job.result(timeout=30)
        assert jobs[0].state == "running"
        open(gate, "w").close()
        jobs[0].result(timeout=30)


def test_an_isolated_job_has_a_process_of_its_own(shared) -> None:
    pids = [shared.options(isolated=True).enqueue(os.getpid).result(timeout=30) for _ in range(3)]
    assert len(set(pids)) == 3


def test_slots_are_replaced_after_max_jobs(queue) -> None:
    with cellq.Worker(queue, slots=1, max_jobs=1):
        pids = [queue.enqueue(os.getpid).result(timeout=30) for _ in range(3)]
    assert len(set(pids)) == 3


def test_a_slot_that_leaks_is_replaced_and_the_queue_drains(queue) -> None:
    kept = []

    def leak():
        kept.append(bytearray(os.urandom(1) * 60_000_000))
        return os.getpid()

    with cellq.Worker(queue, slots=1, max_memory=150_000_000):
        pids = [queue.enqueue(leak).result(timeout=30) for _ in range(6)]
    assert len(set(pids)) > 1


def test_current_job_tells_who_it_is(shared) -> None:
    def who():
        job = cellq.current_job()
        return job.id, job.attempt, job.task, job.queue

    job = shared.enqueue(who)
    ident, attempt, task, queue = job.result(timeout=30)
    assert ident == job.id
    assert attempt == 1
    assert "who" in task
    assert queue == "default"


def test_a_worker_with_another_secret_refuses_before_unpickling(queue, monkeypatch, tmp_path) -> None:
    flag = str(tmp_path / "flag")

    class Bomb:
        def __reduce__(self):
            return open, (flag, "w")

    job = queue.enqueue(len, [Bomb()])
    monkeypatch.setenv("CELLQ_SECRET", "another secret, not the first one")
    with cellq.Worker(queue, slots=1), pytest.raises(cellq.Untrusted, match="CELLQ_SECRET"):
        job.result(timeout=30)
    assert not os.path.exists(flag)


def test_two_queues_have_their_own_workers(queue) -> None:
    other = queue.options(queue="other").enqueue(pow, 2, 2)
    with cellq.Worker(queue, slots=1):
        assert queue.enqueue(pow, 3, 2).result(timeout=30) == 9
        assert other.state == "pending"
    with cellq.Worker("other", url=queue.url, slots=1):
        assert other.result(timeout=30) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [({"slots": -1}, "slots"), ({"slots": 0, "concurrency": 0}, "slot"), ({"lease": 0}, "lease")],
)
def test_bad_settings_are_refused_at_the_call(queue, options, words) -> None:
    with pytest.raises(ValueError, match=words):
        cellq.Worker(queue, **options)


def test_a_full_queue_is_drained_without_a_ring(queue, monkeypatch) -> None:
    """While one lane is full and the other empty, nothing but the claims themselves tells that there is more."""
    monkeypatch.setattr("cellq.worker.claiming._LOOK_AGAIN", 3600.0)
    jobs = queue.map(abs, range(3000))
    with cellq.Worker(queue, slots=2, concurrency=100):
        assert jobs.wait(timeout=60)


def test_a_coroutine_that_comes_due_does_not_wait_for_the_end_of_a_long_queue(queue) -> None:
    async def now() -> float:
        return time.time()

    calls = queue.map(time.sleep, [0.02] * 500)
    delayed = queue.options(delay=1.5).enqueue(now)
    with cellq.Worker(queue, slots=1, drain=0):
        delayed.result(timeout=60)
        assert queue.count()["pending"] > 50
        calls.cancel()


def test_preloaded_modules_are_there_before_a_job_asks(queue, until) -> None:
    def loaded():
        import sys

        return "colorsys" in sys.modules

    with cellq.Worker(queue, slots=1, preload=["no_such_module", "colorsys"]):
        until(lambda: queue.options(isolated=True).enqueue(loaded).result(timeout=30), "a new slot has it")
