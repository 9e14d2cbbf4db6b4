"""Keys as they are pressed, without Enter; the terminal is as before when the keyboard is let go of."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import termios
import tty
from collections.abc import Callable
from typing import Any

HANG_UP = "hang up"
"""Given instead of a key when there is no terminal any more."""

_KEYS = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "k": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "j": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    " ": "page down",
}
_ONE = re.compile(r"\x1b\[[0-9;]*[@-~]|\x1bO[A-Z]|.", re.DOTALL)


class Keyboard:
    """The keyboard of the terminal at standard input, if there is one.

    Args:
        press: called in the event loop with each key: "up", "down", "page up", "page down", or its character.
    """

    def __init__(self, press: Callable[[str], None]) -> None:
        self._press = press
        self._file: int | None = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._before: list[Any] = []

    def __enter__(self) -> Keyboard:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()

    def take(self) -> None:
        """Get each key from now on. Ctrl-C and Ctrl-Z stay signals."""
        if self._file is not None:
            self._before = termios.tcgetattr(self._file)
            tty.setcbreak(self._file)
            asyncio.get_running_loop().add_reader(self._file, self._read, self._file)

    def let_go(self) -> None:
        """Leave the terminal as it was; what has been typed and not read is forgotten."""
        if self._file is not None:
            asyncio.get_running_loop().remove_reader(self._file)
            termios.tcsetattr(self._file, termios.TCSAFLUSH, self._before)

    def _read(self, file: int) -> None:
        try:
            typed = os.read(file, 1024).decode(errors="replace")
        except OSError:
            typed = ""
        if not typed:
            asyncio.get_running_loop().remove_reader(file)
            self._press(HANG_UP)
        for key in _ONE.findall(typed):
            self._press(_KEYS.get(key, key))
