"""Widgets of ipywidgets in a slot: `with output:`, also by way of `interact`; and which ones a cell has shown.

In a notebook the front end does that: the widget tells it to listen, and it puts what it hears into the widget. A slot
has no front end, so here its shell does it. The widget brings its content home with it. It gets it when the cell has
ended, for a kernel that runs a cell does not listen to its front end.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

from cellq import here
from cellq.cell import imported

Output = dict[str, Any]
"""One output, as notebooks hold it."""


class Stream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` while a widget listens."""

    def __init__(self, name: str, said: list[Output]) -> None:
        self._name, self._said = name, said

    def write(self, text: str) -> int:
        """Text goes behind what this stream has said last, if nothing else came between."""
        if self._said and self._said[-1].get("name") == self._name:
            self._said[-1]["text"] += text
        elif text:
            self._said.append({"output_type": "stream", "name": self._name, "text": text})
        return len(text)

    def writable(self) -> bool:
        """Always."""
        return True


class Listener:
    """One Output widget between `__enter__` and `__exit__`."""

    def __init__(self, widget: Any) -> None:
        self.widget = widget
        self.said: list[Output] = []
        self.cleared = False
        self._before = sys.stdout, sys.stderr
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = Stream("stdout", self.said), Stream("stderr", self.said)

    def hear(self, kind: str, content: dict[str, Any]) -> bool:
        """Take a message of the shell; False if it is not for a widget."""
        if kind == "clear_output":
            self.said.clear()
            self.cleared = True
        elif kind == "error":
            self.said.append({"output_type": "error", **content})
        elif kind in ("display_data", "execute_result"):
            self.said.append({"output_type": kind, "metadata": content["metadata"], "data": content["data"]})
        else:
            return False
        return True

    def end(self) -> None:
        """Listen no more."""
        sys.stdout, sys.stderr = self._before


class Cell:
    """What a cell has said to widgets so far; a function's own prints go into its log."""

    def __init__(self) -> None:
        self.listening: list[Listener] = []
        self.heard: list[Listener] = []

    def end(self) -> None:
        """What was said becomes the widgets' content."""
        for one in self.heard:
            one.widget.outputs = (*(() if one.cleared else one.widget.outputs), *one.said)


_cells: list[Cell] = []  # a cell can run a cell


def begin() -> None:
    """A cell is about to run."""
    _cells.append(Cell())


def end() -> None:
    """The cell has ended."""
    _cells.pop().end()


def heard(kind: str, content: dict[str, Any]) -> bool:
    """Offer a message of the shell to the widget that listens; whether one took it."""
    return bool(_cells and _cells[-1].listening) and _cells[-1].listening[-1].hear(kind, content)


def viewed(content: dict[str, Any]) -> list[Any]:
    """The widget of which a message shows the view, if there is one."""
    widget = here.widget(content.get("data", {}).get(here.VIEW, {}).get("model_id"))
    return [] if widget is None else [widget]


def listen(show: Callable[[Any], None]) -> None:
    """Serve the Output widgets of this process, from now on or as soon as there are any.

    Args:
        show: shows an exception, (type, exception, traceback).
    """

    def enter(widget: Any) -> None:
        if _cells:
            _cells[-1].listening.append(Listener(widget))

    def leave(widget: Any, kind: Any, error: Any, traceback: Any) -> bool:
        shown = kind is not None and issubclass(kind, Exception)  # and not an interrupt, which is to stop the job
        if shown:
            show((kind, error, traceback))
        if _cells and _cells[-1].listening:
            one = _cells[-1].listening.pop()
            one.end()
            _cells[-1].heard.append(one)
        return shown  # as in a notebook, the cell goes on then

    def serve() -> None:
        output: Any = sys.modules["ipywidgets"].Output
        output.__enter__, output.__exit__ = enter, leave

    serve() if "ipywidgets" in sys.modules else imported.when("ipywidgets", serve)
