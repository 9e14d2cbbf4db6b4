"""Large values, in pieces: one string of 50 MB would hold up everybody else at the server for the time it takes.

    value ──▶ HSET blob:<token> 0 piece, 1 piece, … (to live for an hour) ──▶ the script that refers to it adopts it

The hash of the job then holds `@<token> <size> <size of a piece>` where a small value would be `=` and its bytes. Each
upload has a token of its own, so that one which is repeated spoils nothing; what nobody adopts goes by itself.

Between a worker and its slots large values are files (`Spill`) in a temporary folder of the handle: a payload is lent
to its job until that ends, a result is removed when the server has it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

from cellq.errors import StoreUnavailable
from cellq.message import Blob, Spill
from cellq.store.redis.server import Server, Word
from cellq.store.redis.threads import INLINE, Threads

PIECE = 4 * 2**20
"""Bytes per piece."""

_TOGETHER = 64 * 2**20  # bytes that go in one call at most; a server takes no more than 1 GB
_TINY = 1024
_ORPHAN = 3600
_BEGIN = "redis.call('HSET', KEYS[1], 0, '') redis.call('EXPIRE', KEYS[1], ARGV[1])"  # at no time without an end


class Gone(StoreUnavailable):
    """A large value is no longer on the server."""


class Pieces:
    """Puts values where they belong, and gets them.

    Args:
        server: where they lie.
        threads: who carries them: an event loop takes four times as long, and is busy with it.
    """

    def __init__(self, server: Server, threads: Threads) -> None:
        self._server = server
        self._threads = threads

    async def settle(self, blobs: Sequence[Blob | None]) -> list[bytes | None]:
        """What hashes are to hold for these values; large ones are sent ahead.

        Raises:
            StoreUnavailable: they could not be sent.
        """
        values = [await asyncio.to_thread(_read, blob) if isinstance(blob, Spill) else blob for blob in blobs]
        together = sum(len(value) for value in values if value is not None)
        inline = INLINE if together <= _TOGETHER else _TINY
        return [
            None if value is None else b"=" + value if len(value) <= inline else await self._send(value)
            for value in values
        ]

    async def _send(self, value: bytes) -> bytes:
        token = secrets.token_hex(12)
        key = self._key(token)
        view = memoryview(value)
        await self._server.ask("EVAL", _BEGIN, 1, key, _ORPHAN)
        for number, start in enumerate(range(0, len(value), PIECE)):
            await self._carry("HSET", key, number, view[start : start + PIECE])
        return b"@%s %d %d" % (token.encode(), len(value), PIECE)

    async def fetch(self, held: Sequence[bytes | None]) -> list[bytes | None]:
        """The values that hashes hold or refer to.

        Raises:
            Gone: one is no longer there.
        """
        return [
            None if value is None else value[1:] if value[:1] == b"=" else await self._gather(value) for value in held
        ]

    async def lend(self, reference: bytes, folder: Path) -> Spill:
        """A large value as a new file in this folder, for a slot to map: it need not travel through the worker.

        Raises:
            Gone: it is no longer there.
            StoreUnavailable: it cannot be written.
        """
        path = folder / f"{secrets.token_hex(12)}.lent"
        size = 0
        try:
            await asyncio.to_thread(folder.mkdir, 0o700, True, True)
            with await asyncio.to_thread(path.open, "xb") as file:
                async for piece in self._pieces(reference):
                    size += await asyncio.to_thread(file.write, piece)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise StoreUnavailable(f"cannot write {size / 1e6:.0f} MB into {folder}: {error.strerror}") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Spill(path=str(path), size=size)

    async def _gather(self, reference: bytes) -> bytes:
        return b"".join([piece async for piece in self._pieces(reference)])

    async def _pieces(self, reference: bytes) -> AsyncIterator[bytes]:
        token, size, piece = reference[1:].decode().split(" ")
        key = self._key(token)
        for number in range(-(-int(size) // int(piece))):
            value = await self._carry("HGET", key, number)
            if value is None:
                raise Gone(f"{self._server.address.shown}: a large value is no longer there")
            yield value

    async def _carry(self, *command: Word) -> Any:
        try:
            return await asyncio.to_thread(self._threads.carry, *command)
        except StoreUnavailable:
            raise
        except Exception:  # the other way has the patience
            return await self._server.ask(*command)

    def _key(self, token: str) -> bytes:
        return b"%s:blob:%s" % (self._server.address.tag, token.encode())


def _read(spill: Spill) -> bytes:
    try:
        return Path(spill.path).read_bytes()
    except OSError as error:
        raise StoreUnavailable(f"the file {spill.path} of a large value cannot be read: {error.strerror}") from error


def drop(blobs: Iterable[Blob | None]) -> None:
    """Remove the files of values that the server has by now."""
    for blob in blobs:
        if isinstance(blob, Spill):
            Path(blob.path).unlink(missing_ok=True)
