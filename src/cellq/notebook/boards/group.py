"""The card of a group: how many of its jobs are how far, how fast, how long still, and what went wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from cellq.message import State
from cellq.notebook.boards.board import Board, Line, style
from cellq.notebook.boards.census import Census
from cellq.notebook.cards.card import MARKS, Clock, Face, duration, face_of

MOST_LINES = 50

_ORDER = (State.COMPLETED, State.FAILED, State.CANCELLED, State.RUNNING, State.PENDING)
_WORDS = {State.PENDING: "waiting"}
_COLUMNS = ("#", "id", "state", "time", "")


def group_board(census: Census, notes: Sequence[str], now: float | None = None) -> Board:
    """The card of a group as it stands.

    Args:
        notes: lines to add.
        now: epoch seconds; the present when None.
    """
    now = time.time() if now is None else now
    faces = [(census.places[row.id], face_of(row, now=now)) for row in census.first(MOST_LINES)]
    one_name = len(census.names) == 1
    state = _state(census)
    counts = [
        {"state": one.value, "mark": MARKS[one], "count": census.count(one), "word": _WORDS.get(one, one.value)}
        for one in _ORDER
    ]
    rate = None if census.began is None else census.rate(now)
    told = list(notes)
    if census.gone:
        told.append(f"{census.gone:,} of {len(census.places):,} were deleted")
    head: dict[str, Any] = {
        "name": next(iter(census.names)) if one_name else "",
        "state": state.value,
        "mark": MARKS[state],
        "label": _label(census, state),
        "jobs": _jobs(census.total),
        "total": census.total,
        "counts": counts,
        "clock": _clock(census, now),
        "rate": _rate(rate, census),
        "left": Clock("about", census.live / rate, -1) if rate and census.live and census.ended >= 3 else None,
        "notes": told,
        "cancel": ("Cancel all" if not census.ended else "Cancel what is left") if census.live else "",
        "ended": not census.live,
    }
    lines = [_line(place, face, one_name) for place, face in faces]
    plain = _Plain(head, [(place, face) for place, face in faces if face.state is State.FAILED], census, one_name)
    return Board("group", head, _COLUMNS, lines, {"text/html": plain.page(), "text/plain": plain.text()})


def _state(census: Census) -> State:
    if census.live:
        started = census.ended or census.count(State.RUNNING)
        return State.RUNNING if started else State.PENDING
    for state in (State.FAILED, State.CANCELLED):
        if census.count(state):
            return state
    return State.COMPLETED


def _label(census: Census, state: State) -> str:
    if census.live:
        return _WORDS.get(state, state.value)
    return state.value if census.count(state) == census.total else f"{census.count(state):,} {state.value}"


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count:,} jobs"


def _clock(census: Census, now: float) -> Clock | None:
    if census.began is None:
        return None
    if census.live:
        return Clock("", max(0.0, now - census.began), 1)
    return Clock("", max(0.0, (census.finished or now) - census.began), 0)


def _rate(rate: float | None, census: Census) -> str:
    if not census.live and census.began is not None and census.finished is not None:
        lasted = census.finished - census.began
        rate = census.ended / lasted if lasted > 0 and census.ended > 1 else None
    if not rate:
        return ""
    if rate >= 10:
        return f"{rate:,.0f} jobs/s"
    return f"{rate:.1f} jobs/s" if rate >= 1 else f"{duration(1 / rate)} per job"


def _line(place: int, face: Face, one_name: bool) -> Line:
    what = [bar.numbers for bar in face.bars[:1]] + list(face.facts)
    if not one_name:
        what.insert(0, face.name)
    waits = face.state is State.PENDING and face.label == "pending"
    return Line(
        key=face.id,
        about=f"{face.name} {place}",
        state=face.state.value,
        cells=(
            str(place),
            face.short,
            f"{MARKS[face.state]} {'waiting' if waits else face.label}",
            "" if face.clock is None or waits else face.clock,
            " · ".join(what)[:200],
        ),
    )


class _Plain:
    """The card without any script."""

    def __init__(
        self, head: Mapping[str, object], failed: list[tuple[int, Face]], census: Census, one_name: bool
    ) -> None:
        self._head = head
        self._failed = sorted(failed, key=lambda one: one[0])
        self._more = census.count(State.FAILED) - len(failed)
        self._shares = [
            (state, census.count(state) / max(1, census.total)) for state in _ORDER if state is not State.PENDING
        ]
        self._counts = [
            (state, f"{census.count(state):,} {_WORDS.get(state, state.value)}")
            for state in _ORDER
            if census.count(state)
        ]
        self._one_name = one_name

    def _facts(self) -> list[str]:
        return [str(self._head[name]) for name in ("clock", "rate") if self._head[name]]

    def text(self) -> str:
        """Plain text: a line about all, a line for each note and for each failed job."""
        head = self._head
        counts = ", ".join(words for _, words in self._counts)
        name = f"{head['name']} · " if head["name"] else ""
        lines = [" · ".join([f"{head['mark']} {name}{head['jobs']}", counts, *self._facts()])]
        lines += [f"  {note}" for note in _strings(head["notes"])]
        lines += [
            f"  {MARKS[State.FAILED]} [{place}] {face.short} {_why(face)}".rstrip() for place, face in self._failed
        ]
        if self._more:
            lines.append(f"  … and {self._more:,} more that failed")
        return "\n".join(lines)

    def page(self) -> str:
        """HTML with its style sheet."""
        head = self._head
        facts = "".join(f'<span class="cq-quiet">{escape(fact)}</span>' for fact in self._facts())
        bar = "".join(
            f'<span class="cq-part cq-{state.value}" style="width:{100 * share:.4g}%"></span>'
            for state, share in self._shares
            if share
        )
        counts = "".join(
            f'<span class="cq-count cq-{state.value}"><span class="cq-mark" aria-hidden="true">{MARKS[state]}'
            f"</span> {escape(words)}</span>"
            for state, words in self._counts
        )
        below = f'<div class="cq-counts">{counts}</div>' if len(self._counts) > 1 else ""
        notes = "".join(f'<div class="cq-note">{escape(note)}</div>' for note in _strings(head["notes"]))
        name = f'<b class="cq-name">{escape(str(head["name"]))}</b>' if head["name"] else ""
        return (
            f'<style>{style()}</style><div class="cq-board cq-{head["state"]}"><div class="cq-head">'
            f'<span class="cq-mark" aria-hidden="true">{head["mark"]}</span>{name}'
            f'<span class="cq-quiet">{escape(str(head["jobs"]))}</span>'
            f'<span class="cq-state">{escape(str(head["label"]))}</span>{facts}</div>'
            f'<div class="cq-bar">{bar}</div>{below}{notes}{self._table()}</div>'
        )

    def _table(self) -> str:
        if not self._failed:
            return ""
        rows = "".join(
            f'<tr><td class="cq-col-id">{place}</td><td class="cq-col-id">{escape(face.short)}</td>'
            + ("" if self._one_name else f"<td>{escape(face.name)}</td>")
            + f'<td>{escape(str(face.clock or ""))}</td><td class="cq-col-rest">{escape(_why(face))}</td></tr>'
            for place, face in self._failed
        )
        more = f'<div class="cq-note">… and {self._more:,} more that failed</div>' if self._more else ""
        return f'<div class="cq-scroll"><table class="cq-table"><tbody>{rows}</tbody></table></div>{more}'


def _why(face: Face) -> str:
    return " · ".join(face.facts)


def _strings(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
