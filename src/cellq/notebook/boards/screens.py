"""The ways in which a board is shown; they are those of a job's card (see `views`), for a whole board.

    kernel                                                        page
    LiveScreen.draw(board) ── {"cmd": "board", …changes} ───────▶ board.js draws them
               on_press  ◀── {"cmd": "cancel", "key": job} ────── a press on a button of a line, or of the head
               on_watch  ◀── {"cmd": "view" | "gone", "view"} ─── a view comes on screen, or leaves it
    LiveScreen.end(board)  ── update_display_data: plain HTML ──▶ the widget is gone, the saved notebook needs none

A page that draws what it is sent says so now and then. When none has for a while, nobody is there (the page was
closed, which nobody tells a kernel): `watched` is False then, and whoever feeds the screen may rest.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from cellq.client.portal import portal
from cellq.notebook.boards.board import CSS, Board
from cellq.notebook.cards.widgets import LiveView
from cellq.notebook.route import Route

log = logging.getLogger("cellq.notebook")

SCRIPT = Path(__file__).with_name("board.js")

_PATIENCE = 5.0
"""Seconds in which a page should have drawn the widget."""

_SILENCE = 60.0
"""Seconds after which a page that says nothing of what it is sent counts as closed."""

_LINGER = 5.0
"""Seconds after the end for which the widget is kept: the page must have replaced it before it is closed."""

_APART = 1.0
"""Seconds between two drawings of a board that is HTML: the front end builds each one anew."""

Presses = Callable[[Mapping[str, Any]], None]
"""Takes the message of a button that was pressed, in any thread; must return at once."""


class Screen(Protocol):
    """Where a board is shown. From any thread, but only from one at a time."""

    def begin(self, board: Board) -> None:
        """Show it below what the cell shows so far."""

    def draw(self, board: Board) -> None:
        """Show what has changed."""

    def end(self, board: Board) -> None:
        """Show it as it is to be kept."""


class StillScreen:
    """A board in HTML, found again by a display id.

    Args:
        route: the way to the cell.
        display_id: of this board, unique in the notebook.
        apart: seconds between two drawings.
    """

    def __init__(self, route: Route, display_id: str, apart: float = _APART) -> None:
        self._route = route
        self._display_id = display_id
        self._apart = apart
        self._shown: dict[str, str] = {}
        self._at = 0.0

    def begin(self, board: Board) -> None:
        self._send("display_data", board.bundle())

    def draw(self, board: Board) -> None:
        if time.monotonic() - self._at >= self._apart:
            self.end(board)

    def end(self, board: Board) -> None:
        shown = board.bundle()
        if shown != self._shown:
            self._send("update_display_data", shown)

    def _send(self, kind: str, shown: dict[str, str]) -> None:
        self._shown, self._at = shown, time.monotonic()
        self._route.send(kind, {"data": shown, "metadata": {}, "transient": {"display_id": self._display_id}})


@functools.cache
def board_type() -> Any:
    """The widget's class; None where anywidget is not installed. Imported on first use: it takes its time."""
    try:
        import anywidget
        import traitlets
    except ImportError:
        return None

    class LiveBoard(anywidget.AnyWidget):
        """A live board."""

        _esm = SCRIPT
        _css = CSS
        # Never assigned: a page that begins to show the widget gets what the board is by then, and after that changes.
        board = traitlets.Any().tag(sync=True, to_json=lambda _, widget: widget.screen.as_json())

        def __init__(self, screen: LiveScreen, model_id: str) -> None:
            self.screen = screen
            super().__init__(model_id=model_id)

    return LiveBoard


class LiveScreen:
    """A board as a widget.

    Args:
        route: the way to the cell.
        display_id: of this board, unique in the notebook; the widget's model id too.
        board: what it shows at first.
        on_press: called when somebody presses a button.
        on_watch: called when somebody begins to look, with True, and when nobody does any more, with False.
    """

    def __init__(
        self,
        route: Route,
        display_id: str,
        board: Board,
        on_press: Presses,
        on_watch: Callable[[bool], None] = lambda watched: None,
    ) -> None:
        self._route = route
        self._display_id = display_id
        self._board = board
        self._on_press = on_press
        self._on_watch = on_watch
        self._still = StillScreen(route, display_id)
        self._elsewhere: list[StillScreen] = []  # pages that were loaded since
        self._views: set[str] = set()
        self._pages: set[str] = set()
        self._as_html = False  # drawn as plain HTML for now: no page has shown the widget
        self._closed = False
        self._unanswered: float | None = None  # since when something was sent and no page has spoken
        self._since = time.monotonic()
        self._widget = board_type()(self, display_id)
        self._widget.on_msg(self._heard)
        comm = self._widget.comm
        if hasattr(comm, "_reply_subshell_for"):
            # See `widgets.LiveView`: clicks shall come while a cell keeps the kernel busy.
            comm._reply_subshell_for = lambda data, default: default

    @property
    def watched(self) -> bool:
        """Whether somebody seems to be looking at the widget, or may begin to."""
        return not self._as_html and not self._silent and (bool(self._views) or not self._pages)

    @property
    def _silent(self) -> bool:
        return self._unanswered is not None and time.monotonic() - self._unanswered > _SILENCE

    def as_json(self) -> dict[str, Any]:
        """What a page needs that begins to show it."""
        return {"id": self._display_id, **self._board.as_json()}

    def begin(self, board: Board) -> None:
        self._board = board
        self._show("display_data", self._route)

    def show_in(self, route: Route) -> None:
        """Show it also where another page has it: as it lives, and as it ends. From any thread."""
        other = StillScreen(route, self._display_id)
        self._elsewhere.append(other)
        if self._closed:
            other.begin(self._board)
        else:
            self._show("display_data", route)

    def draw(self, board: Board) -> None:
        if self._closed:  # it had ended, and goes on: in HTML
            self._tell_pages(board)
            for still in (self._still, *self._elsewhere):
                still.draw(board)
            return
        earlier, self._board = self._board, board
        if self._pages:
            if self._as_html:
                self._as_html = False
                self._show("update_display_data", self._route)
        elif time.monotonic() - self._since > _PATIENCE:
            self._as_html = LiveView.blind = True
            self._still.draw(board)
        changes = board.changes(earlier)
        if changes and not self._silent:
            self._send(changes)

    def tell(self, notes: list[str]) -> None:
        """Show only other notes."""
        self.draw(replace(self._board, head={**self._board.head, "notes": notes}))

    def end(self, board: Board) -> None:
        self._tell_pages(board)
        for still in (self._still, *self._elsewhere):
            still.end(board)
        if not self._closed:
            self._closed = True
            portal().start(self._close())

    def _tell_pages(self, board: Board) -> None:
        """Tell pages that show the widget though it has ended: a reloaded one does not know the display id any more."""
        earlier, self._board = self._board, board
        changes = board.changes(earlier)
        if changes and len(self._pages) > 1:
            self._send(changes)

    async def _close(self) -> None:
        await asyncio.sleep(_LINGER)
        if len(self._pages) < 2:
            self._widget.close()

    def _send(self, changes: dict[str, Any]) -> None:
        self._unanswered = self._unanswered or time.monotonic()
        self._widget.send({"cmd": "board", **changes})

    async def _send_whole(self) -> None:
        if not self._closed:
            self._send({"whole": self.as_json()})

    def _show(self, kind: str, route: Route) -> None:
        shown = self._widget._repr_mimebundle_()
        data, metadata = shown if isinstance(shown, tuple) else (shown, {})
        content = {"data": {**data, **self._board.bundle()}, "metadata": metadata}
        route.send(kind, {**content, "transient": {"display_id": self._display_id}})

    def _heard(self, _: object, message: Any, __: object) -> None:
        command = message.get("cmd")
        if command == "view":
            LiveView.blind = False
            if self._silent or message.get("page") not in self._pages:
                # It has missed something: what was sent while its script was loading, or what was not sent.
                portal().start(self._send_whole())
            self._unanswered = None
            self._pages.add(str(message.get("page")))
            self._views.add(str(message.get("view")))
            self._on_watch(True)
        elif command == "gone":
            self._views.discard(str(message.get("view")))
            if not self._views:
                self._on_watch(False)
        else:
            self._on_press(message)


def live_boards(route: Route) -> bool:
    """Whether the page of this cell can show live boards, as far as is known."""
    return route.widgets and not LiveView.blind and board_type() is not None


def screen_of(
    route: Route,
    display_id: str,
    board: Board,
    on_press: Presses,
    on_watch: Callable[[bool], None] = lambda watched: None,
) -> Screen:
    """The screen that fits this cell's front end; for the cell's main thread. Arguments as for `LiveScreen`."""
    if route.headless:
        return StillScreen(route, display_id, apart=float("inf"))
    if live_boards(route):
        try:
            return LiveScreen(route, display_id, board, on_press, on_watch)
        except Exception:  # ipykernel 7.0.0, a broken installation: the jobs matter more than their board
            log.info("cannot show a live board", exc_info=True)
    return StillScreen(route, display_id)
