"""The real command as a process of its own, on a real store, with a real worker where one is needed.

The store is a database file; modules whose commands do the same on a server say so: they parametrize `kind`.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import cellq
from waiting import until


@pytest.fixture(autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    monkeypatch.setenv("CELLQ_HOME", str(tmp_path_factory.getbasetemp() / "home"))
    monkeypatch.delenv("CELLQ_URL", raising=False)
    monkeypatch.delenv("CELLQ_SECRET", raising=False)
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """The database that commands find by themselves."""
    return tmp_path / ".cellq" / "jobs.db"


@pytest.fixture
def kind() -> str:
    """The kind of store that commands find by themselves."""
    return "sqlite"


@pytest.fixture(autouse=True)
def url(kind: str, path: pathlib.Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store that commands find by themselves."""
    if kind == "sqlite":
        return str(path)
    found = str(request.getfixturevalue("redis_url"))
    monkeypatch.setenv("CELLQ_URL", found)
    return found


@pytest.fixture
def queue(url: str) -> Iterator[cellq.Queue]:
    with cellq.Queue(url) as q:
        yield q


@pytest.fixture
def worker(queue: cellq.Queue) -> Iterator[cellq.Worker]:
    """A worker in this program."""
    with cellq.Worker(queue, slots=1, grace=0.5, drain=0.1) as running:
        yield running


class Said:
    """What a command said, and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def well(self) -> Said:
        """The same, which must have ended well."""
        assert self.code == 0, self.out + self.err
        return self

    def one_line(self) -> str:
        """The one line on standard error of a command that failed."""
        assert self.code == 1, self.out + self.err
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def start(tmp_path: pathlib.Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `cellq ARGUMENTS` in the test's folder; it is gone when the test ends."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(
            [sys.executable, "-m", "cellq", *arguments], **{"cwd": tmp_path, "text": True, **pipes, **options}
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def run(start) -> Callable[..., Said]:
    """`cellq ARGUMENTS` in the test's folder, to its end."""

    def run(*arguments: str, answer: str = "", **options: Any) -> Said:
        process = start(*arguments, **options)
        out, err = process.communicate(answer, timeout=60)
        assert "src/cellq/cli" not in err, err  # no traceback of the command itself
        return Said(process.returncode, out, err)

    return run


class Gate:
    """Holds a job until the test lets it through; tells when the job has come to it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.reached, self.opened = folder / "reached", folder / "opened"

    def wait_reached(self) -> None:
        until(self.reached.exists, "the job has come to the gate")

    def open(self) -> None:
        self.opened.touch()


@pytest.fixture
def gate(tmp_path: pathlib.Path) -> Iterator[Gate]:
    made = Gate(tmp_path)
    yield made
    made.open()


@pytest.fixture
def hold(queue: cellq.Queue, gate: Gate) -> Callable[[str], cellq.Job[None]]:
    """Enqueue a job that says something, waits at the gate, and says it again."""
    reached, opened = str(gate.reached), str(gate.opened)

    def held(text):
        print(text, "before", flush=True)
        pathlib.Path(reached).touch()
        while not pathlib.Path(opened).exists():
            time.sleep(0.01)  # between two looks at the gate
        print(text, "after")

    return lambda text: queue.options(name="held").enqueue(held, text)


@pytest.fixture
def no_worker_stays(url: str) -> Iterator[None]:
    """Ends what a test has launched."""
    yield
    with cellq.Queue(url) as q:
        for found in q.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(found.pid, 9)


@pytest.fixture(name="until")
def _until() -> Callable[..., None]:
    return until
