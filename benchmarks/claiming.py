"""Whether claiming stays as cheap when a million jobs wait. At the store, without a worker around it."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path

from figures import Line

from cellq.ids import new_id
from cellq.message import Ending, Kind, Lane, Message, Outcome, WorkerInfo
from cellq.options import Options
from cellq.settings import RUNTIME
from cellq.store.sqlite import SQLiteStore

_BATCH = 20_000
_WORKER = new_id()


def measure(room: Path, *, quick: bool) -> list[Line]:
    """Claims of one job, with many and with few waiting."""
    return asyncio.run(_measure(room, 100_000 if quick else 1_000_000, 1000))


async def _measure(room: Path, many: int, few: int) -> list[Line]:
    full, sparse = await _filled(room / "many.db", many), await _filled(room / "few.db", few)
    try:
        times: dict[str, list[float]] = {"full": [], "sparse": []}
        for number in range(6):
            both = [(await _claim(full), await _claim(sparse)) for _ in range(100)]
            if number:  # the first hundred warm up
                for name, values in zip(times, zip(*both, strict=True), strict=True):
                    times[name].append(statistics.median(values))
    finally:
        await full.close()
        await sparse.close()
    return [
        Line(
            what=f"claim of one job with {many:,} waiting, against {few:,}",
            unit="us",
            ours=times["full"],
            rival=f"{few:,}:",
            theirs=times["sparse"],
            limit=1.3,
        )
    ]


async def _filled(path: Path, count: int) -> SQLiteStore:
    store = SQLiteStore(path)
    await store.open()
    await store.beat(
        WorkerInfo(
            id=_WORKER,
            host="",
            pid=os.getpid(),
            started=0.0,
            runtime=RUNTIME,
            queues=("default",),
            slots=1,
            busy=0,
            lease=3600.0,
        ),
        [],
    )
    options, payload = Options(), bytes(150)
    for start in range(0, count, _BATCH):
        messages = [
            Message(
                id=new_id(),
                kind=Kind.CALL,
                task="nothing",
                code=b"code",
                payload=payload,
                runtime=RUNTIME,
                options=options,
                origin="{}",
            )
            for _ in range(min(_BATCH, count - start))
        ]
        await store.push(messages, {b"code": b"body"})
    return store


async def _claim(store: SQLiteStore) -> float:
    start = time.perf_counter()
    claims = await store.claim(_WORKER, ("default",), {Lane.SYNC: 1}, RUNTIME)
    seconds = time.perf_counter() - start
    (claim,) = claims.claims
    await store.finish([Outcome(lease=claim.lease, ending=Ending.COMPLETED, result=b"")])
    return seconds * 1e6
