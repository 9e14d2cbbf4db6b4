"""`cellq top` in a real terminal with a real worker: what it shows, its keys, that it leaves no trace, and `--once`."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import sys
import termios
import time
from collections.abc import Callable, Iterator

import pexpect
import psutil
import pyte
import pytest

import cellq
from servers import VALKEY, Server
from waiting import until

EVIL = "evil\x1b[2J\r\x9b31m\u202ename\nline"
SPELLED = r"evil\x1b[2J\r\x9b31m\u202ename\nline"


class Terminal:
    """`cellq top` on a pseudo-terminal, as somebody sees it who sits before it."""

    def __init__(self, folder: pathlib.Path, *arguments: str, lines: int = 24, columns: int = 110) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.Stream(self.screen)
        self.written = ""
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = pexpect.spawn(
            sys.executable,
            ["-m", "cellq", "top", *arguments],
            cwd=str(folder),
            env=environment | {"TERM": "xterm-256color"},
            encoding="utf-8",
            dimensions=(lines, columns),
        )

    def look(self) -> None:
        """Take in what has been written."""
        while True:
            try:
                piece = self.process.read_nonblocking(65536, timeout=0)
            except (pexpect.TIMEOUT, pexpect.EOF):
                return
            self.written += piece
            self._stream.feed(piece)

    def see(self, condition: Callable[[], object], what: str) -> None:
        """Wait until the condition holds for what is on the screen."""

        def seen() -> object:
            self.look()
            return condition()

        try:
            until(seen, what)
        except pytest.fail.Exception as failure:
            raise AssertionError(f"{failure}; there is:\n{self.text}") from None

    def wait_for(self, words: str) -> None:
        self.see(lambda: words in self.text, f"{words!r} is on the screen")

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def foot(self) -> str:
        return self.lines[-1]

    @property
    def chosen(self) -> str:
        """The line that stands out."""
        return "\n".join(line for at, line in enumerate(self.lines) if self.screen.buffer[at][0].reverse)

    def press(self, keys: str) -> None:
        self.process.send(keys)

    def choose(self, words: str, key: str = "j") -> None:
        """Press a key until the line with these words is chosen."""

        def which() -> str | None:
            """By its first word, for the others tell the time; None in the middle of a redraw."""
            found = self.chosen.splitlines()
            return found[0].split()[0] if len(found) == 1 and found[0].split() else None

        for _ in range(100):
            self.look()
            if words in self.chosen:
                return
            before = which()
            self.press(key)
            self.see(
                lambda before=before: which() not in (None, before), f"{key!r} has chosen another line than {before!r}"
            )
        raise AssertionError(f"no line with {words!r} can be chosen; there is:\n{self.text}")

    def wait_ended(self) -> int:
        """Wait until it has ended; gives its exit code."""
        self.see(lambda: not self.process.isalive(), "it has ended")
        return self.process.exitstatus

    @property
    def as_usual(self) -> bool:
        """The terminal shows what is typed, line by line, has its cursor and no other screen."""
        modes = termios.tcgetattr(self.process.child_fd)[3]
        last = {name: self.written.rfind(name) for name in ("\x1b[?1049h", "\x1b[?1049l", "\x1b[?25l", "\x1b[?25h")}
        screens = last["\x1b[?1049l"] > last["\x1b[?1049h"] and last["\x1b[?25h"] > last["\x1b[?25l"]
        return bool(modes & termios.ECHO and modes & termios.ICANON) and screens


@pytest.fixture
def top(tmp_path: pathlib.Path) -> Iterator[Callable[..., Terminal]]:
    """Start `cellq top` in the test's folder; it is gone when the test ends."""
    opened: list[Terminal] = []

    def top(*arguments: str, **size: int) -> Terminal:
        opened.append(Terminal(tmp_path, *arguments, **size))
        return opened[-1]

    yield top
    for terminal in opened:
        terminal.process.close(force=True)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_it_follows_what_happens(top, queue, worker, hold, gate) -> None:
    queue.options(queue="mail", name="letter").enqueue(print)
    terminal = top()
    terminal.wait_for("no job is running")
    job = hold("x")
    gate.wait_reached()
    terminal.wait_for(f"{job.short}  running  held")

    def row() -> str:
        return next(line for line in terminal.lines if job.short in line)

    assert str(os.getpid()) in row(), "the worker that runs it"
    terminal.see(lambda: "MB" in row(), "the memory of its slot is there, with the next beat")
    worker_row = next(line for line in terminal.lines if socket.gethostname()[:8] in line)
    assert worker_row.startswith(str(os.getpid()))
    terminal.see(lambda: "1 worker, 1 of 1 slot busy, 1 running, 1 pending" in terminal.text, "the sums are there")
    assert any(line.split()[:3] == ["mail", "1", "0"] for line in terminal.lines)
    gate.open()
    terminal.wait_for("no job is running")
    assert any(line.split()[:4] == ["default", "0", "0", "1"] for line in terminal.lines)
    assert terminal.foot.startswith("q quit")


def test_cancelling_asks_first(top, queue, worker, hold, gate) -> None:
    job = hold("x")
    gate.wait_reached()
    terminal = top()
    terminal.wait_for(job.short)
    assert job.short in terminal.chosen, "the first running job is chosen"
    for answer in ("n", "\x1b"):
        terminal.press("c")
        terminal.wait_for(f"Cancel held ({job.short})? y/n")
        terminal.press(answer)
        terminal.see(lambda: terminal.foot.startswith("q quit"), "the question is gone")
    assert job.state == "running"
    terminal.press("c")
    terminal.wait_for("? y/n")
    terminal.press("y")
    terminal.wait_for(f"held ({job.short}) is running; its worker is asked to stop it")
    assert job.wait(30)
    assert job.state == "cancelled"
    terminal.wait_for("no job is running")
    terminal.press("c")
    terminal.wait_for("choose a running job to cancel it")


def test_pausing_and_resuming_the_chosen_queue(top, run, queue, worker, hold, gate) -> None:
    queue.options(queue="mail").enqueue(print)
    hold("x")
    gate.wait_reached()
    terminal = top()
    terminal.wait_for("running  held")
    terminal.press("p")  # that of the job
    terminal.wait_for("queue default is paused")
    terminal.wait_for(" paused")
    counted = run("size", "--json").json["queues"]
    assert (counted["default"]["paused"], counted["mail"]["paused"]) == (True, False)
    terminal.press("x")
    terminal.wait_for("p resume")
    terminal.press("p")
    terminal.wait_for("queue default goes on")
    terminal.choose("mail", "\x1b[A")
    terminal.press("p")
    terminal.wait_for("queue mail is paused")
    terminal.choose("default", "k")
    terminal.choose("held", "\x1b[B")


@pytest.mark.parametrize("how", ["q", "\x03", signal.SIGTERM, signal.SIGHUP], ids=["q", "ctrl-c", "TERM", "HUP"])
def test_it_leaves_the_terminal_as_it_was(top, queue, how) -> None:
    queue.enqueue(print)
    terminal = top()
    terminal.wait_for("q quit")
    assert not terminal.as_usual
    if isinstance(how, str):
        terminal.press(how)
    else:
        os.kill(terminal.process.pid, how)
    assert terminal.wait_ended() == 0
    assert terminal.as_usual


def test_suspended_it_gives_the_terminal_back(top, queue) -> None:
    queue.enqueue(print)
    terminal = top()
    terminal.wait_for("q quit")
    process = psutil.Process(terminal.process.pid)
    terminal.press("\x1a")
    terminal.see(lambda: process.status() == psutil.STATUS_STOPPED, "it is suspended")
    terminal.see(lambda: terminal.as_usual, "the terminal is as it was")
    process.send_signal(signal.SIGCONT)
    terminal.see(lambda: not terminal.as_usual, "it has the terminal again")
    terminal.press("q")
    assert terminal.wait_ended() == 0


def test_it_fits_the_terminal_that_changes_its_size(top, queue) -> None:
    for name in ["first", "second", "third", "fourth", "fifth", "a queue with a long name " * 4]:
        queue.options(queue=name).enqueue(print)
    terminal = top(lines=30)
    terminal.see(lambda: "first" in terminal.text and "q quit" in terminal.foot, "the queues are there")
    for lines, columns in [(13, 60), (40, 150)]:
        terminal.process.setwinsize(lines, columns)
        terminal.screen.resize(lines, columns)
        terminal.screen.reset()
        terminal.see(lambda: terminal.foot.startswith("q quit"), "the foot is on the last line")
        terminal.wait_for("pending  running")
        assert any(line.startswith("a queue") for line in terminal.lines), "what is cut is not the name"
        assert terminal.lines[0].startswith("cellq top")
    assert all(name in terminal.text for name in ["second", "third", "fourth", "fifth"])


def test_only_a_page_of_many_running_jobs_is_there(top, queue, gate) -> None:
    opened = str(gate.opened)

    async def held() -> None:
        import asyncio

        while not os.path.exists(opened):
            await asyncio.sleep(0.05)

    with cellq.Worker(queue, slots=1, concurrency=50, grace=0.5, drain=0.1):
        jobs = [queue.options(name=f"job{number:02d}").enqueue(held) for number in range(40)]
        until(lambda: all(job.state == "running" for job in jobs), "all run")
        terminal = top()
        terminal.wait_for("job39")

        def shown() -> list[str]:
            return [word for line in terminal.lines for word in line.split() if word.startswith("job")]

        room = len(shown())
        assert 5 < room < 20
        assert f"and {40 - room} more" in terminal.text
        terminal.choose("job20")  # beyond the first page
        assert len(shown()) <= room
        assert "job39" not in terminal.text
        assert "above" in terminal.text
        terminal.choose("job39", "k")
        terminal.see(lambda: "above" not in terminal.text, "the first page is there again")
        gate.open()
        terminal.wait_for("no job is running")


def test_a_job_that_reports_all_the_time_is_drawn_four_times_a_second_at_most(top, queue, worker, gate) -> None:
    reached, opened = str(gate.reached), str(gate.opened)

    def busy() -> None:
        open(reached, "w").close()
        while not os.path.exists(opened):
            for step in range(20):
                print(step, flush=True)
            time.sleep(0.005)  # between two looks at the gate

    queue.enqueue(busy)
    gate.wait_reached()
    terminal = top()
    terminal.wait_for("busy")
    began, before = time.monotonic(), terminal.written.count("cellq top")
    # The times that are shown make eight other pictures.
    terminal.see(lambda: terminal.written.count("cellq top") >= before + 8, "it was drawn eight times")
    assert terminal.written.count("cellq top") - before <= 4 * (time.monotonic() - began) + 2


@pytest.mark.parametrize("how", [("--once",), ()], ids=["once", "piped"])
def test_one_picture_as_plain_text(run, queue, worker, hold, gate, how) -> None:
    queue.options(queue="mail", name="letter").enqueue(print)
    job = hold("x")
    gate.wait_reached()
    said = run("top", *how).well()
    head, *rest = said.out.splitlines()
    assert head.endswith("1 running, 1 pending")
    assert head.startswith(queue.url)
    tables = "\n".join(rest).strip().split("\n\n")
    assert [table.split()[0] for table in tables] == ["queue", "worker", "id"]
    assert job.short in tables[2]
    assert str(os.getpid()) in tables[1]
    assert said.out.isascii()
    assert "\x1b" not in said.out


def test_one_picture_of_an_empty_store(run, queue) -> None:
    queue.count()
    assert run("top", "--once").well().out.split("\n\n")[1:] == [
        "no jobs", "no worker is running; start one with: cellq start", "no job is running\n",
    ]  # fmt: skip


def test_names_cannot_reach_the_terminal_raw(top, run, queue) -> None:
    queue.options(queue=EVIL).enqueue(print)
    assert SPELLED in run("top", "--once").well().out
    terminal = top()
    terminal.wait_for("evil")
    assert SPELLED in terminal.text


def test_a_server_that_goes_away_is_told_of_and_waited_for(top, tmp_path) -> None:
    with Server(VALKEY, tmp_path) as server, cellq.Queue(server.url) as queue:
        queue.enqueue(print)
        terminal = top("--url", server.url)
        terminal.wait_for("q quit")
        server.stop()
        terminal.wait_for("trying again")
        assert "default" in terminal.text, "what was known is still there"
        server.start()
        terminal.wait_for("q quit")
        terminal.press("q")
        assert terminal.wait_ended() == 0
