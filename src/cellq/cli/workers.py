"""Workers of a store: `cellq workers`, `cellq start`."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import click

from cellq.cli.place import opened, url_option
from cellq.cli.screen import duration, iso, number, print_json, print_table, visible
from cellq.errors import WorkerUnavailable
from cellq.ids import id_text
from cellq.message import WorkerInfo
from cellq.worker import launch

_PATIENCE = 30.0  # seconds until a launched worker must have shown up
_LOOK = 0.05


@click.command()
@url_option()
@click.option("--stop", is_flag=True, help="Ask those on this machine to finish what runs, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def workers(url: str, stop: bool, as_json: bool) -> None:
    """List the workers that are alive, or stop those on this machine.

    With --json, an array of objects with the keys id, host, pid, local (it runs on this machine), runtime, queues,
    slots, busy, lease, started, beat, silent (seconds since that beat) and jobs, each of those with id, short, task and
    pid (of the process that runs it). With --stop, of those that were asked to end.
    """
    found = asyncio.run(_alive(url))
    asked = launch.stop(found) if stop else []
    if as_json:
        here = {worker.id for worker in (asked if stop else launch.local(found))}
        print_json([_record(worker, worker.id in here) for worker in (asked if stop else found)])
    elif stop:
        _tell_asked(found, asked)
    elif not found:
        click.echo("no worker is running; start one with: cellq start")
    else:
        print_table(
            ("machine", "pid", "python", "queues", "busy", "last beat", "jobs"),
            [
                (
                    worker.host,
                    str(worker.pid),
                    worker.runtime,
                    ", ".join(worker.queues),
                    f"{worker.busy} of {worker.slots} slots",
                    f"{duration(time.time() - worker.beat)} ago",
                    ", ".join(f"{job['short']} {job['task']}" for job in _jobs(worker)),
                )
                for worker in found
            ],
            elastic=("machine", "queues", "jobs"),
        )


def _tell_asked(found: list[WorkerInfo], asked: list[WorkerInfo]) -> None:
    for worker in asked:
        running = f"finishes {number(worker.busy, 'job')} and ends" if worker.busy else "ends"
        click.echo(f"worker {worker.pid} {running}")
    told = {worker.id for worker in asked}
    for worker in found:
        if worker.id not in told:
            click.echo(f"worker {worker.pid} is on {visible(worker.host)}; stop it there", err=True)
    if not found:
        click.echo("no worker is running")


async def _alive(url: str) -> list[WorkerInfo]:
    async with opened(url) as store:
        return list((await store.count()).workers)


def _record(worker: WorkerInfo, local: bool) -> dict[str, Any]:
    return {
        "id": worker.id.hex(),
        "host": worker.host,
        "pid": worker.pid,
        "local": local,
        "runtime": worker.runtime,
        "queues": list(worker.queues),
        "slots": worker.slots,
        "busy": worker.busy,
        "lease": worker.lease,
        "started": iso(worker.started),
        "beat": iso(worker.beat),
        "silent": round(max(0.0, time.time() - worker.beat), 3),
        "jobs": _jobs(worker),
    }


def _jobs(worker: WorkerInfo) -> list[dict[str, Any]]:
    """What a worker runs, as it said with its last beat."""
    told = json.loads(worker.detail).get("jobs", [])
    return [
        {"id": id_text(bytes.fromhex(job["id"])), "short": job["id"][-8:], "task": job["task"], "pid": job["pid"]}
        for job in told
    ]


@click.command()
@url_option(existing=False)
@click.option("-q", "--queue", "queues", multiple=True, help="A queue to serve; may be given several times.")
@click.option(
    "-n", "--slots", default=2, show_default=True, type=click.IntRange(min=0), help="How many jobs run at a time."
)
@click.option(
    "--idle-exit",
    default=launch.IDLE_EXIT,
    show_default=True,
    type=click.FloatRange(min=0),
    help="It ends after so many seconds without a job.",
)
def start(url: str, queues: tuple[str, ...], slots: int, idle_exit: float) -> None:
    """Start a worker in the background.

    It outlives this terminal, and ends by itself when it has had nothing to do for a while. Returns once it is there,
    and prints its process id and its log file.
    """
    launched = asyncio.run(_start(url, queues or ("default",), slots, idle_exit))
    click.echo(f"worker {launched.pid} is running; its log is {launched.log}")


async def _start(url: str, queues: tuple[str, ...], slots: int, idle_exit: float) -> launch.Launched:
    if url.startswith("memory:"):
        raise WorkerUnavailable(f"{url} lives inside one program; a worker of its own cannot serve it")
    async with opened(url) as store:
        launched = launch.launch(url, queues=queues, slots=slots, idle_exit=idle_exit)
        deadline = time.monotonic() + _PATIENCE
        while not any(worker.pid == launched.pid for worker in launch.local((await store.count()).workers)):
            launched.check()
            if time.monotonic() > deadline:
                raise WorkerUnavailable(
                    f"worker {launched.pid} did not show up within {_PATIENCE:g} s; see its log {launched.log}"
                )
            await asyncio.sleep(_LOOK)
    return launched
