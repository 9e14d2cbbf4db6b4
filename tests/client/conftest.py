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


def _of(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return f"sqlite:///{tmp_path}/jobs.db" if request.param == "sqlite" else f"memory://{tmp_path.name}"


@pytest.fixture(params=["sqlite", "memory", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where this test's store is, once for each kind of store."""
    return _of(request, tmp_path)


@pytest.fixture(params=["sqlite", "redis"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that other processes can reach."""
    return _of(request, tmp_path)


@pytest.fixture
def queue(url: str) -> Iterator[Queue]:
    with Queue(url) as queue:
        yield queue


@pytest.fixture
def hand(url: str) -> Iterator[Hand]:
    hand = Hand(url)
    yield hand
    hand.close()
