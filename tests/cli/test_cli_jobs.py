"""`cellq jobs`, `show`, `cancel`, `retry`, `delete`: what they list, what they change, what they answer."""

import re
import time

import pytest

import cellq
from waiting import until

pytestmark = pytest.mark.parametrize("kind", ["sqlite", "redis"])

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
KEYS = [
    "id", "short", "name", "task", "kind", "queue", "state", "cancelling", "priority", "attempt", "retries", "timeout",
    "key", "concurrency_key", "max_running", "runtime", "created", "due", "expires", "after", "started", "finished",
    "duration", "worker", "progress", "failure", "origin",
]  # fmt: skip


def fail() -> None:
    raise ValueError("no luck")


def test_an_empty_store_has_no_jobs(run, queue) -> None:
    queue.count()
    assert run("jobs").well().out == "no jobs\n"
    assert run("jobs", "--json").well().json == []


def test_a_pending_job_as_json(run, queue) -> None:
    job = queue.options(name="n", priority=3, retries=2, timeout=60, key="k", delay=3600).enqueue(abs, 1)
    (told,) = run("jobs", "--json").well().json
    assert list(told) == KEYS
    assert (told["id"], told["short"], told["name"], told["task"]) == (job.id, job.short, "n", "abs")
    assert (told["kind"], told["queue"], told["state"], told["cancelling"]) == ("call", "default", "pending", False)
    assert (told["priority"], told["retries"], told["timeout"], told["key"]) == (3, 2, 60, "k")
    assert (told["attempt"], told["started"], told["finished"], told["duration"]) == (0, None, None, None)
    assert (told["worker"], told["failure"], told["progress"]) == (None, None, [])
    assert ISO.fullmatch(told["created"])
    assert ISO.fullmatch(told["due"])
    assert told["origin"]["host"]


def test_a_job_that_waits_for_others(run, queue) -> None:
    first = queue.enqueue(abs, 1)
    job = queue.options(after=first, expires=3600, concurrency_key="gpu", max_running=2).enqueue(abs, 1)
    told = run("show", job.short, "--json").well().json
    assert told["after"] == [first.id]
    assert (told["concurrency_key"], told["max_running"]) == ("gpu", 2)
    assert ISO.fullmatch(told["expires"])
    shown = run("show", job.short).well().out
    assert re.search(r"^shares +gpu, of which 2 may run at once$", shown, re.MULTILINE)
    assert re.search(rf"^waits +it waits for job abs {first.short} \(pending\); it expires ", shown, re.MULTILINE)
    assert re.search(r"^expires +\d{4}-", shown, re.MULTILINE)
    assert re.search(r"waits for 1 job, expires in 59 min", run("jobs").well().out)


def test_a_job_that_is_over_a_rate_limit_says_so(run, queue) -> None:
    worker = cellq.Worker(queue, slots=1)
    fetch = worker.task(name="fetch", max_rate="1/h")(fail)
    with worker:
        fetch.enqueue().wait(30)
        job = fetch.enqueue()
        until(lambda: "held back" in job.refresh().why(), "the worker has sent it back")
    over = "over the rate limit of task default:fetch (1/h)"
    assert re.fullmatch(rf"it is held back: {re.escape(over)}; its next try is \d+ s from now", job.why())
    assert f"waits     it is held back: {over}; its next try is " in run("show", job.short).well().out
    assert re.search(rf"held back: {re.escape(over)}, next try in 59 min", run("jobs").well().out)


def test_a_job_that_was_not_needed_any_more_says_why(run, queue, worker) -> None:
    first = queue.enqueue(fail)
    job = queue.options(after=first).enqueue(abs, 1)
    job.wait(30)
    reason = f"job {first.short}, which it was to run after, failed"
    assert reason in run("jobs", "--state", "cancelled").well().out.replace("\n", " ")
    assert reason in run("show", job.short).well().out


def test_ended_jobs_as_json(run, queue, worker) -> None:
    good, bad = queue.enqueue(abs, -1), queue.enqueue(fail)
    good.wait(30)
    bad.wait(30)
    told = {job["id"]: job for job in run("jobs", "--json").well().json}
    assert told[good.id]["state"] == "completed"
    assert told[good.id]["duration"] >= 0
    assert ISO.fullmatch(told[good.id]["started"])
    assert ISO.fullmatch(told[good.id]["finished"])
    assert told[bad.id]["state"] == "failed"
    assert told[bad.id]["failure"]["cause"] == "exception"
    assert told[bad.id]["failure"]["types"][0].endswith("ValueError")
    assert "no luck" in told[bad.id]["failure"]["message"]
    assert "in fail" in told[bad.id]["failure"]["traceback"]


def test_filters(run, queue) -> None:
    mail = queue.options(queue="mail", name="letter").enqueue(print)
    here = queue.options(name="letter").enqueue(print)
    gone = queue.enqueue(print)
    gone.cancel()

    def found(*options: str) -> list[str]:
        return [job["id"] for job in run("jobs", "--json", *options).well().json]

    assert found() == [gone.id, here.id, mail.id]
    assert found("-q", "mail") == [mail.id]
    assert found("--name", "letter") == [here.id, mail.id]
    assert found("--state", "cancelled") == [gone.id]
    assert found("--state", "cancelled", "--state", "PENDING") == [gone.id, here.id, mail.id]
    assert found("-n", "2") == [gone.id, here.id]
    assert found("-q", "mail", "--state", "failed") == []


def test_the_list_for_people(run, queue) -> None:
    job = queue.options(name="x" * 300).enqueue(print)
    queue.options(name="later", delay=7200).enqueue(print)
    said = run("jobs").well()
    head, later, first = said.out.splitlines()
    assert head.split()[:4] == ["id", "state", "name", "queue"]
    assert first.split()[:4] == [job.short, "pending", "x" * 300, "default"]
    assert "due in 2 h 00 min" in later or "due in 1 h 59 min" in later
    assert "\x1b" not in said.out


def test_the_list_says_when_there_is_more(run, queue) -> None:
    queue.map(abs, range(3))
    assert "there are older ones" in run("jobs", "-n", "2").well().err
    assert run("jobs", "-n", "3").well().err == ""


def test_a_list_of_more_than_one_page(run, queue) -> None:
    queue.map(abs, range(1203))
    assert len(run("jobs", "-n", "1100", "--json").well().json) == 1100


def test_show_tells_why_a_job_failed(run, queue, worker) -> None:
    job = queue.options(retries=1, backoff=0).enqueue(fail)
    job.wait(30)
    shown = run("show", job.short).well().out
    for line in (f"job       {job.id}", "name      fail", "state     failed", "attempt   2 of 2"):
        assert line in shown.splitlines()
    assert "why       ValueError: no luck" in shown
    assert "in fail" in shown
    told = run("show", job.short, "--json").well().json
    assert list(told) == KEYS
    assert told["attempt"] == 2


def test_show_of_a_running_job_names_its_worker(run, hold, gate, worker, until) -> None:
    job = hold("x")
    gate.wait_reached()
    assert re.search(r"^worker    process \d+ on ", run("show", job.short).well().out, re.MULTILINE)


def test_cancel_stops_a_running_job(run, queue, hold, gate, worker) -> None:
    job = hold("x")
    gate.wait_reached()
    said = run("cancel", job.short).well()
    assert said.out == f"{job.short} (held) is running; its worker is asked to stop it\n"
    assert job.wait(30)
    assert job.state == "cancelled"


def test_cancel_takes_a_waiting_job_out_and_may_be_repeated(run, queue) -> None:
    job = queue.enqueue(print)
    assert run("cancel", job.id).well().out == f"{job.short} (print) cancelled\n"
    assert run("cancel", job.id).well().out == f"{job.short} (print) was cancelled already\n"


def test_cancel_of_an_ended_job_is_refused(run, queue, worker) -> None:
    job = queue.enqueue(abs, 1)
    job.wait(30)
    assert run("cancel", job.short).one_line() == f"{job.short} (abs) has completed already, there is nothing to cancel"


def test_many_ids_one_of_them_unknown(run, queue) -> None:
    first, second = queue.enqueue(print), queue.enqueue(print)
    said = run("cancel", first.short, "00000000", second.id, first.id)
    assert said.code == 1
    assert said.out.count("cancelled") == 2
    assert "00000000" in said.err
    assert (first.state, second.state) == ("cancelled", "cancelled")


def test_retry_runs_an_ended_job_again(run, queue) -> None:
    job = queue.enqueue(print)
    job.cancel()
    assert run("retry", job.short).well().out == f"{job.short} (print) waits to run once more\n"
    assert job.refresh().state == "pending"
    assert "is waiting already" in run("retry", job.short).well().out


def test_retry_of_a_running_job_is_refused(run, hold, gate, worker) -> None:
    job = hold("x")
    gate.wait_reached()
    assert "cannot be retried" in run("retry", job.short).one_line()


def test_delete_is_for_ended_jobs(run, queue) -> None:
    job = queue.enqueue(print)
    assert "is pending, only ended jobs can be deleted; cancel it first" in run("delete", job.short).one_line()
    job.cancel()
    assert run("delete", job.short).well().out == f"{job.short} (print) deleted\n"
    assert run("jobs", "--json").well().json == []


def test_a_command_needs_ids(run, queue) -> None:
    assert run("cancel").code == 2


def test_times_are_those_of_the_store(run, queue) -> None:
    before = time.time()
    job = queue.enqueue(print)
    (told,) = run("jobs", "--json").json
    assert told["created"] == job.refresh().created.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert job.created.timestamp() >= before - 0.001
