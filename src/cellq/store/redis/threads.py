"""Verbs for threads that may block: each has connections of its own, and needs no event loop to speak for it.

Two changes of threads cost more than what a small call does. Nothing is tried twice here: whoever gets no answer is
told None, and goes the long way, which has the patience. (A push may have been done by then; repeated, it is harmless.)
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeGuard

from cellq.ids import JobId
from cellq.message import Blob, Message, Part, Pushed, Row, Topic
from cellq.store.redis import pushing, records
from cellq.store.redis.scripts import Script, script
from cellq.store.redis.server import ANSWER, Server, library, packed

INLINE = 256 * 2**10
"""Bytes up to which a value is part of its job's hash."""

_MANY = 256
_MEGABYTE = 2**20
_NAP = 1.0  # seconds after which a wait looks up in any case


class _Thread:
    """What one thread holds: a connection for commands, one that listens, and how often it heard something.

    It is `busy` while it uses them: then nobody else may close them.
    """

    def __init__(self) -> None:
        self.busy = threading.Lock()
        self.line: Any = None
        self.ear: Any = None
        self.lorry: Any = None  # the same as `line` for large values: it reads by the megabyte
        self.topics: set[Topic] = set()
        self.armed: set[Topic] = set()  # the next ring of these is sent to us
        self.waited = False  # since its last push
        self.heard = 1
        self.rings: dict[Topic, int] = {}  # how often each was rung, as far as we know

    def close(self) -> None:
        for connection in (self.line, self.ear, self.lorry):
            if connection is not None:
                with suppress(Exception):
                    connection.disconnect()
        self.line = self.ear = self.lorry = None
        self.topics.clear()
        self.armed.clear()


class Threads:
    """The connections of all threads that have asked.

    Args:
        server: where they lead.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._here = threading.local()
        self._all: weakref.WeakSet[_Thread] = weakref.WeakSet()
        self._channels = {b"%s:bell:%d" % (server.address.tag, topic): topic for topic in Topic}

    def push(self, messages: Sequence[Message], code: Mapping[bytes, Blob]) -> list[Pushed] | None:
        """As `Here.push_here`."""
        if not messages or len(messages) > _MANY:
            return None
        payloads = [b"=" + blob for message in messages if _small(blob := message.payload)]
        bodies = {digest: b"=" + blob for digest, blob in code.items() if _small(blob)}
        if len(payloads) < len(messages) or len(bodies) < len(code):
            return None
        mine = self._mine()
        # Who waited after the last push will wait after this one: to say so now saves a call then.
        arm = Topic.ENDED if mine.waited and Topic.ENDED in mine.topics - mine.armed else None
        mine.waited = False
        answer = self._run(*pushing.push(messages, payloads, bodies, arm))
        if answer is None:
            return None
        pushed, rings = pushing.pushed(answer, messages)
        if arm is not None:
            self._armed(mine, arm, rings)
        return pushed

    def get(self, ids: Sequence[JobId], parts: Sequence[Part]) -> list[Row | None] | None:
        """As `Here.get_here`."""
        if not ids or len(ids) > _MANY:
            return None
        digits = "".join(str(int(part)) for part in parts)
        packed = self._run(script("get"), [digits, *(job_id.hex() for job_id in ids)])
        if packed is None:
            return None
        now, jobs = records.got(packed, len(parts))
        rows: list[Row | None] = []
        for job in jobs:
            if job is not None and any(blob is not None and blob[:1] != b"=" for blob in job.blobs):
                return None  # it lies in pieces
            blobs = () if job is None else [None if blob is None else blob[1:] for blob in job.blobs]
            rows.append(None if job is None else job.row(now, dict(zip(parts, blobs, strict=True))))
        return rows

    def carry(self, *command: bytes | str | int | memoryview) -> Any:
        """The answer to one command with a large value in it, or in its answer.

        Raises:
            StoreUnavailable: this store is closed.
            redis.RedisError, OSError: there was no answer.
        """
        self._check()
        mine = self._mine()
        with mine.busy:
            try:
                if mine.lorry is None:
                    mine.lorry = self._connect(socket_read_size=_MEGABYTE)
                mine.lorry.send_command(*command, check_health=False)
                return mine.lorry.read_response()
            except BaseException:
                mine.close()
                raise

    def wait(self, topic: Topic, cursor: int, timeout: float) -> int:
        """As `Here.wait_here`. A connection that was lost counts as a ring."""
        self._check()
        mine = self._mine()
        mine.waited = True
        if topic not in mine.topics:
            self._listening(mine, lambda: self._subscribe(mine, topic))
        if topic not in mine.armed:
            self._armed(mine, topic, self._run(script("arm"), [str(int(topic))]) if topic in mine.topics else None)
        if mine.heard == cursor:
            self._listening(mine, lambda: self._hear(mine, min(timeout, _NAP)))
        return mine.heard

    def _armed(self, mine: _Thread, topic: Topic, rings: int | None) -> None:
        """Its next ring is sent to us, and it was rung so often before; nobody knows: as good as a ring."""
        if rings is None or rings != mine.rings.get(topic):
            mine.heard += 1
        if rings is not None:
            mine.rings[topic] = rings
            mine.armed.add(topic)

    def _listening(self, mine: _Thread, what: Callable[[], None]) -> None:
        """Do this with the connection that listens; a lost one counts as a ring."""
        with mine.busy:
            try:
                what()
            except (library().exceptions.RedisError, OSError):
                mine.close()
                mine.heard += 1
            except BaseException:  # interrupted in the middle of an answer
                mine.close()
                raise

    def _hear(self, mine: _Thread, timeout: float) -> None:
        while mine.ear.can_read(timeout=timeout):
            _, channel, rings = mine.ear.read_response()
            mine.rings[self._channels[channel]] = int(rings)
            mine.armed.discard(self._channels[channel])
            mine.heard += 1
            timeout = 0

    def close(self) -> None:
        """Let go of the connections of all threads that are not in a call; the others see it when they ask again."""
        for thread in list(self._all):
            if thread.busy.acquire(blocking=False):
                thread.close()
                thread.busy.release()

    def _check(self) -> None:
        if not self._server.is_open:
            self._mine().close()
            raise self._server.closed()

    def _subscribe(self, mine: _Thread, topic: Topic) -> None:
        if mine.ear is None:
            mine.ear = self._connect()
        channel = next(channel for channel, of in self._channels.items() if of is topic)
        mine.ear.send_command("SUBSCRIBE", channel, check_health=False)
        while mine.ear.read_response()[0] != b"subscribe":
            pass
        mine.topics.add(topic)
        mine.heard += 1

    def _run(self, what: Script, words: Sequence[bytes | str]) -> Any:
        """The answer to a script; None when there is none."""
        self._check()
        exceptions = library().exceptions
        mine = self._mine()
        with mine.busy:
            try:
                if mine.line is None:
                    mine.line = self._connect()
                said = (b"1", *self._server.head(), b"0", *words)
                mine.line.send_packed_command([packed(b"EVALSHA", what.digest, *said)], check_health=False)
                try:
                    return mine.line.read_response()
                except exceptions.NoScriptError:  # nothing was done
                    mine.line.send_packed_command([packed(b"EVAL", what.text, *said)], check_health=False)
                    return mine.line.read_response()
            except exceptions.ResponseError:
                return None
            except (exceptions.RedisError, OSError):
                mine.close()
                return None
            except BaseException:
                mine.close()
                raise

    def _mine(self) -> _Thread:
        mine: _Thread | None = getattr(self._here, "thread", None)
        if mine is None:
            mine = self._here.thread = _Thread()
            self._all.add(mine)
        return mine

    def _connect(self, **more: int) -> Any:
        redis = library()
        pool = redis.ConnectionPool.from_url(self._server.address.plain, protocol=2)
        given = {name: value for name, value in pool.connection_kwargs.items() if not name.startswith("maint")}
        options = given | {"decode_responses": False, "socket_timeout": ANSWER} | self._server.where | more
        options.setdefault("socket_connect_timeout", 5.0)
        connection = pool.connection_class(**options)
        connection.connect()
        return connection


def _small(blob: Blob) -> TypeGuard[bytes]:
    return isinstance(blob, bytes) and len(blob) <= INLINE
