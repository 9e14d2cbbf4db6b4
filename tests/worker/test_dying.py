"""Real kills: of a slot, of a worker, of the program that enqueued. Nothing is lost and nothing is recorded twice."""

import multiprocessing
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

import cellq
from cellq import settings


def kill_myself(with_signal):
    os.kill(os.getpid(), with_signal)


def crash():
    import ctypes

    ctypes.string_at(0)


def exit_at_once():
    os._exit(7)


def append_and_wait(path, gate):
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    while not os.path.exists(gate):
        time.sleep(0.01)
    return "done"


def fork_and_terminate():
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
    forked.start()
    forked.terminate()
    forked.join(20)
    return forked.exitcode


def gone(pid: int) -> bool:
    """Whether a process runs no more. Who inherited it may take its time to reap it: that is not the worker's."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def check_file(queue: cellq.Queue) -> None:
    """A database file, where that is the store, is whole."""
    if not queue.url.startswith("sqlite:"):
        return
    with sqlite3.connect(settings.sqlite_path(queue.url)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    ("death", "args", "words"),
    [
        (kill_myself, (signal.SIGKILL,), "SIGKILL, likely out of memory"),
        (kill_myself, (signal.SIGUSR1,), "SIGUSR1"),
        (crash, (), "SIGSEGV"),
        (exit_at_once, (), "code 7"),
        (os.abort, (), "SIGABRT"),
    ],
    ids=["SIGKILL", "SIGUSR1", "SIGSEGV", "exit", "abort"],
)
def test_a_job_whose_process_dies_fails_with_the_reason(shared, death, args, words) -> None:
    with pytest.raises(cellq.JobLost, match=words):
        shared.enqueue(death, *args).result(timeout=30)
    assert shared.enqueue(pow, 2, 3).result(timeout=30) == 8


def test_what_it_had_printed_before_it_died_is_kept(shared) -> None:
    def print_and_die():
        print("last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    job = shared.enqueue(print_and_die)
    with pytest.raises(cellq.JobLost):
        job.result(timeout=30)
    assert job.logs() == "last words\n"


def test_a_job_that_kills_its_slot_each_time_ends_after_its_attempts(shared) -> None:
    job = shared.options(retries=2, backoff=0.01).enqueue(kill_myself, signal.SIGKILL)
    with pytest.raises(cellq.JobLost):
        job.result(timeout=60)
    assert job.attempt == 3


def test_jobs_around_one_that_dies_are_not_hurt(shared) -> None:
    """They share its process and its frame: those before it have ended, those behind it have not begun."""

    def perhaps(n):
        if n == 150:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    shared.map(perhaps, range(100)).results(timeout=60)  # by now slots are given many at a time
    jobs = list(shared.map(perhaps, range(100, 300)))
    with pytest.raises(cellq.JobLost):
        jobs[50].result(timeout=60)
    rest = [job.result(timeout=60) for n, job in enumerate(jobs) if n != 50]
    assert rest == [n for n in range(100, 300) if n != 150]


def test_a_dead_workers_job_is_run_by_another(queue, start_worker, tmp_path, until) -> None:
    seen, gate = tmp_path / "seen", tmp_path / "gate"
    first = start_worker("-n", "1", "--lease", "2")
    job = queue.options(retries=1).enqueue(append_and_wait, str(seen), str(gate))
    until(lambda: seen.exists() and seen.read_text().endswith("\n"), "the job runs")
    slot = int(seen.read_text())
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: gone(slot), "the dead worker's slot is gone")
    start_worker("-n", "1", "--lease", "2")
    until(lambda: len(seen.read_text().split()) == 2, "the second worker runs the job")
    gate.touch()
    assert job.result(timeout=30) == "done"
    assert job.attempt == 2
    check_file(queue)


def test_a_sigterm_to_all_its_processes_is_for_the_worker_alone(queue, start_worker, tmp_path, until) -> None:
    seen, gate = tmp_path / "seen", tmp_path / "gate"
    worker = start_worker("-n", "1", "--drain", "30")
    job = queue.enqueue(append_and_wait, str(seen), str(gate))
    until(seen.exists, "the job runs")
    for process in [*psutil.Process(worker.pid).children(recursive=True), psutil.Process(worker.pid)]:
        process.terminate()
    until(lambda: "drains" in worker.log.read_text(), "the worker has heard it")
    gate.touch()
    assert job.result(timeout=30) == "done"
    assert worker.process.wait(30) == 0


def test_a_process_that_a_job_has_forked_ends_by_sigterm(queue) -> None:
    with cellq.Worker(queue, slots=1):
        assert queue.enqueue(fork_and_terminate).result(timeout=30) == -signal.SIGTERM


def test_a_dead_workers_job_without_attempts_left_fails_with_the_reason(queue, start_worker, tmp_path, until) -> None:
    seen = tmp_path / "seen"
    first = start_worker("-n", "1", "--lease", "2")
    job = queue.enqueue(append_and_wait, str(seen), str(tmp_path / "never"))
    until(seen.exists, "the job runs")
    os.kill(first.pid, signal.SIGKILL)
    start_worker("-n", "1", "--lease", "2")
    with pytest.raises(cellq.JobLost, match="worker"):
        job.result(timeout=30)


def test_a_worker_that_was_stopped_and_goes_on_late_records_nothing(queue, start_worker, tmp_path, until) -> None:
    seen, gate = tmp_path / "seen", tmp_path / "gate"
    first = start_worker("-n", "1", "--lease", "1")
    job = queue.options(retries=3).enqueue(append_and_wait, str(seen), str(gate))
    until(seen.exists, "the job runs")
    family = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
    for process in family:
        process.suspend()
    start_worker("-n", "1", "--lease", "1")
    until(lambda: len(seen.read_text().split()) == 2, "the second worker runs the job")
    for process in reversed(family):
        process.resume()
    until(lambda: "was lost" in first.log.read_text(), "the first worker has learned that it lost the job")
    gate.touch()
    assert job.result(timeout=30) == "done"
    assert job.attempt == 2
    assert len(seen.read_text().split()) == 2
    check_file(queue)


def test_what_was_enqueued_survives_the_enqueuers_kill(queue, tmp_path) -> None:
    program = textwrap.dedent(
        """
        import os, signal, sys, cellq
        q = cellq.Queue(sys.argv[1])
        for n in range(20):
            print(q.enqueue(pow, n, 2).id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    ended = subprocess.run([sys.executable, "-c", program, queue.url], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    ids = ended.stdout.split()
    assert len(ids) == 20
    with cellq.Worker(queue, slots=1):
        assert [queue.get(text).result(timeout=30) for text in ids] == [n * n for n in range(20)]
    check_file(queue)


def test_the_zygote_may_die(queue, until) -> None:
    others = set(psutil.Process().children())
    with cellq.Worker(queue, slots=1, grace=0.5):
        assert queue.enqueue(pow, 2, 3).result(timeout=30) == 8
        zygotes = [p for p in set(psutil.Process().children()) - others if "cellq.runner.zygote" in p.cmdline()]
        assert len(zygotes) == 1
        zygotes[0].kill()
        assert queue.options(retries=1, backoff=0.01).enqueue(pow, 2, 4).result(timeout=30) == 16


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_the_first_signal_lets_running_jobs_end(queue, start_worker, tmp_path, until, number) -> None:
    seen, gate = tmp_path / "seen", tmp_path / "gate"
    worker = start_worker("-n", "1", "--drain", "60")
    running = queue.enqueue(append_and_wait, str(seen), str(gate))
    waiting = queue.enqueue(pow, 2, 3)
    until(seen.exists, "the job runs")
    os.kill(worker.pid, number)
    until(lambda: "drains" in worker.log.read_text(), "the worker drains")
    gate.touch()
    assert worker.process.wait(30) == 0
    assert running.result(timeout=5) == "done"
    assert waiting.state == "pending"


def test_the_second_signal_gives_jobs_back_without_spending_an_attempt(queue, start_worker, tmp_path, until) -> None:
    seen = tmp_path / "seen"
    worker = start_worker("-n", "1", "--drain", "600", "--grace", "0.5")
    job = queue.enqueue(append_and_wait, str(seen), str(tmp_path / "never"))
    until(seen.exists, "the job runs")
    os.kill(worker.pid, signal.SIGTERM)
    until(lambda: "drains" in worker.log.read_text(), "the worker drains")
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.process.wait(30) == 0
    assert job.state == "pending"
    assert job.attempt == 0
    slot = int(seen.read_text().split()[0])
    until(lambda: gone(slot), "the slot's process is gone")


def test_no_process_is_left_when_a_worker_ends(queue, start_worker, until) -> None:
    worker = start_worker("-n", "2")
    family = psutil.Process(worker.pid).children(recursive=True)
    assert len(family) >= 3
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.process.wait(30) == 0
    until(lambda: all(gone(p.pid) for p in family), "its processes are gone")


def test_no_process_is_left_when_a_worker_is_killed(queue, start_worker, until) -> None:
    worker = start_worker("-n", "2")
    family = psutil.Process(worker.pid).children(recursive=True)
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: all(gone(p.pid) for p in family), "its processes are gone")


def test_the_log_names_what_the_worker_did(queue, start_worker) -> None:
    worker = start_worker("-n", "1")
    assert isinstance(worker.log, pathlib.Path)
    assert "1 slots" in worker.log.read_text()
