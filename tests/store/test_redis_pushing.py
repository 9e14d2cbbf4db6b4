"""Pins that a plain job, which has a script of its own, is pushed as any other; and what scripts carry."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from making import CODE, Clock, claim, completed, message, worker

from cellq.ids import new_id
from cellq.message import Keep, Kind, Message, Pushed, State
from cellq.store.redis import RedisStore
from cellq.store.redis.pushing import push
from cellq.store.redis.scripts import script
from servers import Server

PLAIN: dict[str, dict[str, Any]] = {
    "a call": {},
    "a cell, which has no code": {"kind": Kind.CELL, "code": b""},
    "a coroutine": {"kind": Kind.COROUTINE},
    "in a queue of its own": {"queue": "gpu: 2"},
    "with a name, a limit of time and retries": {"name": "Größe", "timeout": 2.5, "retries": 3, "isolated": True},
    "before others": {"priority": 7},
    "behind others": {"priority": -7},
    "for any Python": {"runtime": ""},
}
SPECIAL: dict[str, dict[str, Any]] = {
    "a key": {"key": "k"},
    "a concurrency key": {"concurrency_key": "k"},
    "a delay": {"delay": 1.0},
    "an expiry": {"expires": 1.0},
    "a job to run after": {"after": (new_id(),)},
    "a job among the arguments": {"inputs": (new_id(),)},
}


def verb(one: Message, payload: bytes = b"=payload", code: bytes = b"=code") -> str:
    """The script that pushes this job."""
    return push([one], [payload], {one.code: code} if one.code else {})[0].verb


def held(server: Server, namespace: str) -> dict[str, Any]:
    """All that the server holds of a namespace, with the time each key has to live; how often it rang left out."""
    found: dict[str, Any] = {}
    with server.client() as client:
        for key in client.scan_iter(f"{{{namespace}}}:*"):
            name = key.decode().partition("}:")[2]
            if name != "rings":
                found[name] = (_content(client, key), client.ttl(key))
    return found


def _content(client: redis.Redis, key: bytes) -> Any:
    if client.type(key) == b"zset":
        return client.zrange(key, 0, -1, withscores=True)
    return client.hgetall(key) if client.type(key) == b"hash" else client.smembers(key)


@pytest.mark.parametrize("options", PLAIN.values(), ids=PLAIN.keys())
async def test_alone_or_with_others_a_job_is_stored_in_the_same_way(
    valkey: Server, namespace: str, clock: Clock, options: dict[str, Any]
) -> None:
    jobs = [message(**options), message(**options)]
    code = {CODE: b"code"} if jobs[0].code else {}
    assert verb(jobs[0]) == "push_one"
    for name, portions in ((f"{namespace}-one", [jobs[:1], jobs[1:]]), (f"{namespace}-all", [jobs])):
        store = RedisStore(f"{valkey.url}?namespace={name}", clock=clock)
        await store.open()
        for portion in portions:
            assert await store.push(portion, code) == [Pushed(job.id, True) for job in portion]
        await store.close()
    alone, together = held(valkey, f"{namespace}-one"), held(valkey, f"{namespace}-all")
    assert len(alone) > 3
    assert alone == together


@pytest.mark.parametrize("options", SPECIAL.values(), ids=SPECIAL.keys())
def test_a_job_that_asks_for_more_takes_the_general_way(options: dict[str, Any]) -> None:
    assert verb(message(**options)) == "push"


def test_large_values_and_code_that_is_not_sent_along_take_the_general_way() -> None:
    one = message()
    assert verb(one) == "push_one"
    assert verb(one, payload=b"@token 1 1") == "push"
    assert verb(one, code=b"@token 1 1") == "push"
    assert push([one], [b"=payload"], {})[0].verb == "push"


async def test_pushed_again_it_changes_nothing(valkey: Server, namespace: str) -> None:
    one = message()
    store = RedisStore(f"{valkey.url}?namespace={namespace}")
    await store.open()
    assert await store.push([one], {CODE: b"code"}) == [Pushed(one.id, True)]
    before = held(valkey, namespace)
    assert await store.push([one], {CODE: b"code"}) == [Pushed(one.id, False)]
    assert held(valkey, namespace) == before
    await store.close()


async def test_code_that_went_with_its_last_job_is_there_again(valkey: Server, namespace: str) -> None:
    store = RedisStore(f"{valkey.url}?namespace={namespace}")
    await store.open()
    for _ in range(2):
        one = message()
        await store.push([one], {CODE: b"code"})
        (row,) = await store.get([one.id])
        assert row is not None
        assert row.state is State.PENDING
        assert held(valkey, namespace)[f"code:{CODE.hex()}"] == ({b"b": b"=code", b"live": b"1", b"all": b"1"}, -1)
        (got,) = await claim(store, worker())
        await store.finish([completed(got.lease)])
        await store.prune(Keep(completed=0))
        await store.prune(Keep(completed=0))  # the code is idle now
        assert f"code:{CODE.hex()}" not in held(valkey, namespace)
    await store.close()


def test_a_script_carries_no_function_that_it_does_not_call() -> None:
    text = script("arm").text.decode()
    assert "local function arm(" in text
    assert "local function again(" not in text
    assert "include" not in text
