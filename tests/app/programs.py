"""A program of a test's: a folder of modules, and the processes that run in it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys

from waiting import until


class Program:
    """A folder with modules of a test's, and processes that run in it, or elsewhere with it on their path."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.log = folder / "worker.log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def write(self, name: str, text: str) -> None:
        """Add a module."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def start(self, *arguments: str, ready: int = 1, cwd: pathlib.Path | None = None, **env: str) -> None:
        """Start `cellq ARGUMENTS`, and wait until so many workers are ready."""
        before = self.ready()
        environment = {**os.environ, "PYTHONPATH": str(self.folder), **env}
        with self.log.open("ab") as log:
            command = [sys.executable, "-P", "-m", "cellq", *arguments]
            process = subprocess.Popen(command, cwd=cwd or self.folder, env=environment, stdout=log, stderr=log)
        self.processes.append(process)
        until(lambda: self.ready() >= before + ready or process.poll() is not None, "the worker is ready")
        assert process.poll() is None, self.log.read_text()

    def ready(self) -> int:
        """How many workers have said that they are ready."""
        return self.log.read_bytes().count(b"is ready") if self.log.exists() else 0

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run Python to its end."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def end(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
