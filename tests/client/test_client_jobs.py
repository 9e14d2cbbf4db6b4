"""A job's handle: enqueue, result, failure, cancel, retry, logs, progress, and being found again."""

from __future__ import annotations

import copy
import functools
import json
import pickle
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playing import Hand, eventually

import cellq
from cellq import Changed, Job, Queue, State
from cellq.message import Ending, Failure, Outcome
from cellq.wire.sealing import Purpose


def double(x: int) -> int:
    return 2 * x


def nothing() -> None:
    return None


def broken(x: int) -> None:
    raise KeyError(f"no {x}")


async def later(x: int) -> int:
    return x


def run_next(hand: Hand) -> None:
    assert hand.work() == 1


def test_result_is_what_the_function_returned(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(double, 21)
    run_next(hand)
    assert job.result() == 42


def test_none_is_a_result(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(nothing)
    with pytest.raises(cellq.NotReady):
        job.result(timeout=0)
    run_next(hand)
    assert job.result(timeout=0) is None


def test_result_asked_again_is_the_same_object(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(list, "ab")
    run_next(hand)
    assert job.result() is job.result()


def test_result_waits_for_the_end(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(double, 1)
    timer = threading.Timer(0.05, hand.work)
    timer.start()
    assert job.result(timeout=20) == 2
    timer.join()


def test_a_large_result_comes_back(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(bytes, 3_000_000)
    run_next(hand)
    assert job.result() == bytes(3_000_000)


def test_timeout_is_not_ready_and_the_job_stays(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(double, 1)
    with pytest.raises(cellq.NotReady, match=rf"{job.short} \(double\).*0.01 s"):
        job.result(timeout=0.01)
    assert job.wait(timeout=0.01) is False
    run_next(hand)
    assert job.wait(timeout=0) is True
    assert job.result() == 2


def test_a_failure_is_raised_with_its_original(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(broken, 7)
    run_next(hand)
    with pytest.raises(cellq.JobFailed, match=r"broken.*KeyError.*no 7") as caught:
        job.result()
    error = caught.value
    assert isinstance(error.__cause__, KeyError)
    assert error.__cause__.args == ("no 7",)
    assert error.type_name == "builtins.KeyError"
    assert error.job_id == job.id
    assert "in broken" in error.traceback
    assert any("in broken" in note for note in error.__notes__)
    assert type(job.exception()) is cellq.JobFailed
    assert job.failure is not None
    assert job.failure.cause == "exception"


def test_exception_is_none_for_a_completed_job(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(double, 1)
    run_next(hand)
    assert job.exception() is None


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("timeout", cellq.JobTimeout),
        ("lost", cellq.JobLost),
        ("result", cellq.JobFailed),
        ("rejected", cellq.JobFailed),
        ("untrusted", cellq.Untrusted),
    ],
)
def test_each_cause_has_its_exception(queue: Queue, hand: Hand, cause: str, kind: type[Exception]) -> None:
    job = queue.enqueue(double, 1)
    (claim,) = hand.claim()
    hand.fail(claim, cause, "because of this")
    with pytest.raises(kind, match="because of this") as caught:
        job.result()
    assert type(caught.value) is kind


def test_cancel_says_what_happened(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(double, 1)
    assert job.cancel() == "done"
    assert job.cancel() is Changed.ALREADY
    assert job.state is State.CANCELLED
    with pytest.raises(cellq.JobCancelled, match=job.short):
        job.result()
    assert isinstance(job.exception(), cellq.JobCancelled)


def test_cancel_of_a_running_job_asks_its_worker(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(double, 1)
    (claim,) = hand.claim()
    assert job.cancel() is Changed.ASKED
    hand.finish(Outcome(lease=claim.lease, ending=Ending.CANCELLED, failure=Failure(cause="cancelled")))
    with pytest.raises(cellq.JobCancelled):
        job.result(timeout=20)


def test_cancel_of_an_ended_job_is_refused_and_harmless(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(double, 1)
    run_next(hand)
    assert job.cancel() is Changed.REFUSED
    assert job.result() == 2


def test_retry_brings_a_new_result(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(broken, 1)
    run_next(hand)
    assert job.wait(20)
    assert job.retry() is Changed.DONE
    assert job.state is State.PENDING
    (claim,) = hand.claim()
    hand.finish(
        Outcome(
            lease=claim.lease,
            ending=Ending.COMPLETED,
            result=hand.seal.seal("well", purpose=Purpose.RESULT, job_id=claim.lease.id, code=claim.code),
        )
    )
    assert job.result(timeout=20) == "well"


def test_a_retry_by_another_handle_is_seen_by_refresh(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(double, 1)
    run_next(hand)
    assert job.result() == 2
    assert queue.get(job.id).retry() is Changed.DONE
    assert job.refresh().state is State.PENDING
    with pytest.raises(cellq.NotReady):
        job.result(timeout=0)


def test_facts_follow_the_job(queue: Queue, hand: Hand) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    job = queue.options(name="twice").enqueue(double, 1)
    assert (job.name, job.state, job.attempt, job.done()) == ("twice", State.PENDING, 0, False)
    assert before < job.created < datetime.now(UTC) + timedelta(seconds=1)
    assert job.started is None
    (claim,) = hand.claim()
    hand.show(claim, {"done": 1, "total": 2})
    assert (job.state, job.attempt, job.progress) == (State.RUNNING, 1, {"done": 1, "total": 2})
    assert job.started is not None
    hand.finish(hand.outcome(claim))
    assert (job.state, job.done(), job.failure) == (State.COMPLETED, True, None)
    assert job.finished is not None
    assert job.finished >= job.started


def test_logs_are_the_text_of_the_current_attempt(queue: Queue, hand: Hand) -> None:
    job = queue.options(retries=1).enqueue(double, 1)
    (claim,) = hand.claim()
    hand.say(claim, "first\n")
    hand.finish(Outcome(lease=claim.lease, ending=Ending.RETRY, failure=Failure(cause="exception")))
    (claim,) = hand.claim()
    hand.say(claim, "second ")
    hand.say(claim, "try\n")
    assert job.logs() == "second try\n"
    heard = [json.loads(event.data)["text"] for event in job.events()]
    assert heard == ["first\n", "second ", "try\n"]
    places = [event.seq for event in job.events()]
    assert [event.seq for event in job.events(after=places[0])] == places[1:]


def test_following_the_logs_ends_with_the_job(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(double, 1)
    heard: list[str] = []
    thread = threading.Thread(target=lambda: heard.extend(job.logs(follow=True)))
    thread.start()
    (claim,) = hand.claim()
    for text in "abc":
        hand.say(claim, text)
        eventually(lambda: "".join(heard).endswith(text), f"{text!r} was not followed")  # noqa: B023
    hand.finish(hand.outcome(claim))
    thread.join(20)
    assert not thread.is_alive()
    assert heard == ["a", "b", "c"]


def test_a_dropped_iterator_leaves_nothing_behind(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(double, 1)
    (claim,) = hand.claim()
    hand.say(claim, "a")
    lines = job.logs(follow=True)
    assert next(lines) == "a"
    del lines
    hand.finish(hand.outcome(claim))
    assert job.result() == 2


def test_a_pruned_job_is_expired(queue: Queue, hand: Hand) -> None:
    seen, unseen, gone = (queue.enqueue(double, n) for n in (1, 2, 3))
    hand.work()
    assert seen.result() == 2
    assert queue.delete([seen, unseen.id, gone]) == [Changed.DONE] * 3
    assert seen.result() == 2, "what was fetched stays"
    for ask in (unseen.result, gone.refresh, gone.wait, lambda: gone.state):
        with pytest.raises(cellq.Expired, match="pruned or deleted"):
            ask()
    with pytest.raises(cellq.Expired):
        queue.get(gone.id)
    assert gone.cancel() is Changed.UNKNOWN


def test_prune_deletes_what_ended_long_ago(queue: Queue, hand: Hand) -> None:
    jobs = [queue.enqueue(double, 1), queue.enqueue(broken, 1)]
    hand.work()
    assert queue.prune(completed=3600, failed=3600) == 0
    assert queue.prune(completed=0) == 1
    assert [job.name for job in queue.jobs()] == ["broken"]
    assert jobs[1].state is State.FAILED


def test_found_again_by_id_and_by_its_last_digits(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(double, 4)
    run_next(hand)
    for text in (job.id, job.short, job.id.replace("-", ""), job):
        again = queue.get(text)
        assert again == job
        assert (again.name, again.result()) == ("double", 8)


@pytest.mark.parametrize(("text", "kind"), [("xyz", ValueError), ("", ValueError), ("12345678", cellq.Expired)])
def test_a_wrong_id_says_so(queue: Queue, text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="job"):
        queue.get(text)


def test_found_again_in_another_process(shared_url: str) -> None:
    with Queue(shared_url) as queue:
        job = queue.enqueue(double, 5)
        hand = Hand(shared_url)
        code = f"import cellq; job = cellq.Queue({shared_url!r}).get({job.short!r}); print(job.name, job.result(20))"
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        hand.start()
        assert other.communicate(timeout=60)[0] == "double 10\n"
        assert other.returncode == 0
        hand.close()


def test_handles_and_queues_travel_by_reference(shared_url: str) -> None:
    with Queue(shared_url) as queue:
        job = queue.enqueue(double, 5)
        again = pickle.loads(pickle.dumps(job))
        assert isinstance(again, Job)
        assert (again, again.name, again.state) == (job, "double", State.PENDING)
        fast = pickle.loads(pickle.dumps(queue.options(priority=9)))
        assert fast.enqueue(double, 1).refresh().id in [other.id for other in queue.jobs()]
        assert copy.copy(queue).url == queue.url


def test_coroutine_functions_are_told_apart(queue: Queue, hand: Hand) -> None:
    for function in (double, later, functools.partial(later, 1), functools.partial(double, 1)):
        queue.enqueue(function, *(() if isinstance(function, functools.partial) else (1,)))
    assert [(claim.kind, claim.task) for claim in sorted(hand.claim(10), key=lambda claim: claim.lease.id)] == [
        ("call", "double"),
        ("coroutine", "later"),
        ("coroutine", "later"),
        ("call", "double"),
    ]


class Cell:
    """Stands for what `cellq.cell.returned` makes of a cell that ended."""

    def __init__(self, value: Any, **names: Any) -> None:
        self.value, self.names = value, names

    def last_value(self) -> Any:
        return self.value

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


def test_a_cell_gives_its_last_value_and_its_names(queue: Queue, hand: Hand) -> None:
    job = queue.options(name="fit").push_cell(Cell("last", model=7), task="cell 3", origin='{"cell": 3}')
    (claim,) = hand.claim()
    assert (claim.kind, claim.code, claim.task, claim.origin) == ("cell", b"", "cell 3", '{"cell": 3}')
    hand.finish(hand.outcome(claim))
    assert job.result(20) == "last"
    assert job["model"] == 7
    assert job.returned().names == {"model": 7}
    assert job.name == "fit"


def test_a_function_has_no_names(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(dict, a=1)
    run_next(hand)
    with pytest.raises(TypeError, match="is for cells"):
        job["a"]


def test_texts_for_people_are_escaped_and_never_raise(queue: Queue, shared_url: str) -> None:
    job = queue.options(name="<b>").enqueue(double, 1)
    assert repr(job) == f"<Job <b> {job.short} pending>"
    assert "&lt;b&gt;" in job._repr_html_()
    job.cancel()
    queue.delete([job])
    job._record.forget()
    assert "unknown" in repr(job)
    assert repr(Queue(shared_url, "slow")) == f"<Queue 'slow' at {shared_url}>"


def test_a_result_of_another_secret_is_untrusted(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(double, 1)
    (claim,) = hand.claim()
    forged = type(hand.seal)(b"some other secret").seal(
        1, purpose=Purpose.RESULT, job_id=claim.lease.id, code=claim.code
    )  # fmt: skip
    hand.finish(Outcome(lease=claim.lease, ending=Ending.COMPLETED, result=forged))
    with pytest.raises(cellq.Untrusted):
        job.result(20)
