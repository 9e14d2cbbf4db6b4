"""A job's card: its state in one line, its bars, what is worth knowing about it.

    Row ──▶ Face ──┬─▶ page(face)   HTML that needs no script: saved notebooks, nbconvert, front ends without widgets
     (store)       ├─▶ text(face)   plain text: terminals, diffs
                   └─▶ card.js      the live card (cellq.notebook.cards.widgets); the same look, from the same card.css

Everything that comes from a job is text and stays text: what a job is called or says must not become markup.
"""

from __future__ import annotations

import functools
import html
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cellq.held import held_back
from cellq.ids import id_text, short_id
from cellq.message import Row, State

MARKS = {
    State.PENDING: "○",
    State.RUNNING: "●",
    State.COMPLETED: "✓",
    State.FAILED: "✗",
    State.CANCELLED: "⊘",
}

MOST_BARS = 12
"""Bars that are drawn; a job may have hundreds at once."""

CSS = Path(__file__).with_name("card.css")


@dataclass(frozen=True, slots=True)
class Clock:
    """A time to show: `seconds` now, changing by `ticks` (1, 0 or -1) each second, after some `words`."""

    words: str
    seconds: float
    ticks: int

    def __str__(self) -> str:
        return f"{self.words} {duration(self.seconds, whole=self.ticks != 0)}".strip()


@dataclass(frozen=True, slots=True)
class Bar:
    """A progress bar: what it is about, how much is done (0 to 1, None when nobody knows), and that in words.

    `open`: it is at work.
    """

    label: str
    share: float | None
    numbers: str
    open: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """A button on a live card.

    Attributes:
        command: what the kernel is told when it is pressed, as {"cmd": command, "job": job}.
        label: what stands on it.
        job: what it is about, as `LiveView.on_command` gets it: the id of a job, or whatever the card stands for.
        pressed: what stands on it from the press until the card changes.
        about: what a screen reader adds to the label; the card's name when "".
        open: whether it can be pressed.
    """

    command: str
    label: str
    job: str
    pressed: str = ""
    about: str = ""
    open: bool = True


@dataclass(frozen=True, slots=True)
class Face:
    """What a card shows.

    Attributes:
        id: the job, as canonical UUID text; `short` is how people call it.
        state: the job's state.
        label: the state in a word for people, which may say more ("retrying", "stopping").
        rest: seconds that are left, as its outermost bar tells; None when nobody knows.
        facts: a few words each, shown behind the clock.
        notes: one line each, shown below.
        actions: what can be asked for; buttons, where the card is live.
    """

    id: str
    short: str
    name: str
    state: State
    label: str
    clock: Clock | None = None
    rest: float | None = None
    facts: tuple[str, ...] = ()
    bars: tuple[Bar, ...] = ()
    notes: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()

    def still(self) -> Face:
        """The face without a clock that ticks by itself: two that are equal look the same on a live card."""
        return replace(self, clock=None) if self.clock is not None and self.clock.ticks else self

    def as_json(self) -> dict[str, Any]:
        """The face as the live card gets it."""
        clock = self.clock
        return {
            "id": self.id,
            "short": self.short,
            "name": self.name,
            "state": self.state.value,
            "label": self.label,
            "mark": MARKS[self.state],
            "ended": self.state.ended,
            "clock": None if clock is None else {"text": str(clock), "words": clock.words}
            | {"seconds": clock.seconds, "ticks": clock.ticks},
            "rest": self.rest,
            "facts": list(self.facts),
            "bars": [asdict(bar) for bar in self.bars],
            "notes": list(self.notes),
            "actions": [asdict(action) for action in self.actions],
        }  # fmt: skip


def face_of(row: Row, notes: Sequence[str] = (), now: float | None = None, where: str = "", waits: str = "") -> Face:
    """The face of a job.

    Args:
        notes: lines to add.
        now: epoch seconds; the present when None.
        where: what people call its worker.
        waits: what it waits for while it is pending.
    """
    now = time.time() if now is None else now
    running = row.state is State.RUNNING
    facts = [f"on {where}"] if where and running else []
    if 1 < row.attempt <= row.retries + 1:
        facts.append(f"attempt {row.attempt} of {row.retries + 1}")
    if row.failure is not None and row.state not in (State.COMPLETED, State.CANCELLED):
        why = _first_line(row.failure.message) or row.failure.cause
        facts.append(why if row.state is State.FAILED else f"before: {why}")
    if reason := held_back(row, now):
        facts.append(reason)
    told: list[Mapping[str, Any]] = json.loads(row.progress) if row.progress else []
    return Face(
        id=id_text(row.id),
        short=short_id(row.id),
        name=row.name or row.task,
        state=row.state,
        label=_label(row, now),
        clock=_clock(row, now),
        rest=_rest(told) if running else None,
        facts=tuple(facts),
        bars=_bars(told),
        notes=(waits, *notes) if waits and row.state is State.PENDING else tuple(notes),
        actions=_actions(row),
    )


def _actions(row: Row) -> tuple[Action, ...]:
    job = id_text(row.id)
    if row.state in (State.FAILED, State.CANCELLED):
        return (Action("retry", "Retry", job, pressed="Retrying…"),)
    if row.state is State.COMPLETED:
        return ()
    if row.cancelling:
        return (Action("cancel", "Cancelling…", job, open=False),)
    return (Action("cancel", "Cancel", job, pressed="Cancelling…"),)


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0][:200] if lines else ""


def _label(row: Row, now: float) -> str:
    if held_back(row, now) is not None:
        return "held back"
    if row.state is State.PENDING and row.attempt:
        return "retrying"
    if row.state is State.PENDING and row.due is not None and row.due > now:
        return "scheduled"
    if row.state is State.RUNNING and row.cancelling:
        return "stopping"
    return row.state.value


def _clock(row: Row, now: float) -> Clock | None:
    if row.state is State.PENDING:
        if row.due is not None and row.due > now:
            return Clock("starts in" if held_back(row, now) is None else "next try in", row.due - now, -1)
        return Clock("", max(0.0, now - row.created), 1)
    if row.started is None:
        return None  # cancelled before it started
    if row.state is State.RUNNING:
        return Clock("", max(0.0, now - row.started), 1)
    return Clock("", max(0.0, (row.finished or now) - row.started), 0)


def duration(seconds: float, *, whole: bool = False) -> str:
    """Seconds as people say them: "0.3 s", "42 s", "3 min 05 s", "2 h 10 min".

    Args:
        whole: no tenths, for a clock that ticks.
    """
    seconds = max(0.0, seconds)
    if seconds < 9.95 and not whole:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


# ------------------------------------------------------------------------------------------------ bars


def _rest(told: Sequence[Mapping[str, Any]]) -> float | None:
    """What the outermost bar has left: of those at work, the one that began first."""
    return next((_left(one) for one in told if not one.get("closed")), None)


def _left(one: Mapping[str, Any]) -> float | None:
    n, total, rate = _number(one.get("n")) or 0.0, _number(one.get("total")), _number(one.get("rate"))
    return (total - n) / rate if total and rate and n < total and not one.get("closed") else None


def _bars(told: Sequence[Mapping[str, Any]]) -> tuple[Bar, ...]:
    bars = [_bar(one) for one in told[:MOST_BARS]]
    if len(told) > MOST_BARS:
        bars.append(Bar("", None, f"… and {len(told) - MOST_BARS} more"))
    return tuple(bars)


def _bar(told: Mapping[str, Any]) -> Bar:
    """A bar's numbers in words: "3/20 · 1.2 it/s · 14 s left · loss=0.3"."""
    n, total, rate = _number(told.get("n")) or 0.0, _number(told.get("total")), _number(told.get("rate"))
    words = [f"{_count(n)}/{_count(total)}" if total else _count(n)]
    if rate:
        unit = str(told.get("unit") or "it").strip()
        words.append(f"{_count(rate)} {unit}/s" if rate >= 1 else f"{_count(1 / rate)} s/{unit}")
        left = _left(told)
        if left is not None:
            words.append(f"{duration(left, whole=True)} left")
    elif told.get("closed") and _number(told.get("elapsed")):
        words.append(duration(float(told["elapsed"])))
    if told.get("note"):
        words.append(str(told["note"])[:200])
    share = min(1.0, max(0.0, n / total)) if total else None
    return Bar(str(told.get("desc") or "")[:60], share, " · ".join(words), not told.get("closed"))


def _number(value: object) -> float | None:
    usable = isinstance(value, int | float) and 0 <= value < float("inf")
    return float(value) if usable else None  # type: ignore[arg-type]


def _count(value: float) -> str:
    """A number as short as it stays readable: "3", "1,234,567", "0.25", "12.5"."""
    if value == int(value) or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.1f}"


# ------------------------------------------------------------------------------------------- as text, as HTML


def text(face: Face) -> str:
    """The card as one line of plain text, and a line per bar and note."""
    head = f"{MARKS[face.state]} {face.name} ({face.short}) {face.label}"
    lines = [" · ".join([head, *_times(face), *face.facts])]
    lines += [f"  {bar.label} {bar.numbers}".rstrip() for bar in face.bars]
    return "\n".join([*lines, *(f"  {note}" for note in face.notes)])


def _times(face: Face) -> list[str]:
    times = [] if face.clock is None else [str(face.clock)]
    return times if face.rest is None else [*times, f"{duration(face.rest, whole=True)} left"]


def page(face: Face) -> str:
    """The card as HTML with its style sheet and without any script; its look is that of card.js."""
    times = zip(("clock", "rest"), _times(face), strict=False)
    facts = "".join(f'<span class="cellq-fact">{_e(fact)}</span> ' for fact in face.facts)
    head = (
        f'<span class="cellq-mark" aria-hidden="true">{MARKS[face.state]}</span> '
        f'<span class="cellq-said"><b class="cellq-name">{_e(face.name)}</b> '
        f'<span class="cellq-state">{_e(face.label)}</span></span> '
        + "".join(f'<span class="cellq-{name}">{_e(told)}</span> ' for name, told in times)
        + f'<span class="cellq-facts" title="{_e(" · ".join(face.facts))}">{facts}</span> '
        f'<span class="cellq-id" title="{_e(face.id)}">{_e(face.short)}</span>'
    )
    bars = "".join(_bar_page(bar) for bar in face.bars)
    below = f'<div class="cellq-bars">{bars}</div>' if bars else ""
    below += "".join(f'<div class="cellq-note">{_e(note)}</div>' for note in face.notes)
    return (
        f"<style>{style()}</style>"
        f'<div class="cellq-card cellq-{face.state.value} cellq-of-{_e(face.id)}" role="group" '
        f'aria-label="job {_e(face.name)}"><div class="cellq-head">{head}</div>{below}</div>'
    )


def _bar_page(bar: Bar) -> str:
    share = "" if bar.share is None else f"{100 * bar.share:.4g}"
    values = f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{share}"' if share else ""
    fill = f'<span class="cellq-fill" style="width:{share}%"></span>' if share else ""
    return (
        f'<span class="cellq-label">{_e(bar.label)}</span>'
        f'<span class="cellq-track{" cellq-endless" if bar.open and not share else ""}" role="progressbar" '
        f'aria-label="{_e(bar.label) or "progress"}" aria-valuetext="{_e(bar.numbers)}" {values}>{fill}</span> '
        f'<span class="cellq-numbers">{_e(bar.numbers)}</span>'
    )


def _e(text: str) -> str:
    return html.escape(text)


@functools.cache
def style() -> str:
    """The style sheet in short: every saved card carries it."""
    css = re.sub(r"/\*.*?\*/", "", CSS.read_text(), flags=re.DOTALL)
    return re.sub(r"\s*([{};:,])\s*", r"\1", re.sub(r"\s+", " ", css)).strip()


def bundle(face: Face) -> dict[str, str]:
    """The card as a mimebundle."""
    return {"text/html": page(face), "text/plain": text(face)}
