"""Where a caller may stand: script, thread, running loop, coroutine, forked child; what interrupt and exit do."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from playing import Hand

import cellq
from cellq import AsyncQueue, Queue, State
from cellq.client.portal import portal, settle


def double(x: int) -> int:
    return 2 * x


def refuse(x: int) -> int:
    raise ValueError(x)


def sync_journey(queue: Queue) -> None:
    """Every kind of sync call once."""
    job = queue.options(priority=1).enqueue(double, 4)
    group = queue.map(double, range(3))
    assert job.result(timeout=20) == 8
    assert group.results(timeout=20) == [0, 2, 4]
    assert [one.state for one in group.as_completed()] == [State.COMPLETED] * 3
    assert queue.get(job.id).wait(20)
    assert cellq.wait([job, *group]).not_done == set()
    assert job.logs() == ""
    assert job.cancel() == "refused"
    assert isinstance(queue.enqueue(refuse, 1).exception(20), cellq.JobFailed)


async def async_journey(queue: AsyncQueue) -> None:
    """Every kind of async call once."""
    job = await queue.options(priority=1).enqueue(double, 4)
    group = await queue.map(double, range(3))
    assert await job == 8
    assert await asyncio.gather(*group) == [0, 2, 4]
    assert await group.results() == [0, 2, 4]
    assert [one.state async for one in group.as_completed()] == [State.COMPLETED] * 3
    assert (await group.progress()).done == 3
    assert await (await queue.get(job.short)).result() == 8
    assert (await queue.count())[State.COMPLETED] >= 4
    assert await job.logs() == ""
    assert [text async for text in job.logs(follow=True)] == []
    assert await job.cancel() == "refused"
    assert isinstance(await (await queue.enqueue(refuse, 1)).exception(), cellq.JobFailed)
    with pytest.raises(cellq.NotReady):
        await (await queue.options(delay=60).enqueue(double, 1)).result(timeout=0.01)


def test_in_a_script(queue: Queue, hand: Hand) -> None:
    hand.start()
    sync_journey(queue)


def test_in_many_threads_at_once(queue: Queue, hand: Hand) -> None:
    hand.start()
    errors: list[BaseException] = []

    def journey() -> None:
        try:
            sync_journey(queue)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=journey) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []


async def test_in_a_running_loop(queue: Queue, hand: Hand) -> None:
    """As in a notebook cell: the thread's loop is running while the sync call blocks it."""
    hand.start()
    sync_journey(queue)


async def test_sync_jobs_can_be_awaited(queue: Queue, hand: Hand) -> None:
    hand.start()
    job = queue.enqueue(double, 3)
    assert await job == 6
    assert await asyncio.gather(*queue.map(double, range(3))) == [0, 2, 4]


def test_in_a_coroutine_of_a_script(queue: Queue, hand: Hand) -> None:
    hand.start()

    async def main() -> None:
        sync_journey(queue)

    asyncio.run(main())
    asyncio.run(main())


def test_async_in_one_loop_after_another(url: str, hand: Hand) -> None:
    hand.start()
    queue = AsyncQueue(url)

    async def main() -> None:
        await async_journey(queue)

    asyncio.run(main())
    asyncio.run(main())
    asyncio.run(queue.close())


async def test_async_with_closes(url: str) -> None:
    async with AsyncQueue(url) as queue:
        await queue.enqueue(double, 1)
        session = queue._connection._session
        assert session.open
    assert not session.open


async def test_a_waiting_coroutine_leaves_its_loop_free(url: str, hand: Hand) -> None:
    async with AsyncQueue(url) as queue:
        job = await queue.enqueue(double, 1)
        waiting = asyncio.create_task(job.result())
        await asyncio.sleep(0)
        assert not waiting.done()
        await asyncio.to_thread(hand.work)
        assert await waiting == 2


async def test_a_cancelled_wait_leaves_the_job_alone(url: str, hand: Hand) -> None:
    async with AsyncQueue(url) as queue:
        job = await queue.enqueue(double, 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(job.result(), 0.05)
        await asyncio.to_thread(hand.work)
        assert await job == 2
        watcher = queue._connection._session.watcher
        assert not watcher._watched


def test_a_blocking_call_in_the_portal_itself_is_refused(queue: Queue) -> None:
    async def inside() -> None:
        queue.enqueue(double, 1)

    with pytest.raises(RuntimeError, match="await instead"):
        portal().call(inside())


def test_settle_refuses_what_suspends() -> None:
    async def sleepy() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="suspended"):
        settle(sleepy())


def run(code: str, *, interrupt_on: str = "") -> str:
    """What a script prints; it is interrupted as by Ctrl-C once it has printed a certain line."""
    script = subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert script.stdout is not None
    printed = ""
    if interrupt_on:
        while interrupt_on not in printed:
            line = script.stdout.readline()
            assert line, printed
            printed += line
        script.send_signal(signal.SIGINT)
    rest, _ = script.communicate(timeout=60)
    assert script.returncode == 0, printed + rest
    return printed + rest


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_an_interrupted_wait_leaves_the_job_alone(shared_url: str) -> None:
    printed = run(
        f"""
        import threading
        import cellq
        from playing import Hand, eventually, somebody_waits
        queue = cellq.Queue({shared_url!r})
        job = queue.enqueue(abs, -3)
        threading.Thread(target=lambda: (eventually(somebody_waits, ""), print("waiting"))).start()
        try:
            job.result()
        except KeyboardInterrupt:
            print("interrupted", job.state)
        hand = Hand({shared_url!r})
        hand.work()
        print(job.result())
        hand.close()
        """,
        interrupt_on="waiting\n",
    )
    assert printed == "waiting\ninterrupted pending\n3\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_opens_its_own(shared_url: str) -> None:
    printed = run(
        f"""
        import os
        import cellq
        from playing import Hand
        queue = cellq.Queue({shared_url!r})
        job = queue.enqueue(abs, -3)
        child = os.fork()
        if not child:
            theirs = queue.enqueue(abs, -4)
            assert job.state == "pending"
            queue.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        hand = Hand({shared_url!r})
        hand.work()
        print(sorted(each.result() for each in queue.jobs()))
        hand.close()
        """
    )
    assert printed == "[3, 4]\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_children_of_multiprocessing_end_by_themselves(shared_url: str) -> None:
    printed = run(
        f"""
        import multiprocessing
        import cellq
        queue = cellq.Queue({shared_url!r})
        queue.enqueue(abs, -3)
        if __name__ == "__main__":
            child = multiprocessing.get_context("fork").Process(target=queue.enqueue, args=(abs, -4))
            child.start()
            child.join(20)
            print(child.exitcode, len(queue.jobs()))
        """
    )
    assert printed == "0 2\n"


def test_the_interpreter_ends_with_everything_open(shared_url: str) -> None:
    printed = run(
        f"""
        import asyncio, threading
        import cellq
        queue = cellq.Queue({shared_url!r})
        job = queue.enqueue(abs, -3)
        threading.Thread(target=job.wait, daemon=True).start()
        asyncio.run(cellq.AsyncQueue({shared_url!r}).enqueue(abs, -4))
        print("end")
        """
    )
    assert printed == "end\n"
