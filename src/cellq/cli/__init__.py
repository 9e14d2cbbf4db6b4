"""The command line: `cellq jobs`, `cellq worker`, `cellq doctor` and the rest.

One noun per file. A command's file is loaded when that command is called: `cellq jobs` does not carry the worker, and
`cellq --help` carries none of them, which is why the one line that it shows of each stands here.
"""

from __future__ import annotations

import importlib
import io
import sys

import click

from cellq.cli.screen import visible
from cellq.errors import CellqError

__all__ = ["main"]

_LINES = "\n"  # a worker that did not start shows the end of its log

_COMMANDS = {
    "Jobs": {
        "jobs": ("jobs", "List jobs, newest first."),
        "show": ("jobs", "Show one job: its state, its times, why it failed."),
        "logs": ("logs", "Print what a job printed, or follow it live."),
        "cancel": ("changes", "Stop jobs, or take them out of their queue."),
        "retry": ("changes", "Run ended jobs once more."),
        "delete": ("changes", "Delete ended jobs with their results and logs."),
    },
    "Workers": {
        "worker": ("worker", "Run jobs until Ctrl-C (once: finish what runs; twice: now)."),
        "start": ("workers", "Start a worker in the background."),
        "workers": ("workers", "List the workers that are alive, or stop those on this machine."),
    },
    "Schedules": {
        "schedules": ("schedules", "List what is enqueued by cron; pause, resume or remove it."),
    },
    "Queues": {
        "top": ("top", "Watch queues, workers and running jobs live."),
        "size": ("queues", "Count jobs by queue and state."),
        "pause": ("queues", "Start no more jobs of a queue until it is resumed."),
        "resume": ("queues", "Take a pause back."),
        "limit": ("queues", "Let at most N jobs of a queue run at once."),
        "clear": ("queues", "Delete the jobs that wait in a queue."),
        "prune": ("queues", "Delete jobs that ended long ago."),
    },
    "Trouble": {
        "doctor": ("doctor", "Look for what is wrong, and say what to do about it."),
    },
}


class _Commands(click.Group):
    """The commands of the table above, by section."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in _COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in _COMMANDS.values():
            if cmd_name in section:
                file = importlib.import_module(f"cellq.cli.{section[cmd_name][0]}")
                command: click.Command = getattr(file, cmd_name)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in _COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:8}", line) for name, (_, line) in section.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cellq", message="%(prog)s %(version)s")
def cli() -> None:
    """A job queue for notebooks.

    Jobs live in a store: the one of --url, else $CELLQ_URL, else ./.cellq/jobs.db. A job is named by its id or by the
    last digits of it.
    """


def main() -> None:
    """The entry point: errors of cellq's own are told in plain words, without a traceback; the exit code is then 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a sign must not end a command
    try:
        cli(prog_name="cellq")
    except CellqError as error:
        click.echo(f"cellq: {visible(str(error), keep=_LINES)}", err=True)
        sys.exit(1)
