"""Two machines on one: network namespaces, each with an address of its own, joined by a cable that can be pulled out.

    first  10.77.x.1 ───── cable ───── 10.77.x.2  second
    (server, notebook)                 (worker)

What runs on a machine is an ordinary process in its namespace, in an empty directory, with a home of its own: the two
share no secret file and no code, only what the test gives them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SECRET = "what both machines were told, and nobody else"
PATIENCE = 60.0


def missing() -> str:
    """Why there can be no machines here; "" when there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if shutil.which("ip") is None:
        return "`ip` (iproute2) is not installed"
    if os.geteuid() != 0:
        return "making network namespaces takes root"
    tried = subprocess.run(["ip", "netns", "add", f"cellq-try-{os.getpid()}"], capture_output=True, text=True)
    if tried.returncode:
        return f"no network namespaces here: {tried.stderr.strip()}"
    _ip("netns", "del", f"cellq-try-{os.getpid()}")
    return ""


class Machine:
    """One network namespace.

    Args:
        name: of the namespace.
        address: its own, on the cable.
        home: an empty directory of its own.
    """

    def __init__(self, name: str, address: str, home: Path) -> None:
        self.name, self.address, self.home = name, address, home
        home.mkdir()
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, command: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
        """Run a command on this machine, until it ends or the test does; its output goes to `home/output`."""
        place = self.home / f"cwd-{len(self._running)}"
        place.mkdir()
        with (self.home / "output").open("ab") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"CELLQ_HOME": str(self.home), "CELLQ_SECRET": SECRET} | environment,
            )
        self._running.append(process)
        return process

    def worker(self, url: str, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        """Run `cellq worker` here."""
        return self.start([sys.executable, "-P", "-m", "cellq", "worker", "--url", url, *options], **environment)

    def run(self, program: str, *arguments: str, timeout: float = PATIENCE, **environment: str) -> str:
        """Run a Python program here to its end; what it printed. Fails with its output if it fails."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, sys.executable, "-P", "-c", program, *arguments],
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | {"CELLQ_HOME": str(self.home), "CELLQ_SECRET": SECRET} | environment,
        )
        assert done.returncode == 0, f"on {self.name}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def output(self) -> str:
        """What the processes that were started here have printed."""
        file = self.home / "output"
        return file.read_text(errors="replace") if file.exists() else ""

    def end(self) -> None:
        """End what runs here."""
        for process in reversed(self._running):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Cable:
    """What joins the two."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def pull_out(self) -> None:
        """Nothing passes any more, and nobody is told."""
        _ip("-n", self._machine.name, "link", "set", "cable", "down")

    def put_back(self) -> None:
        """As before."""
        _ip("-n", self._machine.name, "link", "set", "cable", "up")


class Pair:
    """Two machines and their cable; a context manager.

    Args:
        room: a directory for their homes.
        number: tells pairs on one real machine apart (0 to 255).
    """

    def __init__(self, room: Path, number: int) -> None:
        names = [f"cellq-{os.getpid()}-{which}" for which in ("first", "second")]
        self.first = Machine(names[0], f"10.77.{number}.1", room / "first")
        self.second = Machine(names[1], f"10.77.{number}.2", room / "second")
        self.cable = Cable(self.second)

    def __enter__(self) -> Pair:
        for machine in (self.first, self.second):
            _ip("netns", "add", machine.name)
        _ip(
            "link", "add", "cable", "netns", self.first.name, "type", "veth", "peer", "cable", "netns", self.second.name
        )
        for machine in (self.first, self.second):
            _ip("-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", "cable")
            _ip("-n", machine.name, "link", "set", "lo", "up")
            _ip("-n", machine.name, "link", "set", "cable", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for machine in (self.second, self.first):  # the server is on the first, and workers sign off
            machine.end()
            _ip("netns", "del", machine.name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
