"""The pages in which a notebook is open: how a job's output gets back into a page that has forgotten its cell.

A page knows by the parent of a message which cell it belongs to. A page that was loaded anew does not know the parents
of before, and no page knows those of a kernel that is gone: what is sent that way is dropped. But a job's card stands
in its cell, and knows the job. So a script in the page (pages.js) looks for cards, and writes what belongs below them
into the notebook itself, which then shows it and saves it like any other output.

    page                                              kernel
    loaded ── {"cmd": "here", session, jobs, …} ──────────▶ Pages ──▶ listeners: whose cards are there
    cell ◀─── {"to": session, job, cell, kind, content} ─── PageRoute.send, for each job, from its beginning

It takes a front end whose widgets can reach the notebook: JupyterLab and Notebook 7. In others nothing happens, and
`%jobs attach` shows a job in a new cell.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cellq.here import VIEW
from cellq.notebook.cards.card import Face, bundle
from cellq.notebook.cards.views import StaticView
from cellq.notebook.route import Route

log = logging.getLogger("cellq.notebook")

SCRIPT = Path(__file__).with_name("pages.js")


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was loaded.

    Attributes:
        session: by which the kernel tells it from others.
        jobs: the ids of the jobs whose cards in it are not final.
        final: those of others.
        groups: the names of groups whose cards in it are not final.
    """

    session: str
    jobs: list[str]
    final: list[str]
    groups: list[str]


OnPage = Callable[[Page], None]
"""Called when a page was loaded, in any thread; must return at once."""


@functools.cache
def _script_type() -> Any:
    """The widget that carries the script; None where anywidget is not installed."""
    try:
        import anywidget
    except ImportError:
        return None

    class Script(anywidget.AnyWidget):
        """A widget without a view: a page runs its script as soon as it knows the widget."""

        _esm = SCRIPT

    return Script


class Pages:
    """The pages of one kernel."""

    def __init__(self) -> None:
        self._listeners: list[OnPage] = []
        self._widget: Any = None

    def listen(self, on_page: OnPage) -> None:
        """Call this for each page that is loaded from now on."""
        self._listeners.append(on_page)

    def open(self) -> None:
        """Have the pages tell of themselves from now on; again, it does nothing."""
        if self._widget is not None or _script_type() is None:
            return
        try:
            self._widget = _script_type()()
        except Exception:  # ipykernel 7.0.0, a broken installation: then pages are as forgetful as ever
            log.info("cannot reach the pages of this notebook", exc_info=True)
            return
        self._widget.on_msg(self._heard)
        if hasattr(self._widget.comm, "_reply_subshell_for"):  # as in cellq.notebook.cards.widgets
            self._widget.comm._reply_subshell_for = lambda data, default: default

    def send(self, session: str, job: str, cell: str, kind: str, content: Mapping[str, Any]) -> None:
        """Write an output in one page where the cards of a job are, or of a group; from any thread."""
        if self._widget is not None:
            self._widget.send({"to": session, "job": job, "cell": cell, "kind": kind, "content": dict(content)})

    def close(self) -> None:
        """Let the pages go."""
        if self._widget is not None:
            self._widget.close()
            self._widget = None

    def _heard(self, _: object, message: Any, __: object) -> None:
        if message.get("cmd") == "here":
            lists = ([str(one) for one in message.get(name) or ()] for name in ("jobs", "final", "groups"))
            page = Page(str(message.get("session")), *lists)
            for on_page in self._listeners:
                on_page(page)


class PageRoute:
    """To the cells of one page that hold the card of a job or of a group.

    Args:
        session: of the page, as it told it.
        job: the job's id, or the group's name.
        cell: the id of the cell that gets a card, if no cell has one.
    """

    headless = False
    widgets = True

    def __init__(self, pages: Pages, session: str, job: str, cell: str = "") -> None:
        self.cell_id = cell
        self._pages = pages
        self._session = session
        self._job = job

    def send(self, kind: str, content: Mapping[str, Any]) -> None:
        self._pages.send(self._session, self._job, self.cell_id, kind, content)


class StandingView(StaticView):
    """A further page's sight of a live card that this kernel has already: it draws itself, until it is plain HTML.

    Args:
        route: the way to the page.
        name: of the card: its display id, and the id of the widget's model.
    """

    def __init__(self, route: Route, name: str) -> None:
        super().__init__(route, name)
        self._route = route
        self._name = name

    def begin(self, face: Face) -> None:
        view = {"version_major": 2, "version_minor": 0, "model_id": self._name}
        content = {"data": {**bundle(face), VIEW: view}, "metadata": {}, "transient": {"display_id": self._name}}
        self._route.send("display_data", content)

    def draw(self, face: Face) -> bool:
        return False


class Nowhere:
    """A route and a view of which nobody sees anything: the job is followed for what it gives."""

    cell_id = ""
    headless = False
    widgets = False

    def send(self, kind: str, content: Mapping[str, Any]) -> None:
        return None

    def begin(self, face: Face) -> None:
        return None

    def draw(self, face: Face) -> bool:
        return False

    def end(self, face: Face) -> None:
        return None
