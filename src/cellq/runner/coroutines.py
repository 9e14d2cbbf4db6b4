"""A slot's child process for coroutine functions: many jobs at once in one event loop, in the main thread.

The socket is one of the loop's readers, so a job that blocks the loop also blocks the news of its own cancellation:
the worker notices that nothing answers and interrupts, then kills, the process (see `worker.slot`). Outcomes gather
while the loop is busy and leave together when it comes around.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Awaitable
from pathlib import Path
from types import FrameType

from cellq.errors import CellqError
from cellq.frames import BadFrame, Decoder, Done, Frame, Ticket, blob
from cellq.ids import id_text
from cellq.message import Lease
from cellq.runner import context, shell
from cellq.runner.calls import Calls
from cellq.runner.capture import Capture
from cellq.runner.main import Link
from cellq.wire.sealing import Seal


class CoroutineSlot:
    """Runs coroutine functions side by side."""

    def __init__(self, link: Link, calls: Calls) -> None:
        self._link = link
        self._calls = calls
        self._capture = Capture(link.send_events)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._waiting: dict[bytes, list[Ticket]] = {}  # tickets whose code has been asked for
        self._done: list[Done] = []
        self._stopping = asyncio.Event()

    async def serve(self) -> None:
        """Run until the worker says stop."""
        loop = asyncio.get_running_loop()
        decoder = Decoder()
        self._capture.start()
        shell.adopt(context.emit_for_current)
        signal.signal(signal.SIGINT, self._on_interrupt)

        def readable() -> None:
            try:
                data = self._link.socket.recv(262_144, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                os._exit(0)  # the worker is gone
            try:
                for kind, value in decoder.feed(data):
                    self._take(kind, value)
            except BadFrame:
                os._exit(1)

        loop.add_reader(self._link.socket, readable)
        await self._stopping.wait()
        loop.remove_reader(self._link.socket)
        await asyncio.gather(*self._tasks.values())
        self._send_done()

    def _on_interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        # Comes only when the loop has been blocked for longer than the grace time of a cancel.
        raise KeyboardInterrupt("a coroutine job blocked the event loop and was asked to stop")

    def _take(self, kind: Frame, value: object) -> None:
        match kind, value:
            case Frame.RUN, list(tickets):
                for fields in tickets:
                    self._start(Ticket(*fields))
            case Frame.CODE, (bytes(digest), bytes() | tuple() | None as sealed):
                if sealed is not None:
                    self._calls.learn(digest, blob(sealed))
                for ticket in self._waiting.pop(digest, []):
                    self._spawn(ticket)
            case Frame.TASK, (bytes(digest), bytes() | tuple() as place):
                self._calls.learn_task(digest, place)
                for ticket in self._waiting.pop(digest, []):
                    self._spawn(ticket)
            case Frame.CANCEL, int(number):
                task = self._tasks.get(number)
                if task is not None:
                    task.cancel()
            case Frame.RECALL, _:
                self._link.send(Frame.RECALLED, [])  # everything here has been started
            case Frame.STOP, _:
                self._stopping.set()
            case _:
                pass

    def _start(self, ticket: Ticket) -> None:
        if self._calls.knows(ticket):
            self._spawn(ticket)
            return
        if ticket.code not in self._waiting:
            self._link.send(Frame.NEED, ticket.code)
        self._waiting.setdefault(ticket.code, []).append(ticket)

    def _spawn(self, ticket: Ticket) -> None:
        self._tasks[ticket.number] = asyncio.create_task(self._run(ticket), name=f"job {id_text(ticket.id)}")

    async def _run(self, ticket: Ticket) -> None:
        started = time.monotonic()
        job = context.CurrentJob(
            Lease(ticket.id, ticket.attempt),
            ticket.attempt - ticket.refunds,
            ticket.task,
            ticket.queue,
            self._capture,
        )
        context.enter(job, whole_process=False)
        try:
            if not self._calls.knows(ticket):
                raise CellqError(f"the code of job {job.id} is no longer in the store; enqueue it again")
            function, args, kwargs = self._calls.open_call(ticket)
            awaitable = function(*args, **kwargs)
            value = await awaitable if isinstance(awaitable, Awaitable) else awaitable
        except asyncio.CancelledError as error:
            done = self._calls.failed(ticket, error, time.monotonic() - started)
            done = done._replace(status="interrupted")
        except BaseException as error:
            done = self._calls.failed(ticket, error, time.monotonic() - started)
        else:
            done = self._calls.ok(ticket, value, time.monotonic() - started)
        self._capture.settle()
        del self._tasks[ticket.number]
        if not self._done:
            asyncio.get_running_loop().call_soon(self._send_done)
        self._done.append(done)

    def _send_done(self) -> None:
        done, self._done = self._done, []
        if done:
            self._link.send_done(done)


def serve(sock: socket.socket, secret: bytes, spill_dir: str | None) -> None:
    """Be a coroutine slot until the worker says stop."""
    calls = Calls(Seal(secret), Path(spill_dir) if spill_dir else None)
    asyncio.run(CoroutineSlot(Link(sock), calls).serve())
