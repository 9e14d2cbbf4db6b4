"""A session has one worker: whoever starts one meanwhile gets none, and who comes after its end gets the next."""

import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from cellq import Queue
from cellq.notebook.seat import Seat
from waiting import until

pytestmark = pytest.mark.timeout(120)

# Two kernels that come to the same session: both have looked and found nobody, then both are told to go on.
KERNEL = """
import sys, time
from cellq import Queue
from cellq.notebook.workforce import Address, Workforce, queue_of
queue = Queue(sys.argv[1]).asynchronous()
address, workforce = Address.of(queue.connection, queue_of("shared")), Workforce()
print("looked", flush=True)
sys.stdin.readline()
print(" ".join(workforce.tend(address, [])) or "nothing", flush=True)
sys.stdin.readline()
"""


class Kernel:
    def __init__(self, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", KERNEL, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.said() == "looked"

    def said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@pytest.fixture
def url(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CELLQ_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CELLQ_IDLE_EXIT", "30")
    return f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
def kernel(url: str) -> Iterator[Callable[[], Kernel]]:
    made: list[Kernel] = []

    def make() -> Kernel:
        made.append(Kernel(url))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.communicate()
    for process in workers(url):
        process.terminate()
        process.wait(30)


def workers(url: str) -> list[psutil.Process]:
    """The worker processes of a database, also those that have not said so yet."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if url in command and "worker" in command:
            found.append(process)
    return found


def present(url: str) -> list[int]:
    with Queue(url) as queue:
        return [worker.pid for worker in queue.workers()]


def test_two_notebooks_that_begin_a_session_at_once_share_one_worker(url: str, kernel: Callable[[], Kernel]) -> None:
    kernels = [kernel(), kernel()]
    for one in kernels:
        one.go_on()
    assert sorted(one.said().partition(" begins")[0] for one in kernels) == ["nothing", "session 'shared'"]
    assert len(workers(url)) == 1
    until(lambda: present(url), "it has come up", 60)
    assert present(url) == [worker.pid for worker in workers(url)]


def test_the_worker_keeps_its_seat_when_its_kernel_dies_at_once(url: str, kernel: Callable[[], Kernel]) -> None:
    first, second = kernel(), kernel()
    first.go_on()
    assert "begins" in first.said()
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    second.go_on()
    assert second.said() == "nothing"
    assert len(workers(url)) == 1


def test_a_worker_that_was_killed_leaves_its_seat_to_the_next(url: str, kernel: Callable[[], Kernel]) -> None:
    first, second = kernel(), kernel()
    first.go_on()
    assert "begins" in first.said()
    until(lambda: present(url), "it has come up", 60)
    (worker,) = workers(url)
    worker.kill()
    first.process.kill()  # whose child it is
    first.process.wait()
    until(lambda: not worker.is_running(), "it is gone", 60)
    second.go_on()
    assert "begins" in second.said()


def test_a_seat_is_one_sessions_of_one_store(url: str, tmp_path: pathlib.Path) -> None:
    seat = Seat.take(url, "session:a")
    assert seat is not None
    other = Seat.take(url, "session:b")
    assert other is not None
    assert Seat.take(url, "session:a") is None
    (tmp_path / "link").symlink_to(tmp_path)
    assert Seat.take(f"sqlite:///{tmp_path}/link/jobs.db", "session:a") is None, "the same store by another path"
    seat.close()
    again = Seat.take(url, "session:a")
    assert again is not None
    again.close()
    other.close()
