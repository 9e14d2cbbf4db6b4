"""What one notebook has going: its queues, the cells it has enqueued, and the way back for each.

     %%enqueue ─▶ pack ─▶ push ─▶ Inline (portal's thread) ─▶ the cell
                                     └ ended ─▶ Doorstep ─▶ merge into the namespace (main thread, between cells)
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from cellq import settings
from cellq.cell.parcel import Packed, pack
from cellq.cell.returned import Merged, Returned, merge
from cellq.client.portal import portal
from cellq.client.sync import Job, Queue
from cellq.errors import CellqError
from cellq.message import Options, Row, State
from cellq.notebook.inline import Inline
from cellq.notebook.returning import Doorstep
from cellq.notebook.route import Route, route_of
from cellq.worker import launch

_STARTING = 20.0
"""Seconds in which a worker that was launched counts as being there, though it has not said so yet."""


class Session:
    """cellq in one notebook.

    Args:
        shell: the notebook's InteractiveShell.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._doorstep = Doorstep(shell)
        self._queues: dict[str, Queue] = {}
        self._launched: dict[tuple[str, str], tuple[float, launch.Launched]] = {}

    def queue(self, url: str | None = None) -> Queue:
        """The notebook's queue object for a store; its connection is shared by all cells."""
        full = settings.store_url(url)
        if full not in self._queues:
            self._queues[full] = Queue(full)
        return self._queues[full]

    def enqueue(
        self,
        source: str,
        *,
        header: str,
        options: Options,
        outputs: tuple[str, ...] | None,
        wait: bool,
        url: str | None,
    ) -> Job[Any]:
        """Send a cell to a worker and show in it what happens.

        Raises:
            SyntaxError, NotPicklable, TooLarge, StoreUnavailable, ValueError: nothing was enqueued.
        """
        namespace = self._shell.user_ns
        count = self._shell.execution_count
        packed = pack(
            source,
            namespace,
            outputs,
            count,
            header=header,
            skip=() if not options.name else (options.name,),
        )
        queue = self.queue(url).with_options(options)
        route = route_of(self._shell, b"")
        job = queue.push_cell(packed.parcel, task=f"cell [{count}]", origin=self._origin(route))
        if options.name:
            namespace[options.name] = job
        waits = wait or _waits(route)
        inline = Inline(
            job.asynchronous(),
            route,
            hold_error=waits,
            on_end=lambda row: self._doorstep.leave(lambda: self._come_back(job, packed, row, inline)),
        )
        inline.notes += packed.warnings
        inline.notes += self._see_to_worker(queue)
        inline.begin(job.row())
        following = portal().start(inline.follow())
        if waits:
            self._wait(job, inline, following)
        return job

    # ------------------------------------------------------------------------------------- coming back

    def _come_back(self, job: Job[Any], packed: Packed, row: Row, inline: Inline) -> None:
        if row.state not in (State.COMPLETED, State.FAILED):
            return
        try:
            returned = job.returned() if row.state is State.COMPLETED else job.salvaged()
            if not isinstance(returned, Returned):
                return
            merged = merge(returned, self._shell.user_ns, packed.snapshot)
        except CellqError as error:
            inline.note(f"nothing came back: {error}")
            return
        except Exception as error:
            inline.note(f"what it gave could not be brought back: {type(error).__name__}: {error}")
            return
        for line in _told(merged, returned, self._shell.user_ns, job.name):
            inline.note(line)

    def _wait(self, job: Job[Any], inline: Inline, following: Any) -> None:
        """Block this cell until its job has ended and everything is shown; a failure becomes the cell's own."""
        try:
            job.wait()
            following.result()
        except KeyboardInterrupt:
            inline.note("interrupted: the cell does not wait any more, the job goes on")
            raise
        self._doorstep.bring_in()
        if job.state is not State.COMPLETED:
            raise_again(job, inline.error)

    # ----------------------------------------------------------------------------------------- workers

    def _see_to_worker(self, queue: Queue) -> list[str]:
        """Start a worker when none serves this queue; what to tell about it."""
        key = (queue.url, queue.name)
        if any(queue.name in worker.queues and worker.slots for worker in queue.workers()):
            return []
        since, launched = self._launched.get(key, (0.0, None))
        if launched is not None and time.monotonic() - since < _STARTING:
            launched.check()
            return []
        if not queue.url.startswith("sqlite:"):
            return [f"no worker serves queue {queue.name!r}; start one with: cellq worker --url {queue.url} -q {queue.name}"]
        slots = max(2, min(os.cpu_count() or 2, 4))
        launched = launch.launch(queue.url, queues=(queue.name,), slots=slots)
        self._launched[key] = (time.monotonic(), launched)
        return [f"no worker was running: started one with {slots} slots (process {launched.pid}, log {launched.log})"]

    def _origin(self, route: Route) -> str:
        path = os.environ.get("JPY_SESSION_NAME") or self._shell.user_ns.get("__vsc_ipynb_file__") or ""
        return json.dumps({"notebook": str(path), "cell": route.cell_id, "pid": os.getpid()})

    def close(self) -> None:
        """Let go of the shell. Jobs go on."""
        self._doorstep.close()


def _waits(route: Route) -> bool:
    told = os.environ.get("CELLQ_WAIT")
    return route.waits if told not in ("0", "1") else told == "1"


def _told(merged: Merged, returned: Returned, namespace: Mapping[str, Any], name: str) -> list[str]:
    """What did not come back, in quiet lines."""
    lines = list(returned.notes) + list(merged.problems)
    if merged.skipped:
        names = ", ".join(merged.skipped)
        lines.append(f"{names} was rebound here meanwhile and is left as it is; {name or 'job'}[…] has the job's")
    for left, reason in merged.left_behind.items():
        lines.append(f"{left} stayed in the worker: {reason}")
    if returned.value_problem:
        lines.append(f"the last value stayed in the worker: {returned.value_problem}")
    return lines


def raise_again(job: Job[Any], shown: Mapping[str, Any] | None) -> NoReturn:
    """Raise a job's failure as if this cell had raised it, with the traceback from the worker.

    Raises:
        the job's own exception where it could be rebuilt, else JobFailed and its kin.
    """
    failure = job.exception()
    assert failure is not None
    error = failure.__cause__ if shown is not None and failure.__cause__ is not None else failure
    if shown is not None:
        lines = list(shown["traceback"])
        error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]  # what IPython asks an exception for
    error.__cause__ = None
    raise error

