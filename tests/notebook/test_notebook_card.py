"""The card from a row: its words, its bars, and that nothing of a job becomes markup."""

import dataclasses
import json
import re

import pytest

from cellq.ids import new_id
from cellq.message import Failure, Kind, Row, State
from cellq.notebook.cards.card import duration, face_of, page, style, text

ROW = Row(
    id=new_id(),
    queue="default",
    name="fit",
    task="cell [3]",
    kind=Kind.CELL,
    state=State.RUNNING,
    priority=0,
    attempt=1,
    retries=0,
    timeout=None,
    key=None,
    concurrency_key=None,
    max_running=1,
    runtime="3.11",
    code_digest=b"",
    created=1000.0,
    due=None,
    expires=None,
    after=(),
    started=1002.0,
    finished=None,
    ended=None,
    worker=None,
    cancelling=False,
    progress="",
    failure=None,
    origin="",
)


def shown(**changes: object) -> str:
    return text(face_of(dataclasses.replace(ROW, **changes), now=1012.0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "running · 10 s"),
        ({"cancelling": True}, "stopping · 10 s"),
        ({"state": State.PENDING, "attempt": 0, "started": None}, "pending · 12 s"),
        ({"state": State.PENDING, "attempt": 0, "due": 1112.0}, "scheduled · starts in 1 min 40 s"),
        ({"state": State.PENDING, "attempt": 1, "due": 1013.0}, "retrying · starts in 1 s"),
        (
            {"state": State.PENDING, "attempt": 0, "due": 1015.0, "ctx": '{"held": [0, "over the rate limit of x"]}'},
            "held back · next try in 3 s · over the rate limit of x",
        ),
        ({"state": State.COMPLETED, "finished": 1002.25}, "completed · 0.2 s"),
        ({"attempt": 2, "retries": 3}, "running · 10 s · attempt 2 of 4"),
        ({"state": State.CANCELLED, "started": None}, "cancelled"),
    ],
)
def test_the_first_line(changes: dict[str, object], words: str) -> None:
    assert shown(**changes).split(") ")[1] == words


def test_a_failure_is_told_in_its_first_line() -> None:
    failure = Failure(cause="exception", message="ValueError: no\nmore")
    assert shown(state=State.FAILED, finished=1003.0, failure=failure).endswith("failed · 1.0 s · ValueError: no")


@pytest.mark.parametrize(
    ("seconds", "whole", "words"),
    [
        (0, False, "0.0 s"),
        (9.94, False, "9.9 s"),
        (9.96, False, "10 s"),
        (3.4, True, "3 s"),
        (59.4, False, "59 s"),
        (59.6, False, "1 min 00 s"),
        (3599.4, False, "59 min 59 s"),
        (7800, False, "2 h 10 min"),
        (-5, True, "0 s"),
    ],
)
def test_durations(seconds: float, whole: bool, words: str) -> None:
    assert duration(seconds, whole=whole) == words


BAR = {"id": 1, "desc": "epochs", "n": 3, "total": 20, "unit": "it", "rate": 1.25, "elapsed": 2.4, "note": "loss=0.3"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "epochs 3/20 · 1.25 it/s · 14 s left · loss=0.3"),
        ({"rate": 0.25}, "epochs 3/20 · 4 s/it · 1 min 08 s left · loss=0.3"),
        ({"total": None}, "epochs 3 · 1.25 it/s · loss=0.3"),
        ({"n": 20, "closed": True, "rate": None}, "epochs 20/20 · 2.4 s · loss=0.3"),
        ({"n": 1234567, "total": 2e6, "rate": None, "note": ""}, "epochs 1,234,567/2,000,000"),
        ({"desc": None, "n": "?", "total": -1, "rate": "x", "note": None}, "0"),
    ],
)
def test_a_bar_in_words(changes: dict[str, object], words: str) -> None:
    assert shown(progress=json.dumps([BAR | changes])).splitlines()[1].strip() == words


def test_of_many_bars_the_first_are_drawn_and_the_rest_is_counted() -> None:
    face = face_of(dataclasses.replace(ROW, progress=json.dumps([BAR] * 100)))
    assert len(face.bars) == 13
    assert face.bars[-1].numbers == "… and 88 more"


def test_nothing_of_a_job_becomes_markup() -> None:
    evil = "<script>alert(1)</script>\"'&"
    failure = Failure(cause="exception", message=evil)
    row = dataclasses.replace(
        ROW,
        name=evil,
        state=State.FAILED,
        failure=failure,
        finished=1003.0,
        progress=json.dumps([BAR | {"desc": evil, "note": evil}]),
    )
    html = page(face_of(row, [evil]))
    assert "<script" not in html
    tags = set(re.findall(r"<(\w+)", html))
    assert tags == {"style", "div", "span", "b"}
    # name and its label, failure and its title, bar and its label, its numbers and their value, the note
    assert html.count("&lt;script&gt;") == 9


def test_a_live_card_is_sent_again_only_for_what_its_own_clock_does_not_tell() -> None:
    earlier, later = face_of(ROW, now=1010.0), face_of(ROW, now=1011.0)
    assert earlier != later
    assert earlier.still() == later.still()
    assert face_of(dataclasses.replace(ROW, cancelling=True), now=1010.0).still() != earlier.still()


@pytest.mark.parametrize(
    ("changes", "buttons"),
    [
        ({}, ["Cancel"]),
        ({"state": State.PENDING, "started": None}, ["Cancel"]),
        ({"cancelling": True}, ["Cancelling… (shut)"]),
        ({"state": State.FAILED, "finished": 1003.0}, ["Retry"]),
        ({"state": State.CANCELLED, "finished": 1003.0}, ["Retry"]),
        ({"state": State.COMPLETED, "finished": 1003.0}, []),
    ],
)
def test_what_can_be_asked_for(changes: dict[str, object], buttons: list[str]) -> None:
    face = face_of(dataclasses.replace(ROW, **changes))  # type: ignore[arg-type]
    assert [action.label + ("" if action.open else " (shut)") for action in face.actions] == buttons
    assert {action.job for action in face.actions} <= {face.id}
    assert "<button" not in page(face), "nobody answers to a saved button"


def test_what_is_left_is_what_the_outermost_open_bar_has_left() -> None:
    def shown_with(*bars: dict[str, object]) -> str:
        return shown(progress=json.dumps(bars))

    inner = {"id": 2, "desc": "batches", "n": 5, "total": 10, "rate": 5.0}
    assert "running · 10 s · 14 s left" in shown_with(BAR, inner)
    assert "running · 10 s · 1 s left" in shown_with(BAR | {"closed": True}, inner)
    assert "running · 10 s\n" in shown_with(BAR | {"rate": None}, inner), "an inner bar says nothing of the whole"
    assert "running · 10 s\n" in shown_with(BAR | {"total": None}, inner)


def test_the_worker_is_named_while_it_runs_the_job() -> None:
    assert text(face_of(ROW, now=1012.0, where="box · process 7")).endswith("running · 10 s · on box · process 7")
    done = dataclasses.replace(ROW, state=State.COMPLETED, finished=1003.0)
    assert "box" not in text(face_of(done, where="box · process 7"))


def test_the_saved_style_sheet_is_short() -> None:
    assert len(style()) < 4000
    assert "/*" not in style()
