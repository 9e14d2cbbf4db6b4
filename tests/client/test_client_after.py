"""Jobs that run after others: what `after` takes, which jobs among arguments are waited for, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playing import Hand, eventually

import cellq
from cellq.client.sync import Job, JobGroup, Queue
from cellq.errors import Expired, JobCancelled
from cellq.ids import id_text, new_id, parse_id


def ids_of(*jobs: Job[Any]) -> tuple[bytes, ...]:
    return tuple(parse_id(job.id) for job in jobs)


# ------------------------------------------------------------------------------------------------ after


def test_a_job_starts_when_those_it_is_to_run_after_have_completed(queue: Queue, hand: Hand) -> None:
    first, second = queue.enqueue(abs, -1), queue.enqueue(abs, -2)
    last = queue.options(after=[first, second]).enqueue(abs, -3)
    claims = hand.claim(10)
    assert [claim.lease.id for claim in claims] == [*ids_of(first, second)]
    hand.finish(hand.outcome(claims[0]))
    assert hand.claim(10) == []
    hand.finish(hand.outcome(claims[1]))
    assert hand.work() == 1
    assert last.result(5) == 3


FORMS: list[Callable[[Job[Any], JobGroup[Any]], Any]] = [
    lambda job, group: [job, *group],
    lambda job, group: (job.asynchronous(), group),
    lambda job, group: [group.asynchronous(), job],
    lambda job, group: {job.id, *(one.id for one in group)},
    lambda job, group: (parse_id(one.id) for one in (job, *group)),
    lambda job, group: [job, job, group, group[0]],
]


@pytest.mark.parametrize("form", FORMS, ids=["jobs", "async job, group", "async group", "texts", "bytes", "repeated"])
def test_after_takes_handles_and_ids_of_any_kind(form: Callable[..., Any], queue: Queue) -> None:
    job, group = queue.enqueue(abs, -1), queue.map(abs, [1, 2])
    child = queue.options(after=form(job, group)).enqueue(abs, -3)
    assert set(child.row().after) == set(ids_of(job, *group))


@pytest.mark.parametrize("one", ["job", "group", "text", "bytes"])
def test_after_takes_one_without_a_list(one: str, queue: Queue) -> None:
    group = queue.map(abs, [1])
    job = group[0]
    given = {"job": job, "group": group, "text": job.id, "bytes": parse_id(job.id)}[one]
    child = queue.options(after=given).enqueue(abs, -3)
    assert child.row().after == ids_of(job)


def test_after_is_taken_back_with_none(queue: Queue) -> None:
    later = queue.options(after=queue.enqueue(abs, -1))
    assert later.options(after=None).enqueue(abs, 1).row().after == ()
    assert later.options(after=[]).enqueue(abs, 1).row().after == ()


@pytest.mark.parametrize("nonsense", [3, [3], [None], "not an id", [b"short"], object()])
def test_after_refuses_what_is_no_job(nonsense: Any, queue: Queue) -> None:
    with pytest.raises((TypeError, ValueError), match="job"):
        queue.options(after=nonsense)


def test_map_and_coroutines_know_after_too(queue: Queue, hand: Hand) -> None:
    first = queue.enqueue(abs, -1)
    group = queue.options(after=first).map(abs, [-1, -2])
    assert [job.row().after for job in group] == 2 * [ids_of(first)]
    assert hand.work() == 3
    assert group.results(5) == [1, 2]


async def test_an_async_queue_knows_after(queue: Queue) -> None:
    line = queue.asynchronous()
    first = await line.enqueue(abs, -1)
    child = await line.options(after=[first]).enqueue(abs, -2)
    assert "waits for job abs" in await child.why()


def test_a_task_knows_after_and_expires_and_limits(url: str) -> None:
    @cellq.task(url=url, expires=60, concurrency_key="api", max_running=2)
    def fetch(n: int) -> int:
        return n

    first = fetch.enqueue(1)
    row = fetch.options(after=first).enqueue(2).row()
    assert row.after == ids_of(first)
    assert (row.concurrency_key, row.max_running) == ("api", 2)
    assert row.expires is not None
    assert row.expires - row.created == pytest.approx(60, abs=0.01)


def test_a_job_of_another_store_is_refused_at_once(queue: Queue, tmp_path: Path) -> None:
    with Queue(f"memory://other-{tmp_path.name}") as other:
        stranger, strangers = other.enqueue(abs, -1), other.map(abs, [1])
        task = cellq.task(url=queue.url)(abs)
        for attempt in (
            lambda: queue.options(after=stranger),
            lambda: queue.options(after=[strangers]),
            lambda: task.options(after=stranger),
            lambda: queue.enqueue(abs, stranger),
            lambda: queue.map(abs, [1, stranger]),
            lambda: task.enqueue(strangers),
        ):
            with pytest.raises(ValueError, match=r"lives in memory://other-.* cannot wait for it"):
                attempt()
    assert queue.count()["pending"] == 0


def test_a_job_that_the_store_does_not_hold_is_refused_and_nothing_is_enqueued(queue: Queue) -> None:
    gone = queue.enqueue(abs, -1)
    gone.cancel()
    queue.delete([gone])
    nobody = id_text(new_id())
    for attempt in (
        lambda: queue.options(after=nobody).enqueue(abs, 1),
        lambda: queue.options(after=gone).map(abs, [1, 2]),
        lambda: queue.options(after=nobody).push_cell("parcel", task="cell", origin=""),
        lambda: queue.enqueue(abs, gone),
    ):
        with pytest.raises(Expired, match=r"there is no job .* to run after: it was pruned or deleted"):
            attempt()
    assert queue.count()["pending"] == 0


# ---------------------------------------------------------------------------------- jobs among arguments


class Plan:
    """An object of a library, or of the notebook, that holds a job."""

    def __init__(self, job: Any) -> None:
        self.job = job


PLACES: list[Callable[[Any], tuple[tuple[Any, ...], dict[str, Any]]]] = [
    lambda job: ((job,), {}),
    lambda job: ((), {"x": job}),
    lambda job: (([1, {"deep": (job,)}],), {}),
    lambda job: ((Plan([job]),), {}),
]


@pytest.mark.parametrize("place", PLACES, ids=["argument", "keyword", "nested", "object"])
def test_a_job_anywhere_in_the_arguments_is_an_input(place: Callable[..., Any], queue: Queue, hand: Hand) -> None:
    first = queue.enqueue(abs, -1)
    for handle in (first, first.asynchronous()):
        args, kwargs = place(handle)
        child = queue.enqueue(print, *args, **kwargs)
        assert child.row().after == ids_of(first)
    hand.finish(hand.outcome(hand.claim()[0]))
    assert [claim.inputs for claim in hand.claim(2)] == 2 * [ids_of(first)]


def test_a_group_among_the_arguments_counts_for_all_of_its_jobs(queue: Queue) -> None:
    group = queue.map(abs, range(3))
    for handles in (group, group.asynchronous()):
        assert set(queue.enqueue(sum, handles).row().after) == set(ids_of(*group))


def test_map_over_jobs_makes_one_call_wait_for_each(queue: Queue) -> None:
    group = queue.map(abs, range(3))
    children = queue.map(abs, group)
    assert [child.row().after for child in children] == [ids_of(job) for job in group]


def test_inputs_and_after_are_waited_for_together(queue: Queue) -> None:
    first, second = queue.enqueue(abs, 1), queue.enqueue(abs, 2)
    child = queue.options(after=first).enqueue(max, first, second)
    assert set(child.row().after) == set(ids_of(first, second))


def test_a_task_waits_for_the_jobs_among_its_arguments(url: str) -> None:
    @cellq.task(url=url)
    def add(a: int, b: int) -> int:
        return a + b

    first = add.enqueue(1, 2)
    assert add.enqueue(first, 3).row().after == ids_of(first)  # type: ignore[arg-type]
    assert [job.row().after for job in add.map([first, 1], [2, 3])] == [ids_of(first), ()]


def test_what_a_function_holds_is_no_input(queue: Queue) -> None:
    first = queue.enqueue(abs, -1)
    group = queue.map(abs, range(2))
    known = {"job": first}

    def reads_them(default: Any = first) -> Any:
        return first.id, [job.id for job in group], known, default

    assert queue.enqueue(reads_them).row().after == ()
    assert queue.enqueue(print, reads_them).row().after == ()  # nor when the function is an argument


def test_a_group_travels_by_reference(queue: Queue) -> None:
    group = queue.map(abs, range(3))
    if queue.url.startswith("memory:"):  # only for the process itself
        assert [job.id for job in pickle.loads(pickle.dumps(group))] == [job.id for job in group]
    for handles in (group, group.asynchronous()):
        again = pickle.loads(pickle.dumps(handles))
        assert type(again) is type(handles)
        assert [(job.id, job.name) for job in again] == [(job.id, job.name) for job in handles]


# ------------------------------------------------------------------------------- what becomes of the others


def test_a_failed_job_cancels_those_that_wait_for_it_and_says_so(queue: Queue, hand: Hand) -> None:
    first = queue.enqueue(abs, "no number")
    child = queue.options(name="child").enqueue(abs, first)
    grandchild = queue.options(after=child, name="grandchild").enqueue(abs, 1)
    hand.work()
    with pytest.raises(JobCancelled, match=rf"\(child\) was cancelled: job {first.short}, .* after, failed"):
        child.result(5)
    with pytest.raises(JobCancelled, match=rf"\(grandchild\) was cancelled: job {child.short}, .* was cancelled"):
        grandchild.result(5)
    assert child.failure is not None
    assert child.failure.cause == "dependency"


def test_a_job_whose_parent_has_failed_already_is_cancelled_at_once(queue: Queue, hand: Hand) -> None:
    first = queue.enqueue(abs, "no number")
    hand.work()
    child = queue.enqueue(abs, first)
    with pytest.raises(JobCancelled, match=f"job {first.short}, which it was to run after, failed"):
        child.result(5)


def test_a_cancelled_job_says_no_more_than_it_knows(queue: Queue) -> None:
    job = queue.enqueue(abs, -1)
    job.cancel()
    with pytest.raises(JobCancelled, match=r"^job \w+ \(abs\) was cancelled$"):
        job.result(5)


def test_a_job_that_nobody_starts_in_time_expires(queue: Queue, hand: Hand) -> None:
    queue.pause()
    job = queue.options(expires=0.01).enqueue(abs, -1)
    child = queue.enqueue(abs, job)
    eventually(lambda: hand.claim() == [] and job.state == "cancelled", "the job expires")
    with pytest.raises(JobCancelled, match="no worker started it before it expired"):
        job.result(5)
    with pytest.raises(JobCancelled, match=f"job {job.short}, which it was to run after, was cancelled"):
        child.result(5)


@pytest.mark.parametrize("change", [{"expires": -1}, {"expires": 5, "delay": 5}, {"max_running": 0}])
def test_impossible_values_are_refused_at_once(change: dict[str, Any], queue: Queue) -> None:
    with pytest.raises(ValueError, match=r"must"):
        queue.options(**change)
