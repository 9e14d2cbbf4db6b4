"""Start, find and stop workers that outlive the program that started them.

A launched worker is an ordinary `cellq worker` command in a session of its own, with its output in a log file. It ends
by itself after it has had nothing to do for a while, so that nobody collects strays. Nothing of the worker is imported
here: what starts one need not carry it.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from cellq import settings
from cellq.errors import WorkerUnavailable
from cellq.message import WorkerInfo
from cellq.store import shown_url

IDLE_EXIT = 600.0
"""Seconds without a job after which a launched worker ends."""

_OLD_LOG = 7 * 24 * 3600.0
_DETACHED = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "DETACHED_PROCESS", 0)  # Windows


@dataclass(frozen=True)
class Launched:
    """A worker that was started.

    Attributes:
        pid: its process id.
        log: the file that holds its output.
    """

    pid: int
    log: Path
    _process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raise if it has ended.

        Raises:
            WorkerUnavailable: with the last lines of its log.
        """
        if self._process.poll() is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])
            raise WorkerUnavailable(
                f"the worker ended at once with code {self._process.returncode}; its log {self.log} ends with:\n{tail}"
            )


def launch(
    url: str,
    *,
    queues: Sequence[str] = ("default",),
    slots: int = 2,
    idle_exit: float = IDLE_EXIT,
    preload: Sequence[str] = (),
    keep: bool = False,
    inherit: Sequence[int] = (),
) -> Launched:
    """Start a worker that outlives this process.

    Args:
        url: full URL of the store.
        queues: names of the queues it serves.
        slots: how many calls and cells it runs at a time.
        idle_exit: seconds without a job after which it ends.
        preload: modules to import ahead of need.
        keep: whether cells share the process of their slot.
        inherit: open files that it is to hold as long as it lives (not on Windows).

    Raises:
        WorkerUnavailable: it cannot be started.
    """
    logs = settings.home() / "logs"
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in logs.glob("worker-*.log"):
        if time.time() - old.stat().st_mtime > _OLD_LOG:
            old.unlink(missing_ok=True)
    log = logs / f"worker-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}.log"
    command = [sys.executable, "-P", "-m", "cellq", "worker"]
    environment = dict(os.environ)
    if shown_url(url) == url:
        command += ["--url", url]
    else:
        environment["CELLQ_URL"] = url  # everybody on this machine can read the command
    for queue in queues:
        command += ["-q", queue]
    for module in preload:
        command += ["--preload", module]
    command += ["-n", str(slots), "--idle-exit", str(idle_exit), *(["--keep"] if keep else [])]
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # It must stay alive when this process, its terminal or its notebook goes away.
                start_new_session=True,
                creationflags=_DETACHED,
                pass_fds=tuple(inherit),
            )
        except OSError as error:
            raise WorkerUnavailable(f"cannot start a worker with {command[0]}: {error}") from error
    return Launched(process.pid, log, process)


def local(workers: Iterable[WorkerInfo]) -> list[WorkerInfo]:
    """Those of `workers` that run on this machine now."""
    here = socket.gethostname()
    return [worker for worker in workers if worker.host == here and _process(worker) is not None]


def stop(workers: Iterable[WorkerInfo]) -> list[WorkerInfo]:
    """Ask workers on this machine to drain and end; gives those that were asked."""
    asked = []
    for worker in local(workers):
        process = _process(worker)
        if process is not None:
            process.send_signal(signal.SIGTERM)
            asked.append(worker)
    return asked


def _process(worker: WorkerInfo) -> psutil.Process | None:
    """The worker's process; None when it is gone, also when its number belongs to another one by now."""
    try:
        process = psutil.Process(worker.pid)
        same = abs(process.create_time() - worker.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        return process if same else None
    except psutil.Error:
        return None
