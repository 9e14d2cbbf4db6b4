"""Stores of each kind for the client's tests, and a hand that plays the worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playing import Hand

from cellq.client.sync import Queue


@pytest.fixture(autouse=True)
def _own_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLQ_SECRET", "a secret of the tests only")
    monkeypatch.delenv("CELLQ_URL", raising=False)


@pytest.fixture(params=["sqlite", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where this test's store is, once for each kind of store."""
    return f"sqlite:///{tmp_path}/jobs.db" if request.param == "sqlite" else f"memory://{tmp_path.name}"


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    """A store that other processes can reach."""
    return f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
def queue(url: str) -> Iterator[Queue]:
    with Queue(url) as queue:
        yield queue


@pytest.fixture
def hand(url: str) -> Iterator[Hand]:
    hand = Hand(url)
    yield hand
    hand.close()
