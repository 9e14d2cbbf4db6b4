"""The live card: one widget per job, which a page keeps alive through a reload, with a button that works at any time.

    kernel                                                     page
    LiveView.draw(face) ── trait `face` ─────────────────────▶ card.js draws it
           on_command ◀── {"cmd": "cancel", "job": id} ────── a click on a button (Face.actions)
                 seen ◀── {"cmd": "view", "page": id} ─────── a view was drawn
    LiveView.end(face)  ── update_display_data: plain HTML ──▶ the widget is gone, the saved notebook needs none

What has ended well needs its widget no more. What may be tried again keeps it, without a view: as long as this kernel
lives, card.js puts a card with buttons where the page shows the plain HTML.

A click may arrive in a thread beside the kernel's main one (a subshell) while a cell runs. So its handler does one
thing only: it sends the request to the store.

A page that cannot draw the widget (its server has no anywidget) never says "view": after a while the card becomes plain
HTML there, and the next ones begin as such. If the word was only late, because a cell kept the kernel busy, the card
comes alive again.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from cellq.client.portal import portal
from cellq.notebook.cards.card import CSS, Face, bundle
from cellq.notebook.cards.views import LineView, RecordedView, StaticView, View
from cellq.notebook.route import Route, TerminalRoute

log = logging.getLogger("cellq.notebook")

SCRIPT = Path(__file__).with_name("card.js")

_PATIENCE = 5.0
"""Seconds in which a page should have drawn the widget."""

_LINGER = 5.0
"""Seconds after the end for which the widget is kept: the page must have replaced it before it is closed."""

_MOST_ENDED = 20
"""Cards of ended jobs that keep their widgets for the sake of their buttons; a page that is reloaded loads them all."""


OnCommand = Callable[[str, str], None]
"""Takes the command of a button and the job it is about."""


@functools.cache
def card_type() -> Any:
    """The widget's class; None where anywidget is not installed. Imported on first use: it takes its time."""
    try:
        import anywidget
        import traitlets
    except ImportError:
        return None

    class Card(anywidget.AnyWidget):
        """The live card of one job."""

        _esm = SCRIPT
        _css = CSS
        face = traitlets.Dict().tag(sync=True)

    return Card


class LiveView:
    """A card as a widget.

    Args:
        route: the way to the cell.
        display_id: of this card, unique in the notebook.
        model_id: of the widget; made from the job's id, so that another kernel can bring the same card to life.
        on_command: called with an Action's command and job when its button is pressed, in any thread; must return at
            once.
    """

    blind = False
    """The page of this kernel has not drawn the last card."""

    _ended: ClassVar[deque[LiveView]] = deque()
    """Those whose widgets are kept after the end, the oldest first."""

    def __init__(self, route: Route, display_id: str, model_id: str, on_command: OnCommand) -> None:
        self._route = route
        self._display_id = display_id
        self._on_command = on_command
        self._static = StaticView(route, display_id)
        self._pages: set[str] = set()
        self._as_html = False  # drawn as plain HTML for now: no page has shown the widget
        self._closed = False
        self._drawn: Face | None = None
        self._set_at = 0.0
        self._widget = card_type()(model_id=model_id)
        self._since = time.monotonic()
        self._widget.on_msg(self._heard)
        comm = self._widget.comm
        if hasattr(comm, "_reply_subshell_for"):
            # ipykernel 7.4 would deliver clicks to the shell that last used this widget: the main one, which may be
            # busy for hours. Let them come where the front end sends them.
            comm._reply_subshell_for = lambda data, default: default

    def begin(self, face: Face) -> None:
        if self._closed:
            self._static.begin(face)
            return
        if self in LiveView._ended:
            LiveView._ended.remove(self)
        self._set(face)
        self._show("display_data", face)

    def draw(self, face: Face) -> bool:
        if self._closed:
            return self._static.draw(face)
        if self._pages:
            if self._as_html:
                self._as_html = False
                self._show("update_display_data", face)
        elif time.monotonic() - self._since > _PATIENCE:
            self._as_html = LiveView.blind = True
            self._static.draw(face)
        if self._drawn is not None and face.still() == self._drawn.still():
            return False
        self._set(face)
        return True

    def end(self, face: Face) -> None:
        if not self._closed:
            self._set(face)
        self._static.end(face)
        if self._closed:
            return
        if not face.actions:
            portal().start(self._close())
        elif self not in LiveView._ended:
            LiveView._ended.append(self)
            if len(LiveView._ended) > _MOST_ENDED:
                portal().start(LiveView._ended.popleft()._close())

    async def _close(self) -> None:
        await asyncio.sleep(_LINGER)
        # A page that was reloaded may show the widget still: it does not know the display id any more.
        if len(self._pages) < 2 and not self._closed and self._drawn is not None and self._drawn.state.ended:
            self._closed = True
            self._widget.close()

    def _set(self, face: Face) -> None:
        self._drawn, self._set_at = face, time.monotonic()
        self._widget.face = face.as_json()

    def _set_clock(self) -> None:
        """A page that draws the card for the first time lets its clock run from what the face says."""
        face = self._drawn
        if face is not None and face.clock is not None and face.clock.ticks:
            seconds = face.clock.seconds + face.clock.ticks * (time.monotonic() - self._set_at)
            self._set(replace(face, clock=replace(face.clock, seconds=seconds)))

    def _show(self, kind: str, face: Face) -> None:
        self._static = StaticView(self._route, self._display_id)  # what was shown as HTML is not there any more
        shown = self._widget._repr_mimebundle_()
        data, metadata = shown if isinstance(shown, tuple) else (shown, {})
        content = {"data": {**data, **bundle(face)}, "metadata": metadata}
        self._route.send(kind, {**content, "transient": {"display_id": self._display_id}})

    def _heard(self, _: object, message: Any, __: object) -> None:
        command = str(message.get("cmd"))
        if command == "view":
            self._pages.add(str(message.get("page")))
            LiveView.blind = False
            self._set_clock()
        else:
            self._on_command(command, str(message.get("job")))


def view_of(job_id: str, route: Route, on_command: OnCommand) -> View:
    """The card that fits this cell's front end; for the cell's main thread.

    Args:
        job_id: of the job it stands for.
        on_command: as for `LiveView`.
    """
    name = f"cellq-{job_id}"
    if isinstance(route, TerminalRoute):
        return LineView(route)
    if route.headless:
        return RecordedView(route, name)
    if route.widgets and not LiveView.blind and card_type() is not None:
        try:
            return LiveView(route, name, name, on_command)
        except Exception:  # ipykernel 7.0.0, a broken installation: the job matters more than its card
            log.info("cannot show a live card", exc_info=True)
    return StaticView(route, name)
