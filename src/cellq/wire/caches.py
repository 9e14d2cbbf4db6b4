"""What an `lru_cache` remembers, and how often it was asked: a cell finds both as another left them.

Python shows neither keys nor results of such a cache, and gives no way to put them there. But the garbage collector
knows what the wrapper refers to. And a call of the wrapper puts an entry there: while the function behind it, for this
one thread, answers with what is to be remembered.
"""

from __future__ import annotations

import functools
import gc
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

LARGEST = 10 * 2**20
"""Bytes of remembered results above which a cache arrives empty."""

_MOST = 20_000  # entries; a cache with more arrives empty
_MOST_CALLS = 200_000  # by which hits and misses are counted up
_PLAIN = (int, float, bool, str, bytes, type(None))


class Memory(NamedTuple):
    """The entries of a cache (positional arguments, named ones, result), oldest first; and its counters."""

    entries: list[tuple[tuple[Any, ...], dict[str, Any], Any]]
    hits: int
    misses: int

    def is_plain(self) -> bool:
        """Whether there is nothing in it that could not travel."""
        return all(
            type(part) in _PLAIN or (type(part) is tuple and all(type(item) in _PLAIN for item in part))
            for args, named, result in self.entries
            for part in (*args, *named.values(), result)
        )


def memory_of(cached: Any) -> Memory | None:
    """What a cached function remembers; None when that is nothing, too much, or cannot be told."""
    info = cached.cache_info()
    if not (info.hits or info.misses) or info.currsize > _MOST or not _can_stand_in(cached):
        return None
    found = _found(cached, info.currsize)
    if found is None or sum(sys.getsizeof(result, 0) for _, result in found) > LARGEST:
        return None
    typed = cached.cache_parameters()["typed"]
    marks = [thing for thing in gc.get_referents(cached) if type(thing) is object]
    entries = [(*_arguments(key, marks[-1:], typed), result) for key, result in found]
    return Memory(entries, info.hits, info.misses)


def _can_stand_in(cached: Any) -> bool:
    function = getattr(cached, "__wrapped__", None)
    return isinstance(function, types.FunctionType) and not function.__code__.co_freevars


def _found(cached: Any, count: int) -> list[tuple[Any, Any]] | None:
    """Keys and results, oldest first."""
    things = gc.get_referents(cached)
    own = vars(cached)
    if cached.cache_parameters()["maxsize"] is None:
        held = [thing for thing in things if type(thing) is dict and thing is not own and len(thing) == count]
        return list(held[0].items()) if held else None
    # One link after the other (key, result, the links' type), then the dict of all links.
    for at, thing in enumerate(things):
        links = list(thing.values()) if type(thing) is dict and len(thing) == count else [None]
        if all(type(link).__name__ == "_lru_list_elem" for link in links):
            skipped = {id(type(link)) for link in links} | {id(type(cached))}
            flat = [part for part in things[:at] if id(part) not in skipped]
            return list(zip(flat[::2], flat[1::2], strict=True)) if len(flat) == 2 * count else None
    return None


def _arguments(key: Any, mark: list[Any], typed: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if type(key) is not tuple:
        return (key,), {}
    # Arguments, then the mark and name and value by turns; of a typed one then the types of all these values.
    at = next((at for at, part in enumerate(key) if mark and part is mark[0]), None)
    if at is None:
        return (key[: len(key) // 2] if typed else key), {}
    rest = key[at + 1 : -at - (len(key) - 2 * at - 1) // 3 or None] if typed else key[at + 1 :]
    return key[:at], dict(zip(rest[::2], rest[1::2], strict=True))


def remember(cached: Any, memory: Memory | None) -> None:
    """Let a cached function remember this, and nothing else."""
    cached.cache_clear()
    if memory is None or not _can_stand_in(cached):
        return
    answers: Iterator[Any] = iter([result for *_, result in memory.entries])
    with _standing_in(cached.__wrapped__, lambda: next(answers)):  # past the last one it fails: a miss without entry
        for args, named, _ in memory.entries:
            cached(*args, **named)
        for _ in range(min(memory.misses - cached.cache_info().misses, _MOST_CALLS)):
            try:
                cached(object())
            except StopIteration:
                continue
        for args, named, _ in memory.entries[-1:]:
            for _ in range(min(memory.hits, _MOST_CALLS)):
                cached(*args, **named)


@contextmanager
def _standing_in(function: types.FunctionType, answer: Callable[[], Any]) -> Iterator[None]:
    """Meanwhile a function gives `answer()`, in this thread only."""
    code, options = function.__code__, function.__kwdefaults__
    own = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__)
    own.__kwdefaults__ = options
    thread = threading.get_ident()

    def give(args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return answer() if threading.get_ident() == thread else own(*args, **named)

    function.__code__, function.__kwdefaults__ = _stand_in.__code__, {"_give": give}
    try:
        yield
    finally:
        function.__code__, function.__kwdefaults__ = code, options


def _stand_in(*args: Any, _give: Callable[..., Any], **named: Any) -> Any:
    return _give(args, named)


def fill(cached: Any, state: tuple[dict[str, Any], Memory]) -> None:
    """Give a new cached function its attributes and what it is to remember."""
    vars(cached).update(state[0])
    try:
        remember(cached, state[1])
    except Exception:  # a key that cannot be hashed yet
        cached.cache_clear()


KIND: type = functools._lru_cache_wrapper
