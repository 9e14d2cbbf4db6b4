"""Looking at jobs: `cellq jobs`, `cellq show`."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import click

from cellq.cli.place import find_job, opened, url_option
from cellq.cli.screen import clock, duration, iso, number, print_json, print_table, visible
from cellq.client.sync import Queue
from cellq.held import held_back
from cellq.ids import id_text, short_id
from cellq.message import Filter, Row, State, WorkerInfo
from cellq.timetable import own_rows

_PAGE = 500
_UNWILLING = ("dependency", "expired")  # causes of a cancelling that nobody asked for


@click.command()
@url_option()
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in State], case_sensitive=False),
    help="Only jobs in this state; may be given several times.",
)
@click.option("-q", "--queue", help="Only jobs of this queue.")
@click.option("--name", help="Only jobs of exactly this name.")
@click.option("-n", "--limit", default=50, show_default=True, type=click.IntRange(min=1), help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def jobs(url: str, states: tuple[str, ...], queue: str | None, name: str | None, limit: int, as_json: bool) -> None:
    """List jobs, newest first.

    With --json, an array of objects with the keys id, short, name, task, kind (call, coroutine, cell), queue, state
    (pending, running, completed, failed, cancelled), cancelling, priority, attempt, retries, timeout, key,
    concurrency_key, max_running (of the jobs with that key, at once), runtime, created, due, expires, after (ids of the
    jobs it still waits for), started, finished, duration, worker, progress, failure (null, or cause, types, message,
    traceback) and origin. Times are ISO 8601 in UTC, durations seconds; what there is not is null.
    """
    wanted = Filter(queue=queue, states=tuple(State(state) for state in states), name=name)
    rows, more = asyncio.run(_newest(url, wanted, limit))
    if as_json:
        print_json([record(row) for row in rows])
        return
    if not rows:
        click.echo("no such jobs" if wanted != Filter() else "no jobs")
        return
    print_table(
        ("id", "state", "name", "queue", "age", "took", "what else"),
        [
            (
                short_id(row.id),
                "stopping" if row.cancelling else row.state.value,
                row.name or row.task,
                row.queue,
                duration(time.time() - row.created),
                took(row),
                remark(row),
            )
            for row in rows
        ],
        elastic=("name", "what else"),
    )
    if more:
        click.echo(f"there are older ones; -n {limit * 10} shows more", err=True)


async def _newest(url: str, wanted: Filter, limit: int) -> tuple[list[Row], bool]:
    async with opened(url) as store:
        rows: list[Row] = []
        after = None
        while len(rows) < limit:
            page = await store.find(wanted, after, min(_PAGE, limit - len(rows)))
            rows += page.rows if wanted.queue else own_rows(page.rows)
            after = page.after
            if after is None:
                break
        return rows, after is not None


@click.command()
@url_option()
@click.argument("job", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object, with the keys of `cellq jobs --json`.")
def show(url: str, job: str, as_json: bool) -> None:
    """Show one job: its state, its times, why it failed."""
    with Queue(url) as queue:
        found = find_job(queue, job)
        row = found.row()
        if as_json:
            print_json(record(row))
            return
        waits_for = found.why()
        workers = {worker.id: worker for worker in queue.workers()} if row.worker else {}
    for heading, text in _facts(row, workers, waits_for):
        click.echo(f"{heading:<9} {visible(text)}")
    if row.failure is not None and row.failure.traceback:
        click.echo()
        click.echo(row.failure.traceback.rstrip("\n"))


def record(row: Row) -> dict[str, Any]:
    """A job as programs read it; the keys are those that `cellq jobs --help` tells."""
    failure = row.failure
    return {
        "id": id_text(row.id),
        "short": short_id(row.id),
        "name": row.name or row.task,
        "task": row.task,
        "kind": row.kind.value,
        "queue": row.queue,
        "state": row.state.value,
        "cancelling": row.cancelling,
        "priority": row.priority,
        "attempt": row.attempt,
        "retries": row.retries,
        "timeout": row.timeout,
        "key": row.key,
        "concurrency_key": row.concurrency_key,
        "max_running": row.max_running if row.concurrency_key is not None else None,
        "runtime": row.runtime or None,
        "created": iso(row.created),
        "due": iso(row.due),
        "expires": iso(row.expires),
        "after": [id_text(parent) for parent in row.after],
        "started": iso(row.started),
        "finished": iso(row.finished),
        "duration": _seconds(row),
        "worker": row.worker.hex() if row.worker else None,
        "progress": _bars(row),
        "failure": None
        if failure is None
        else {
            "cause": failure.cause,
            "types": list(failure.types),
            "message": failure.message,
            "traceback": failure.traceback,
        },
        "origin": _origin(row) or None,
    }


def _facts(row: Row, workers: dict[bytes, WorkerInfo], waits_for: str) -> list[tuple[str, str]]:
    """What `show` tells, line by line."""
    facts = [
        ("job", id_text(row.id)),
        ("name", row.name or row.task),
        ("state", f"{row.state} (asked to stop)" if row.cancelling else row.state.value),
        ("queue", row.queue + (f", priority {row.priority}" if row.priority else "")),
        ("kind", row.kind.value + (f" of {row.task}" if row.name not in ("", row.task) else "")),
    ]
    if row.key is not None:
        facts.append(("key", row.key))
    if row.concurrency_key is not None:
        facts.append(("shares", f"{row.concurrency_key}, of which {row.max_running} may run at once"))
    facts.append(("created", clock(row.created)))
    if row.due is not None and row.state is State.PENDING:
        facts.append(("due", clock(row.due)))
    if row.expires is not None:
        facts.append(("expires", clock(row.expires)))
    if waits_for:
        facts.append(("waits", waits_for))
    if row.started is not None:
        facts.append(("started", clock(row.started)))
    if row.finished is not None:
        facts.append(("finished", clock(row.finished)))
    if took(row):
        facts.append(("took", took(row) + (f" (may take {duration(row.timeout)})" if row.timeout else "")))
    if row.attempt or row.retries:
        facts.append(("attempt", f"{row.attempt} of {row.retries + 1}"))
    if row.state is State.RUNNING and row.worker:
        worker = workers.get(row.worker)
        facts.append(("worker", f"process {worker.pid} on {worker.host}" if worker else "not seen any more"))
    if row.runtime:
        facts.append(("python", row.runtime))
    origin = ", ".join(f"{key} {value}" for key, value in _origin(row).items() if value not in ("", None))
    if origin:
        facts.append(("from", origin))
    facts += [("progress", _bar(bar)) for bar in _bars(row)]
    if row.failure is not None:
        facts.append(("why", _reason(row)))
    return facts


def remark(row: Row) -> str:
    """What else a line of the list says."""
    said, now = [], time.time()
    held = held_back(row, now)
    if held:
        said.append(f"held back: {held}")
    if row.state is State.PENDING and row.due is not None:
        said.append(f"{'due' if held is None else 'next try'} in {duration(row.due - now)}")
    if row.after:
        said.append(f"waits for {number(len(row.after), 'job')}")
    if row.expires is not None:
        said.append(f"expires in {duration(row.expires - now)}")
    if row.state is State.PENDING and row.attempt:
        said.append(f"tried {row.attempt} of {row.retries + 1} times")
    elif row.attempt > 1:
        said.append(f"attempt {row.attempt} of {row.retries + 1}")
    if row.state is State.RUNNING:
        said += [_bar(bar) for bar in _bars(row)[:1]]
    unwilling = row.state is State.CANCELLED and row.failure is not None and row.failure.cause in _UNWILLING
    if unwilling or (row.state is State.FAILED and row.failure is not None):
        said.append(_reason(row))
    return ", ".join(said)


def _reason(row: Row) -> str:
    """Why the last attempt failed, on one line."""
    failure = row.failure
    assert failure is not None
    first = failure.message.strip().partition("\n")[0]
    return first or failure.cause


def _seconds(row: Row) -> float | None:
    """How long the latest attempt has been running, or ran."""
    if row.started is None or row.state is State.PENDING:
        return None
    return round(max(0.0, (time.time() if row.finished is None else row.finished) - row.started), 3)


def took(row: Row) -> str:
    seconds = _seconds(row)
    return "" if seconds is None else duration(seconds)


def _bars(row: Row) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(row.progress) if row.progress else []
    return found


def _bar(bar: dict[str, Any]) -> str:
    """A bar's numbers in words: "epochs 3/20, loss=0.3"."""
    total, done = bar.get("total"), bar.get("n") or 0
    count = f"{done:g}/{total:g}" if isinstance(total, int | float) else f"{done:g}"
    said = f"{bar.get('desc') or ''} {count}".strip()
    return f"{said}, {bar['note']}" if bar.get("note") else said


def _origin(row: Row) -> dict[str, Any]:
    try:
        found = json.loads(row.origin) if row.origin else {}
    except ValueError:
        found = {"origin": row.origin}
    return found if isinstance(found, dict) else {"origin": found}
