"""Length-prefixed messages on a private socket, between a worker and its children.

    ┌──────────────┬──────────┬───────────────────────────────┐
    │ length (u32) │ kind(u8) │ body: a pickle of plain values│
    └──────────────┴──────────┴───────────────────────────────┘

Bodies hold only None, bool, int, float, str, bytes, tuple, list and dict. They are read by an unpickler that refuses
every class, so that nothing a job writes to its socket can make the worker run code. User values travel inside as
sealed bytes, which nobody but a slot or a client opens.
"""

from __future__ import annotations

import io
import pickle
import socket
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple, NoReturn

from cellq.message import Blob, Spill

_HEAD = struct.Struct("<IB")
_HELLO = _HEAD.size


class Frame(IntEnum):
    """What a frame says."""

    # worker → zygote (with three descriptors: the child's two sockets and its marker file)
    FORK = 1  # (token, lane)
    # zygote → worker
    BORN = 2  # (token, pid)
    DIED = 3  # (pid, wait status)
    WARM = 4  # everything to be preloaded is loaded: children born from now on have it
    # worker → slot; a sync slot gets CANCEL and RECALL on a socket of their own
    CODE = 10  # (digest, sealed function or None when the store has lost it)
    RUN = 11  # [ticket, ...]
    CANCEL = 12  # number of the ticket to interrupt
    RECALL = 13  # give back what has not been started
    STOP = 14  # end once idle
    TASK = 15  # (digest of its name, where its function is: a `call.Place`)
    # slot → worker
    EVENTS = 20  # [(job id, attempt, kind, json), ...]
    DONE = 21  # [done, ...]
    RECALLED = 22  # [number, ...]
    NEED = 23  # digest of a function the slot does not have


MARKER = struct.Struct("<Qd")
"""Memory a slot shares with its worker: number of the ticket it runs (0 before the first), and when it started on the
monotonic clock. Written before each job, so that a worker knows what a slot was doing when it died."""


Result = tuple[bytes, bytes, bytes | tuple[str, int], bool]
"""What a job returned, for another to take: its id, the digest of its code, the blob, and whether it is a cell."""


class Ticket(NamedTuple):
    """One job as it is handed to a slot. Blobs are bytes, or (path, size) of a spilled one."""

    number: int  # rises with each ticket of this slot
    id: bytes
    attempt: int
    kind: str
    task: str
    queue: str
    code: bytes
    payload: bytes | tuple[str, int]
    refunds: int = 0  # starts that did not count
    results: tuple[Result, ...] = ()  # what arrives in place of the jobs among its arguments


class Done(NamedTuple):
    """What became of a ticket. `status`: "ok", "error" or "interrupted"."""

    number: int
    status: str
    result: bytes | tuple[str, int] | None
    failure: tuple[str, tuple[str, ...], str, str] | None
    error: bytes | tuple[str, int] | None
    seconds: float
    delay: float | None = None  # it raised RetryMessage, and asks to be run again after so many seconds


def flat(blob: Blob) -> bytes | tuple[str, int]:
    """A blob as a frame carries it."""
    return (blob.path, blob.size) if isinstance(blob, Spill) else blob


def blob(flat: bytes | tuple[str, int]) -> Blob:
    """A blob back from a frame."""
    return flat if isinstance(flat, bytes) else Spill(*flat)


class BadFrame(Exception):
    """The other side does not speak this protocol."""


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise BadFrame(f"a frame must hold plain values only, not {module}.{name}")


def pack(kind: Frame, value: object) -> bytes:
    """One frame as bytes. `value` is made of plain values (see above)."""
    body = pickle.dumps(value, 5)
    return _HEAD.pack(len(body), kind) + body


class Decoder:
    """Turns a stream of bytes back into frames, however it was cut up."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Frame, object]]:
        """The frames that are complete once `data` has arrived.

        Raises:
            BadFrame: what arrived is no frame.
        """
        rest = self._rest
        rest += data
        place = 0
        try:
            while len(rest) - place >= _HELLO:
                length, kind = _HEAD.unpack_from(rest, place)
                end = place + _HELLO + length
                if len(rest) < end:
                    break
                with memoryview(rest) as view, view[place + _HELLO : end] as body:
                    frame = _open(kind, bytes(body))
                place = end
                yield frame
        finally:
            if place:
                del rest[:place]


def _open(kind: int, body: bytes) -> tuple[Frame, object]:
    try:
        return Frame(kind), _Plain(io.BytesIO(body)).load()
    except BadFrame:
        raise
    except Exception as error:
        raise BadFrame(f"cannot read a frame of kind {kind}: {error!r}") from error


def receive(sock: socket.socket, decoder: Decoder) -> Iterator[tuple[Frame, object]]:
    """Frames from a blocking socket, until its other end is closed."""
    while data := sock.recv(262_144):
        yield from decoder.feed(data)
