"""Job ids: time-ordered UUIDs, made by whoever enqueues, so that a push repeated after an error is harmless."""

from __future__ import annotations

import hashlib
import os
import threading
import time

JobId = bytes
"""16 bytes: a UUID of version 7 (RFC 9562), so ids made later sort later."""

_id_lock = threading.Lock()
_id_last = 0


def new_id() -> JobId:
    """A new time-ordered id; strictly ascending within this process, also within one millisecond.

    Layout (RFC 9562, 5.7): 48 bits of milliseconds, version, 12 bits used as a counter, variant, 62 random bits.
    """
    global _id_last
    with _id_lock:
        tick = max((time.time_ns() // 1_000_000) << 12, _id_last + 1)
        _id_last = tick
    tail = int.from_bytes(os.urandom(8), "big") & (2**62 - 1)
    number = ((tick >> 12) << 80) | (7 << 76) | ((tick & 0xFFF) << 64) | (2 << 62) | tail
    return number.to_bytes(16, "big")


def instant_id(root: JobId, instant: float) -> JobId:
    """The id of the call that a schedule enqueues for this instant: the same whoever asks, so it is enqueued once.

    Layout (RFC 9562, version 8): 48 bits of milliseconds, as in `new_id`, so that ids are in the order of instants; the
    other bits are a hash of both.

    Args:
        root: the schedule's own id.
        instant: epoch seconds.
    """
    milliseconds = round(instant * 1000).to_bytes(6, "big")
    tail = int.from_bytes(hashlib.sha256(b"cellq instant\0" + root + milliseconds).digest()[:10], "big")
    number = int.from_bytes(milliseconds, "big") << 80 | tail
    number = number & ~(0xF << 76) | 8 << 76
    number = number & ~(0b11 << 62) | 2 << 62
    return number.to_bytes(16, "big")


def id_text(job_id: JobId) -> str:
    """The id as people and programs exchange it: canonical UUID text."""
    h = job_id.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def short_id(job_id: JobId) -> str:
    """The last 8 hex digits. (The first ones are a clock reading: jobs of one hour share them.)"""
    return job_id.hex()[-8:]


def parse_id(text: str) -> JobId:
    """The id behind canonical UUID text.

    Raises:
        ValueError: the text is no UUID.
    """
    digits = text.replace("-", "")
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    if len(raw) != 16:
        raise ValueError(f"{text!r} is not a job id; a job id looks like {id_text(new_id())}")
    return raw


def name_digest(task: str) -> bytes:
    """What stands in place of a code digest when a registered task travels by its name.

    Arguments are signed together with it, so they cannot be moved to a task of another name.
    """
    return hashlib.sha256(b"cellq task\0" + task.encode()).digest()
