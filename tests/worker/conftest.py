"""Real workers for the tests of this folder: in this program, or as processes that can be killed."""

import contextlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

import cellq
from waiting import until

Part = Callable[[], contextlib.AbstractContextManager[str]]


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLQ_HOME", str(tmp_path_factory.getbasetemp() / "home"))


@contextlib.contextmanager
def queue_on(kind: str, folder: pathlib.Path, part: Part) -> Iterator[cellq.Queue]:
    """An empty queue on this kind of store."""
    place = contextlib.nullcontext(f"sqlite:///{folder}/jobs.db") if kind == "sqlite" else part()
    with place as url, cellq.Queue(url) as q:
        yield q


@pytest.fixture(params=["sqlite", "redis"])
def queue(request: pytest.FixtureRequest, tmp_path: pathlib.Path, redis_part: Part) -> Iterator[cellq.Queue]:
    """A queue, once on each kind of store that processes can share."""
    with queue_on(request.param, tmp_path, redis_part) as q:
        yield q


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_part: Part
) -> Iterator[cellq.Queue]:
    """A queue with one worker for all tests of a module: for those that leave both as they found them."""
    os.environ["CELLQ_HOME"] = str(tmp_path_factory.getbasetemp() / "home")
    place = queue_on(request.param, tmp_path_factory.mktemp("shared"), redis_part)
    with place as q, cellq.Worker(q, slots=2, grace=0.5):
        yield q


class WorkerProcess:
    """`cellq worker` as its own process, in a directory that holds nothing."""

    def __init__(self, url: str, directory: pathlib.Path, *options: str) -> None:
        directory.mkdir(exist_ok=True)
        self.log = directory / "worker.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cellq", "worker", "--url", url, *options],
                cwd=directory,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_ready(self) -> None:
        until(lambda: b"is ready" in self.log.read_bytes() or self.process.poll() is not None, "the worker is ready")
        assert self.process.poll() is None, self.log.read_text()

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


@pytest.fixture
def start_worker(queue: cellq.Queue, tmp_path: pathlib.Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Start worker processes on `queue`; they are gone when the test ends."""
    started: list[WorkerProcess] = []

    def start(*options: str, url: str = "") -> WorkerProcess:
        worker = WorkerProcess(url or queue.url, tmp_path / f"elsewhere{len(started)}", *options)
        started.append(worker)
        worker.wait_ready()
        return worker

    yield start
    for worker in started:
        worker.end()


@pytest.fixture(name="until")
def _until() -> Callable[..., None]:
    return until
