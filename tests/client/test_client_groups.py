"""Many jobs: map, results in order, endings as they come, wait, counts, and twenty thousand of them."""

from __future__ import annotations

import threading

import pytest
from playing import Hand, eventually

import cellq
from cellq import Changed, JobGroup, Queue, State
from cellq.client import watcher
from cellq.message import Filter


def add(x: int, y: int = 0) -> int:
    return x + y


def fail_odd(x: int) -> int:
    if x % 2:
        raise ValueError(x)
    return x


def test_results_come_in_order(queue: Queue, hand: Hand) -> None:
    group = queue.map(add, range(5), range(10, 15))
    hand.start()
    assert group.results(timeout=20) == [10, 12, 14, 16, 18]
    assert [job.result() for job in group] == [10, 12, 14, 16, 18]
    assert group[1].result() == 12
    assert group[-2:].results() == [16, 18]
    assert len(group) == 5


def test_an_empty_map_is_an_empty_group(queue: Queue) -> None:
    group = queue.map(add, [])
    assert (len(group), group.results(), list(group.as_completed()), group.wait()) == (0, [], [], True)


def test_map_without_arguments_is_refused(queue: Queue) -> None:
    with pytest.raises(TypeError, match="iterable"):
        queue.map(add)


def test_the_first_failure_is_raised_while_others_run(queue: Queue, hand: Hand) -> None:
    group = queue.map(fail_odd, range(4))
    claims = sorted(hand.claim(4), key=lambda claim: claim.lease.id)
    hand.finish(hand.outcome(claims[1]))
    with pytest.raises(cellq.JobFailed, match="ValueError"):
        group.results(timeout=20)
    hand.finish(*[hand.outcome(claim) for claim in (claims[0], claims[2], claims[3])])
    assert [type(error) for error in group.exceptions(20)] == [type(None), cellq.JobFailed] * 2


def test_timeout_tells_how_many_are_left(queue: Queue, hand: Hand) -> None:
    group = queue.map(add, range(3))
    hand.finish(hand.outcome(hand.claim()[0]))
    with pytest.raises(cellq.NotReady, match="2 of 3"):
        group.results(timeout=0.05)
    assert group.wait(timeout=0) is False
    with pytest.raises(cellq.NotReady, match="2 of 3"):
        list(group.as_completed(timeout=0.05))


@pytest.mark.parametrize("count", [3, 100])
def test_no_time_to_wait_still_finds_what_has_ended(queue: Queue, hand: Hand, count: int) -> None:
    jobs = [queue.map(add, range(count)) for _ in range(3)]
    hand.work()
    assert jobs[0].wait(timeout=0) is True
    assert jobs[1].results(timeout=0) == list(range(count))
    assert len(list(jobs[2].as_completed(timeout=0))) == count


def test_as_completed_gives_each_as_it_ends(queue: Queue, hand: Hand) -> None:
    group = queue.map(add, range(3))
    claims = sorted(hand.claim(3), key=lambda claim: claim.lease.id)
    ending = group.as_completed(timeout=20)
    for index in (2, 0, 1):
        hand.finish(hand.outcome(claims[index]))
        assert next(ending) == group[index]
    assert list(ending) == []


def test_wait_and_as_completed_span_queues(queue: Queue, hand: Hand, tmp_path_factory: pytest.TempPathFactory) -> None:
    other_url = f"sqlite:///{tmp_path_factory.mktemp('other')}/jobs.db"
    with Queue(other_url) as other:
        jobs = [queue.enqueue(add, 1), other.enqueue(add, 2)]
        hand.work()
        done, not_done = cellq.wait(jobs, timeout=20, return_when="FIRST_COMPLETED")
        assert (done, not_done) == ({jobs[0]}, {jobs[1]})
        far = Hand(other_url)
        far.work()
        assert {job.result() for job in cellq.as_completed(jobs, timeout=20)} == {1, 2}
        assert cellq.wait(jobs).not_done == set()
        far.close()
    with pytest.raises(ValueError, match="ALL_COMPLETED"):
        cellq.wait(jobs, return_when="some")  # type: ignore[arg-type]


def test_wait_returns_on_the_first_exception(queue: Queue, hand: Hand) -> None:
    group = queue.map(fail_odd, range(3))
    claims = sorted(hand.claim(3), key=lambda claim: claim.lease.id)
    hand.finish(hand.outcome(claims[1]))
    done, not_done = cellq.wait(group, timeout=20, return_when="FIRST_EXCEPTION")
    assert done == {group[1]}
    assert not_done == {group[0], group[2]}


def test_a_group_in_numbers(queue: Queue, hand: Hand) -> None:
    group = queue.map(fail_odd, range(6))
    claims = sorted(hand.claim(3), key=lambda claim: claim.lease.id)
    hand.finish(*[hand.outcome(claim) for claim in claims[:2]])
    assert group.counts == {
        State.PENDING: 3, State.RUNNING: 1, State.COMPLETED: 1, State.FAILED: 1, State.CANCELLED: 0,
    }  # fmt: skip
    assert group.progress == (1, 1, 1, 6)
    assert repr(group) == "<JobGroup 1 of 6 done, 1 failed, 1 running>"
    assert group.cancel() == [Changed.REFUSED, Changed.REFUSED, Changed.ASKED] + [Changed.DONE] * 3
    assert group.retry() == [Changed.DONE] * 4
    assert group.counts[State.PENDING] == 4


def test_jobs_that_are_deleted_end_the_wait(queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "_SWEEP", 0.2)
    group = queue.map(add, range(watcher.FEW + 2))
    queue.cancel([group[0]])
    queue.delete([group[0]])
    with pytest.raises(cellq.Expired):
        group.wait(timeout=20)


def test_twenty_thousand_cost_a_few_reads(queue: Queue, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    group = queue.map(add, range(20_000))
    asked: list[int] = []
    store = queue._twin._connection._session.store
    get = store.get

    async def counted(ids, parts=()):  # type: ignore[no-untyped-def]
        asked.append(len(ids))
        return await get(ids, parts)

    monkeypatch.setattr(store, "get", counted)
    results: list[list[int]] = []
    thread = threading.Thread(target=lambda: results.append(group.results(100)))
    thread.start()
    for _ in range(40):
        hand.finish(*[hand.outcome(claim) for claim in hand.claim(500)])
    thread.join(100)
    assert results == [list(range(20_000))]
    assert sum(asked) < 3 * 20_000, "rows were read again and again"
    assert group.progress == (20_000, 0, 0, 20_000)


def test_many_endings_before_the_wait_do_not_matter(queue: Queue, hand: Hand) -> None:
    """The watcher finds where the endings stand, instead of paging through all that ever ended."""
    queue.map(add, range(1000))
    hand.work(500)
    found: list[Filter] = []
    store = queue._twin._connection._session.store
    find = store.find

    async def counted(wanted, after=None, limit=100):  # type: ignore[no-untyped-def]
        found.append(wanted)
        page = await find(wanted, after, limit)
        assert limit == 1 or len(page.rows) <= 100
        return page

    store.find = counted  # type: ignore[method-assign]
    try:
        group = queue.map(add, range(100))
        thread = threading.Thread(target=group.wait)
        thread.start()
        eventually(lambda: found, "the watcher has not started")
        hand.work()
        thread.join(20)
        assert not thread.is_alive()
    finally:
        store.find = find  # type: ignore[method-assign]


def test_a_group_of_any_jobs(queue: Queue, hand: Hand) -> None:
    group = JobGroup([queue.enqueue(add, 1), queue.enqueue(add, 2)])
    hand.work()
    assert group.results() == [1, 2]


def test_results_read_ahead_are_those_of_their_jobs(queue: Queue, hand: Hand) -> None:
    jobs = [queue.enqueue(add, n) for n in range(50)]
    hand.work(20)
    queue.delete([jobs[30]])
    for n, job in reversed(list(enumerate(jobs))[:10]):
        assert job.result() == n
    for n, job in enumerate(jobs):
        if n != 30:
            assert job.result() == n
    with pytest.raises(cellq.Expired):
        jobs[30].result()
