"""Many things on one screen: a head, and a table of lines that is kept up to date by what has changed.

    Board ──┬─▶ as_json()          the whole, when a page begins to show it      ─┐
            ├─▶ changes(earlier)   only what is new, a few lines at a time        ├─▶ board.js
            └─▶ bundle()           HTML and text without any script: saved notebooks, nbconvert, terminals

The three boards (a group's card, `%jobs`, `%workers`) are told apart by their `kind`; what their heads hold is between
each of them and board.js. Everything in a line is text and stays text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cellq.notebook.cards.card import Clock

CSS = Path(__file__).with_name("board.css")


@dataclass(frozen=True, slots=True)
class Press:
    """A button of a line: what the kernel is told when it is pressed, what stands on it, and whether it can be."""

    command: str
    label: str
    open: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a board.

    Attributes:
        key: by which it is found again; unique on the board.
        about: what it is about, for screen readers.
        state: decides its colour; "" for none.
        cells: one per column.
        buttons: at its end.
        below: a text that stands under it, open; None for none.
        inner: it belongs to the line above.
    """

    key: str
    about: str
    state: str
    cells: tuple[str | Clock, ...]
    buttons: tuple[Press, ...] = ()
    below: str | None = None
    inner: bool = False

    def still(self) -> Line:
        """The line without clocks that tick by themselves: two that are equal look the same on screen."""
        return replace(self, cells=tuple(_still(cell) for cell in self.cells))

    def as_json(self) -> dict[str, Any]:
        """The line as board.js gets it."""
        return {
            "about": self.about,
            "state": self.state,
            "cells": [clock_json(cell) if isinstance(cell, Clock) else cell for cell in self.cells],
            "buttons": [{"cmd": one.command, "label": one.label, "open": one.open} for one in self.buttons],
            "below": self.below,
            "inner": self.inner,
        }


def _still(cell: str | Clock) -> str | Clock:
    return replace(cell, seconds=0.0) if isinstance(cell, Clock) and cell.ticks else cell


def clock_json(clock: Clock) -> dict[str, Any]:
    """A clock as board.js gets it: it ticks there."""
    return {"text": str(clock), "words": clock.words, "seconds": clock.seconds, "ticks": clock.ticks}


@dataclass(frozen=True)
class Board:
    """What stands on a board at one moment.

    Attributes:
        kind: "group", "jobs" or "workers".
        head: what stands above the table; values that JSON can hold, and Clocks.
        columns: the table's heads.
        shown: the table as HTML and text without any script.
    """

    kind: str
    head: Mapping[str, Any]
    columns: Sequence[str]
    lines: Sequence[Line]
    shown: Mapping[str, str] = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        """The whole board as board.js gets it."""
        return {
            "kind": self.kind,
            "columns": list(self.columns),
            "head": self._head(),
            "order": [line.key for line in self.lines],
            "lines": {line.key: line.as_json() for line in self.lines},
        }

    def changes(self, earlier: Board) -> dict[str, Any]:
        """What differs from an earlier moment, as board.js gets it; empty when it would look the same."""
        changes: dict[str, Any] = {}
        if _still_head(self.head) != _still_head(earlier.head):
            changes["head"] = self._head()
        known = {line.key: line.still() for line in earlier.lines}
        new = {line.key: line.as_json() for line in self.lines if known.get(line.key) != line.still()}
        if new:
            changes["lines"] = new
        order = [line.key for line in self.lines]
        if order != list(known):
            changes["order"] = order
        return changes

    def bundle(self) -> dict[str, str]:
        """The board as a mimebundle."""
        return dict(self.shown)

    def _head(self) -> dict[str, Any]:
        return {name: clock_json(value) if isinstance(value, Clock) else value for name, value in self.head.items()}


def _still_head(head: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _still(value) for name, value in head.items()}


def moment(when: float, now: float) -> str:
    """A time of today, or a date and a time. (Epoch seconds; told in the time of this machine.)"""
    there = datetime.fromtimestamp(when).astimezone()
    today = there.date() == datetime.fromtimestamp(now).astimezone().date()
    return there.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


@functools.cache
def style() -> str:
    """The style sheet in short: every saved board carries it."""
    css = re.sub(r"/\*.*?\*/", "", CSS.read_text(), flags=re.DOTALL)
    return re.sub(r"\s*([{};:,])\s*", r"\1", re.sub(r"\s+", " ", css)).strip()
