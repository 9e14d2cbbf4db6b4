"""The server of an address: where it is, connections to it, and calls that are tried again.

Which server to speak to is asked anew with each connection: of nobody, of the Sentinels, or of the Cluster's nodes (all
keys of a namespace are in one slot, so one node has them all). Whatever goes wrong on the way, the answer is the same:
let go of every connection, wait a little longer each time, and ask again, until the patience is at its end.

    call ──▶ free connection, or a new one ──▶ send, read ──▶ answer
               ▲                                   │ connection lost, server loading, moved, not the master any more
               └── locate ◀── pause (jittered) ◀───┘

A call whose answer was lost may have been done. So each handle numbers its calls, and says so when it asks again: the
scripts keep the last answer to each verb (`lua/call.lua`). That works for one call at a time, hence the lock per verb;
verbs that may be repeated freely need neither.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import Any

from cellq.errors import StoreUnavailable
from cellq.store.redis.address import Address, Kind
from cellq.store.redis.scripts import Script

ANSWER = 10.0
"""Seconds until a server that says nothing counts as gone."""

Word = bytes | str | int | memoryview
"""What a command is made of."""

_FIRST = 2.0
"""The patience with a server that has never answered: more likely its address is wrong than that it is restarting."""

_PAUSE_FIRST = 0.02
_PAUSE_MOST = 1.0
_jitter = random.Random()  # not the process's own generator: in a notebook that one is the user's
_MOST_CONNECTIONS = 16
_OLDEST = (6, 2)


@cache
def library() -> ModuleType:
    """redis-py, loaded when somebody needs it: `import cellq` is to be quick."""
    import redis.asyncio
    import redis.crc
    import redis.exceptions

    return redis


def packed(*words: Word) -> bytes:
    """A command as it goes over the wire. (redis-py's own packing takes twice as long: most of ours are many words.)"""
    parts: list[bytes | memoryview] = [b"*%d\r\n" % len(words)]
    for word in words:
        text = str(word).encode() if isinstance(word, str | int) else word
        parts += (b"$%d\r\n" % len(text), text, b"\r\n")
    return b"".join(parts)


class Server:
    """Connections to the server behind an address. Belongs to one event loop.

    Args:
        address: where, and how long to try.
        clock: gives the time in epoch seconds; None for the server's own.
    """

    def __init__(self, address: Address, clock: Callable[[], float] | None) -> None:
        self.address = address
        self._clock = clock
        self._free: list[Any] = []
        self._room = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._kind: type[Any] | None = None
        self._options: dict[str, Any] = {}
        self._nodes: tuple[tuple[str, int], ...] = ()
        self._handle = secrets.token_hex(8).encode()
        self._numbers = itertools.count(1)
        self._one_at_a_time: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._given_up: dict[str, tuple[bytes, tuple[bytes | str, ...]]] = {}  # by verb: the number, and the words
        self._keep = b"" if address.keep is None else b"%.17g" % address.keep
        self.where: dict[str, Any] = {}  # the host that was found last, where that is not the address itself
        self._open = False
        self._met = False

    @property
    def is_open(self) -> bool:
        """Between `open` and `close`."""
        return self._open

    # ------------------------------------------------------------------------------- coming and going

    async def open(self) -> None:
        """Connect, and check that the server will do.

        Raises:
            StoreUnavailable: it cannot be reached, or not be used.
        """
        redis = library()
        try:
            pool = redis.asyncio.ConnectionPool.from_url(self.address.plain)
        except (ValueError, TypeError) as error:
            raise StoreUnavailable(f"{self.address.shown}: {error}") from None
        self._kind = pool.connection_class
        # Answers of RESP2 are all that we need; notices of a maintenance need RESP3, and would be in the way.
        given = {name: value for name, value in pool.connection_kwargs.items() if not name.startswith("maint")}
        self._options = given | {"protocol": 2, "decode_responses": False, "socket_timeout": None}
        self._options.setdefault("socket_connect_timeout", 5.0)
        if "path" not in self._options:
            self._options.setdefault("socket_keepalive", True)
        self._nodes = self.address.hosts
        self._open = True
        try:
            self._check(await self.ask("INFO"))
        except BaseException as error:
            if not isinstance(error.__cause__, redis.exceptions.NoPermissionError):
                await self.close()
                raise
        self._met = True

    def _check(self, text: bytes) -> None:
        info = dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
        version = info.get("redis_version", "0")
        if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
            raise StoreUnavailable(f"{self.address.shown}: this is Redis {version}; 6.2 or newer (or Valkey) is needed")
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and info.get("maxmemory", "0") != "0":
            warnings.warn(
                f"{self.address.shown}: this server drops keys when its memory is full (maxmemory-policy {policy}), "
                f"jobs and results among them. Run: CONFIG SET maxmemory-policy noeviction",
                RuntimeWarning,
                stacklevel=2,
            )

    async def close(self) -> None:
        """Let go of all connections."""
        self._open = False
        await self._drop()

    async def _drop(self) -> None:
        free, self._free = self._free, []
        for connection in free:
            await _let_go(connection)

    # ------------------------------------------------------------------------------------------ calls

    async def run(self, script: Script, *words: bytes | str, once: bool = False) -> Any:
        """Run a script; gives its answer.

        Args:
            words: its arguments behind the first four.
            once: it must not be done twice when the answer to the first call was lost.

        Raises:
            StoreUnavailable: it cannot be reached, or did not do it.
        """
        if not once:
            return await self._run(script, words, b"0")
        return await self._numbered(script, words, resume=False)

    async def resume(self, script: Script, *words: bytes | str) -> Any:
        """The same, once; and when an earlier call of this verb was given up without an answer, its answer first.

        Raises:
            StoreUnavailable: it cannot be reached, or did not do it.
        """
        return await self._numbered(script, words, resume=True)

    async def _numbered(self, script: Script, words: tuple[bytes | str, ...], *, resume: bool) -> Any:
        async with self._one_at_a_time[script.verb]:
            number, before = self._given_up.pop(script.verb, (b"", ()))
            # Given up by us, and asked again by a caller whose patience is greater; `resume` has different words then.
            again = number != b"" and (resume or before == words)
            if not again:
                number = b"%d" % next(self._numbers)
            try:
                return await self._run(script, words, number, again=again)
            except BaseException:
                self._given_up[script.verb] = number, words
                raise

    async def _run(self, script: Script, words: Sequence[Word], number: bytes, *, again: bool = False) -> Any:
        head = self.head()

        def command(repeated: bool) -> tuple[Word, ...]:
            nonlocal again
            again = again or repeated
            said = b"-" + number if again and number != b"0" else number
            return ("EVALSHA", script.digest, 1, *head, said, *words)

        try:
            return await self._patiently(command)
        except library().exceptions.NoScriptError:  # nothing was done; the next one finds it there
            return await self._patiently(lambda repeated: ("EVAL", script.text, *command(repeated)[2:]))

    def head(self) -> tuple[bytes, bytes, bytes, bytes]:
        """What every script is told first, but for the number of the call."""
        clock = b"" if self._clock is None else b"%.17g" % self._clock()
        return self.address.tag, clock, self._keep, self._handle

    async def ask(self, *words: Word) -> Any:
        """One command, which may be repeated freely; gives its answer."""
        return await self._patiently(lambda again: words)

    async def _patiently(self, command: Callable[[bool], Sequence[Word]]) -> Any:
        exceptions = library().exceptions
        began = time.monotonic()
        patience = self.address.patience if self._met else min(self.address.patience, _FIRST)
        pause, again = 0.0, False
        while True:
            if not self._open:
                raise self.closed()
            try:
                return await self._once(command(again))
            except exceptions.NoScriptError:
                raise
            except (exceptions.RedisError, OSError, TimeoutError) as error:
                await self._drop()
                if not _passes(error) or time.monotonic() - began + pause > patience:
                    raise self.unavailable(error) from error
            again = True
            await asyncio.sleep(pause * _jitter.uniform(0.5, 1.0))
            pause = min(max(pause * 2, _PAUSE_FIRST), _PAUSE_MOST)

    async def _once(self, command: Sequence[Word]) -> Any:
        async with self._room:
            connection = self._free.pop() if self._free else await self.connect()
            try:
                async with asyncio.timeout(ANSWER):
                    await connection.send_packed_command(packed(*command), check_health=False)
                    answer = await connection.read_response()
            except library().exceptions.ResponseError:
                self._free.append(connection)  # it was refused, and said so: the connection is in order
                raise
            except BaseException:
                await _let_go(connection)
                raise
            if self._open:
                self._free.append(connection)
            else:
                await _let_go(connection)
            return answer

    # ------------------------------------------------------------------------------------ connections

    async def connect(self) -> Any:
        """A new connection to whatever server is ours at the moment."""
        if self.address.kind is Kind.SERVER:
            return await self._connect({})
        host, port = await self._locate()
        self.where = {"host": host, "port": port}
        return await self._connect(self.where)

    async def _connect(self, where: dict[str, Any]) -> Any:
        assert self._kind is not None
        try:
            connection = self._kind(**self._options | where)
        except TypeError as error:
            raise StoreUnavailable(f"{self.address.shown}: an option is unknown ({error})") from None
        try:
            async with asyncio.timeout(ANSWER):
                await connection.connect()
        except BaseException:
            await _let_go(connection)
            raise
        return connection

    async def _locate(self) -> tuple[str, int]:
        """The master's host and port, from the first one that knows."""
        exceptions = library().exceptions
        last: Exception = exceptions.ConnectionError("no host to ask")
        for host, port in self._nodes:
            where = {"host": host, "port": port}
            if self.address.kind is Kind.SENTINEL:
                where |= {"username": None, "password": None, "db": 0} | self.address.sentinel
            try:
                connection = await self._connect(where)
                try:
                    async with asyncio.timeout(ANSWER):
                        return await self._told_by(connection, host, port)
                finally:
                    await _let_go(connection)
            except (exceptions.RedisError, OSError, TimeoutError) as error:
                last = error
        raise last

    async def _told_by(self, connection: Any, host: str, port: int) -> tuple[str, int]:
        redis = library()
        if self.address.kind is Kind.SENTINEL:
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.address.service)
            found = await connection.read_response()
            if not found:
                raise redis.exceptions.ConnectionError(f"the Sentinel knows no {self.address.service!r}")
            return found[0].decode(), int(found[1])
        await connection.send_command("CLUSTER", "SLOTS")
        slots = await connection.read_response()
        ours = redis.crc.key_slot(self.address.tag)
        masters = [(first, last, _node(master, host)) for first, last, master, *_ in slots]
        self._nodes = tuple(dict.fromkeys([*(node for *_, node in masters), *self.address.hosts]))
        for first, last, node in masters:
            if first <= ours <= last:
                return node
        raise redis.exceptions.ConnectionError(f"the Cluster serves no slot {ours}")

    def closed(self) -> StoreUnavailable:
        """The error for whoever asks without having opened, or too late."""
        return StoreUnavailable(f"{self.address.shown}: this store was closed, or never opened")

    def unavailable(self, error: BaseException) -> StoreUnavailable:
        """The error for whoever asked, with the address, the cause and what to do."""
        return StoreUnavailable(f"{self.address.shown}: {_cause(error, self.address.plain.startswith('rediss'))}")


async def _let_go(connection: Any) -> None:
    with suppress(Exception):
        await connection.disconnect(nowait=True)


def _node(told: Sequence[Any], asked: str) -> tuple[str, int]:
    host = told[0].decode() if told[0] else ""
    return (host if host not in ("", "?") else asked), int(told[1])


# What a server says that is soon to be otherwise, and how redis-py calls some of it.
_PASSING = ("BUSY", "NOREPLICAS", "UNBLOCKED", "MISCONF")
_PASSING_ERRORS = ("ReadOnlyError", "MovedError", "AskError", "ClusterDownError", "TryAgainError", "MasterDownError")


def _passes(error: BaseException) -> bool:
    """Whether it is worth while to try again."""
    exceptions = library().exceptions
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
        return False
    if isinstance(error, exceptions.ResponseError):
        passing = tuple(getattr(exceptions, name) for name in _PASSING_ERRORS)
        return isinstance(error, passing) or str(error).startswith(_PASSING)
    return "SSL" not in str(error) and "CERTIFICATE" not in str(error)


def _cause(error: BaseException, tls: bool) -> str:
    exceptions = library().exceptions
    text = str(error) or type(error).__name__
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM" in text:
        return "its memory is full (maxmemory), nothing was written. Raise maxmemory, or prune ended jobs: cellq prune"
    if isinstance(error, exceptions.AuthenticationError) or "WRONGPASS" in text or "NOAUTH" in text:
        return f"it wants another user or password ({text}). Write redis://user:password@host:port/0"
    if isinstance(error, exceptions.NoPermissionError) or "NOPERM" in text:
        needs = "~{NAMESPACE}* &{NAMESPACE}* +@connection +@scripting +@pubsub +@read +@write +time"
        return f"this user may not do that ({text}). Its ACL needs {needs}; the namespace is cellq, if none was given"
    if "SSL" in text or "CERTIFICATE" in text:
        return f"no TLS connection came about ({text}). rediss:// is for servers with TLS, redis:// for those without"
    if isinstance(error, exceptions.ResponseError):
        return f"it refused: {text}"
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        hint = "Check that this port speaks TLS" if tls else "Check the address, and that the server is up"
        return f"it does not answer ({text}). {hint}"
    return f"it cannot be reached ({text}). Check the address, and that the server runs: redis-server --port 6379"
