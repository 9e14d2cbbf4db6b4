"""The process that slots are forked from.

A fresh interpreter that imports IPython takes half a second; a fork of one that has done so takes milliseconds. So a
worker starts one process, this one, which imports what every slot needs and then only forks, reaps and tells:

     worker ── FORK (token, lane) + 3 descriptors ──▶ zygote ── fork ──▶ child: its own session, dies with the zygote
            ◀──────────────── BORN (token, pid) ───── zygote
            ◀─────── DIED (pid, status) ───────────── zygote  ◀─ SIGCHLD

What users want preloaded it imports when it has nothing else to do, module by module, and says when that is done: a
worker is ready at once, and a little later its new slots have numpy before a job asks for it. What a cell has imported
it imports as well (see `lessons`), for the cells to come.

It stays clean: one thread, no event loop, no connection, nothing computed. A process that has more than that must not
be forked. When its socket closes, the worker is gone: it kills every child with its whole process group, and ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
import types
from collections.abc import Sequence
from typing import NoReturn

from cellq import settings
from cellq.frames import Decoder, Frame, pack
from cellq.message import Lane
from cellq.runner import bars, coroutines, lessons, main, shell

_PR_SET_PDEATHSIG = 1
_QUIET = 0.2  # seconds without a request before the next module is preloaded
_PATIENCE = 2.0  # seconds after which that is done between requests


class Zygote:
    """Forks slots on request until its worker goes away.

    Args:
        control: the socket to the worker.
        secret: signs and verifies payloads in the slots.
        spill_dir: where slots put large results.
        preload: names of modules to import when there is time.
    """

    def __init__(
        self, control: socket.socket, secret: bytes, spill_dir: str | None, preload: Sequence[str] = ()
    ) -> None:
        self._control = control
        self._secret = secret
        self._spill_dir = spill_dir
        self._preload = list(preload)
        self._warm_by = time.monotonic() + _PATIENCE
        self._children: set[int] = set()

    def serve(self) -> None:
        """The loop: requests from the worker, deaths of children."""
        bell_read, bell_write = os.pipe()
        os.set_blocking(bell_read, False)
        os.set_blocking(bell_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(bell_write, warn_on_full_buffer=False)
        waiting = select.poll()
        waiting.register(self._control, select.POLLIN)
        waiting.register(bell_read, select.POLLIN)
        lessons_read = lessons.listen()
        waiting.register(lessons_read, select.POLLIN)
        decoder = Decoder()
        while True:
            pause = _QUIET if time.monotonic() < self._warm_by else 0.0
            ready = waiting.poll(pause * 1000 if self._preload else None)
            if self._preload and (not ready or time.monotonic() > self._warm_by):
                self._warm_up()
            for descriptor, _ in ready:
                if descriptor == bell_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(bell_read, 4096)
                    self._reap()
                elif descriptor == lessons_read:
                    self._preload += lessons.heard(descriptor)
                    self._warm_by = 0.0  # the next cell is likely to want it
                elif not self._requests(decoder, (bell_read, bell_write)):
                    self._end()

    def _warm_up(self) -> None:
        name = self._preload.pop(0)
        try:
            importlib.import_module(name)
        except Exception as error:
            print(f"cannot preload {name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        if not self._preload:
            _settle_down()
            self._tell(Frame.WARM, None)

    def _requests(self, decoder: Decoder, private: tuple[int, int]) -> bool:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, 4096, 32)
        except ConnectionResetError:
            data = b""
        if not data:
            return False
        for kind, value in decoder.feed(data):
            match kind, value:
                case Frame.FORK, (int(token), int(lane)):
                    mine, descriptors = descriptors[:3], descriptors[3:]
                    self._fork(token, Lane(lane), mine, private)
                case _:
                    return False
        return True

    def _fork(self, token: int, lane: Lane, mine: list[int], private: tuple[int, int]) -> None:
        pid = os.fork()
        if pid == 0:
            log = os.dup(2)
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _outlive_sigterm()
                self._control.close()
                for descriptor in private:
                    os.close(descriptor)
                self._be_slot(lane, *mine)
            except BaseException:
                # Not to sys.stderr, which belongs to the jobs by now: to the worker's log.
                os.write(log, traceback.format_exc().encode())
                os._exit(70)
            os._exit(0)
        for descriptor in mine:
            os.close(descriptor)
        self._children.add(pid)
        self._tell(Frame.BORN, (token, pid))

    def _be_slot(self, lane: Lane, sock: int, orders: int, marker: int) -> None:
        os.setsid()  # Ctrl-C in a terminal is for the worker; and a kill can take the job's subprocesses along
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        sys.path.insert(0, "")  # as in a kernel; not before, so that no file of the user's shadows ours
        if "numpy.random" in sys.modules:  # preloaded: forks of one generator would all draw the same numbers
            sys.modules["numpy.random"].seed()
        link = socket.socket(fileno=sock)
        if lane is Lane.SYNC:
            main.serve(link, socket.socket(fileno=orders), marker, self._secret, self._spill_dir)
        else:
            os.close(orders)
            os.close(marker)
            coroutines.serve(link, self._secret, self._spill_dir)
        # Threads that a job has left running must not keep the process alive.
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(0)

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._children.discard(pid)
            self._tell(Frame.DIED, (pid, status))

    def _tell(self, kind: Frame, value: object) -> None:
        with contextlib.suppress(OSError):  # the worker is gone: the next read says so
            self._control.sendall(pack(kind, value))

    def _end(self) -> NoReturn:
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        os._exit(0)


def run(descriptor: int, config: str) -> None:
    """The zygote's main.

    Args:
        descriptor: number of the inherited control socket.
        config: JSON with "spill_dir" (path or null) and "preload" (names of modules).
    """
    options = json.loads(config)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever ends a service sends it to all its processes
    sys.modules["__main__"] = types.ModuleType("__main__")  # jobs get a clean one, not this file
    settings.in_slot = True
    bars.install()
    shell.prepare()
    secret = settings.secret()
    _settle_down()
    Zygote(socket.socket(fileno=descriptor), secret, options["spill_dir"], options["preload"]).serve()


def _outlive_sigterm() -> None:
    """Leave it to the worker what a SIGTERM to all of its processes means: it lets jobs run on for a while.

    Programs that a job starts do not inherit this, since it is a handler. What it forks is to end by SIGTERM as ever,
    also by one that comes at once: so the signal waits until the fork has the default again.
    """

    def ignore(_: int, __: types.FrameType | None) -> None:
        pass

    masks = threading.local()  # other threads may fork, too

    def block() -> None:
        masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def restore() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    def restore_in_child() -> None:
        if signal.getsignal(signal.SIGTERM) is ignore:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        restore()

    signal.signal(signal.SIGTERM, ignore)
    os.register_at_fork(before=block, after_in_parent=restore, after_in_child=restore_in_child)


def _settle_down() -> None:
    """Keep the shared pages shared: the collector of a child does not write into what is frozen here."""
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    run(int(sys.argv[1]), sys.argv[2])
