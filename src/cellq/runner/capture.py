"""What a job prints and shows becomes events, in the order in which it happened.

      print() ─▶ Stream ──────────────┐                         every 50 ms at most,
      display(), figures ─▶ say() ────┤                         or when a job ends
      progress() ─▶ mark() ───────────┼─▶ one ordered buffer ─────────────────────────▶ EVENTS frame
      C code, subprocesses ─▶ fd 1, 2 │
            └─▶ pipe ─▶ thread ───────┘

There are two ways in for text. Python's own `print` goes straight into the buffer. Whatever writes to the descriptors
(C extensions, `os.system`, subprocesses) goes through two pipes that a thread reads. So that the two keep their order,
every Python-level write first empties the pipes (one `poll` when there is nothing).

Text belongs to the job that is current where it is written: a job's thread or asyncio task, else the process's job.
What no job wrote is dropped: a slot says nothing of its own.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import fcntl
import io
import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import IO

from cellq.runner.context import MIN_INTERVAL, CurrentJob, current_job

FLUSH_AFTER = 0.05
"""Seconds that text may wait for more text before it leaves the slot."""

_FLUSH_PAUSE = 0.01  # seconds between two flushes that the job asked for
_FLUSH_SIZE = 256 * 1024
_PIPE_SIZE = 2**20  # C code that prints while it holds the GIL must not fill the pipe: nobody could empty it

Said = tuple[bytes, int, str, str]
"""One event as it leaves the slot: job id, attempt, kind, JSON."""


class Stream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a slot."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, capture: Capture, name: str, descriptor: int) -> None:
        self._capture = capture
        self._descriptor = descriptor
        self.name = f"<{name}>"
        self.channel = name

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._capture.write(self.channel, text)
        return len(text)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        self._capture.hurry()

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._descriptor

    @property
    def buffer(self) -> IO[bytes]:
        """For code that writes bytes (``sys.stdout.buffer.write``)."""
        return _Bytes(self)


class _Bytes(io.RawIOBase, IO[bytes]):
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raw = bytes(memoryview(data))  # type: ignore[arg-type]  # whatever has the buffer protocol
        self._stream.write(raw.decode("utf-8", "replace"))
        return len(raw)


class Capture:
    """Gathers what jobs say in this process and hands it on in batches.

    Args:
        send: takes a batch of events; called from any thread, one call at a time.
    """

    def __init__(self, send: Callable[[list[Said]], None]) -> None:
        self._send = send
        self._lock = threading.RLock()
        self._sending = threading.Lock()
        # Text is kept in pieces and joined when it leaves: (job, channel, pieces); other events: (job, kind, JSON).
        self._said: list[tuple[CurrentJob, str, list[str] | str]] = []
        self._size = 0
        self._last_flush = 0.0
        self._marked: dict[int, CurrentJob] = {}
        self._pipes: dict[int, tuple[str, codecs.IncrementalDecoder]] = {}
        self._poll = select.poll()
        self._wake_read, self._wake_write = os.pipe()
        self._awake = False
        self._libc: ctypes.CDLL | None = None

    def start(self) -> None:
        """Take over descriptors 1 and 2 and `sys.stdout` and `sys.stderr` of this process."""
        with contextlib.suppress(OSError):
            self._libc = ctypes.CDLL(None)
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            read, write = os.pipe()
            os.set_blocking(read, False)
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
            os.dup2(write, descriptor)  # inheritable: the job's subprocesses print into it as well
            os.close(write)
            self._pipes[read] = (name, codecs.getincrementaldecoder("utf-8")("replace"))
            self._poll.register(read, select.POLLIN)
        sys.stdout = Stream(self, "stdout", 1)
        sys.stderr = Stream(self, "stderr", 2)
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        threading.Thread(target=self._run, name="cellq-capture", daemon=True).start()

    # ------------------------------------------------------------------------------------------ in

    def write(self, channel: str, text: str) -> None:
        """Text from Python code."""
        with self._lock:
            self._drain()
            self._add(channel, text)
            full = self._size > _FLUSH_SIZE
        if full:
            self._flush(progress=False)

    def say(self, job: CurrentJob, kind: str, data: str) -> None:
        """An event that is no text; everything written before it comes before it."""
        with self._lock:
            self._drain()
            self._said.append((job, kind, data))
            self._size += len(data)
            self._arouse()

    def mark(self, job: CurrentJob) -> None:
        """The job's progress has changed."""
        if id(job) not in self._marked:
            with self._lock:
                self._marked[id(job)] = job
                self._arouse()

    def hurry(self) -> None:
        """Send what was printed now, if it has not just been done; who flushes may be about to die."""
        if self._said and time.monotonic() - self._last_flush > _FLUSH_PAUSE:
            self._flush(progress=False)

    def settle(self) -> None:
        """Send everything said so far; called when a job has ended, before its outcome is sent."""
        if self._libc is not None:
            self._libc.fflush(None)  # what C code printed and has not flushed belongs to this job
        with self._lock:
            self._drain()
            nothing = not self._said and not self._marked
        if nothing:
            with self._sending:  # the thread may be in the middle of sending the last of it
                return
        self._flush(progress=True)

    # ----------------------------------------------------------------------------------------- out

    def _add(self, channel: str, text: str) -> None:
        job = current_job()
        if job is None or not text:
            return
        last = self._said[-1] if self._said else None
        if last is not None and last[0] is job and last[1] == channel and isinstance(last[2], list):
            last[2].append(text)
        else:
            self._said.append((job, channel, [text]))
        self._size += len(text)
        self._arouse()

    def _drain(self) -> None:
        """Move what the pipes hold into the buffer. The lock is held."""
        for _ in range(16):  # a subprocess that never stops printing must not keep us here
            ready = self._poll.poll(0)
            if not ready:
                break
            for descriptor, _ in ready:
                channel, decoder = self._pipes[descriptor]
                with contextlib.suppress(BlockingIOError):
                    self._add(channel, decoder.decode(os.read(descriptor, 262_144)))

    def _arouse(self) -> None:
        if not self._awake:
            self._awake = True
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake_write, b"!")

    def _flush(self, *, progress: bool) -> None:
        # Two locks: writers may go on while a batch is being sent, but batches leave in order.
        with self._sending:
            with self._lock:
                said, self._said, self._size = self._said, [], 0
                self._last_flush = time.monotonic()
                marked: Iterable[CurrentJob] = ()
                if progress:
                    marked, self._marked = self._marked.values(), {}
            batch: list[Said] = []
            for job, kind, data in said:
                if isinstance(data, list):
                    kind, data = "stream", json.dumps({"name": kind, "text": "".join(data)})
                batch.append((job.lease.id, job.lease.attempt, kind, data))
            for job in marked:
                batch.append((job.lease.id, job.lease.attempt, "progress", job.snapshot()))
            if batch:
                self._send(batch)

    def _run(self) -> None:
        """The thread: wait for output, let a little more gather, send it."""
        waiting = select.poll()
        waiting.register(self._wake_read, select.POLLIN)
        for descriptor in self._pipes:
            waiting.register(descriptor, select.POLLIN)
        pause = select.poll()  # waits without busy-looping on a pipe that stays readable
        since_progress = MIN_INTERVAL
        while True:
            waiting.poll()
            pause.poll(FLUSH_AFTER * 1000)
            since_progress += FLUSH_AFTER
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
            with self._lock:
                self._awake = False
                self._drain()
            try:
                self._flush(progress=since_progress >= MIN_INTERVAL)
            except OSError:
                return  # the worker is gone, and this process is about to be
            if since_progress >= MIN_INTERVAL:
                since_progress = 0.0
            elif self._marked:
                with self._lock:
                    self._arouse()  # progress that had to wait for its turn
