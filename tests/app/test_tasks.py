"""Tasks: how they are declared, what they enqueue, and what that costs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

import cellq
from cellq.ids import name_digest
from cellq.message import Blob, Pushed
from cellq.message import Message as Sealed
from cellq.store.memory import MemoryStore
from cellq.testing import InlineWorker, inline


class Counting(MemoryStore):
    """A store that notes what is pushed."""

    def __init__(self) -> None:
        super().__init__(name="counting")
        self.pushes: list[list[Sealed]] = []
        self.code: list[dict[bytes, Blob]] = []

    async def push(self, messages: Sequence[Sealed], code: Mapping[bytes, Blob]) -> list[Pushed]:
        self.pushes.append(list(messages))
        self.code.append(dict(code))
        return await super().push(messages, code)


@pytest.fixture
def store() -> Counting:
    return Counting()


@pytest.fixture
def worker(store: Counting) -> cellq.Worker:
    return cellq.Worker(cellq.Queue(name="emails", store=store))


def test_a_task_is_called_as_the_function_it_is_made_of(worker: cellq.Worker) -> None:
    @worker.task()
    def add(a: int, b: int = 2) -> int:
        """Adds."""
        return a + b

    assert add(1) == 3
    assert (add.name, str(add), add.__name__, add.__doc__) == ("emails:add", "emails:add", "add", "Adds.")


async def test_an_async_task_is_awaited_as_the_function_it_is_made_of(worker: cellq.Worker) -> None:
    @worker.task()
    async def add(a: int) -> int:
        return a + 1

    assert await add(1) == 2


async def test_a_registered_task_travels_by_name_without_code(worker: cellq.Worker, store: Counting) -> None:
    @worker.task()
    async def send_email(to: str) -> None: ...

    await send_email.send("a")
    ((message,),) = store.pushes
    assert (message.task, message.code, message.options.queue) == (
        "emails:send_email", name_digest("emails:send_email"), "emails",
    )  # fmt: skip
    assert store.code == [{}]


async def test_send_bulk_is_one_push_also_of_two_tasks(worker: cellq.Worker, store: Counting) -> None:
    @worker.task()
    async def one(x: int) -> int:
        return x

    @worker.task(queue="other")
    def two(x: int) -> int:
        return x

    group = await one.send_bulk([one.message(1), two.message(2), one.message(3)])
    (messages,) = store.pushes
    assert [(m.task, m.options.queue) for m in messages] == [
        ("emails:one", "emails"), ("emails:two", "other"), ("emails:one", "emails"),
    ]  # fmt: skip
    assert len(group) == 3
    assert worker.settings.queues == ("emails", "other")


async def test_a_message_enqueued_twice_is_one_job(worker: cellq.Worker) -> None:
    @worker.task()
    async def one(x: int) -> int:
        return x

    message = one.message(1)
    first = await one.send_bulk([message])
    second = await one.send_bulk([message, message.anew()])
    assert [job.id for job in first] == [message.id]
    assert second[0].id == message.id
    assert (await worker.queue.count())[cellq.State.PENDING] == 2


def test_map_is_one_push(worker: cellq.Worker, store: Counting) -> None:
    @worker.task()
    def add(a: int, b: int) -> int:
        return a + b

    assert len(add.map([1, 2, 3], [4, 5, 6])) == 3
    assert [len(push) for push in store.pushes] == [3]
    with pytest.raises(ValueError, match="key"):
        add.options(key="k").map([1], [2])


def test_a_message_knows_its_call(worker: cellq.Worker) -> None:
    @worker.task(timeout=5.0, max_tries=3, max_age=timedelta(hours=1), max_rate="10/s")
    def add(a: int, b: int) -> int:
        return a + b

    message = add.message(1, b=2)
    assert (message.args, message.kwargs, message.task, message.timeout) == ((1,), {"b": 2}, "emails:add", 5.0)
    assert message.ctx == {"max_tries": 3, "max_age": 3600.0, "max_rate": "10/s"}
    assert isinstance(message, cellq.Message)


def test_rules_become_options_and_ctx(worker: cellq.Worker, store: Counting) -> None:
    @worker.task(max_tries=3, max_age=60, delay=30, priority=2)
    def add(a: int) -> int:
        return a

    job = add.enqueue(1)
    ((message,),) = store.pushes
    assert (message.options.retries, message.options.priority, message.options.delay) == (2, 2, 30)
    assert json.loads(message.ctx) == {"max_tries": 3, "max_age": 90.0}  # the delay that was asked for does not count
    assert job.name == "emails:add"


def test_options_of_a_task_can_be_changed_for_some_calls(worker: cellq.Worker, store: Counting) -> None:
    @worker.task(max_tries=3)
    def add(a: int) -> int:
        return a

    add.options(priority=9, max_tries=5).enqueue(1)
    add.enqueue(1)
    add.options(retries=1).enqueue(1)
    (first,), (second,), (third,) = store.pushes
    assert (third.options.retries, third.ctx) == (1, '{"max_tries": 2}')
    assert (first.options.priority, first.options.retries, first.ctx) == (9, 4, '{"max_tries": 5}')
    assert (second.options.priority, second.options.retries, second.ctx) == (0, 2, '{"max_tries": 3}')


@pytest.mark.parametrize(
    "options",
    [
        {"max_tries": 0}, {"max_tries": "3"}, {"max_tries": 3, "retries": 2}, {"max_age": 0}, {"max_age": "1h"},
        {"max_rate": "10"}, {"max_rate": "-1/s"}, {"max_rate": 0}, {"timeout": 0}, {"no_such": 1},
    ],
)  # fmt: skip
def test_nonsense_is_refused_where_it_is_said(worker: cellq.Worker, options: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        worker.task(**options)
    with pytest.raises((TypeError, ValueError)):
        cellq.task(**options)


async def test_wrong_arguments_are_refused_at_the_call(worker: cellq.Worker, store: Counting) -> None:
    @worker.task()
    def add(a: int) -> int:
        return a

    with pytest.raises(TypeError, match="argument"):
        await add.send(1, 2)  # type: ignore[call-arg]
    message = add.message(1)
    message.ctx["x"] = {1, 2}
    with pytest.raises(TypeError, match="JSON"):
        await add.send_bulk([message])
    assert store.pushes == []


async def test_messages_of_nobody_or_of_another_store_are_refused(worker: cellq.Worker) -> None:
    @worker.task()
    def add(a: int) -> int:
        return a

    @cellq.task(url="memory://elsewhere")
    def other(a: int) -> int:
        return a

    with pytest.raises(ValueError, match="nobody knows where it belongs"):
        await add.send_bulk([cellq.Message((1,), task="emails:add")])
    with pytest.raises(ValueError, match="memory://elsewhere"):
        await add.send_bulk([add.message(1), other.message(1)])
    with pytest.raises(TypeError, match="is none"):
        await add.send_bulk([1])  # type: ignore[list-item]


def test_two_functions_of_one_name_need_two_names(worker: cellq.Worker) -> None:
    def make(name: str) -> Any:
        def send() -> str:
            return name

        send.__qualname__ = f"{name}.send"
        return send

    worker.task()(make("a"))
    with pytest.raises(ValueError, match=r"give one of them another name"):
        worker.task()(make("b"))
    worker.task(name="send_b")(make("b"))
    worker.task()(make("a"))  # the same one again, as when a cell is run again
    assert set(worker.tasks) == {"emails:send", "emails:send_b"}


@cellq.task
def plain(a: int) -> int:
    return a + 1


@cellq.task(max_tries=2, name="labelled")
async def labelled(a: int) -> int:
    return await other_task(a)


@cellq.task()
async def other_task(a: int) -> int:
    return a * 2


def test_tasks_without_a_worker_travel_by_value(cellq_worker: InlineWorker) -> None:
    vars(plain).pop("queue", None)
    vars(labelled).pop("queue", None)
    jobs = [plain.enqueue(1), labelled.enqueue(21)]
    cellq_worker.drain()
    assert [job.result() for job in jobs] == [2, 42]
    assert [job.name for job in jobs] == ["plain", "labelled"]


def test_a_task_can_be_enqueued_through_any_queue(cellq_worker: InlineWorker) -> None:
    assert inspect.iscoroutinefunction(other_task)
    assert not inspect.iscoroutinefunction(plain)
    job = cellq_worker.queue.enqueue(other_task, 21)
    cellq_worker.drain()
    assert job.result() == 42


def test_a_task_survives_the_trip_as_an_argument(cellq_worker: InlineWorker) -> None:
    def call(task: cellq.Task[[int], int]) -> tuple[int, str, int]:
        return task(1), task.name, task.defaults.priority

    vars(plain).pop("queue", None)
    job = cellq_worker.queue.enqueue(call, plain.options(priority=3))
    cellq_worker.drain()
    assert job.result() == (2, "plain", 3)


def test_a_worker_refuses_tasks_of_others_and_says_why(store: Counting, worker: cellq.Worker) -> None:
    @worker.task()
    def add(a: int) -> int:
        return a

    stranger = cellq.Worker("emails", url="memory://")
    with inline(stranger) as running:
        job = add.enqueue(1)
        assert job.state is cellq.State.PENDING  # it waits in its own store
        theirs = cellq.Worker(running.queue, name="others")

        @theirs.task()
        def subtract(a: int) -> int:
            return a

        refused = subtract.enqueue(1)
        running.drain()
        with pytest.raises(cellq.JobFailed, match=r"others:subtract.*does not know that name.*cellq worker MODULE"):
            refused.result()


def test_registered_only_refuses_code_by_value() -> None:
    strict = cellq.Worker("strict", url="memory://", registered_only=True)

    @strict.task()
    def known(a: int) -> int:
        return a

    with inline(strict) as running:
        fine, refused = known.enqueue(1), running.queue.enqueue(pow, 2, 3)
        running.drain()
        assert fine.result() == 1
        with pytest.raises(cellq.JobFailed, match=r"runs registered tasks only \(strict:known\)"):
            refused.result()
        assert running.queue.jobs(state="failed")[0].failure.cause == "refused"
