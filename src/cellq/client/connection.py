"""One store, its watcher and the seal that protects its payloads, as queues, jobs and groups share them.

All coroutines here run on the portal's loop. A connection opens its store with the first of them, and again in a
forked child; it closes when nobody holds it any more, or when the process ends.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import sys
import weakref
from asyncio import CancelledError, Lock, Task, create_task, gather, shield
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from cellq import settings
from cellq.client.functions import Functions
from cellq.client.portal import portal
from cellq.client.reader import Reader, read
from cellq.client.watcher import Watcher
from cellq.errors import StoreUnavailable
from cellq.ids import JobId, id_text
from cellq.message import Action, Blob, Message, Part, Pushed, Row
from cellq.store import open_store, shown_url
from cellq.store.contract import Here, Store
from cellq.wire.inputs import Handle
from cellq.wire.pickling import Label
from cellq.wire.sealing import Purpose, Seal


class _Session:
    """The store as this process has opened it. (Holds no connection, so that an unused one can be collected.)"""

    def __init__(self, store: Store) -> None:
        self.pid = os.getpid()
        self.here = store if isinstance(store, Here) else None
        self.store = store
        self.watcher = Watcher(store)
        self.reader = Reader(store)
        self.open = False
        self.pushing: set[Task[list[Pushed]]] = set()
        self._opening = Lock()

    async def start(self) -> None:
        async with self._opening:
            if not self.open:
                await self.store.open()
                self.open = True
                portal().closing(self.end)

    async def close(self) -> None:
        closed = StoreUnavailable(f"{self.store.url} was closed while a job was waited for")
        self.watcher.give_up(closed)
        await self.end()
        self.watcher.give_up(closed)  # on those who came meanwhile

    async def end(self) -> None:
        """Close and tell nobody: at exit, whoever still waits is a daemon thread, and about to vanish."""
        portal().closed(self.end)
        async with self._opening:  # whoever comes now opens it again, but not before it is closed
            self.open = False
            await self.watcher.stop()
            await self.store.close()


class Connection:
    """The client's side of one store.

    Args:
        url: see `settings.store_url`.
        store: use this store, opened or not, instead of opening `url`.

    Attributes:
        full_url: the URL with its password: to connect with, also from another process; never to be shown.

    Raises:
        TypeError, ValueError: the URL is no such thing.
    """

    def __init__(self, url: str | os.PathLike[str] | None = None, *, store: Store | None = None) -> None:
        self.full_url = settings.store_url(url) if store is None else store.full_url
        self.window = 1  # how many jobs are read ahead; this and the next belong to `record`
        self.latest: weakref.ref[Any] | None = None
        self._begin(open_store(self.full_url) if store is None else store)
        _made[id(self)] = self

    @staticmethod
    def known(url: str) -> Connection | None:
        """One that this process has to a store, of which only the URL for people is known."""
        held = (reference() for reference in _made.valuerefs())  # a list: others may come meanwhile
        return next((one for one in held if one is not None and one.url == url), None)

    def _begin(self, store: Store) -> None:
        self._session = _Session(store)
        self._finalizer = weakref.finalize(self, _abandon, self._session)
        self._finalizer.atexit = False  # the portal closes what is open at exit

    @property
    def url(self) -> str:
        """The store's URL for people: without its password."""
        return shown_url(self.full_url)

    @functools.cached_property
    def seal(self) -> Seal:
        """What signs this user's payloads."""
        return Seal(settings.secret())

    @functools.cached_property
    def functions(self) -> Functions:
        """What seals this user's functions."""
        return Functions(self.seal)

    def sealed_call(
        self, value: object, job_id: JobId, code: bytes, label: Label, met: list[Handle] | None = None
    ) -> Blob:
        """What a job is to be run with, sealed for it alone; see `Seal.seal`.

        Raises:
            NotPicklable: something in it cannot travel; the message names it.
        """
        return self.seal.seal(
            value, purpose=Purpose.CALL, job_id=job_id, code=code, label=label, spill_dir=self.spill_dir, met=met
        )

    @property
    def spill_dir(self) -> Path | None:
        """Where large sealed values go."""
        return self._session.store.spill_dir

    async def _ready(self) -> _Session:
        session = self._session
        if session.pid != os.getpid():
            self._finalizer()
            self._begin(open_store(self.full_url))
            session = self._session
        if not session.open:
            await session.start()
        return session

    async def ready(self) -> Store:
        """The store, open.

        Raises:
            StoreUnavailable: it cannot be opened.
        """
        return (await self._ready()).store

    async def watcher(self) -> Watcher:
        """What learns of endings for everyone who waits on this connection."""
        return (await self._ready()).watcher

    async def reader(self) -> Reader:
        """What reads results for everyone who asks on this connection."""
        return (await self._ready()).reader

    async def close(self) -> None:
        """Let go of the store; the next use opens it again."""
        if self._session.open and self._session.pid == os.getpid():
            await self._session.close()

    async def push(self, messages: Sequence[Message], code: Mapping[bytes, Blob]) -> list[Pushed]:
        """Add jobs, all or none. A caller that is interrupted meanwhile can `take_back` them."""
        session = await self._ready()
        task = create_task(_push(session.store, messages, code))
        session.pushing.add(task)
        task.add_done_callback(session.pushing.discard)
        return await shield(task)

    def here(self) -> Here | None:
        """The store's verbs for the caller's own thread, where it is open and has such.

        A blocking caller that uses them saves two changes of threads on its way to the portal and back.
        """
        session = self._session
        return session.here if session.open and session.pid == os.getpid() else None

    def take_back(self, ids: Sequence[JobId]) -> None:
        """Cancel what an interrupted `push` may have added; does not wait. Ids that were never added are harmless."""
        portal().start(self._take_back(ids))

    async def _take_back(self, ids: Sequence[JobId]) -> None:
        session = await self._ready()
        await gather(*session.pushing, return_exceptions=True)
        await session.store.change(ids, Action.CANCEL)

    async def get(self, ids: Sequence[JobId], parts: Sequence[Part] = ()) -> list[Row | None]:
        """The rows in the order asked for, however many."""
        return await read(await self.ready(), ids, parts)


async def _push(store: Store, messages: Sequence[Message], code: Mapping[bytes, Blob]) -> list[Pushed]:
    try:
        return await store.push(messages, code)
    except StoreUnavailable as error:
        if messages:
            error.add_note(
                f"Whether the job arrived is not known. When the store answers again, "
                f"Queue.get({id_text(messages[0].id)!r}) tells, before you enqueue it a second time."
            )
        raise


def _abandon(session: _Session) -> None:
    if session.pid != os.getpid():
        _orphans.append(session)  # the parent's: a forked child neither uses nor closes it
    elif session.open:
        portal().start(_close_quietly(session.close()))


async def _close_quietly(closing: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(Exception, CancelledError):  # nobody is left to tell
        await closing


_orphans: list[object] = []
_made: weakref.WeakValueDictionary[int, Connection] = weakref.WeakValueDictionary()


@functools.lru_cache(maxsize=2)
def _origin_of(pid: int) -> str:
    return json.dumps({"host": socket.gethostname(), "pid": pid, "program": Path(sys.argv[0]).name if sys.argv else ""})


def origin() -> str:
    """Where a job came from, when its caller does not say: this machine, process and program, as JSON."""
    return _origin_of(os.getpid())
