"""Large sealed values as files beside the database, in `<db>.d/`.

A 50 MB value in a row stalls every other writer for a second and is written again by each update of its row; as a file
it stalls nobody. The row then holds `<size> <name>` as TEXT where a small value would be a BLOB.

    slot or client                    store                                   row
    writes <any name> ── Spill ─────▶ rename to <job id>.payload ── then ──▶ '52428800 <job id>.payload'

The name is made from the job alone, so that doing it twice (a push repeated after an error) is harmless. A file that no
row refers to (its transaction failed, or its process died in between) is swept away by `prune` after an hour.

A file is synced before its row refers to it, since rows and files reach the disk in no order otherwise and a row might
survive a power loss without its value (50 MB: 20 to 26 ms here, beside 13 to write them). Its name in the folder is
synced with durability "full" only.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from cellq.errors import StoreUnavailable
from cellq.message import Blob, Spill

LARGE = 2**20
"""Bytes from which on a value becomes a file."""

_ORPHAN_AGE = 3600.0


class SpillFolder:
    """The folder of one database.

    Args:
        path: the folder; made when first needed, for this user only.
        durable: sync the folder, too, before anybody refers to a file in it.
    """

    def __init__(self, path: Path, *, durable: bool) -> None:
        self.path = path
        self._durable = durable

    def settle(self, blob: Blob, name: str) -> bytes | str:
        """What the row is to hold: a small value itself, or a reference to the file that now holds it.

        Raises:
            StoreUnavailable: the file cannot be written, or is not where its `Spill` says.
        """
        if isinstance(blob, bytes):
            return blob if len(blob) <= LARGE else self._write(blob, name)
        return self._adopt(blob, name)

    def blob(self, held: bytes | str | None) -> Blob | None:
        """The value that a row's column stands for."""
        if not isinstance(held, str):
            return held
        size, _, name = held.partition(" ")
        return Spill(path=str(self.path / name), size=int(size))

    def remove(self, held: str) -> None:
        """Delete the file that a reference names."""
        (self.path / held.partition(" ")[2]).unlink(missing_ok=True)

    def old_files(self, limit: int) -> Iterator[str]:
        """Names of files that nobody has written to for an hour, at most `limit`."""
        try:
            entries = os.scandir(self.path)
        except FileNotFoundError:
            return
        with entries:
            for entry in entries:
                try:
                    old = time.time() - entry.stat().st_mtime > _ORPHAN_AGE
                except FileNotFoundError:
                    continue
                if old:
                    limit -= 1
                    yield entry.name
                if not limit:
                    return

    def _write(self, blob: bytes, name: str) -> str:
        draft = self.path / f"draft.{secrets.token_hex(8)}"
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(blob)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StoreUnavailable(
                f"cannot write {len(blob) / 1e6:.0f} MB into {self.path}: {error.strerror}"
            ) from error
        return self._adopt(Spill(path=str(draft), size=len(blob)), name)

    def _adopt(self, spill: Spill, name: str) -> str:
        home = self.path / name
        try:
            _sync(spill.path)
            Path(spill.path).replace(home)
            if self._durable:
                _sync(self.path)
        except FileNotFoundError as error:
            # The same value was brought before, by a call whose transaction then failed.
            if not home.exists() or home.stat().st_size != spill.size:
                raise StoreUnavailable(f"the file {spill.path} of a large value is gone; enqueue it again") from error
        except OSError as error:
            raise StoreUnavailable(f"cannot keep {spill.path} as {home}: {error.strerror}") from error
        return f"{spill.size} {name}"


def _sync(path: str | Path) -> None:
    if os.name != "posix" and Path(path).is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
