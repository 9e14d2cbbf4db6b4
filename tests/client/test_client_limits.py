"""How many jobs run at once: of a line, of a concurrency key; and that a job tells when that is what it waits for."""

from __future__ import annotations

from typing import Any

import pytest
from playing import Hand

from cellq.client.sync import Queue


def test_a_limit_holds_for_the_whole_line(queue: Queue, hand: Hand) -> None:
    queue.limit(2)
    jobs = queue.map(abs, range(5))
    claims = hand.claim(5)
    assert len(claims) == 2
    assert hand.claim(5) == []
    hand.finish(hand.outcome(claims[0]))
    assert len(hand.claim(5)) == 1
    assert jobs[0].result(5) == 0


def test_a_limit_is_lifted_with_none(queue: Queue, hand: Hand) -> None:
    queue.limit(1)
    queue.map(abs, range(3))
    assert len(hand.claim(3)) == 1
    queue.limit(None)
    assert len(hand.claim(3)) == 2


def test_a_limit_and_a_pause_leave_each_other_alone(queue: Queue, hand: Hand) -> None:
    queue.limit(1)
    queue.pause()
    queue.map(abs, range(3))
    assert hand.claim(3) == []
    queue.resume()
    assert len(hand.claim(3)) == 1


async def test_coroutines_limit_as_well(queue: Queue, hand: Hand) -> None:
    await queue.asynchronous().limit(1)
    queue.map(abs, range(3))
    assert len(hand.claim(3)) == 1


@pytest.mark.parametrize(
    ("nonsense", "error"), [(0, ValueError), (-1, ValueError), ("2", TypeError), (True, TypeError)]
)
def test_a_limit_that_is_none_is_refused(nonsense: Any, error: type[Exception], queue: Queue) -> None:
    with pytest.raises(error):
        queue.limit(nonsense)


def test_a_concurrency_key_holds_across_lines(queue: Queue, hand: Hand) -> None:
    gpu = queue.options(concurrency_key="gpu", max_running=2)
    gpu.map(abs, range(2))
    gpu.options(queue="other").map(abs, range(2))
    free = queue.enqueue(abs, 9)
    assert len(hand.claim(5)) == 3  # two of the key, and the one without
    assert hand.claim(5, "other") == []
    assert free.state == "running"


def test_a_job_says_that_its_line_or_its_key_is_full(queue: Queue, hand: Hand) -> None:
    queue.limit(1)
    line = queue.map(abs, range(2))
    hand.claim()
    assert line[1].why() == "its queue 'default' may run 1 at once, and 1 run"
    queue.limit(None)
    hand.claim()
    keyed = queue.options(concurrency_key="gpu", expires=60).map(abs, range(2))
    hand.claim()
    assert keyed[1].why().startswith("1 with its concurrency key 'gpu' may run at once, and 1 run; it expires ")
    assert keyed[0].why() == ""


def test_a_job_names_those_it_waits_for(queue: Queue, hand: Hand) -> None:
    group = queue.map(abs, range(5))
    hand.claim()
    child = queue.options(after=group[0]).enqueue(abs, 1)
    assert child.why() == f"it waits for job abs {group[0].short} (running)"
    many = queue.enqueue(sum, group).why()
    assert many.startswith("it waits for 5 jobs: ")
    assert f"abs {group[1].short} (pending)" in many
    assert many.endswith(" and 2 more")
