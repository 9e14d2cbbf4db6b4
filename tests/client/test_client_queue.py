"""The queue object: options, bad input, keys, listing, pausing, and what an enqueue leaves when it goes wrong."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from playing import Hand, eventually, somebody_waits

import cellq
from cellq import AsyncQueue, Changed, Queue, State
from cellq.client.portal import portal
from cellq.message import Message, Part, Pushed
from cellq.store import open_store


def double(x: int) -> int:
    return 2 * x


def test_options_derive_a_queue_and_reach_the_store(queue: Queue, hand: Hand) -> None:
    slow = queue.options(priority=5, timeout=600, retries=2, delay=30, key="nightly", name="night", backoff=3)
    assert queue._twin.defaults.priority == 0, "the queue itself is unchanged"
    job = slow.enqueue(double, 1)
    (row,) = portal().call(hand.store.get([bytes.fromhex(job.id.replace("-", ""))]))
    assert row is not None
    assert (row.priority, row.timeout, row.retries, row.key, row.name) == (5, 600, 2, "nightly", "night")
    assert row.due is not None


def test_options_can_be_changed_in_steps(queue: Queue) -> None:
    derived = queue.options(priority=5).options(retries=1, queue="other")
    assert (derived._twin.defaults.priority, derived._twin.defaults.retries, derived.name) == (5, 1, "other")


def test_an_unknown_option_names_the_known_ones(queue: Queue) -> None:
    with pytest.raises(TypeError, match=r"'prio'.*priority, timeout"):
        queue.options(prio=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"delay": -1}, ValueError),
        ({"timeout": 0}, ValueError),
        ({"retries": "2"}, TypeError),
        ({"key": ""}, TypeError),
    ],
)
def test_a_bad_option_is_refused_at_the_call(queue: Queue, changes: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=next(iter(changes))):
        queue.options(**changes)


@pytest.mark.parametrize(("url", "kind"), [("mysql://x", ValueError), ("sqlite://x", ValueError), (7, TypeError)])
def test_a_bad_url_is_refused_at_the_call(url: Any, kind: type[Exception]) -> None:
    for make in (Queue, AsyncQueue):
        with pytest.raises(kind):
            make(url)


def test_making_a_queue_opens_nothing(tmp_path: Path) -> None:
    Queue(tmp_path / "there" / "jobs.db")
    assert not (tmp_path / "there").exists()


def test_a_call_instead_of_a_function_is_refused(queue: Queue) -> None:
    with pytest.raises(TypeError, match=r"enqueue\(f, x\)"):
        queue.enqueue(double(1), 2)  # type: ignore[arg-type]
    assert queue.jobs() == []


def test_what_cannot_travel_is_named_and_nothing_is_enqueued(queue: Queue) -> None:
    lock = threading.Lock()
    with pytest.raises(cellq.NotPicklable, match="`x`"):
        queue.enqueue(double, lock)  # type: ignore[arg-type]
    with pytest.raises(cellq.NotPicklable, match="lock"):
        queue.enqueue(lambda: lock)
    with pytest.raises(cellq.NotPicklable):
        queue.map(double, [1, lock])
    assert queue.jobs() == []


def test_what_runs_is_what_it_was_at_the_call(queue: Queue, hand: Hand) -> None:
    space: dict[str, Any] = {"factor": 2, "__name__": "__main__"}
    exec("def times(xs): return [factor * x for x in xs]", space)
    xs = [1]
    jobs = [queue.enqueue(space["times"], xs)]
    space["factor"] = 3
    xs.append(10)
    jobs.append(queue.enqueue(space["times"], xs))
    hand.work()
    assert [job.result() for job in jobs] == [[2], [3, 30]]


def test_a_function_that_changed_is_sealed_anew(queue: Queue, hand: Hand) -> None:
    """Functions that use nothing but their arguments are pickled once; whatever can change them is noticed."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("def size(x): return len(x)", space)
    size = space["size"]
    jobs = [queue.enqueue(size, "ab"), queue.enqueue(size, "abc")]
    space["len"] = lambda x: -1
    jobs.append(queue.enqueue(size, "ab"))
    del space["len"]
    size.__code__ = (lambda x: x * 2).__code__
    jobs.append(queue.enqueue(size, "ab"))
    size.__defaults__ = (7,)
    jobs.append(queue.enqueue(size))
    size.__defaults__ = None
    hand.work()
    assert [job.result() for job in jobs] == [2, 3, -1, "abab", 14]


def test_a_key_gives_the_live_job(queue: Queue, hand: Hand) -> None:
    keyed = queue.options(key="etl")
    first = keyed.enqueue(double, 1)
    assert keyed.enqueue(double, 2) == first
    hand.work()
    second = keyed.enqueue(double, 3)
    assert second != first
    hand.work()
    assert (first.result(), second.result()) == (2, 6)


def test_map_with_a_key_is_refused(queue: Queue) -> None:
    with pytest.raises(ValueError, match="key"):
        queue.options(key="etl").map(double, [1, 2])


def test_jobs_are_listed_newest_first_and_filtered(queue: Queue, hand: Hand) -> None:
    one = queue.options(name="one").enqueue(double, 1)
    hand.work()
    two = queue.options(name="two", key="k").enqueue(double, 2)
    other = queue.options(queue="other").enqueue(double, 3)
    assert queue.jobs() == [two, one]
    assert queue.jobs(limit=1) == [two]
    assert queue.jobs(state="completed") == [one]
    assert queue.jobs(state=[State.PENDING, "failed"]) == [two]
    assert queue.jobs(name="one") == [one]
    assert queue.jobs(key="k") == [two]
    assert queue.options(queue="other").jobs() == [other]
    with pytest.raises(ValueError, match="finished"):
        queue.jobs(state="finished")


def test_jobs_without_a_limit_gives_all(queue: Queue) -> None:
    group = queue.map(double, range(1100))
    assert queue.jobs(limit=None) == list(reversed(group))


def test_count_has_every_state(queue: Queue, hand: Hand) -> None:
    assert queue.count() == dict.fromkeys(State, 0)
    queue.map(double, range(3))
    hand.claim()
    assert queue.count() == {**dict.fromkeys(State, 0), State.PENDING: 2, State.RUNNING: 1}


def test_a_paused_queue_hands_out_nothing(queue: Queue, hand: Hand) -> None:
    queue.enqueue(double, 1)
    queue.pause()
    assert hand.claim() == []
    queue.resume()
    assert len(hand.claim()) == 1


def test_cancel_and_retry_of_many(queue: Queue, hand: Hand) -> None:
    jobs = [queue.enqueue(double, n) for n in range(3)]
    (claim,) = hand.claim()
    assert queue.cancel(jobs) == [Changed.ASKED, Changed.DONE, Changed.DONE]
    hand.finish(hand.outcome(claim))
    assert queue.retry([job.id for job in jobs]) == [Changed.DONE] * 3
    with pytest.raises(TypeError):
        queue.cancel([7])  # type: ignore[list-item]


def test_a_closed_queue_opens_again(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(double, 1)
    queue.close()
    queue.close()
    hand.work()
    assert job.result() == 2


def test_closing_tells_those_who_wait(shared_url: str) -> None:
    queue = Queue(shared_url)
    job = queue.enqueue(double, 1)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            job.result()
        except cellq.StoreUnavailable as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(somebody_waits, "nobody waits")
    queue.close()
    thread.join(20)
    assert not thread.is_alive()
    assert "closed" in str(errors[0])


def test_an_unused_connection_is_closed(shared_url: str) -> None:
    queue = Queue(shared_url)
    queue.enqueue(double, 1)
    session = queue._twin._connection._session
    assert session.open
    del queue
    eventually(lambda: not session.open, "the store of a forgotten queue stays open")


class Interrupting:
    """A store whose push reaches the database, and whose caller is interrupted before it hears of it."""

    def __init__(self, url: str, interrupt: type[BaseException]) -> None:
        self._store, self._interrupt = open_store(url), interrupt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def push(self, messages: list[Message], code: dict[bytes, Any]) -> list[Pushed]:
        await self._store.push(messages, code)
        raise self._interrupt("gone")


def test_an_interrupted_enqueue_takes_its_job_back(shared_url: str) -> None:
    queue, seen = Queue(store=Interrupting(shared_url, asyncio.CancelledError)), Queue(shared_url)  # type: ignore[arg-type]
    with pytest.raises(asyncio.CancelledError):
        queue.enqueue(double, 1)
    eventually(lambda: seen.count()[State.CANCELLED] == 1, "the job nobody holds is still there")
    seen.close()
    queue.close()


def test_an_enqueue_that_may_have_arrived_says_how_to_find_out(shared_url: str) -> None:
    queue = Queue(store=Interrupting(shared_url, cellq.StoreUnavailable))  # type: ignore[arg-type]
    with pytest.raises(cellq.StoreUnavailable) as caught:
        queue.enqueue(double, 1)
    (note,) = caught.value.__notes__
    text = note.split("'")[1]
    assert queue.get(text).name == "double"
    queue.close()


def test_a_function_is_stored_once_for_a_map(queue: Queue, hand: Hand) -> None:
    group = queue.map(double, range(3))
    rows = portal().call(hand.store.get([record.id for record in group._records], [Part.CODE]))
    assert len({row.code_digest for row in rows if row is not None}) == 1
    assert all(row is not None and row.code is not None for row in rows)
