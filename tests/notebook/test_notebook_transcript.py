"""Events become messages: joined, overwritten, capped, in order."""

import json

import pytest

from cellq.message import Heard
from cellq.notebook.output.inline import Pace
from cellq.notebook.output.transcript import TEXT_CAP, Transcript, overwritten


def said(*events: tuple[str, object], attempt: int = 1) -> list[Heard]:
    return [Heard(i, attempt, 0.0, kind, json.dumps(content)) for i, (kind, content) in enumerate(events)]


def out(text: str, name: str = "stdout") -> tuple[str, object]:
    return ("stream", {"name": name, "text": text})


def display(name: str, data: str, kind: str = "display_data") -> tuple[str, object]:
    return (kind, {"data": {"text/plain": data}, "metadata": {}, "transient": {"display_id": name}})


def test_text_of_one_stream_is_joined_and_order_is_kept() -> None:
    events = said(out("a"), out("b"), out("!", "stderr"), out("c"), display("d", "figure"), out("e"))
    messages = Transcript("").messages(events)
    assert [(kind, content.get("text")) for kind, content in messages] == [
        ("stream", "ab"),
        ("stream", "!"),
        ("stream", "c"),
        ("display_data", None),
        ("stream", "e"),
    ]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("no return", "no return"),
        ("10%\r20%", "10%\r20%"),
        ("10%\r20%\r30%", "\r20%\r30%"),
        ("1\r2\r3\nnext\n", "\r2\r3\nnext\n"),
        ("lines of a\r\nterminal\r\n", "lines of a\r\nterminal\r\n"),
    ],
)
def test_what_a_return_overwrites_is_dropped(text: str, left: str) -> None:
    assert overwritten(text) == left


def test_long_text_is_cut_once_and_the_cut_is_told() -> None:
    transcript = Transcript("the rest is elsewhere")
    texts = [content["text"] for _ in range(3) for _, content in transcript.messages(said(out("x" * TEXT_CAP)))]
    assert len(texts) == 2
    assert texts[0] == "x" * TEXT_CAP
    assert texts[1] == "\n… the rest is elsewhere\n"


def test_a_line_that_is_written_over_takes_no_room() -> None:
    transcript = Transcript("")
    for step in range(10_000):
        (message,) = transcript.messages(said(out(f"\r{step:>50}")))
        assert str(step) in message[1]["text"]


def test_a_new_attempt_is_told_and_has_its_own_room() -> None:
    transcript = Transcript("")
    transcript.messages(said(out("x" * 2 * TEXT_CAP)))
    first, second = transcript.messages(said(out("again"), attempt=2))
    assert first[1] == {"name": "stderr", "text": "── started again ──\n"}
    assert second[1]["text"] == "again"


def test_what_is_cleared_in_the_same_moment_is_not_shown() -> None:
    events = said(out("gone"), ("clear_output", {"wait": True}), out("stays"))
    kinds = [(kind, content.get("text")) for kind, content in Transcript("").messages(events)]
    assert kinds == [("clear_output", None), ("stream", "stays")]


def test_of_several_updates_of_a_display_the_last_is_kept() -> None:
    update = "update_display_data"
    events = said(display("d", "0"), *(display("d", str(i), update) for i in range(9)), display("e", "x", update))
    messages = Transcript("").messages(events)
    assert [content["data"]["text/plain"] for _, content in messages] == ["0", "8", "x"]


def test_a_few_updates_go_out_at_once_and_then_four_a_second() -> None:
    pace, now, sent = Pace(rate=4.0, burst=3), 100.0, 0
    while now < 110.0:
        sent += 1
        now += pace.pause(now)
    assert 40 <= sent <= 43
    assert Pace().pause(100.0) == 0.0
