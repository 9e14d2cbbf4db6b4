"""Widgets that a job shows: their text at once, themselves as soon as they are in the notebook.

    job      display(slider) ──▶ text and view, with the id that the slider has in the slot
    cell     text; of a result nothing yet
    job has ended ──▶ the slider comes home with the names, and keeps its id
    cell     the view, in place of the text: it is the notebook's own slider now, and answers

What does not come home (it cannot travel, or is shown in another notebook) stays text.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from cellq import here

Send = Callable[[str, dict[str, Any]], None]


class Widgets:
    """The widgets of one job in one cell.

    Args:
        send: publishes a message in the cell.
        drawn: whether there is somebody who draws or records widgets.
    """

    def __init__(self, send: Send, drawn: bool) -> None:
        self._send = send
        self._drawn = drawn
        self._held: list[tuple[str, dict[str, Any]]] = []

    def send(self, kind: str, content: dict[str, Any]) -> None:
        """Publish a message; what it shows of widgets that are not here yet follows with `show`."""
        if here.VIEW not in content.get("data", {}) or (self._drawn and _is_here(content)):
            self._send(kind, content)
        elif not self._drawn:
            self._send(kind, _as_text(content))
        elif kind == "execute_result":  # front ends do not update those
            self._held.append((kind, content))
        else:
            transient = {"display_id": uuid.uuid4().hex, **content.get("transient", {})}
            self._held.append(("update_display_data", {**content, "transient": transient}))
            self._send(kind, {**_as_text(content), "transient": transient})

    def show(self) -> None:
        """The job has ended, and what it gave is here."""
        held, self._held = self._held, []
        for kind, content in held:
            if _is_here(content):
                self._send(kind, content)
            elif kind == "execute_result":
                self._send(kind, _as_text(content))

    def clear(self) -> None:
        """What was shown so far is gone from the cell."""
        self._held.clear()


def _is_here(content: dict[str, Any]) -> bool:
    return here.widget(content["data"][here.VIEW].get("model_id")) is not None


def _as_text(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "data": {mime: data for mime, data in content["data"].items() if mime != here.VIEW}}
