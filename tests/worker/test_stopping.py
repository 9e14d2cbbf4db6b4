"""Cancel and timeout stop the code, whatever it does; the slot is usable again."""

import ctypes
import re
import subprocess
import sys
import time

import psutil
import pytest

import cellq


def spin():
    while True:
        pass


def sleep_for_ever():
    time.sleep(1e9)


def regex_that_holds_the_gil():
    re.match(r"(a+)+$", "a" * 60 + "b")


def c_call_that_holds_the_gil():
    ctypes.PyDLL(None).sleep(1000)  # PyDLL keeps the GIL


def subprocess_for_ever():
    print(subprocess.Popen(["sleep", "100000"]).pid, flush=True)
    subprocess.run([sys.executable, "-c", "import time; time.sleep(1e9)"], check=True)


def stubborn():
    while True:
        try:
            time.sleep(1e9)
        except BaseException:
            pass


async def sleep_in_a_coroutine():
    import asyncio

    await asyncio.sleep(1e9)


async def block_the_loop():
    time.sleep(1e9)


def ended(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


ENDLESS = [
    spin,
    sleep_for_ever,
    regex_that_holds_the_gil,
    c_call_that_holds_the_gil,
    subprocess_for_ever,
    stubborn,
    sleep_in_a_coroutine,
    block_the_loop,
]


@pytest.mark.parametrize("endless", ENDLESS, ids=lambda f: f.__name__)
def test_cancel_stops_the_code(shared, until, endless) -> None:
    job = shared.enqueue(endless)
    until(lambda: job.state == "running", "the job runs")
    assert job.cancel() == "asked"
    with pytest.raises(cellq.JobCancelled):
        job.result(timeout=30)
    assert shared.enqueue(pow, 2, 5).result(timeout=30) == 32


@pytest.mark.parametrize("endless", ENDLESS, ids=lambda f: f.__name__)
def test_timeout_stops_the_code(shared, endless) -> None:
    job = shared.options(timeout=0.3).enqueue(endless)
    with pytest.raises(cellq.JobTimeout, match=r"0\.3 s"):
        job.result(timeout=30)
    assert shared.enqueue(pow, 2, 5).result(timeout=30) == 32


def test_what_a_cancelled_job_had_started_is_gone_too(shared, until) -> None:
    job = shared.enqueue(subprocess_for_ever)
    until(lambda: job.logs().strip(), "the job has printed its subprocess's pid")
    pid = int(job.logs())
    subprocess_of_job = psutil.Process(pid)
    job.cancel()
    until(lambda: ended(subprocess_of_job), "the subprocess is gone")


def test_a_cancel_hits_only_its_job(shared, until) -> None:
    """The next job in the same process is not interrupted by a cancel that was meant for the one before."""
    jobs = shared.map(time.sleep, [0.001] * 100)
    for job in list(jobs)[::2]:
        job.cancel()
    until(lambda: all(job.done() for job in jobs), "all jobs have ended")
    assert all(job.state == "completed" for job in list(jobs)[1::2])
    assert {job.state for job in list(jobs)[::2]} <= {"completed", "cancelled"}


def test_a_pending_job_is_cancelled_at_once(queue) -> None:
    job = queue.enqueue(pow, 2, 3)
    assert job.cancel() == "done"
    assert job.state == "cancelled"
    with pytest.raises(cellq.JobCancelled):
        job.result()


def test_a_job_that_ends_while_it_is_asked_keeps_its_result(shared, until) -> None:
    def finish_anyway():
        try:
            print("at work", flush=True)
            time.sleep(1e9)
        except KeyboardInterrupt:
            return "saved"

    job = shared.enqueue(finish_anyway)
    until(job.logs, "the job is at work")
    job.cancel()
    assert job.result(timeout=30) == "saved"
