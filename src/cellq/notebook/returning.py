"""Names come back into the notebook: on the main thread, and between cells, never in the middle of one.

A job may end while another cell runs. What it gave is then kept until that cell has ended: a cell must not see a name
change under its feet. The next cell, however soon it starts, finds the names in place.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

log = logging.getLogger("cellq.notebook")


class Doorstep:
    """Where what came back waits until the notebook is between cells.

    Args:
        shell: the notebook's InteractiveShell.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._waiting: deque[Callable[[], None]] = deque()
        self._in_cell = True  # `%load_ext` and imports run in a cell
        shell.events.register("pre_run_cell", self._before_cell)
        shell.events.register("post_run_cell", self._after_cell)

    def leave(self, bring_in: Callable[[], None]) -> None:
        """Call this as soon as no cell runs, on the main thread. From any thread."""
        self._waiting.append(bring_in)
        loop = self._loop()
        if loop is not None:
            loop.call_soon_threadsafe(self._if_between_cells)

    def bring_in(self) -> None:
        """Call now what waits; for a cell that has waited for its job."""
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
        # The kernel's own loop, in its main thread. A terminal has none: there the next prompt's cell brings it in.
        kernel = getattr(self._shell, "kernel", None)
        io_loop = getattr(kernel, "io_loop", None)
        return getattr(io_loop, "asyncio_loop", None)

    def _if_between_cells(self) -> None:
        if not self._in_cell:
            self.bring_in()

    def _before_cell(self, *_: object) -> None:
        self.bring_in()
        self._in_cell = True

    def _after_cell(self, *_: object) -> None:
        self._in_cell = False
        self.bring_in()
