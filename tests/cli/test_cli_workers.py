"""`cellq worker`, `start`, `workers`, `workers --stop`: real processes come, are listed, and go."""

import os
import pathlib
import re
import signal
import socket

import psutil
import pytest

import cellq

pytestmark = pytest.mark.parametrize("kind", ["sqlite", "redis"])

KEYS = [
    "id", "host", "pid", "local", "runtime", "queues", "slots", "busy", "lease", "started", "beat", "silent", "jobs",
]  # fmt: skip


def test_no_worker(run, queue) -> None:
    queue.count()
    assert "start one with: cellq start" in run("workers").well().out
    assert run("workers", "--json").well().json == []
    assert run("workers", "--stop").well().out == "no worker is running\n"


def test_workers_as_json(run, queue, worker) -> None:
    (told,) = run("workers", "--json").well().json
    assert list(told) == KEYS
    assert (told["host"], told["pid"], told["local"]) == (socket.gethostname(), os.getpid(), True)
    assert (told["queues"], told["slots"], told["busy"], told["jobs"]) == (["default"], 1, 0, [])
    assert told["silent"] < told["lease"]


def test_a_workers_jobs_are_listed_with_the_next_beat(run, queue, hold, gate) -> None:
    with cellq.Worker(queue, slots=1, lease=0.6):
        job = hold("x")
        gate.wait_reached()
        told = {}
        while not told.get("jobs"):  # a beat follows five times a second
            (told,) = run("workers", "--json").well().json
        assert told["busy"] == 1
        (first,) = told["jobs"]
        assert (first["id"], first["short"], first["task"]) == (job.id, job.short, "hold.<locals>.held")
        assert psutil.pid_exists(first["pid"])
        assert job.short in run("workers").well().out
        gate.open()


def test_start_prints_pid_and_log_of_a_worker_that_is_there(run, queue, no_worker_stays) -> None:
    said = run("start", "-n", "1", "-q", "default", "-q", "mail").well()
    pid, log = re.fullmatch(r"worker (\d+) is running; its log is (.+)\n", said.out).groups()
    assert pathlib.Path(log).is_file()
    (told,) = run("workers", "--json").json
    assert (told["pid"], told["slots"], told["queues"]) == (int(pid), 1, ["default", "mail"])
    assert queue.enqueue(divmod, 7, 2).result(timeout=30) == (3, 1)


def test_stop_drains_local_workers(run, hold, gate, queue, until, no_worker_stays) -> None:
    run("start", "-n", "1").well()
    job = hold("x")
    gate.wait_reached()
    (found,) = queue.workers()
    assert f"worker {found.pid} " in run("workers", "--stop").well().out
    gate.open()
    assert job.wait(30)
    assert job.state == "completed"
    until(lambda: queue.workers() == [], "the worker has signed off")


def test_start_on_a_foreign_database_is_one_line(run, path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database " * 100)
    assert "not a cellq database" in run("start", "--url", str(path)).one_line()


def test_worker_serves_several_queues_until_ctrl_c(start, queue, until) -> None:
    process = start("worker", "-q", "a", "-q", "b", "-n", "1")
    until(lambda: queue.workers() or process.poll() is not None, "the worker is there")
    assert queue.options(queue="a").enqueue(abs, -1).result(timeout=30) == 1
    assert queue.options(queue="b").enqueue(abs, -2).result(timeout=30) == 2
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def test_debug_is_about_cellq(queue, run) -> None:
    said = run("worker", "--log-level", "DEBUG", "--idle-exit", "0.01").well()
    assert "is ready" in said.err
    assert "executing functools" not in said.err


def test_options_without_sense_are_usage_errors(run) -> None:
    said = run("worker", "-n", "-1")
    assert said.code == 2
    assert "slots must be" in said.err
