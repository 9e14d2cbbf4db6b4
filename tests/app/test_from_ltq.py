"""docs/from-ltq.md: the cellq side of every example runs, as it stands there."""

from __future__ import annotations

import ast
import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from programs import Program

import cellq
from pages import named_blocks, names_of_cellq, read_page
from waiting import until

PAGE = read_page("from-ltq.md")
BLOCKS = named_blocks(PAGE)
MODULES = {name: text for name, text in BLOCKS if name != "ltq"}


@pytest.fixture
def page(program: Program) -> Program:
    """A folder with every module of the page."""
    for name, text in MODULES.items():
        program.write(name, text)
    return program


class GitHub(http.server.ThreadingHTTPServer):
    """Answers like the API of the example; fails the first request for each repository."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.asked: list[tuple[float, str, int]] = []
        self.lock = threading.Lock()


class _Answer(http.server.BaseHTTPRequestHandler):
    server: GitHub

    def do_GET(self) -> None:
        with self.server.lock:
            first = all(path != self.path for _, path, _ in self.server.asked)
            status = 503 if first else 200
            self.server.asked.append((time.monotonic(), self.path, status))
        name = self.path.removeprefix("/repos/")
        body = json.dumps({"full_name": name, "stargazers_count": len(name)}).encode() if status == 200 else b"away"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the test tells what was asked."""


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_every_example_of_ltq_has_its_counterpart() -> None:
    theirs = [text for name, text in BLOCKS if name == "ltq"]
    assert len(theirs) == 6
    assert set(MODULES) == {"emails.py", "myapp.py", "notifications.py", "logger.py", "schedule.py", "github.py"}
    for text in MODULES.values():
        ast.parse(text)


def test_every_name_of_cellq_on_the_page_exists() -> None:
    for name in names_of_cellq(PAGE):
        assert hasattr(cellq, name), name


def test_quick_start(page: Program) -> None:
    page.start("worker", "emails:worker")
    done = page.run("emails.py")
    assert (done.returncode, done.stdout) == (0, "sent: None\n"), done.stderr
    with cellq.Queue(page.folder / "jobs.db", "emails") as queue:
        assert all(job.wait(30) for job in queue.jobs())
        assert queue.count()[cellq.State.COMPLETED] == 3


def test_an_app_and_its_middleware(page: Program) -> None:
    page.start("worker", "--app", "myapp:app", ready=2)
    done = page.run("-c", "import notifications as n; print(n.send_sms.enqueue('1', 'x').result(30))")
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr
    log = page.log.read_text()
    assert "Processing notifications:send_sms" in log
    assert "Completed notifications:send_sms" in log


def test_a_worker_with_middleware_of_its_own(page: Program) -> None:
    page.start("worker", "logger:worker", "--concurrency", "100", "--log-level", "DEBUG")
    with cellq.Queue(page.folder / "jobs.db", "logged") as queue:
        assert queue.enqueue(pow, 2, 10).result(30) == 1024
    assert "Completed pow" in page.log.read_text()


def test_a_scheduler(page: Program) -> None:
    page.start("worker", "emails:worker")
    ticking = subprocess.Popen([sys.executable, "schedule.py"], cwd=page.folder)
    try:
        with cellq.Queue(page.folder / "jobs.db", "emails") as queue:
            (schedule,) = until(queue.schedules, "the program has put its schedule into the store")
            assert (schedule.name, schedule.expression) == ("emails:send_email", "*/5 * * * *")
            assert schedule.run_now().result(30) is None
    finally:
        ticking.terminate()
        assert ticking.wait(30) == 0


def test_rate_limited_and_retried_fetches(page: Program, github: GitHub) -> None:
    api = f"http://127.0.0.1:{github.server_address[1]}"
    page.write("github.py", MODULES["github.py"].replace('max_rate="1/s"', 'max_rate="4/s"'))  # the test has less time
    page.start("worker", "github:worker", "--concurrency", "100", GITHUB_API=api)
    done = page.run("github.py", GITHUB_API=api)
    names = ["python/cpython", "microsoft/vscode", "torvalds/linux", "facebook/react", "golang/go"]
    assert done.returncode == 0, done.stderr
    assert f"Stars: {[len(name) for name in names]}" in done.stdout
    # Each was asked for twice, since the first answer was an error, and the limit counts both.
    assert sorted(path for _, path, _ in github.asked) == sorted(2 * [f"/repos/{name}" for name in names])
    assert github.asked[-1][0] - github.asked[0][0] > (10 - 1) / 4 - 0.3
    with cellq.Queue(page.folder / "jobs.db", "github") as queue:
        fetched = queue.jobs(name="github:fetch")
        assert [job.attempt for job in fetched] == [2] * 5  # waiting for the limit costs no attempt
        stored = queue.jobs(name="github:store")
        assert len(stored) == 5
        assert all(job.wait(30) for job in stored)
        assert "Fetching python/cpython..." in queue.jobs(name="github:fetch")[-1].logs()
    kept = json.loads((page.folder / "github_repos.json").read_text())
    assert kept["cpython"]["stars"] == len("python/cpython")
