"""Programs with tasks of their own, and real workers for them: in a thread of the test, or as `cellq worker`."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator

import pytest
from programs import Program

import cellq
from cellq.testing import cellq_drain, cellq_queue, cellq_worker  # noqa: F401 - fixtures
from waiting import until


@pytest.fixture(autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLQ_HOME", str(tmp_path_factory.getbasetemp() / "home"))
    monkeypatch.delenv("CELLQ_URL", raising=False)
    monkeypatch.delenv("CELLQ_SECRET", raising=False)


@pytest.fixture
def queue(tmp_path: pathlib.Path) -> Iterator[cellq.Queue]:
    with cellq.Queue(tmp_path / "jobs.db") as q:
        yield q


@pytest.fixture
def program(tmp_path: pathlib.Path) -> Iterator[Program]:
    folder = tmp_path / "program"
    folder.mkdir()
    made = Program(folder)
    yield made
    made.end()


@pytest.fixture(name="until")
def _until() -> Callable[..., None]:
    return until
