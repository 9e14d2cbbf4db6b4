"""What a cell gave comes back into the notebook: on the main thread, and between cells, never in the middle of one.

A job may end while another cell runs. What it gave then waits on the doorstep until that cell has ended: a cell must
not see a name change under its feet. The next cell, however soon it starts, finds the names in place. A cell that
waits for the job itself (`fit.result()`, `await fit`) asks for them, and has them from there on.

     job ended ──▶ Homecoming ──▶ Doorstep ── cell ended ──▶ merge into the namespace, once
                        └────── fit.result() in the running cell ──▶ the same, at once
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from cellq.cell.parcel import Snapshot
from cellq.cell.returned import Merged, Returned, merge
from cellq.cell.stub import Stub
from cellq.client.sync import Job
from cellq.message import State

R = TypeVar("R")

log = logging.getLogger("cellq.notebook")


class Doorstep:
    """Where what came back waits until the notebook is between cells.

    Args:
        shell: the notebook's InteractiveShell.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._waiting: deque[Callable[[], None]] = deque()
        self._cell: object = self  # the outermost cell that runs, None between cells; `%load_ext` runs in one
        shell.events.register("pre_run_cell", self._before_cell)
        shell.events.register("post_run_cell", self._after_cell)

    def leave(self, bring_in: Callable[[], None]) -> None:
        """Call this as soon as no cell runs, on the main thread. From any thread."""
        self._waiting.append(bring_in)
        loop = self._loop()
        if loop is not None:
            loop.call_soon_threadsafe(self._if_between_cells)

    def bring_in(self) -> None:
        """Call now what waits."""
        while self._waiting:
            bring_in = self._waiting.popleft()
            try:
                bring_in()
            except Exception:
                log.exception("what a job gave could not be brought into the notebook")

    def close(self) -> None:
        """Let go of the shell."""
        self._shell.events.unregister("pre_run_cell", self._before_cell)
        self._shell.events.unregister("post_run_cell", self._after_cell)

    def _loop(self) -> Any:
        # The kernel's own loop, in its main thread. A terminal has none: there the next cell brings it in.
        kernel = getattr(self._shell, "kernel", None)
        io_loop = getattr(kernel, "io_loop", None)
        return getattr(io_loop, "asyncio_loop", None)

    def _if_between_cells(self) -> None:
        if self._cell is None:
            self.bring_in()

    def _before_cell(self, info: object = None) -> None:
        if self._cell is None or self._cell is self:
            self.bring_in()
            self._cell = info or self

    def _after_cell(self, result: object = None) -> None:
        # Code may run cells within a cell (`get_ipython().run_cell`): only the end of the outermost one counts.
        if self._cell is self or self._cell is None or self._cell is getattr(result, "info", None):
            self._cell = None
            self.bring_in()


class Homecoming:
    """The way back of one job's names; they come once, and again each time it is run again.

    Args:
        job: the cell's job.
        namespace: the notebook's.
        sent: what the notebook held when the cell was packed; None when that was another kernel: then only names that
            do not exist here are bound, and it is told which.
        tell: takes lines for people about what did not come back.
        session: the session in which it ran, "" for none: what stays there gets a stub here.

    Attributes:
        brought: the names that were bound, with the ids of what they were bound to.
    """

    def __init__(
        self,
        job: CellJob[Any],
        namespace: dict[str, object],
        sent: Snapshot | None,
        tell: Callable[..., None],
        session: str = "",
    ) -> None:
        self._job = job
        self._namespace = namespace
        self._known = sent is not None
        self._sent = sent or Snapshot(0, {}, {}, {})
        self._tell = tell
        self._session = session
        self._came: int | None = None  # which ending of the job it has come for: it may be run again
        self._waived = False
        self.brought: dict[str, int] = {}

    def waive(self) -> None:
        """Do not come any more: another way back is there."""
        self._waived = True

    def come(self) -> None:
        """Bring in what the cell gave, if it has ended and this has not been brought in. On the main thread only."""
        if self._waived or not self._job.done():
            return
        ended = self._job.ending
        if ended == self._came:
            return
        self._came = ended
        try:
            returned = self._job.returned() if self._job.state is State.COMPLETED else self._job.salvaged()
            if isinstance(returned, Returned):
                merged = self._with_stubs(merge(returned, self._namespace, self._sent))
                self.brought = {name: id(self._namespace[name]) for name in merged.set_names if name in self._namespace}
                lines = _told(merged, returned, self._namespace, self._job.name, known=self._known)
                if not self._known and merged.set_names:
                    lines.insert(0, f"brought back: {', '.join(merged.set_names)}")
                self._tell(*lines)
        except Exception as error:
            # Unpickling runs whatever the values bring along.
            self._tell(f"what it gave could not be brought back: {type(error).__name__}: {error}")

    def _with_stubs(self, merged: Merged) -> Merged:
        """Names whose values stay in their session are bound to stubs, unless the user has rebound them."""
        if not self._session:
            return merged
        for name in merged.left_behind:
            there = self._namespace.get(name)
            if isinstance(there, Stub) or self._sent.is_original(name, self._namespace):
                self._namespace[name] = Stub(name, self._session)
        stays = f"stays in session {self._session!r}"
        return replace(merged, left_behind=dict.fromkeys(merged.left_behind, stays))


def _told(merged: Merged, returned: Returned, namespace: Mapping[str, object], name: str, *, known: bool) -> list[str]:
    """What did not come back, in quiet lines."""
    handle = name if isinstance(namespace.get(name), Job) else "job"
    lines = [*returned.notes, *merged.problems]
    for skipped in merged.skipped:
        if skipped == handle:
            lines.append(f'{skipped} is the job itself here; what the cell assigned to it is {handle}["{skipped}"]')
    kept = [skipped for skipped in merged.skipped if skipped != handle]
    if kept:
        why = "rebound here meanwhile" if known else "exists here"
        lines.append(f'{", ".join(kept)}: {why}, left as it is; {handle}["{kept[0]}"] has the job\'s')
    lines += [
        f"{left} {reason if isinstance(namespace.get(left), Stub) else f'stayed in the worker: {reason}'}"
        for left, reason in merged.left_behind.items()
    ]
    if returned.value_problem:
        lines.append(f"the last value stayed in the worker: {returned.value_problem}")
    return lines


class CellJob(Job[R]):
    """The job of a notebook cell, as the notebook that enqueued it holds it: waiting for it brings its names in."""

    __slots__ = ("_homecoming",)

    def __init__(self, job: Job[R]) -> None:
        super().__init__(job._record)
        self._homecoming: Homecoming | None = None

    @property
    def line(self) -> tuple[str, str]:
        """The full URL of its store and the name of its queue."""
        row = self._record.row or self.row()
        return self._record.connection.full_url, row.queue

    @property
    def ending(self) -> int | None:
        """Which of all endings in its store was the job's, as far as is known; another one when it was run again."""
        row = self._record.row
        return None if row is None else row.ended

    def expect(self, homecoming: Homecoming) -> None:
        """Bring the names in this way whenever the notebook has waited for the job."""
        self._homecoming = homecoming

    def result(self, timeout: float | None = None) -> R:
        try:
            return super().result(timeout)
        finally:
            self._bring_in()

    def wait(self, timeout: float | None = None) -> bool:
        ended = super().wait(timeout)
        self._bring_in()
        return ended

    def __await__(self) -> Generator[Any, None, R]:
        try:
            return (yield from super().__await__())
        finally:
            self._bring_in()

    def _bring_in(self) -> None:
        if self._homecoming is not None and threading.current_thread() is threading.main_thread():
            self._homecoming.come()
