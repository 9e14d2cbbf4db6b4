"""One background event loop per process, in which every store of the client side lives.

    script, thread,   ── call(work) ───────▶ ┌ thread "cellq-portal" ───────┐
    notebook cell        (blocks)            │  an asyncio loop:            │
    any event loop    ── await run(work) ──▶ │  stores and their watchers   │
                                             └──────────────────────────────┘

A notebook cell runs inside a loop that may not be entered again, a script has none, and threads share neither. So no
caller's loop is ever used or patched: all of them hand their work to the portal's. It starts with the first call, is
started anew in a forked child (threads and connections do not survive a fork), and closes its stores at exit.

The async classes are written once, as coroutines that reach the store through an `Ask` only: `awaiting` suspends the
caller's coroutine, `blocking` its thread. With `blocking` such a coroutine never suspends at all, so the sync classes
run it to its end in one step (`settle`).
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

# Ctrl-C cannot interrupt a thread that waits for a lock on Windows; there it looks up this often (seconds).
_LOOK_UP = 0.2 if os.name == "nt" else -1.0
_CLOSING = 5.0  # seconds that stores get at exit


class _Ticket:
    """One blocked thread and the task it waits for. (A bare lock costs a third of a `concurrent.futures.Future`.)"""

    __slots__ = ("_left", "_lock", "task")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._left = False
        self.task: asyncio.Task[Any] | None = None

    def begin(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> None:
        if self._left:
            work.close()
            return
        self.task = loop.create_task(work)
        self.task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # seen: a caller that left must not make asyncio complain
        self._lock.release()

    def wait(self) -> None:
        while not self._lock.acquire(timeout=_LOOK_UP):
            pass

    def leave(self) -> None:
        self._left = True
        if self.task is not None:
            self.task.cancel()


class Portal:
    """The background thread and its loop. Use `portal()` to reach the one of this process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._closers: dict[Callable[[], Coroutine[Any, Any, None]], None] = {}
        self._thread = threading.Thread(target=self._live, name="cellq-portal", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the portal's loop and block until it has ended.

        A `KeyboardInterrupt` stops the waiting: it passes through, and the coroutine is cancelled.

        Raises:
            RuntimeError: called in the portal's own thread, which would wait for itself for ever.
        """
        if threading.get_ident() == self._thread.ident:
            work.close()
            raise RuntimeError("this is cellq's own event loop: a blocking call would stop it for ever; await instead")
        ticket = _Ticket()
        self._loop.call_soon_threadsafe(ticket.begin, self._loop, work)
        try:
            ticket.wait()
        except BaseException:
            self._loop.call_soon_threadsafe(ticket.leave)
            raise
        assert ticket.task is not None
        outcome: T = ticket.task.result()
        return outcome

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the portal's loop and await its end in this one; a cancelled caller cancels it."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def start(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine in the portal's loop; the future tells of its end to whoever cares."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def closing(self, closer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Await `closer()` when the process ends, before those that were there earlier."""
        self._closers[closer] = None

    def closed(self, closer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Forget a closer: it has run."""
        self._closers.pop(closer, None)

    def shut(self) -> None:
        """Close what is open, newest first, and end the thread."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close_all(), self._loop)
            self._thread.join(2 * _CLOSING)

    async def _close_all(self) -> None:
        try:
            async with asyncio.timeout(_CLOSING):
                for closer in reversed(list(self._closers)):
                    await asyncio.gather(closer(), return_exceptions=True)
        except TimeoutError:
            pass  # a server that does not answer must not keep the interpreter from ending
        finally:
            self._loop.stop()


def vanish_at_exit() -> None:
    """Never return when the process is ending and this thread ends with it: there is nobody left to be told anything.

    For daemon threads that find what they were using closed; all others go on.
    """
    if _ending and threading.current_thread().daemon:
        threading.Event().wait()


_ending = False
_lock = threading.Lock()
_current: Portal | None = None
_exit_known = False


def portal() -> Portal:
    """The portal of this process, started on first use."""
    global _current, _exit_known
    found = _current
    if found is not None:
        return found
    with _lock:
        if _current is None:
            _current = Portal()
            if not _exit_known:
                atexit.register(_shut)  # runs after the program's own threads have ended: they may be using us
                _exit_known = True
        return _current


def _shut() -> None:
    global _ending
    _ending = True
    if _current is not None:
        _current.shut()


def _forked() -> None:
    global _current, _lock
    if _current is not None:
        _orphans.append(_current)
    _current, _lock = None, threading.Lock()


# What a forked child inherited and must neither use nor close: the sockets and files behind it are its parent's.
_orphans: list[object] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Ask(Protocol):
    """How a coroutine of this room reaches the portal: see `blocking` and `awaiting`."""

    async def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


async def blocking(work: Coroutine[Any, Any, T], /) -> T:
    """Run `work` on the portal and block this thread for it; never suspends."""
    return portal().call(work)


async def awaiting(work: Coroutine[Any, Any, T], /) -> T:
    """Run `work` on the portal and suspend until it is done."""
    return await portal().run(work)


def settle(work: Awaitable[T]) -> T:
    """The outcome of a coroutine that never suspends, because all it awaits is `blocking`."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as stop:
        outcome: T = stop.value
        return outcome
    raise RuntimeError(f"{work!r} suspended: it must reach the portal by `blocking` only")
