"""The ways in which a card is shown; which one is chosen once, when a job is enqueued.

| where | view |
|---|---|
| JupyterLab, Notebook 7, VS Code | `LiveView` (cellq.notebook.cards.widgets): a widget, replaced by HTML at the end |
| the same without anywidget, Colab | `StaticView`: HTML, replaced twice a second at most |
| nbclient, nbconvert, papermill | `RecordedView`: HTML, replaced once, when the job has ended |
| IPython in a terminal | `LineView`: a line per change of state |

All of them are told each new face and draw it when it would look different. A view may be called from any thread, but
only from one at a time.
"""

from __future__ import annotations

import time
from typing import Protocol

from cellq.notebook.cards.card import Face, bundle, text
from cellq.notebook.route import Route

_APART = 0.5
"""Seconds between two drawings of a card that is HTML: the front end builds each one anew."""


class View(Protocol):
    """A card on somebody's screen."""

    def begin(self, face: Face) -> None:
        """Show it below what the cell shows so far; also again, after the cell's output was cleared."""

    def draw(self, face: Face) -> bool:
        """Show what has changed; whether anything was sent."""

    def end(self, face: Face) -> None:
        """Show it as it is to be kept. May be called again, when there is something to add."""


class StaticView:
    """A card in HTML, found again by a display id.

    Args:
        route: the way to the cell.
        display_id: of this card, unique in the notebook.
    """

    def __init__(self, route: Route, display_id: str) -> None:
        self._route = route
        self._display_id = display_id
        self._shown: dict[str, str] = {}
        self._at = 0.0

    def begin(self, face: Face) -> None:
        self._send("display_data", bundle(face))

    def draw(self, face: Face) -> bool:
        return time.monotonic() - self._at >= _APART and self._update(face)

    def end(self, face: Face) -> None:
        self._update(face)

    def _update(self, face: Face) -> bool:
        shown = bundle(face)
        if shown == self._shown:
            return False
        self._send("update_display_data", shown)
        return True

    def _send(self, kind: str, shown: dict[str, str]) -> None:
        self._shown, self._at = shown, time.monotonic()
        self._route.send(kind, {"data": shown, "metadata": {}, "transient": {"display_id": self._display_id}})


class RecordedView(StaticView):
    """A card that nobody watches: only how it ends is recorded."""

    def draw(self, face: Face) -> bool:
        return False


class LineView:
    """A line of text for each change of state and each note."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._label = ""
        self._notes = 0

    def begin(self, face: Face) -> None:
        self.draw(face)

    def draw(self, face: Face) -> bool:
        news = []
        if face.label != self._label:
            news.append(text(face).splitlines()[0])
        news += face.notes[self._notes :]
        self._label, self._notes = face.label, len(face.notes)
        if news:
            self._route.send("stream", {"name": "stdout", "text": "\n".join(news) + "\n"})
        return bool(news)

    def end(self, face: Face) -> None:
        self.draw(face)
