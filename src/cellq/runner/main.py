"""A slot's child process for calls and cells: one job at a time in the main thread.

       RUN, CODE, STOP                    CANCEL, RECALL
              │ work                            │ orders
     ┌────────▼────────┐   SIGINT, only   ┌─────▼─────────┐
     │   main thread   │◀── for the ──────│ orders thread │
     │ reads when idle │ ticket being run └───────────────┘
     └────────┬────────┘
              ▼ DONE, EVENTS, NEED

The main thread reads its work itself, so that a job costs no change of threads. Orders come on a socket of their own,
which a thread reads while the main thread is in user code.

Tiny jobs come many to a frame, and their outcomes leave many to a frame: at once when nothing is left to do, and else
before the next job starts once the first one has waited for a millisecond. So that the worker knows exactly what this
process was doing when it dies, the number of the ticket and the time it was started are written into a few bytes of
shared memory (the marker) before each job; that costs less than a system call.

An interrupt is aimed at a ticket, not at a moment: the handler raises `KeyboardInterrupt` only while user code of that
very ticket is running, so that a cancel that comes too late cannot hit the next job.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import FrameType

import psutil

from cellq.cell.parcel import Parcel
from cellq.errors import CellqError
from cellq.frames import MARKER, Decoder, Done, Frame, Ticket, blob, pack, receive
from cellq.ids import id_text
from cellq.message import Kind, Lease
from cellq.runner import cell, context, shell
from cellq.runner.calls import Calls
from cellq.runner.capture import Capture, Said
from cellq.wire.sealing import Seal

_FLUSH_AFTER = 0.001
_FLUSH_COUNT = 128


class Link:
    """The child's end of the socket; frames may be sent from any thread."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._lock = threading.Lock()

    def send(self, kind: Frame, value: object) -> None:
        """Send one frame."""
        data = pack(kind, value)
        with self._lock:
            self.socket.sendall(data)

    def send_done(self, done: list[Done]) -> None:
        """Send what became of tickets."""
        self.send(Frame.DONE, [tuple(entry) for entry in done])

    def send_events(self, said: list[Said]) -> None:
        """Send a batch of what jobs said."""
        self.send(Frame.EVENTS, said)


class SyncSlot:
    """Runs tickets one after the other in the main thread."""

    def __init__(self, link: Link, orders: socket.socket, marker: mmap.mmap, calls: Calls) -> None:
        self._link = link
        self._orders = orders
        self._decoder = Decoder()
        self._reading = threading.Lock()  # held by whoever reads work
        self._marker = marker
        self._calls = calls
        self._capture = Capture(link.send_events)
        self._inbox: deque[Ticket] = deque()
        self._stopping = False
        self._switch = threading.Lock()  # held while it is decided which ticket is being run
        self._missing: set[bytes] = set()
        self._current = 0
        self._interrupted = 0
        self._in_user_code = False
        self._done: list[Done] = []
        self._first_done = 0.0

    def serve(self) -> None:
        """Run until the worker says stop or goes away."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        self._capture.start()
        shell.adopt(context.emit_for_current)
        threading.Thread(target=self._take_orders, name="cellq-orders", daemon=True).start()
        while (ticket := self._next()) is not None:
            if self._done and time.monotonic() - self._first_done > _FLUSH_AFTER:
                self._send_done()
            self._run(ticket)
            if len(self._done) >= _FLUSH_COUNT or not self._inbox:
                self._send_done()
        self._send_done()

    # --------------------------------------------------------------------------------------- work

    def _next(self) -> Ticket | None:
        while True:
            try:
                return self._inbox.popleft()
            except IndexError:
                if self._stopping or not self._read():
                    return None

    def _read(self) -> bool:
        """Wait for work, and take it in; False when the worker is gone."""
        with self._reading:
            data = self._link.socket.recv(262_144)
            for kind, value in self._decoder.feed(data):
                self._take(kind, value)
        return bool(data)

    def _take(self, kind: Frame, value: object) -> None:
        match kind, value:
            case Frame.RUN, list(tickets):
                self._inbox.extend(Ticket(*ticket) for ticket in tickets)
            case Frame.CODE, (bytes(digest), bytes() | tuple() | None as sealed):
                if sealed is None:
                    self._missing.add(digest)
                else:
                    self._calls.learn(digest, blob(sealed))
            case Frame.TASK, (bytes(digest), bytes() | tuple() as place):
                self._calls.learn_task(digest, place)
            case Frame.STOP, _:
                self._stopping = True
            case _:
                pass

    # -------------------------------------------------------------------------------- orders thread

    def _take_orders(self) -> None:
        with contextlib.suppress(OSError):
            for kind, value in receive(self._orders, Decoder()):
                if kind is Frame.CANCEL and isinstance(value, int):
                    self._cancel(value)
                elif kind is Frame.RECALL:
                    self._recall()
        os._exit(0)  # the worker is gone: nobody wants what this process might still do

    def _cancel(self, number: int) -> None:
        with self._switch:
            if self._current == number:
                self._interrupted = number
                # To the main thread, not to the process: only so a sleep or a blocking read there ends at once.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return
        self._recall(only=number)

    def _recall(self, only: int | None = None) -> None:
        """Give back what has not been started (or only that one ticket), also what nobody has read yet."""
        if not self._reading.acquire(blocking=False):
            self._link.send(Frame.RECALLED, [])  # the main thread is reading: it has nothing else to do
            return
        try:
            with contextlib.suppress(BlockingIOError):
                while data := self._link.socket.recv(262_144, socket.MSG_DONTWAIT):
                    for kind, value in self._decoder.feed(data):
                        self._take(kind, value)
            back: list[int] = []
            keep: list[Ticket] = []
            with contextlib.suppress(IndexError):
                while True:
                    ticket = self._inbox.popleft()
                    if only is None or ticket.number == only:
                        back.append(ticket.number)
                    else:
                        keep.append(ticket)
            self._inbox.extend(keep)
        finally:
            self._reading.release()
        self._send_done()
        self._link.send(Frame.RECALLED, back)

    # --------------------------------------------------------------------------------- main thread

    def _on_interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if self._in_user_code and self._interrupted == self._current:
            raise KeyboardInterrupt("the job was asked to stop")

    def _run(self, ticket: Ticket) -> None:
        with self._switch:
            self._current = ticket.number
        started = time.monotonic()
        MARKER.pack_into(self._marker, 0, ticket.number, started)
        job = context.CurrentJob(
            Lease(ticket.id, ticket.attempt),
            ticket.attempt - ticket.refunds,
            ticket.task,
            ticket.queue,
            self._capture,
        )
        context.enter(job, whole_process=True)
        try:
            done = self._answer(ticket, job, started)
        except KeyboardInterrupt as error:  # it came in the instant after user code had ended
            done = self._calls.failed(ticket, error, time.monotonic() - started)
        self._in_user_code = False
        if done.status == "interrupted":
            _end_descendants()
        self._capture.settle()
        context.enter(None, whole_process=True)
        with self._switch:
            self._current = 0
            if not self._done:
                self._first_done = time.monotonic()
            self._done.append(done)

    def _answer(self, ticket: Ticket, job: context.CurrentJob, started: float) -> Done:
        try:
            if ticket.kind == Kind.CELL:
                return self._answer_cell(ticket, job, started)
            self._need_code(ticket)
            function, args, kwargs = self._calls.open_call(ticket)
            self._in_user_code = True
            value = function(*args, **kwargs)
            _show_figures()
            self._in_user_code = False
        except BaseException as error:
            self._in_user_code = False
            return self._calls.failed(ticket, error, time.monotonic() - started)
        return self._calls.ok(ticket, value, time.monotonic() - started)

    def _answer_cell(self, ticket: Ticket, job: context.CurrentJob, started: float) -> Done:
        parcel = self._calls.open_payload(ticket)
        assert isinstance(parcel, Parcel)  # signed, so a client of ours made it
        self._in_user_code = True
        outcome = cell.run_cell(parcel, job.id, job.emit)
        self._in_user_code = False
        seconds = time.monotonic() - started
        if outcome.error is None:
            return self._calls.ok(ticket, outcome.returned, seconds)
        done = self._calls.failed(ticket, outcome.error, seconds, text=outcome.traceback)
        kept = self._calls.ok(ticket, outcome.returned, seconds)
        # What the cell had assigned before it failed comes back, as it would have stayed in the notebook.
        return done._replace(result=kept.result)

    def _need_code(self, ticket: Ticket) -> None:
        if self._calls.knows(ticket):
            return
        self._link.send(Frame.NEED, ticket.code)
        while not self._calls.knows(ticket) and ticket.code not in self._missing:
            if not self._read():
                break
        if not self._calls.knows(ticket):
            self._missing.discard(ticket.code)
            raise CellqError(f"the code of job {id_text(ticket.id)} is no longer in the store; enqueue it again")

    def _send_done(self) -> None:
        with self._switch:
            done, self._done = self._done, []
        if done:
            self._link.send_done(done)


def _end_descendants() -> None:
    """Kill what an interrupted job had started and left running."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()


def _show_figures() -> None:
    """Show the figures a function left open, as the end of a cell does."""
    if "matplotlib.pyplot" in sys.modules:
        from matplotlib_inline.backend_inline import flush_figures

        flush_figures()  # type: ignore[no-untyped-call]


def serve(sock: socket.socket, orders: socket.socket, marker_file: int, secret: bytes, spill_dir: str | None) -> None:
    """Be a sync slot until the worker says stop."""
    marker = mmap.mmap(marker_file, MARKER.size)
    os.close(marker_file)
    calls = Calls(Seal(secret), Path(spill_dir) if spill_dir else None)
    SyncSlot(Link(sock), orders, marker, calls).serve()
