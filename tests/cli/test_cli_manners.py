"""What holds for every command: help, errors in one line, no store made by looking, names that cannot do harm."""

import contextlib
import importlib
import os
import pty
import subprocess
import sys
from collections.abc import Callable

import click
import pytest

import cellq
from cellq import cli

LOOKING = [
    ("jobs",),
    ("show", "01234567"),
    ("logs", "01234567"),
    ("cancel", "01234567"),
    ("retry", "01234567"),
    ("delete", "01234567"),
    ("workers",),
    ("top",),
    ("size",),
    ("pause", "default"),
    ("resume", "default"),
    ("clear", "default", "--yes"),
    ("prune", "--completed", "0"),
    ("doctor",),
]
COMMANDS = [(name, file, line) for part in cli._COMMANDS.values() for name, (file, line) in part.items()]
EVIL = "evil\x1b[2J\r\x9b31m\u202ename\nline"
SPELLED = r"evil\x1b[2J\r\x9b31m\u202ename\nline"


@pytest.fixture
def on_terminal(start) -> Callable[..., str]:
    """`cellq ARGUMENTS`, and what it writes when it writes to a terminal."""

    def on_terminal(*arguments: str, columns: int = 200) -> str:
        ours, theirs = pty.openpty()
        size = {"COLUMNS": str(columns), "TERM": "xterm"}
        start(*arguments, stdout=theirs, stderr=theirs, env={**os.environ, **size})
        os.close(theirs)
        data = b""
        with contextlib.suppress(OSError):  # Linux: the other side has closed
            while piece := os.read(ours, 65536):
                data += piece
        os.close(ours)
        return data.decode()

    return on_terminal


def test_the_version_is_the_packages(run) -> None:
    assert run("--version").well().out == f"cellq {cellq.__version__}\n"


def test_help_lists_every_command_without_loading_any() -> None:
    code = (
        "import sys; sys.argv = ['cellq', '-h']; from cellq.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, "-h"], capture_output=True, text=True, check=True)
    *shown, modules = done.stdout.splitlines()
    assert {line.split()[0] for line in shown if line.startswith("  ")} >= {name for name, _, _ in COMMANDS}
    loaded = set(modules.split())
    assert not loaded & {"rich", "cellq.app", "cellq.worker.supervisor", "cellq.cli.jobs", "cellq.cli.doctor"}


def test_listing_does_not_load_the_worker() -> None:
    code = "import sys, cellq.cli.jobs, cellq.cli.workers; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"rich", "cellq.app", "cellq.worker.supervisor"}


@pytest.mark.parametrize(("name", "file", "line"), COMMANDS)
def test_the_overview_says_what_the_command_says_and_each_takes_url_and_h(name, file, line) -> None:
    command = getattr(importlib.import_module(f"cellq.cli.{file}"), name)
    assert command.get_short_help_str(limit=200) == line
    assert any("--url" in parameter.opts for parameter in command.params)
    context = click.Context(command, parent=click.Context(cli.cli), info_name=name)
    context.help_option_names = ["-h", "--help"]
    assert "Usage:" in command.get_help(context)


def test_h_works_on_a_command(run) -> None:
    assert "--state" in run("jobs", "-h").well().out


@pytest.mark.parametrize("command", LOOKING, ids=lambda command: command[0])
def test_looking_makes_no_store(run, path, command) -> None:
    said = run(*command)
    assert said.code == 1
    assert f"no store is at {path}" in said.out + said.err
    assert not path.parent.exists()
    if command[0] != "doctor":
        said.one_line()


def test_a_store_of_one_program_cannot_be_looked_at(run) -> None:
    assert "lives inside one program" in run("jobs", "--url", "memory://x").one_line()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host", "known stores are sqlite:///"),
        ("redis:/host:6379/0", "two slashes"),
        ("redis://host:6379/jobs", "the database must be a number"),
        ("redis://host?patience=long", "patience must be seconds"),
    ],
)
def test_a_url_that_is_none_is_a_usage_error(run, url, words) -> None:
    said = run("jobs", "--url", url)
    assert said.code == 2
    assert words in said.err
    assert "Traceback" not in said.err


def test_url_and_environment_lead_to_the_same_store(run, queue, path, tmp_path, monkeypatch) -> None:
    queue.enqueue(print)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for url in (str(path), queue.url, "../.cellq/jobs.db"):
        assert len(run("jobs", "--url", url, "--json", cwd=elsewhere).well().json) == 1
    monkeypatch.setenv("CELLQ_URL", str(path))
    assert len(run("jobs", "--json", cwd=elsewhere).well().json) == 1


@pytest.mark.parametrize("command", ["show", "logs", "cancel", "retry", "delete"])
def test_an_unknown_id_is_one_line(run, queue, command) -> None:
    queue.enqueue(print)
    assert "there is no job 00000000 in" in run(command, "00000000").one_line()


@pytest.mark.parametrize("text", ["xyz", "123", "no\x1b[2Jid"])
def test_what_is_no_id_is_one_harmless_line(run, queue, text) -> None:
    queue.enqueue(print)
    line = run("show", text).one_line()
    assert "is no job id" in line
    assert line.isprintable()


def test_an_ambiguous_id_is_one_line_that_names_both(run, queue) -> None:
    made = {}
    while True:  # until two of them end alike in four digits: some hundred jobs
        for job in queue.map(abs, range(50)):
            twin = made.setdefault(job.id[-4:], job)
            if twin is not job:
                line = run("show", job.id[-4:]).one_line()
                assert job.id in line
                assert twin.id in line
                return


@pytest.mark.parametrize("shape", ["full", "short", "capitals"])
def test_ids_are_taken_full_and_short(run, queue, shape) -> None:
    job = queue.enqueue(print)
    text = {"full": job.id, "short": job.short, "capitals": job.short.upper()}[shape]
    assert run("show", text, "--json").well().json["id"] == job.id


@pytest.mark.parametrize("terminal", [False, True], ids=["piped", "terminal"])
def test_a_name_cannot_reach_the_terminal_raw(run, on_terminal, queue, terminal) -> None:
    job = queue.options(name=EVIL, queue="q\x1b[2J").enqueue(print)
    for command in (["jobs"], ["size"], ["show", job.short], ["doctor"], ["cancel", job.short]):
        shown = on_terminal(*command) if terminal else run(*command).out
        assert "\x1b[2J" not in shown
        assert "\x9b" not in shown
        assert "\u202e" not in shown
    assert SPELLED in run("jobs").out
    assert "[2J" in on_terminal("jobs")


def test_a_narrow_terminal_does_not_cut_ids(on_terminal, queue) -> None:
    jobs = [queue.options(name="a rather long name of a job " * 3).enqueue(print) for _ in range(3)]
    shown = on_terminal("jobs", columns=50)
    assert all(job.short in shown for job in jobs)


def test_rich_markup_in_a_name_is_text(on_terminal, queue) -> None:
    queue.options(name="[red]x[/]").enqueue(print)
    assert "[red]x[/]" in on_terminal("jobs")
