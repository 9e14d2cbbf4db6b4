"""Jobs on their way in, as the scripts `push` and `push_one` read them.

Most jobs are enqueued one by one and ask for nothing special: no key, limit, delay or expiry, no other job to run
after. For such a job all that the server adds to its record are the time and its place. So the record comes ready-made
with two gaps, and what fills everything else is worked out once for all jobs of a kind.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from cellq.ids import JobId
from cellq.message import Kind, Message, Pushed, Topic, lane_of
from cellq.options import Options
from cellq.store.redis.records import RECORD
from cellq.store.redis.scripts import Script, script

_NUMBER = struct.Struct("<I")
_SHAPE = struct.Struct("<BiIdd")
_ID = 32  # hex digits
_SEVERAL_KINDS = 64


class _Shape(NamedTuple):
    """What the messages of one function and one set of options have in common."""

    options: Options
    kind: Kind
    task: str
    code: bytes
    runtime: str
    origin: str
    ctx: str


def _shape(message: Message) -> _Shape:
    return _Shape(
        message.options, message.kind, message.task, message.code, message.runtime, message.origin, message.ctx
    )


def push(
    messages: Sequence[Message], payloads: Sequence[bytes], code: Mapping[bytes, bytes], arm: Topic | None = None
) -> tuple[Script, list[bytes]]:
    """The script that pushes these, and its arguments.

    Args:
        payloads: as the jobs' hashes are to hold them.
        code: the same by digest.
        arm: the topic whose next ring the caller wants to hear.
    """
    topic = b"" if arm is None else b"%d" % arm
    if len(messages) == 1 and not messages[0].inputs and code.keys() <= {messages[0].code}:
        (message,), (payload,) = messages, payloads
        body = code.get(message.code, b"") if message.code else b""
        plain = _plain(_shape(message))
        if plain is not None and bool(body) == bool(message.code) and payload[:1] == b"=" and body[:1] != b"@":
            return script("push_one"), [topic, message.id.hex().encode(), payload, body, *plain]
    return script("push"), [topic, *_any(messages, payloads, code)]


def pushed(answer: bytes, messages: Sequence[Message]) -> tuple[list[Pushed], int | None]:
    """The answer to either: what became of each, and how often the topic to arm was rung so far."""
    holders = len(messages)
    told = []
    for message, flag in zip(messages, answer[:holders].decode(), strict=True):
        if flag == "2":
            told.append(Pushed(bytes.fromhex(answer[holders : holders + _ID].decode()), False))
            holders += _ID
        else:
            told.append(Pushed(message.id, flag == "1"))
    rings = answer[holders:]
    return told, int(rings) if rings else None


@lru_cache(maxsize=_SEVERAL_KINDS)
def _plain(shape: _Shape) -> tuple[bytes, ...] | None:
    """The last arguments of `push_one`; None for jobs that ask for more than it can do."""
    options, lane = shape.options, lane_of(shape.kind)
    special = (options.key, options.concurrency_key, options.expires, *options.after)
    if options.delay or shape.ctx != "{}" or any(one is not None for one in special):
        return None
    record = RECORD.pack(
        0, 0, lane, 0, 0, 0, 0, options.priority, options.retries, 0.0, -1.0, -1.0, -1.0, -1.0, 0, 0
    )  # fmt: skip
    texts = ("", options.queue, shape.runtime, "", shape.code.hex(), "")
    words = (
        options.queue,
        f"{lane}",
        shape.runtime,
        f"{-options.priority}",
        shape.code.hex(),
        _asked(shape),
    )
    return (*(word.encode() for word in words), record + b"".join(_sized(text.encode()) for text in texts))


def _any(messages: Sequence[Message], payloads: Sequence[bytes], code: Mapping[bytes, bytes]) -> list[bytes]:
    """The arguments of `push` behind the first."""
    shapes: dict[bytes, bytes] = {}
    words: list[bytes] = []
    last: Message | None = None
    for message, payload in zip(messages, payloads, strict=True):
        if last is None or not _alike(last, message):
            last = message
            number = shapes.setdefault(_packed(_shape(message)), b"%d" % (len(shapes) + 1))
        if message.inputs:
            words += (f"{message.id.hex()}{number.decode()}:{_ids(message.inputs)}".encode(), payload)
        else:
            words += (message.id.hex().encode() + number, payload)
    head = [b"%d" % len(code)]
    for digest, body in code.items():
        head += (digest.hex().encode(), body)
    return [*head, b"%d" % len(shapes), *shapes, *words]


@lru_cache(maxsize=_SEVERAL_KINDS)
def _packed(shape: _Shape) -> bytes:
    options = shape.options
    expires = -1.0 if options.expires is None else options.expires
    head = _SHAPE.pack(lane_of(shape.kind), options.priority, options.retries, options.delay, expires)
    limit = "" if options.concurrency_key is None else f"{options.max_running}:{options.concurrency_key}"
    texts = (
        options.queue, shape.runtime, options.key or "", shape.code.hex(), limit, _asked(shape), shape.ctx,
        _ids(options.after),
    )  # fmt: skip
    return head + b"".join(_sized(text.encode()) for text in texts)


def _asked(shape: _Shape) -> str:
    """What never changes about a job; `records.asked` reads it."""
    options = shape.options
    return json.dumps(
        [
            options.queue, options.name or shape.task, shape.task, shape.kind, options.priority, options.retries,
            options.timeout, options.backoff, options.isolated, options.key, options.concurrency_key,
            options.max_running, shape.runtime, shape.code.hex(), shape.origin,
        ],
        ensure_ascii=False,
    )  # fmt: skip


def _ids(ids: Sequence[JobId]) -> str:
    return b"".join(ids).hex()


def _sized(value: bytes) -> bytes:
    return _NUMBER.pack(len(value)) + value


def _alike(one: Message, other: Message) -> bool:
    """Whether they have everything in common but their id and payload; mostly the very same objects."""
    return one.options is other.options and _shape(one) == _shape(other)
