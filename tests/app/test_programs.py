"""`cellq worker module:worker` and `--app`, as real processes: tasks by name, middleware, refusals, isolation."""

from __future__ import annotations

import asyncio
import importlib
import json
import pathlib
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator

import pytest
from programs import Program

import cellq

MAIL = """
import os
import pathlib
import cellq

worker = cellq.Worker("mail", url=os.environ["JOBS"], slots=2)
seen = []  # of this process

@worker.task()
async def remember(word: str) -> list[str]:
    seen.append(word)
    return seen

@worker.task(backoff=0.01)
def where(fail: bool = False) -> tuple[str, str]:
    print("working")
    if fail:
        raise ValueError("asked to")
    return __name__, str(pathlib.Path(__file__).name)

class Letter:
    def __init__(self, to: str) -> None:
        self.to = to

@worker.task()
def post(letter: Letter) -> tuple[bool, Letter]:
    return type(letter) is Letter, Letter("back")

@worker.task(max_tries=3, backoff=0.01)
def stubborn(path: str) -> str:
    tries = len(pathlib.Path(path).read_text()) if os.path.exists(path) else 0
    with open(path, "a") as file:
        file.write("x")
    raise ConnectionError(f"try {tries + 1}")
"""


@pytest.fixture
def load(program: Program, queue: cellq.Queue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., object]]:
    """Write a module into the program's folder, and import it here as a client does."""
    monkeypatch.setenv("JOBS", queue.url)
    monkeypatch.syspath_prepend(str(program.folder))
    names = []

    def load(name: str, text: str) -> types.ModuleType:
        program.write(f"{name}.py", text)
        names.append(name)
        return importlib.import_module(name)

    yield load
    for name in names:
        sys.modules.pop(name, None)


def test_a_worker_runs_registered_tasks_by_name_from_an_empty_directory(
    load: Callable[..., types.ModuleType], program: Program, tmp_path: pathlib.Path
) -> None:
    mail = load("mail_program", MAIL)
    empty = tmp_path / "empty"
    empty.mkdir()
    program.start("worker", "mail_program:worker", "--concurrency", "100", "--log-level", "DEBUG", cwd=empty)
    job = mail.where.enqueue()
    assert job.result(30) == ("mail_program", "mail_program.py")
    assert job.logs() == "working\n"
    assert job.name == "mail:where"
    # The module is imported once in the process that all coroutine jobs share, as in one program.
    assert len(set(map(tuple, mail.remember.map(["a", "b", "c"]).results(30)))) <= 3
    assert sorted(mail.remember.enqueue("d").result(30)) == ["a", "b", "c", "d"]
    # Arguments and results are of the classes that the module has on each side.
    known, back = mail.post.enqueue(mail.Letter("a")).result(30)
    assert (known, type(back)) == (True, mail.Letter)
    with pytest.raises(cellq.JobFailed, match="asked to") as caught:
        mail.where.enqueue(fail=True).result(30)
    assert isinstance(caught.value.__cause__, ValueError)
    assert list(empty.iterdir()) == []


def test_max_tries_runs_a_task_so_often(
    load: Callable[..., types.ModuleType], program: Program, tmp_path: pathlib.Path
) -> None:
    mail = load("mail_tries", MAIL)
    program.start("worker", "mail_tries:worker")
    job = mail.stubborn.enqueue(str(tmp_path / "tries"))
    with pytest.raises(cellq.JobFailed, match="try 3"):
        job.result(30)
    assert (tmp_path / "tries").read_text() == "xxx"


def test_registered_only_refuses_everything_else(
    load: Callable[..., types.ModuleType], program: Program, queue: cellq.Queue
) -> None:
    mail = load("mail_strict", MAIL)
    program.start("worker", "mail_strict:worker", "--registered-only")
    refused = queue.options(queue="mail").enqueue(pow, 2, 10)
    cell = queue.options(queue="mail").push_cell("parcel", task="cell", origin="{}")
    assert mail.where.enqueue().result(30)[0] == "mail_strict"
    for job in (refused, cell):
        with pytest.raises(cellq.JobFailed, match="runs registered tasks only"):
            job.result(30)
    assert refused.failure.cause == "refused"


def test_a_worker_without_the_program_says_that_it_does_not_know_the_name(
    load: Callable[..., types.ModuleType], program: Program, queue: cellq.Queue
) -> None:
    mail = load("mail_unknown", MAIL)
    program.start("worker", "--url", queue.url, "-q", "mail")
    with pytest.raises(cellq.JobFailed, match="does not know that name") as caught:
        mail.where.enqueue().result(30)
    assert "cellq worker MODULE:WORKER" in str(caught.value)
    assert queue.options(queue="mail").enqueue(pow, 2, 10).result(30) == 1024  # code by value it runs


SCRIPT = """
import asyncio
import cellq

worker = cellq.Worker("script", url="sqlite:///jobs.db", slots=1)

@worker.task(max_rate="50/s")
async def first(x: int) -> str:
    job = await second.send(x)  # from inside a job
    return job.id

@worker.task()
def second(x: int) -> tuple[int, int]:
    return x * 2, cellq.current_job().attempt

if __name__ == "__main__":
    with worker:
        ids = first.map(range(20)).results(30)
        queue = cellq.Queue("sqlite:///jobs.db", "script")
        print([queue.get(id).result(30) for id in ids] == [(2 * x, 1) for x in range(20)])
"""


def test_a_script_may_run_its_own_worker(program: Program) -> None:
    program.write("script.py", SCRIPT)
    done = program.run("script.py")
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mail_bad"], "write MODULE:NAME"),
        (["no_such_module:worker"], "there is no module 'no_such_module'"),
        (["mail_bad:nobody"], "module 'mail_bad' has no 'nobody'"),
        (["mail_bad:seen"], "no cellq.Worker"),
        (["--app", "mail_bad:worker"], "no cellq.App"),
        (["mail_bad:worker", "--app", "mail_bad:app"], "not both"),
        (["mail_bad:worker", "-q", "other"], "--queue is said where mail_bad:worker is made"),
        (["mail_bad:worker", "--url", "sqlite:///x.db"], "--url is said where mail_bad:worker is made"),
        (["mail_bad:worker", "--lease", "-1"], "lease must be more than 0"),
    ],
)
def test_arguments_that_make_no_sense_are_told_in_one_line(
    load: Callable[..., types.ModuleType], program: Program, arguments: list[str], message: str
) -> None:
    load("mail_bad", MAIL)
    done = program.run("-m", "cellq", "worker", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_in_the_program_itself_is_shown_as_it_is(
    load: Callable[..., types.ModuleType], program: Program
) -> None:
    program.write("broken_program.py", "import no_such_thing\n")
    done = program.run("-m", "cellq", "worker", "broken_program:worker")
    assert done.returncode == 1
    assert "line 1, in <module>" in done.stderr


# ----------------------------------------------------------------------------------------- middleware, for real


class Counting(cellq.Middleware):
    """Counts in ctx, and asks for another attempt until there were three."""

    async def handle(self, message: cellq.Message, next_handler: cellq.Handler) -> object:
        message.ctx["seen"] = [*message.ctx.get("seen", []), message.attempt]
        if len(message.ctx["seen"]) < 3:
            raise cellq.RetryMessage(0.01, "not yet")
        result = await next_handler(message)
        print(json.dumps([message.args, message.ctx]), file=self.file, flush=True)
        return result

    def __init__(self, path: pathlib.Path) -> None:
        self.file = path.open("w")


def test_ctx_is_kept_across_attempts(queue: cellq.Queue, tmp_path: pathlib.Path) -> None:
    counting = Counting(tmp_path / "ctx")
    with cellq.Worker(queue, slots=1, concurrency=0, middlewares=[counting]):
        assert queue.enqueue(pow, 2, 10).result(30) == 1024
    counting.file.close()
    assert json.loads((tmp_path / "ctx").read_text()) == [[2, 10], {"seen": [1, 2, 3]}]


def test_a_job_asks_for_another_run_and_rejects_itself(queue: cellq.Queue, tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "tries")

    def later() -> int:
        with open(path, "a") as file:
            file.write("x")
        with open(path) as file:
            tries = len(file.read())
        if tries < 3:
            raise cellq.RetryMessage(0.01, "the file is not there yet")
        return tries

    async def never() -> None:
        raise cellq.RejectMessage("no such account")

    with cellq.Worker(queue, slots=1):
        assert queue.enqueue(later).result(30) == 3
        job = queue.options(retries=5).enqueue(never)
        with pytest.raises(cellq.JobFailed, match="rejected: no such account"):
            job.result(30)
        assert (job.attempt, job.failure.cause) == (1, "rejected")


def test_a_job_that_asks_without_end_has_its_tries(queue: cellq.Queue) -> None:
    def later() -> None:
        raise cellq.RetryMessage(0.01, "not yet")

    worker = cellq.Worker(queue, slots=1, concurrency=0)
    with_rule = worker.task(max_tries=3)(later)  # by value: it is nobody's module
    with worker:
        job = with_rule.enqueue()
        with pytest.raises(cellq.JobFailed, match=r"asked to run again \(not yet\), but has had its 3 tries"):
            job.result(30)
        assert job.attempt == 3


def test_retry_and_timeout_stop_and_repeat_plain_code(queue: cellq.Queue, tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "tries")

    def slow_at_first() -> str:
        with open(path, "a") as file:
            file.write("x")
        with open(path) as file:
            if len(file.read()) == 1:
                time.sleep(600)
        return "in time"

    layers = [cellq.Retry(max_tries=2, min_delay=0.01, on=("JobTimeout",)), cellq.Timeout(0.3)]
    with cellq.Worker(queue, slots=1, concurrency=0, grace=0.5, middlewares=layers):
        assert queue.enqueue(slow_at_first).result(30) == "in time"
    assert pathlib.Path(path).read_text() == "xx"


def test_a_middleware_that_stops_waiting_ends_the_code(queue: cellq.Queue, tmp_path: pathlib.Path) -> None:
    class Impatient(cellq.Middleware):
        async def handle(self, message: cellq.Message, next_handler: cellq.Handler) -> object:
            async with asyncio.timeout(0.3):
                return await next_handler(message)

    mark = str(tmp_path / "went on")

    def slow() -> None:
        time.sleep(1.5)
        open(mark, "w").close()

    with cellq.Worker(queue, slots=1, concurrency=0, grace=0.2, middlewares=[Impatient()]):
        with pytest.raises(cellq.JobFailed, match="a middleware raised TimeoutError"):
            queue.enqueue(slow).result(30)
        assert queue.enqueue(pow, 2, 2).result(30) == 4  # the slot is free again
    assert not pathlib.Path(mark).exists()


def test_a_cancel_stops_a_job_whose_middleware_waits(queue: cellq.Queue) -> None:
    began = threading.Event()

    class Endless(cellq.Middleware):
        async def handle(self, message: cellq.Message, next_handler: cellq.Handler) -> object:
            began.set()
            return await asyncio.Event().wait()

    with cellq.Worker(queue, slots=1, concurrency=0, middlewares=[Endless()]):
        job = queue.enqueue(pow, 2, 2)
        assert began.wait(30)
        job.cancel()
        with pytest.raises(cellq.JobCancelled):
            job.result(30)


def test_jobs_in_the_hands_of_middleware_go_back_when_the_worker_ends(queue: cellq.Queue) -> None:
    began = threading.Event()

    class Endless(cellq.Middleware):
        async def handle(self, message: cellq.Message, next_handler: cellq.Handler) -> object:
            began.set()
            return await asyncio.Event().wait()

    with cellq.Worker(queue, slots=1, concurrency=0, drain=0.1, middlewares=[Endless()]):
        job = queue.enqueue(pow, 2, 2)
        assert began.wait(30)
    assert job.refresh().state is cellq.State.PENDING
    assert job.attempt == 0  # it costs no attempt
    with cellq.Worker(queue, slots=1, concurrency=0):
        assert job.result(30) == 4


def test_a_job_cannot_enqueue_into_the_memory_of_its_caller() -> None:
    queue = cellq.Queue("memory://of-the-caller")

    def nest() -> None:
        queue.enqueue(pow, 2, 2)

    with (
        cellq.Worker(queue, slots=1, concurrency=0),
        pytest.raises(cellq.JobFailed, match="lives inside one program, and this job runs in a process of its own"),
    ):
        queue.enqueue(nest).result(30)


def test_max_age_rejects_a_job_that_waited_too_long(queue: cellq.Queue, until: Callable[..., None]) -> None:
    worker = cellq.Worker(queue, slots=1, concurrency=0)

    @worker.task(max_age=0.2)
    def fresh() -> int:
        return 1

    old = fresh.enqueue()
    made = time.time()
    until(lambda: time.time() > made + 0.25, "it is too old")
    with worker:
        with pytest.raises(cellq.JobFailed, match=r"was to start within 0\.2 s"):
            old.result(30)
        assert fresh.options(max_age=60).enqueue().result(30) == 1


# -------------------------------------------------------------------------------------------------------- apps

APP = """
import os
import cellq

class Fatal(cellq.Middleware):
    async def handle(self, message, next_handler):
        if message.task == "two:doomed":
            raise SystemExit("this middleware means it")
        return await next_handler(message)

app = cellq.App(middlewares=[cellq.Timeout(60.0)])
one = cellq.Worker("one", url=os.environ["JOBS"], slots=1, concurrency=1)
two = cellq.Worker("two", url=os.environ["JOBS"], slots=1, concurrency=1, middlewares=[Fatal()])
broken = cellq.Worker("broken", url="sqlite:////proc/no/such/place.db")

@one.task()
def fine(x):
    return x + 1

@two.task()
def doomed():
    return 1

@two.task()
def crash():
    os._exit(9)

@two.task()
async def also_fine(x):
    return x + 2

for worker in (one, two, broken):
    app.register_worker(worker)
"""


def test_workers_of_an_app_do_not_touch_each_other(load: Callable[..., types.ModuleType], program: Program) -> None:
    several = load("several_program", APP)
    program.start("worker", "--app", "several_program:app", ready=2)
    doomed, crash = several.doomed.enqueue(), several.crash.enqueue()
    with pytest.raises(cellq.JobFailed, match="this middleware means it"):
        doomed.result(30)
    with pytest.raises(cellq.JobLost):
        crash.result(30)
    assert several.fine.enqueue(1).result(30) == 2
    assert several.also_fine.enqueue(1).result(30) == 3
    log = program.log.read_text()
    assert "worker broken failed; it starts again" in log
    assert "/proc/no/such/place.db" in log
    (process,) = program.processes
    process.terminate()
    assert process.wait(30) == 0


def test_an_app_in_which_no_worker_can_start_says_so() -> None:
    app = cellq.App()
    with pytest.raises(ValueError, match="needs workers"):
        app.start()
    app.register_worker(cellq.Worker("broken", url="sqlite:////proc/no/such/place.db"))
    with pytest.raises(ValueError, match="registered already"):
        app.register_worker(cellq.Worker("broken"))
    with pytest.raises(cellq.StoreUnavailable):
        app.start()


def test_an_app_runs_beside_a_program(queue: cellq.Queue) -> None:
    seen: list[str] = []

    class Noting(cellq.Middleware):
        def __init__(self, name: str) -> None:
            self.name = name

        async def handle(self, message: cellq.Message, next_handler: cellq.Handler) -> object:
            seen.append(self.name)
            return await next_handler(message)

    app = cellq.App(middlewares=[Noting("app")])
    worker = cellq.Worker(queue, slots=1, concurrency=0, middlewares=[Noting("worker")])

    @worker.task(middlewares=[Noting("task")])
    def double(x: int) -> int:
        return 2 * x

    app.register_worker(worker)
    app.register_middleware(Noting("first"), pos=0)
    worker.register_middleware(Noting("last"))
    with app:
        assert double.enqueue(21).result(30) == 42
    assert seen == ["first", "app", "worker", "last", "task"]
