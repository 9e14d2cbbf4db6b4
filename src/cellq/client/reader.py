"""Reads for many at once: what is asked for while a read is under way shares the next one.

A thousand coroutines that await a thousand jobs thus cost a few reads. One that asks alone is served at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cellq.ids import JobId
from cellq.message import Part, Row
from cellq.store.contract import Store

BLOBS = (Part.RESULT, Part.ERROR)
"""What a row needs besides itself to tell how the job came out."""

_BATCH = 500  # ids per read: enough to make the call's cost vanish, few enough to leave others their turn

_Answer = asyncio.Future[list[Row | None]]


async def read(store: Store, ids: Sequence[JobId], parts: Sequence[Part] = ()) -> list[Row | None]:
    """The rows in the order asked for, however many, in batches."""
    rows: list[Row | None] = []
    for start in range(0, len(ids), _BATCH):
        rows += await store.get(ids[start : start + _BATCH], parts)
    return rows


class Reader:
    """Rows with their results, for whoever asks. Lives on the portal's loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked: list[tuple[Sequence[JobId], _Answer]] = []
        self._reading: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """True while a read is under way."""
        return self._reading is not None

    async def rows(self, ids: Sequence[JobId]) -> list[Row | None]:
        """The rows in the order asked for, with `BLOBS`."""
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._asked.append((ids, answer))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return await answer

    async def _read(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, []
                unique = list(dict.fromkeys(job_id for ids, _ in asked for job_id in ids))
                try:
                    found = dict(zip(unique, await read(self._store, unique, BLOBS), strict=True))
                except Exception as error:
                    for _, answer in asked:
                        if not answer.done():
                            answer.set_exception(error)
                    continue
                for ids, answer in asked:
                    if not answer.done():
                        answer.set_result([found[job_id] for job_id in ids])
        finally:
            self._reading = None
