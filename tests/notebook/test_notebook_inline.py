"""The mirror of one job: what the cell gets when the store goes away, when attempts fail, when a job is stopped."""

import dataclasses
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from test_notebook_card import ROW

from cellq.errors import Expired, StoreUnavailable
from cellq.message import Failure, Heard, Row, State
from cellq.notebook.cards.views import StaticView
from cellq.notebook.output import inline
from cellq.notebook.output.inline import Inline

DONE = dataclasses.replace(ROW, state=State.COMPLETED, finished=1003.0)
CANCELLED = dataclasses.replace(ROW, state=State.CANCELLED, finished=1003.0)
FAILED = dataclasses.replace(ROW, state=State.FAILED, finished=1003.0, failure=Failure(cause="exception", message="E"))


class Route:
    """Keeps what is sent to the cell."""

    cell_id, headless, widgets = "", False, False

    def __init__(self) -> None:
        self.sent: list[tuple[str, Mapping[str, Any]]] = []

    def send(self, kind: str, content: Mapping[str, Any]) -> None:
        self.sent.append((kind, content))

    def said(self) -> list[str]:
        """Texts and names of errors, in order."""
        words = {"stream": "text", "error": "ename"}
        return [content[words[kind]] for kind, content in self.sent if kind in words]

    def card(self) -> str:
        return str([content for kind, content in self.sent if "display_data" in kind][-1]["data"]["text/plain"])


class Played:
    """A job whose looks at the store are given: rows with events, or an error."""

    short = "12345678"

    def __init__(self, *looks: tuple[Row, list[Heard]] | Exception) -> None:
        self.looks = list(looks)
        self.asked_after: list[int] = []

    async def watch(self, after: int = 0, *, tick: float = 1.0) -> AsyncIterator[tuple[Row, list[Heard]]]:
        self.asked_after.append(after)
        while self.looks:
            look = self.looks.pop(0)
            if isinstance(look, Exception):
                raise look
            yield look


def said(seq: int, text: str, attempt: int = 1) -> Heard:
    return Heard(seq, attempt, 0.0, "stream", json.dumps({"name": "stdout", "text": text}))


def raised(seq: int, name: str, attempt: int = 1) -> Heard:
    return Heard(seq, attempt, 0.0, "error", json.dumps({"ename": name, "evalue": "", "traceback": [name]}))


async def played(*looks: tuple[Row, list[Heard]] | Exception, holds_error: bool = False) -> tuple[Inline, Route]:
    route, ended = Route(), []

    async def tend() -> list[str]:
        return []

    job: Any = Played(*looks)
    mirror = Inline(job, route, StaticView(route, "d"), tend=tend, on_end=ended.append, holds_error=holds_error)
    mirror.begin(ROW, [])
    await mirror.follow()
    route.ended = ended  # type: ignore[attr-defined]
    route.job = job  # type: ignore[attr-defined]
    return mirror, route


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "_TICK", 0.0)


async def test_a_store_that_comes_back_is_read_on_where_it_was_left() -> None:
    away = StoreUnavailable("the server is away")
    _, route = await played((ROW, [said(1, "a"), said(2, "b")]), away, away, (DONE, [said(3, "c")]), (DONE, []))
    assert route.said() == ["ab", "c"]
    assert route.job.asked_after == [0, 2, 2]  # type: ignore[attr-defined]
    assert route.ended == [DONE]  # type: ignore[attr-defined]


async def test_a_job_that_was_deleted_is_told_on_its_card() -> None:
    _, route = await played((ROW, [said(1, "a")]), Expired("it was deleted"))
    assert "can no longer be shown here (it was deleted)" in route.card()
    assert route.ended == []  # type: ignore[attr-defined]


async def test_an_error_is_shown_once_its_attempt_is_over() -> None:
    retrying = dataclasses.replace(ROW, state=State.PENDING, due=2000.0)
    _, route = await played(
        (ROW, [raised(1, "First")]), (retrying, []), (ROW, [said(2, "x", attempt=2)]), (FAILED, [raised(3, "Last", 2)])
    )
    assert route.said() == ["First", "── started again ──\n", "x", "Last"]


async def test_the_error_of_a_waiting_cell_is_kept_for_the_cell() -> None:
    mirror, route = await played((ROW, [said(1, "a"), raised(2, "Mine")]), (FAILED, []), holds_error=True)
    assert route.said() == ["a"]
    assert mirror.error == {"ename": "Mine", "evalue": "", "traceback": ["Mine"]}


async def test_the_interrupt_that_stopped_a_cancelled_job_is_not_shown() -> None:
    _, route = await played((ROW, [said(1, "a"), raised(2, "KeyboardInterrupt")]), (CANCELLED, []))
    assert route.said() == ["a"]
    assert "cancelled" in route.card()
