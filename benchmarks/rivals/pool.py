"""`concurrent.futures.ProcessPoolExecutor`: no store, no promises, nothing survives; hard to be faster than."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import work

NAME = "pool"


@contextlib.contextmanager
def pool(workers: int = 2) -> Iterator[ProcessPoolExecutor]:
    """A warm executor with freshly started interpreters (`spawn`), as a notebook on any system has to use it."""
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as executor:
        list(executor.map(work.nothing, range(200)))
        yield executor


def processes(executor: ProcessPoolExecutor) -> list[int]:
    """The executor's process ids."""
    return list(executor._processes)
