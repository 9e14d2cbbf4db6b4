"""Where slots' processes come from, and how their deaths are learned of.

The worker asks the zygote (see `runner.zygote`) for a child and gets one end of its socket. Two things tell that a
child has died: the zygote, which reaps it and knows the signal, and the end of the socket. Both are waited for, so
that what the child had said before it died is read first; but not long, for a grandchild may hold the socket open.

One spare child for calls and cells is forked ahead of need, so that a cell, which never gets a used process, does not
wait for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import psutil

from cellq.errors import WorkerUnavailable
from cellq.frames import MARKER, BadFrame, Decoder, Frame, pack
from cellq.message import Lane

log = logging.getLogger("cellq.worker")

_LAST_WORDS = 0.05
_START_TIMEOUT = 60.0


class Child(asyncio.Protocol):
    """One slot's process, as the worker sees it.

    Attributes:
        pid: its process id, which is its process group's as well.
        used: it has been given work; cells and isolated jobs want one that has not.
        on_frame: takes each frame it sends.
        on_exit: takes a sentence about how it died, once.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.pid = 0
        self.used = False
        self.on_frame: Callable[[Frame, object], None] = lambda _kind, _value: None
        self.on_exit: Callable[[str], None] = lambda _how: None
        self.marker = mmap.mmap(-1, MARKER.size)
        self.orders: socket.socket | None = None
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self._eof = asyncio.Event()
        self._gone = False

    @property
    def alive(self) -> bool:
        """False once its death is known."""
        return not self._gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, value in self._decoder.feed(data):
                self.on_frame(kind, value)
        except BadFrame:
            log.exception("slot %d wrote nonsense to its socket and is killed", self.pid)
            self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        self._eof.set()

    def send(self, kind: Frame, value: object) -> None:
        """Send a frame; into the void when the child is gone (its exit is reported anyway)."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(kind, value))

    def order(self, kind: Frame, value: object) -> None:
        """Send a CANCEL or RECALL, which is heard also while a job runs."""
        if self.lane is Lane.COROUTINES:
            self.send(kind, value)
        elif self.orders is not None:
            with contextlib.suppress(OSError):  # it is gone, and its exit is reported
                self.orders.sendall(pack(kind, value))

    def current(self) -> tuple[int, float]:
        """Number of the ticket the child runs or ran last, and when it started (monotonic seconds)."""
        number, started = MARKER.unpack_from(self.marker, 0)
        return number, started

    def interrupt(self) -> None:
        """SIGINT to the process itself."""
        with contextlib.suppress(ProcessLookupError):
            if self.pid and not self._gone:
                os.kill(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """End the process and everything it started: its group, and descendants that left the group."""
        if not self.pid or self._gone:
            return
        with contextlib.suppress(psutil.Error):
            for descendant in psutil.Process(self.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    descendant.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def memory(self) -> int:
        """Resident bytes now; 0 when it is gone."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    async def died(self, how: str) -> None:
        """Its death is known: hear its last words, sweep up what it left running, and say so once."""
        if self._gone:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # what the job had started in its group
        self._gone = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._eof.wait()
        if self._transport is not None:
            self._transport.abort()
        if self.orders is not None:
            self.orders.close()
        self.on_exit(how)


class Nursery:
    """Starts children through one zygote, and starts another zygote should it die.

    Args:
        spill_dir: where slots put large results, None for nowhere.
        preload: modules to import ahead of need.
        on_warm: called when that is done, so that whoever has an unused child can change it for a new one.
    """

    def __init__(self, spill_dir: Path | None, preload: Sequence[str], on_warm: Callable[[], None]) -> None:
        self._on_warm = on_warm
        self._config = json.dumps({"spill_dir": str(spill_dir) if spill_dir else None, "preload": list(preload)})
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._decoder = Decoder()
        self._tokens = itertools.count(1)
        self._unborn: dict[int, asyncio.Future[int]] = {}
        self._children: dict[int, Child] = {}
        self._spare: asyncio.Task[Child] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def start(self) -> None:
        """Start the zygote; children may be asked for at once."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            # -P: a file in this directory must not shadow what the zygote imports.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cellq.runner.zygote", str(theirs.fileno()), self._config],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "MPLBACKEND": "module://matplotlib_inline.backend_inline"},
            )
        self._control = ours
        self._decoder = Decoder()
        asyncio.get_running_loop().add_reader(ours, self._readable)

    async def birth(self, lane: Lane) -> Child:
        """A new child, unused; a spare one when there is one.

        Raises:
            WorkerUnavailable: none came up.
        """
        if lane is Lane.SYNC:
            spare, self._spare = self._spare, None
            child = await (spare if spare is not None else self._birth(lane))
            if not child.alive:  # killed while it was waiting
                child = await self._birth(lane)
            if not self._closing:
                self._spare = asyncio.create_task(self._birth(lane))
            return child
        return await self._birth(lane)

    async def _birth(self, lane: Lane) -> Child:
        assert self._control is not None
        loop = asyncio.get_running_loop()
        child = Child(lane)
        token = next(self._tokens)
        self._unborn[token] = born = loop.create_future()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        child.orders, their_orders = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs, their_orders, tempfile.TemporaryFile() as marker:
            marker.truncate(MARKER.size)
            child.marker = mmap.mmap(marker.fileno(), MARKER.size)
            request = pack(Frame.FORK, (token, int(lane)))
            try:
                socket.send_fds(self._control, [request], [theirs.fileno(), their_orders.fileno(), marker.fileno()])
            except OSError as error:
                ours.close()
                raise WorkerUnavailable(f"the zygote does not answer: {error}") from error
        await loop.connect_accepted_socket(lambda: child, ours)
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                child.pid = await born
        except TimeoutError:
            raise WorkerUnavailable("no slot came up within a minute; see the worker's log") from None
        self._children[child.pid] = child
        return child

    def _readable(self) -> None:
        assert self._control is not None
        data = self._control.recv(65_536)
        if not data:
            self._zygote_died()
            return
        for kind, value in self._decoder.feed(data):
            match kind, value:
                case Frame.BORN, (int(token), int(pid)):
                    born = self._unborn.pop(token, None)
                    if born is not None and not born.done():
                        born.set_result(pid)
                case Frame.DIED, (int(pid), int(status)):
                    child = self._children.pop(pid, None)
                    if child is not None:
                        self._bury(child, _how(status))
                case Frame.WARM, None:
                    self._renew_spare()
                    self._on_warm()
                case _:
                    pass

    def _renew_spare(self) -> None:
        old, self._spare = self._spare, None
        if old is not None:
            old.add_done_callback(lambda task: None if task.cancelled() or task.exception() else task.result().kill())
            self._spare = asyncio.create_task(self._birth(Lane.SYNC))

    def _bury(self, child: Child, how: str) -> None:
        task = asyncio.create_task(child.died(how))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _zygote_died(self) -> None:
        assert self._control is not None
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        status = self._process.wait() if self._process is not None else 0
        orphans, self._children = list(self._children.values()), {}
        for child in orphans:
            child.kill()
            self._bury(child, f"went with the process it was forked from, which {_how_returned(status)}")
        unborn, self._unborn = self._unborn, {}
        for born in unborn.values():
            if not born.done():
                born.set_exception(WorkerUnavailable(f"the zygote {_how_returned(status)}; see the worker's log"))
        if not self._closing:
            log.error("the zygote %s; starting another", _how_returned(status))
            self._spare = None
            self.start()

    async def close(self) -> None:
        """End every child and the zygote."""
        self._closing = True
        if self._spare is not None:
            self._spare.cancel()
            with contextlib.suppress(asyncio.CancelledError, WorkerUnavailable):
                await self._spare
        for child in self._children.values():
            child.kill()
        if self._control is not None and self._process is not None:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            await asyncio.to_thread(self._process.wait)
        for child in list(self._children.values()):
            await child.died("the worker ended")
        if self._tasks:
            await asyncio.gather(*self._tasks)


def _how(status: int) -> str:
    """A wait status in words."""
    return _how_returned(os.waitstatus_to_exitcode(status))


def _how_returned(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (", likely out of memory" if name == "SIGKILL" else "")
