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


class Route(Protocol):
    """A way to one cell's output."""

    cell_id: str
    """The front end's id of the cell, "" when it does not tell."""

    headless: bool
    """Nobody listens once the cell has ended (nbclient, nbconvert, papermill): what is to be recorded comes before."""

    widgets: bool
    """A front end is there that may draw widgets."""

    def send(self, kind: str, content: Mapping[str, Any]) -> None:
        """Publish a message of this kind; from any thread."""


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
        self.run = str(parent["header"].get("msg_id", ""))  # of the cell
        self.page = str(parent["header"].get("session", ""))  # that ran it
        # Told with each execute request: whoever runs notebooks without a person forbids questions.
        self.headless = getattr(self._kernel, "_allow_stdin", True) is False
        self.widgets = not self.headless and "google.colab" not in sys.modules
        # The kernel gathers prints for a moment; what was printed before must not be overtaken.
        sys.stdout.flush()
        sys.stderr.flush()

    def send(self, kind: str, content: Mapping[str, Any]) -> None:
        self._kernel.session.send(self._kernel.iopub_socket, kind, dict(content), parent=self._parent)


class TerminalRoute:
    """To a terminal: text as it comes, each line with the job's name in front; no bars that rely on the cursor."""

    cell_id = ""
    headless = False
    widgets = False

    def __init__(self, label: str) -> None:
        self._prefix = f"[{label}] "

    def send(self, kind: str, content: Mapping[str, Any]) -> None:
        if kind == "stream":
            self._print(content["text"])
        elif kind == "error":
            self._print("\n".join(content["traceback"]))
        elif kind in ("display_data", "execute_result"):
            self._print(str(content["data"].get("text/plain", "")))

    def _print(self, text: str) -> None:
        for line in text.splitlines():
            print(self._prefix + line, flush=True)


def route_of(shell: Any, label: str) -> Route:
    """The way to the cell that is being executed now.

    Args:
        label: what a terminal calls the job.
    """
    return KernelRoute(shell) if getattr(shell, "kernel", None) is not None else TerminalRoute(label)
