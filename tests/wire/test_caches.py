"""What a cached function remembers, and its counters, are there in the next cell."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cellq.wire import caches
from cellq.wire.pickling import dumps, loads

KINDS: dict[str, Callable[[Any], Any]] = {
    "without a limit": functools.cache,
    "of the last three": functools.lru_cache(maxsize=3),
    "by type as well": functools.lru_cache(maxsize=None, typed=True),
    "the last five by type": functools.lru_cache(maxsize=5, typed=True),
}


def plain(*args: Any, **named: Any) -> Any:
    return args, named


@pytest.mark.parametrize("kind", KINDS)
def test_it_remembers_the_same_and_counts_the_same(kind: str) -> None:
    cached = KINDS[kind](plain)
    cached(1), cached(1), cached(1.0), cached("a"), cached(), cached((1, 2))
    cached(1, x=2), cached(1, 2, z=3.0, y=4), cached(1, x=2), cached(x=5)
    memory, info = caches.memory_of(cached), cached.cache_info()
    assert memory is not None
    other = KINDS[kind](plain)
    caches.remember(other, memory)
    assert other.cache_info() == info
    assert caches.memory_of(other) == memory


def test_a_function_of_a_notebook_does_not_compute_again() -> None:
    space: dict[str, Any] = {"__name__": "__main__", "functools": functools}
    exec("@functools.cache\ndef double(n):\n    if n > 1: raise RuntimeError('again')\n    return 2 * n", space)
    double = space["double"]
    double(1)
    there = loads(*dumps(double, anew=True), namespace={"__name__": "__main__"})
    assert there.cache_info() == double.cache_info()
    assert there(1) == 2
    with pytest.raises(RuntimeError, match="again"):
        there(2)


def test_what_cannot_travel_is_forgotten() -> None:
    space: dict[str, Any] = {"__name__": "__main__", "functools": functools}
    exec("@functools.cache\ndef numbers(): return (n for n in range(3))\nnext(numbers())", space)
    there = loads(*dumps(space["numbers"], anew=True), namespace={"__name__": "__main__"})
    assert there.cache_info().currsize == 0


def test_a_function_call_brings_no_memory_along() -> None:
    cached = functools.cache(eval("lambda n: n", {"__name__": "__main__"}))
    cached(1)
    assert loads(*dumps(cached)).cache_info().currsize == 0


def test_another_thread_gets_its_own_answer_meanwhile() -> None:
    cached = functools.cache(eval("lambda n: ('computed', n)", {"__name__": "__main__"}))
    found: list[object] = []

    def ask() -> str:
        other = threading.Thread(target=lambda: found.append(cached(7)))
        other.start()
        other.join()
        return "remembered"

    with caches._standing_in(cached.__wrapped__, ask):
        found.append(cached(1))
    assert found == [("computed", 7), "remembered"]
