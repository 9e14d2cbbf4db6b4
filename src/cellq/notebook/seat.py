"""The one seat of a session: a locked file, so that a session never has two processes, however many notebooks begin it.

     kernel A ── take ──▶ seat ── handed to the worker it starts ──▶ held as long as that worker lives
     kernel B ── take ──▶ None: somebody sits there, or is about to

The lock belongs to the open file, which a worker inherits from the kernel that starts it. So there is no moment between
"nobody is there" and "it has said that it is there" in which another kernel could start a second one; and when the
worker ends, however it ends, the operating system gives the seat free. The file itself stays, and means nothing.

Where an open file cannot be inherited (Windows), the kernel keeps the seat until the worker has come up.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from typing import Self

from cellq import settings

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

INHERITED = sys.platform != "win32"
"""Whether a worker can be handed the seat."""


class Seat:
    """A seat that was taken. Made by `take`; close it when it was handed over, or is not needed any more.

    Attributes:
        file: the descriptor of the open file.
    """

    def __init__(self, file: int) -> None:
        self.file = file

    @classmethod
    def take(cls, url: str, queue: str) -> Self | None:
        """Take the seat of a session; None when it is taken.

        Args:
            url: the full URL of the store.
            queue: the session's queue.

        Raises:
            OSError: the user's directory cannot be written to.
        """
        folder = settings.home() / "seats"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = os.path.realpath(settings.sqlite_path(url)) if url.startswith("sqlite:") else url
        name = hashlib.sha256(f"{place}\n{queue}".encode()).hexdigest()[:24]
        file = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if sys.platform == "win32":
                msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return None
        return cls(file)

    def close(self) -> None:
        """Let go; whoever was handed the seat keeps it. Again, it does nothing."""
        file, self.file = self.file, -1
        with contextlib.suppress(OSError):
            os.close(file)
