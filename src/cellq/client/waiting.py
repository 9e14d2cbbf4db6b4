"""Why a job that is pending has not started, in one sentence for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cellq.held import held_back
from cellq.ids import short_id
from cellq.message import Counts, Filter, Lane, Row, State, WorkerInfo, lane_of
from cellq.store.contract import Store

_NAMED = 3  # jobs that are waited for and told by name
_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a pending job may be waiting for.

    Attributes:
        counts: the store in numbers, as `Store.count` gives them.
        url: of the store; for the command that would start a worker.
        parents: the first few of the jobs it is to run after.
        sharing: how many of the jobs that share its concurrency key run.
    """

    counts: Counts
    url: str
    parents: Sequence[Row] = ()
    sharing: int = 0


async def surroundings(store: Store, url: str, row: Row, counts: Counts | None = None) -> Surroundings:
    """What this job may be waiting for, as of now.

    Args:
        store: where it is.
        url: of the store, without its password.
        row: the job.
        counts: the store in numbers, where they were asked for already.
    """
    if row.state is not State.PENDING:
        return Surroundings(counts=Counts(queues={}, workers=()), url=url)
    parents = [parent for parent in await store.get(row.after[:_NAMED]) if parent is not None]
    sharing = 0 if row.concurrency_key is None else await _running(store, row.concurrency_key)
    counts = await store.count() if counts is None else counts
    return Surroundings(counts=counts, url=url, parents=parents, sharing=sharing)


async def _running(store: Store, concurrency_key: str) -> int:
    number, after = 0, None
    while True:
        page = await store.find(Filter(states=(State.RUNNING,)), after, _PAGE)
        number += sum(row.concurrency_key == concurrency_key for row in page.rows)
        after = page.after
        if after is None:
            return number


def why(row: Row, around: Surroundings, now: float) -> str:
    """What a job waits for; "" when it has started, or has ended.

    The first of what stands in its way: jobs it is to run after, a rate limit, the time it is due, a paused queue, no
    worker that serves its queue, workers with another Python only, the limit of its queue, that of its concurrency key,
    full slots, jobs in front of it. And when it expires, if it does.

    Args:
        row: the job.
        now: epoch seconds.
    """
    if row.state is not State.PENDING:
        return ""
    expires = "" if row.expires is None else f"; it expires {_moment(row.expires, now)}"
    return f"{_obstacle(row, around, now)}{expires}"


def standstill(row: Row, around: Surroundings, now: float) -> str:
    """The same without what a job's card shows by itself: when it is due, and whether anybody serves its queue."""
    if row.state is not State.PENDING:
        return ""
    if row.after:
        return _unfinished(row, around.parents)
    if row.due is not None and row.due > now:
        return ""
    return _paused(row, around) or ("" if _unserved(row, around) else _crowded(row, around))


def _obstacle(row: Row, around: Surroundings, now: float) -> str:
    if row.after:
        return _unfinished(row, around.parents)
    if row.due is not None and row.due > now:
        if (reason := held_back(row, now)) is not None:
            return f"it is held back{f': {reason}' if reason else ''}; its next try is {_moment(row.due, now)}"
        again = "its next attempt" if row.attempt else "it"
        return f"{again} is not due before {_moment(row.due, now)}"
    obstacle = _paused(row, around) or _unserved(row, around) or _crowded(row, around)
    return obstacle or f"it is about to start{_others(row, around)}"


def _paused(row: Row, around: Surroundings) -> str:
    line = around.counts.queues.get(row.queue)
    return f"its queue {row.queue!r} is paused: cellq resume {row.queue}" if line is not None and line.paused else ""


def _unserved(row: Row, around: Surroundings) -> str:
    serving = _serving(row, around)
    if not serving:
        option = "" if row.queue == "default" else f" -q {row.queue}"
        return f"no worker serves its queue {row.queue!r}; one is started by: cellq worker --url {around.url}{option}"
    if not any(row.runtime in ("", worker.runtime) for worker in serving):
        others = ", ".join(sorted({worker.runtime for worker in serving}))
        return f"it needs a worker with Python {row.runtime}, as it was enqueued; those that run have {others}"
    return ""


def _serving(row: Row, around: Surroundings) -> list[WorkerInfo]:
    return [worker for worker in around.counts.workers if row.queue in worker.queues]


def _crowded(row: Row, around: Surroundings) -> str:
    """The limits that are reached, and the slots that are full."""
    line = around.counts.queues.get(row.queue)
    running = line.states.get(State.RUNNING, 0) if line is not None else 0
    if line is not None and line.max_running is not None and running >= line.max_running:
        return f"its queue {row.queue!r} may run {line.max_running} at once, and {running} run"
    if row.concurrency_key is not None and around.sharing >= row.max_running:
        key = f"its concurrency key {row.concurrency_key!r}"
        return f"{row.max_running} with {key} may run at once, and {around.sharing} run"
    if lane_of(row.kind) is not Lane.SYNC:
        return ""
    fitting = [worker for worker in _serving(row, around) if row.runtime in ("", worker.runtime)]
    slots = sum(worker.slots for worker in fitting)
    if not slots:
        return "the workers of its queue have no slots for calls and cells, only coroutines: cellq worker -n 2"
    if sum(worker.busy for worker in fitting) < slots:
        return ""
    full = "the only slot" if slots == 1 else f"all {slots} slots"
    return f"{full} of the workers of its queue {'is' if slots == 1 else 'are'} busy{_others(row, around)}"


def _others(row: Row, around: Surroundings) -> str:
    line = around.counts.queues.get(row.queue)
    pending = line.states.get(State.PENDING, 0) if line is not None else 0
    others = "1 other job waits" if pending == 2 else f"{pending - 1:,} other jobs wait"
    return f"; {others} in its queue" if pending > 1 else ""


def _unfinished(row: Row, parents: Sequence[Row]) -> str:
    """The jobs it is to run after, by name."""
    names = ", ".join(f"{parent.name or parent.task} {short_id(parent.id)} ({parent.state})" for parent in parents)
    if len(row.after) == 1:
        return f"it waits for job {names or short_id(row.after[0])}"
    more = f" and {len(row.after) - len(parents):,} more" if len(row.after) > len(parents) else ""
    return f"it waits for {len(row.after):,} jobs: {names}{more}"


def _moment(moment: float, now: float) -> str:
    """A time that is near by its seconds, one that is far by its date."""
    if moment - now < 3600:
        return f"{max(1, round(moment - now))} s from now"
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M %Z").strip()
