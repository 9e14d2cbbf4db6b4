"""A Redis or Valkey server for the tests that run on every kind of store, and a check of what they left on it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from leaks import leaks
from servers import VALKEY, Server

_namespaces = itertools.count()

_SLOW = ("notebook", "fidelity", "machines", "worker")
"""Folders whose files take minutes: they begin, so that two processes side by side end at about the same time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name not in _SLOW)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """With `-n`, a file is run by one process (its fixtures are dear), in the order of above."""
    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all tests: Valkey, or the program that `CELLQ_TEST_SERVER` names."""
    with Server(os.environ.get("CELLQ_TEST_SERVER", VALKEY), tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_part(redis_server: Server) -> Callable[[], AbstractContextManager[str]]:
    """Gives the URL of a part of the server that nobody else uses; in the end no key may be left without an owner."""

    @contextmanager
    def part() -> Iterator[str]:
        namespace = f"suite{next(_namespaces)}"
        yield f"{redis_server.url}?namespace={namespace}"
        with redis_server.client() as client:
            assert leaks(client, namespace) == []

    return part


@pytest.fixture
def redis_url(redis_part: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """The same for one test."""
    with redis_part() as url:
        yield url
