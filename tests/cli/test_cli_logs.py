"""`cellq logs`: streams go where they belong, `--follow` is live, Ctrl-C leaves quietly."""

import signal
import sys

import pytest

import cellq

pytestmark = pytest.mark.parametrize("kind", ["sqlite", "redis"])


def chatter() -> None:
    print("to out")
    print("\x1b[31mred\x1b[0m to err", file=sys.stderr)
    print("no end", end="")


def burst() -> None:
    print("start")
    raise ValueError("no luck")


def test_streams_go_where_they_belong_without_colours(run, queue, worker) -> None:
    job = queue.enqueue(chatter)
    job.wait(30)
    said = run("logs", job.short).well()
    assert said.out == "to out\nno end"
    assert said.err == "red to err\n"


def test_a_failed_function_ends_with_its_traceback(run, queue, worker) -> None:
    job = queue.enqueue(burst)
    job.wait(30)
    said = run("logs", job.id).well()
    assert said.out == "start\n"
    assert said.err.rstrip().endswith("ValueError: no luck")
    assert "in burst" in said.err


def test_attempts_are_told_apart(run, queue, worker) -> None:
    job = queue.options(retries=1, backoff=0).enqueue(burst)
    job.wait(30)
    said = run("logs", job.id).well()
    assert said.out == "start\nstart\n"
    assert "── attempt 2 ──" in said.err


def test_a_job_that_has_said_nothing(run, queue) -> None:
    job = queue.enqueue(print)
    assert run("logs", job.short).well().out == ""


def test_follow_is_live_and_ends_with_the_job(start, hold, gate, worker) -> None:
    job = hold("text")
    follower = start("logs", "--follow", job.short)
    assert follower.stdout.readline() == "text before\n"
    gate.open()
    assert follower.stdout.read() == "text after\n"
    assert follower.wait(30) == 0
    assert follower.stderr.read() == ""


def test_follow_begins_before_the_job_does(start, hold, gate, queue) -> None:
    job = hold("text")
    follower = start("logs", "--follow", job.short)
    with cellq.Worker(queue, slots=1):
        assert follower.stdout.readline() == "text before\n"
        gate.open()
        assert follower.stdout.read() == "text after\n"
    assert follower.wait(30) == 0


def test_ctrl_c_leaves_quietly_and_the_job_goes_on(start, hold, gate, worker) -> None:
    job = hold("text")
    follower = start("logs", "--follow", job.short)
    assert follower.stdout.readline() == "text before\n"
    follower.send_signal(signal.SIGINT)
    assert follower.wait(30) == 130
    assert (follower.stdout.read(), follower.stderr.read()) == ("", "")
    gate.open()
    assert job.wait(30)
    assert job.state == "completed"


def test_follow_of_a_job_deleted_meanwhile_is_one_line(start, queue) -> None:
    queue.pause()
    job = queue.enqueue(print)
    follower = start("logs", "--follow", job.short)
    job.cancel()
    queue.delete([job])
    follower.wait(30)
    err = follower.stderr.read()
    assert follower.returncode in (0, 1)  # it may have seen the cancelling first
    assert len(err.splitlines()) == follower.returncode
