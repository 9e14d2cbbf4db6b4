"""The password in a store's URL is for connecting: people and other programs on the machine do not get to see it."""

from __future__ import annotations

import pathlib
import pickle
from collections.abc import Iterator

import psutil
import pytest

import cellq
from cellq.notebook.workforce import Address, Workforce
from cellq.store.redis import RedisStore
from cellq.worker import launch
from servers import Server

PASSWORD = "sesame-and-nothing-else"


@pytest.fixture
def url(redis_server: Server, redis_url: str) -> Iterator[str]:
    """A part of a server for somebody who has to tell who it is."""
    with redis_server.client() as client:
        client.acl_setuser(
            "ali", enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], channels=["*"], categories=["+@all"]
        )
        yield redis_url.replace("//", f"//ali:{PASSWORD}@")
        client.acl_deluser("ali")


def test_nothing_that_people_read_has_it(url: str) -> None:
    with cellq.Queue(url) as queue:
        job = queue.enqueue(pow, 2, 3)
        texts = [queue.url, repr(queue), repr(queue.asynchronous()), job.why(), repr(job)]
        texts += [repr(cellq.Worker(queue)), cellq.Worker(url=url).url]
        workforce, address = Workforce(), Address.of(queue.asynchronous().connection, queue.name)
        assert workforce.tend(address, []) == []
        texts.append(workforce.lacks(address))
        assert texts[-1].startswith("no worker is running")
        with pytest.raises(cellq.Expired) as caught:
            queue.get("00000000-0000-0000-0000-000000000000")
        texts.append(str(caught.value))
        job.cancel()
        queue.prune(cancelled=0)
        with pytest.raises(cellq.Expired) as caught:
            job.refresh()
        texts.append(str(caught.value))
    assert [text for text in texts if PASSWORD in text] == []
    assert queue.url == url.replace(PASSWORD, "***")


def test_what_was_pickled_connects_again(url: str) -> None:
    with cellq.Queue(url) as queue:
        job = queue.enqueue(pow, 2, 3)
        assert pickle.loads(pickle.dumps(job)).refresh().state == "pending"
        with pickle.loads(pickle.dumps(queue)) as again:
            assert again.jobs() == [job]


def test_a_queue_on_a_store_connects_wherever_it_is_taken(url: str) -> None:
    with cellq.Queue(store=RedisStore(url)) as queue:
        worker = cellq.Worker(queue, slots=1, grace=0.5)

        @worker.task()
        def double(n: int) -> int:
            return 2 * n

        def enqueues_more(n: int) -> list[str]:
            ids = [queue.enqueue(pow, n, 3).id, double.enqueue(n).id]
            return [*ids, repr(queue), repr(double), repr(double.queue)]

        with worker:
            *ids, one, two, three = queue.enqueue(enqueues_more, 5).result(timeout=30)
            assert [queue.get(job_id).result(timeout=30) for job_id in ids] == [125, 10]
        texts = [one, two, three, repr(queue), queue.url, repr(queue.asynchronous()), repr(worker), worker.url]
        assert [text for text in texts if PASSWORD in text] == []


def test_a_worker_of_a_queue_connects(url: str) -> None:
    with cellq.Queue(url) as queue, cellq.Worker(queue, slots=1, grace=0.5):
        assert queue.enqueue(pow, 2, 3).result(timeout=30) == 8


def test_a_launched_workers_command_has_it_not(url: str, monkeypatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("CELLQ_HOME", str(tmp_path))
    with cellq.Queue(url) as queue:
        launched = launch.launch(url, slots=1)
        process = psutil.Process(launched.pid)
        try:
            assert queue.enqueue(pow, 2, 3).result(timeout=30) == 8
            assert PASSWORD not in " ".join(process.cmdline())
        finally:
            process.terminate()
            launched._process.wait(30)
    assert PASSWORD not in launched.log.read_text()
