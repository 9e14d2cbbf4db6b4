"""Why a job that is pending has not started, in one sentence for people."""

from __future__ import annotations

from datetime import datetime

from cellq.message import Counts, Lane, Row, State, WorkerInfo, lane_of


def why(row: Row, counts: Counts, url: str, now: float) -> str:
    """What a job waits for; "" when it has started, or has ended.

    The first of what stands in its way: the time it is due, a paused queue, no worker that serves its queue, workers
    with another Python only, full slots, jobs in front of it.

    Args:
        row: the job.
        counts: the store in numbers, as `Store.count` gives them.
        url: of the store; for the command that would start a worker.
        now: epoch seconds.
    """
    if row.state is not State.PENDING:
        return ""
    if row.due is not None and row.due > now:
        again = "its next attempt" if row.attempt else "it"
        return f"{again} is not due before {_moment(row.due, now)}"
    line = counts.queues.get(row.queue)
    if line is not None and line.paused:
        return f"its queue {row.queue!r} is paused: cellq resume {row.queue}"
    serving = [worker for worker in counts.workers if row.queue in worker.queues]
    if not serving:
        option = "" if row.queue == "default" else f" -q {row.queue}"
        return f"no worker serves its queue {row.queue!r}; one is started by: cellq worker --url {url}{option}"
    fitting = [worker for worker in serving if row.runtime in ("", worker.runtime)]
    if not fitting:
        others = ", ".join(sorted({worker.runtime for worker in serving}))
        return f"it needs a worker with Python {row.runtime}, as it was enqueued; those that run have {others}"
    return _busy(row, fitting, line.states.get(State.PENDING, 0) if line is not None else 0)


def _busy(row: Row, workers: list[WorkerInfo], pending: int) -> str:
    if lane_of(row.kind) is Lane.SYNC and not any(worker.slots for worker in workers):
        return "the workers of its queue have no slots for calls and cells, only coroutines: cellq worker -n 2"
    slots = sum(worker.slots for worker in workers)
    busy = sum(worker.busy for worker in workers)
    others = f"; {pending - 1:,} other jobs wait in its queue" if pending > 1 else ""
    if lane_of(row.kind) is Lane.SYNC and busy >= slots:
        return f"all {slots} slots of the workers of its queue are busy{others}"
    return f"it is about to start{others}"


def _moment(moment: float, now: float) -> str:
    """A time that is near by its seconds, one that is far by its date."""
    if moment - now < 3600:
        return f"{max(1, round(moment - now))} s from now"
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M %Z").strip()
