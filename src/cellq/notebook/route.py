"""Where a cell's late output goes: into the cell that enqueued the job, whatever the kernel is doing by then.

A front end knows by the parent header of a message which cell it belongs to. So the header of the cell's own
execute request is kept, and each message is sent explicitly with it, straight to the kernel's output socket; this works
from any thread, also while another cell blocks the kernel, and the front end saves it in the notebook like any other
output. (`print` and `display` from a thread would go to whichever cell runs at that moment.)

Where there is no kernel (IPython in a terminal) text is printed as it comes, and the rest by its plain-text form.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol

from cellq.message import short_id


class Route(Protocol):
    """A way to one cell's output."""

    waits: bool
    """Nobody will listen once the cell has ended (a headless run): what is to be recorded must come before that."""

    cell_id: str
    """The front end's id of the cell, "" when it does not tell."""

    def send(self, kind: str, content: Mapping[str, Any]) -> None:
        """Publish a message of this kind; from any thread."""

    def show(self, display_id: str, data: Mapping[str, Any], *, update: bool) -> None:
        """Show a mimebundle that can be replaced later, or replace it."""


class KernelRoute:
    """To a cell of a notebook, through the kernel.

    Args:
        shell: the kernel's `InteractiveShell`, while the cell is running.
    """

    def __init__(self, shell: Any) -> None:
        self._kernel = shell.kernel
        # A dict of the whole execute_request on ipykernel 6 and 7.
        parent = getattr(shell, "parent_header", None) or shell.get_parent()
        self._parent = {"header": dict(parent["header"]), "metadata": dict(parent.get("metadata") or {})}
        self.cell_id = str(self._parent["metadata"].get("cellId", ""))
        self.waits = not getattr(self._kernel, "_allow_stdin", True)
        # The kernel gathers prints for a moment; what was printed before must not be overtaken.
        sys.stdout.flush()
        sys.stderr.flush()

    def send(self, kind: str, content: Mapping[str, Any]) -> None:
        self._kernel.session.send(self._kernel.iopub_socket, kind, dict(content), parent=self._parent)

    def show(self, display_id: str, data: Mapping[str, Any], *, update: bool) -> None:
        content = {"data": dict(data), "metadata": {}, "transient": {"display_id": display_id}}
        self.send("update_display_data" if update else "display_data", content)


class TerminalRoute:
    """To a terminal: text as it comes, a line per state, no bars that rely on the cursor."""

    cell_id = ""
    waits = False

    def __init__(self, job_id: bytes) -> None:
        self._prefix = f"[{short_id(job_id)}] "
        self._at_start = True

    def send(self, kind: str, content: Mapping[str, Any]) -> None:
        if kind == "stream":
            self._print(content["text"])
        elif kind == "error":
            self._print("\n".join(content["traceback"]) + "\n")
        elif kind in ("display_data", "execute_result"):
            self._print(str(content["data"].get("text/plain", "")) + "\n")

    def show(self, display_id: str, data: Mapping[str, Any], *, update: bool) -> None:
        self._print(str(data.get("text/plain", "")) + "\n")

    def _print(self, text: str) -> None:
        lines = text.replace("\r\n", "\n").split("\r")[-1].splitlines()
        print("\n".join(self._prefix + line for line in lines), flush=True)


def route_of(shell: Any, job_id: bytes) -> Route:
    """The way to the cell that is being executed now."""
    return KernelRoute(shell) if getattr(shell, "kernel", None) is not None else TerminalRoute(job_id)
