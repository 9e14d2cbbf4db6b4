"""What tests run in processes of their own: `python store_child.py WHAT DATABASE …`, talking over stdin and stdout."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys

from making import message, worker

from cellq.errors import StoreUnavailable
from cellq.message import Ending, Lane, Outcome, Topic
from cellq.store.sqlite import SQLiteStore

ME = worker(str(os.getpid()), lease=600.0)


def say(what: object) -> None:
    """One line to the test."""
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


async def churn(path: str) -> None:
    """Push, claim and finish without end; each acknowledged push and finish is said."""
    store = SQLiteStore(path)
    await store.open()
    for size in itertools.cycle((10, 5000, 200_000)):
        asked = [message(payload=b"x" * size, code=os.urandom(1)) for _ in range(5)]
        await store.push(asked, {one.code: b"code" for one in asked})
        say(["pushed", [one.id.hex() for one in asked]])
        await store.beat(ME, [])
        claims = (await store.claim(ME.id, ["default"], {Lane.SYNC: 3}, "3.11")).claims
        await store.finish([Outcome(lease=one.lease, ending=Ending.COMPLETED, result=b"r") for one in claims])
        say(["finished", [one.lease.id.hex() for one in claims]])


async def serve(path: str) -> None:
    """A worker that only ever moves when it is rung: the safety poll is off."""
    store = SQLiteStore(path)
    store.safety_poll = None
    await store.open()
    await store.beat(ME, [])
    cursor = await store.wait(Topic.WORK, 0, None)
    say("ready")
    while True:
        claims = (await store.claim(ME.id, ["default"], {Lane.SYNC: 10}, "3.11")).claims
        if claims:
            await store.finish([Outcome(lease=one.lease, ending=Ending.COMPLETED) for one in claims])
        else:
            cursor = await store.wait(Topic.WORK, cursor, None)


async def race(path: str, pushes: str) -> None:
    """Push so many jobs one by one; on a word from the test, claim and finish one by one until none is left."""
    store = SQLiteStore(path)
    await store.open()
    await store.beat(ME, [])
    for _ in range(int(pushes)):
        await store.push([message()], {})
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    ran = []
    while claims := (await store.claim(ME.id, ["default"], {Lane.SYNC: 1}, "3.11")).claims:
        ran += [one.lease.id.hex() for one in claims]
        assert await store.finish([Outcome(lease=one.lease, ending=Ending.COMPLETED) for one in claims]) == [True]
    await store.close()
    say(ran)


async def lock(path: str) -> None:
    """Hold a write transaction, as a forgotten database browser would."""
    store = SQLiteStore(path)
    await store.open()
    await store._connection.read(lambda sql: sql.execute("BEGIN IMMEDIATE"))
    say("locked")
    await asyncio.to_thread(sys.stdin.readline)


async def unprivileged(path: str) -> None:
    """Open the store as a user who may write nowhere, and say how that goes."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    store = SQLiteStore(path)
    try:
        await store.open()
        await store.push([message()], {})
    except StoreUnavailable as error:
        say(str(error))
    else:
        say("")
    await store.close()


async def fork(path: str) -> None:
    """Use a handle in a forked child, and say how that goes."""
    store = SQLiteStore(path)
    await store.open()
    child = os.fork()
    if child == 0:
        try:
            store.get([b"?" * 16]).send(None)
        except StoreUnavailable as error:
            say(str(error))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    await store.close()


async def leave_open(path: str) -> None:
    """End without closing the store."""
    store = SQLiteStore(path)
    await store.open()
    await store.push([message()], {})
    say("done")


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
