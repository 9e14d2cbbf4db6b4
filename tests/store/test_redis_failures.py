"""Pins that a Redis store loses nothing when the server, or the way to it, is bad; and that it says what is wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import redis
from making import CODE, ROOM, claim, completed, message, start, worker

from cellq.errors import StoreUnavailable
from cellq.message import Action, Changed, Event, Keep, Lease, Part, Pushed, State, Topic
from cellq.store.contract import Store
from cellq.store.redis import RedisStore, server
from cellq.store.redis.address import parse
from cellq.store.redis.scripts import script
from cellq.store.redis.threads import INLINE
from leaks import leaks
from servers import VALKEY, Server

A = worker("a", lease=600.0)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server of this test's own, which may be stopped, filled up and locked."""
    with Server(VALKEY, tmp_path, "--appendonly", "yes", "--appendfsync", "always") as started:
        yield started


@pytest.fixture
async def store(own: Server) -> AsyncIterator[RedisStore]:
    store = RedisStore(own.url)
    await store.open()
    yield store
    await store.close()


async def refusal(url: str) -> str:
    """What opening says."""
    store = RedisStore(url)
    with pytest.raises(StoreUnavailable) as caught:
        await store.open()
    await store.close()
    return str(caught.value)


# ------------------------------------------------------------------------------------- a server that goes


async def test_a_restart_loses_nothing_and_whoever_waits_is_woken(own: Server, store: RedisStore) -> None:
    asked = [message() for _ in range(5)]
    await store.push(asked[:4], {})
    (running, *_) = await claim(store, A, 1)
    cursors = {topic: await store.wait(topic, 0, None) for topic in Topic}
    waiting = [asyncio.create_task(store.wait(topic, cursor, 30)) for topic, cursor in cursors.items()]
    await asyncio.sleep(0)
    own.stop()
    meanwhile = asyncio.create_task(store.push(asked[4:], {}))
    await asyncio.sleep(0.1)  # it has been refused by now
    assert not meanwhile.done()
    await asyncio.to_thread(own.start)
    assert await meanwhile == [Pushed(asked[4].id, True)]
    assert [newer > cursor for newer, cursor in zip(await asyncio.gather(*waiting), cursors.values(), strict=True)] == [
        True
    ] * 4
    assert await store.finish([completed(running.lease)]) == [True]
    assert [one.lease.id for one in await claim(store, A)] == [one.id for one in asked[1:]]


async def test_a_wait_sleeps_through_an_outage_and_hears_again(own: Server, store: RedisStore) -> None:
    cursor = await store.wait(Topic.WORK, 0, None)
    own.stop()
    assert await store.wait(Topic.WORK, cursor, 0.2) == cursor
    await asyncio.to_thread(own.start)
    cursor = await store.wait(Topic.WORK, cursor, 30)
    await store.push([message()], {})
    assert await store.wait(Topic.WORK, cursor, 30) > cursor


async def test_connections_that_are_cut_are_made_anew(own: Server, store: RedisStore) -> None:
    cursor = await store.wait(Topic.WORK, 0, None)
    with own.client() as client:
        for _ in range(3):
            for kind in ("normal", "pubsub"):
                client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            (pushed,) = await store.push([message()], {})
            assert pushed.created
            cursor = await store.wait(Topic.WORK, cursor, 30)
    assert len(await claim(store, A)) == 3


async def test_an_outage_raises_after_the_patience_and_the_handle_lives_on(own: Server) -> None:
    store = RedisStore(f"{own.url}?patience=0.3")
    await store.open()
    own.stop()
    asked = message()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await asyncio.wait_for(store.push([asked], {}), 20)
    await asyncio.to_thread(own.start)
    assert (await store.push([asked], {}))[0].id == asked.id
    assert [one.lease.id for one in await claim(store, A)] == [asked.id]
    await store.close()


async def test_a_server_that_says_nothing_counts_as_gone(own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RedisStore(f"{own.url}?patience=0.3")
    await store.open()
    monkeypatch.setattr(server, "ANSWER", 0.2)
    os.kill(own.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await asyncio.wait_for(store.get([b"?" * 16]), 20)
    finally:
        os.kill(own.pid, signal.SIGCONT)
    await store.close()


async def test_scripts_that_the_server_forgot_are_sent_again(own: Server, store: RedisStore) -> None:
    (lease,) = await start(store)
    with own.client() as client:
        client.script_flush()
        assert await store.finish([completed(lease)]) == [True]
        client.script_flush()
        assert await claim(store, A) == []


async def test_a_full_server_refuses_and_nothing_is_half_written(own: Server, store: RedisStore) -> None:
    (lease,) = await start(store, who=A)
    with own.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        before = sorted(client.keys("*"))
        for write in (store.push([message()] * 3, {b"c" * 32: b"code"}), store.finish([completed(lease)])):
            with pytest.raises(StoreUnavailable, match="memory is full"):
                await write
        assert sorted(client.keys("*")) == before
        client.config_set("maxmemory", "0")
    assert await store.finish([completed(lease)]) == [True]
    assert (await store.count()).queues["default"].states[State.PENDING] == 0


# ------------------------------------------------------------------------------------ an answer that is lost


class Lossy:
    """Loses the answer to the next command, or to the next call of a verb."""

    def __init__(self, store: RedisStore, verb: str = "") -> None:
        self._ask = store._server._once
        self._digest = script(verb).digest if verb else ""
        self.loses = False
        store._server._once = self._once  # type: ignore[method-assign]

    async def _once(self, command: Any) -> Any:
        answer = await self._ask(command)
        if self.loses and (not self._digest or self._digest in command):
            self.loses = False
            raise redis.ConnectionError("lost")
        return answer


async def test_what_was_done_is_not_done_twice_when_its_answer_was_lost(store: RedisStore) -> None:
    lossy = Lossy(store)
    asked = [message(retries=1), message()]
    await store.push(asked, {})
    await store.beat(A, [])

    lossy.loses = True
    claims = (await store.claim(A.id, ["default"], ROOM, "3.11")).claims
    assert [(one.lease.id, one.attempt, one.payload) for one in claims] == [(one.id, 1, b"payload") for one in asked]
    assert (await store.claim(A.id, ["default"], ROOM, "3.11")).claims == []

    lossy.loses = True
    assert await store.report([Event(claims[0].lease, "stream", "once")]) == []
    assert [heard.data for heard in (await store.tail(asked[0].id)).events] == ["once"]

    lossy.loses = True
    assert await store.finish([completed(claims[0].lease)]) == [True]

    lossy.loses = True
    assert await store.change([asked[0].id], Action.DELETE) == [Changed.DONE]

    lossy.loses = True
    assert await store.take("b", 0.001, 2) == 0.0
    assert await store.take("b", 0.001, 2) == 0.0


async def test_claims_whose_answer_never_came_are_handed_out_by_the_next_call(own: Server) -> None:
    store = RedisStore(f"{own.url}?patience=0")
    await store.open()
    asked = [message(), message()]
    await store.push(asked, {})
    await store.beat(A, [])
    lossy = Lossy(store)
    lossy.loses = True
    with pytest.raises(StoreUnavailable):
        await store.claim(A.id, ["default"], ROOM, "3.11")
    claims = (await store.claim(A.id, ["default"], ROOM, "3.11")).claims
    assert [one.lease for one in claims] == [Lease(one.id, 1) for one in asked]
    await store.close()


async def test_a_push_whose_answer_was_lost_keeps_its_large_values(store: RedisStore) -> None:
    large = bytes(INLINE + 1)
    await store.push([message(payload=large)], {b"d" * 32: large})  # from now on the server knows the script
    asked = message(payload=large)
    lossy = Lossy(store, "push")
    lossy.loses = True
    await store.push([asked], {CODE: large})
    assert not lossy.loses
    (row,) = await store.get([asked.id], [Part.PAYLOAD, Part.CODE])
    assert row is not None
    assert (row.payload, row.code) == (large, large)


async def test_events_are_written_once_however_often_their_report_was_given_up(own: Server) -> None:
    store = RedisStore(f"{own.url}?patience=0")
    await store.open()
    (lease,) = await start(store)
    await store.report([Event(lease, "stream", "zero")])  # from now on the server knows the script
    lossy = Lossy(store, "report")
    for data in ("one", "two"):
        lossy.loses = True
        with pytest.raises(StoreUnavailable):
            await store.report([Event(lease, "stream", data)])
        assert await store.report([Event(lease, "stream", data)]) == []
    await store.report([Event(lease, "stream", "two")])
    assert [heard.data for heard in (await store.tail(lease.id)).events] == ["zero", "one", "two", "two"]
    await store.close()


async def test_a_cancelled_claim_gives_back_what_it_got(store: RedisStore) -> None:
    (pushed,) = await store.push([message()], {})
    await store.beat(A, [])
    claiming = asyncio.create_task(store.claim(A.id, ["default"], ROOM, "3.11"))
    await asyncio.sleep(0)  # it is on its way
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    await store.close()
    await store.open()
    (again,) = await claim(store, A)
    assert (again.lease.id, again.attempt) == (pushed.id, 1)


# ------------------------------------------------------------------------------------------- bad addresses


async def test_a_server_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    text = await refusal("redis://:secret@127.0.0.1:1/0")
    assert "redis://:***@127.0.0.1:1/0" in text
    assert "cannot be reached" in text
    assert "cannot be reached" in await refusal(f"unix://{tmp_path}/none.sock")
    assert "cannot be reached" in await refusal("redis+cluster://127.0.0.1:1,127.0.0.1:2")
    assert "cannot be reached" in await refusal("redis+sentinel://127.0.0.1:1/mymaster")


async def test_a_wrong_password_is_told_of_and_not_repeated(own: Server) -> None:
    with own.client() as client:
        client.config_set("requirepass", "right")
    for password in (":wrong@", ""):
        text = await refusal(own.url.replace("//", f"//{password}"))
        assert "password" in text
        assert "wrong" not in text.replace("wrong number", "").replace("WRONGPASS", "")
    store = RedisStore(own.url.replace("//", "//:right@"))
    await store.open()
    assert "right" not in store.url
    assert "right" not in repr(store.address)
    await store.close()


async def test_tls_to_a_server_without_it_is_told_of(own: Server) -> None:
    assert "TLS" in await asyncio.wait_for(refusal(own.url.replace("redis:", "rediss:")), 20)


async def test_a_database_that_is_not_there_is_told_of(own: Server) -> None:
    assert "DB index" in await refusal(own.url.replace("/0", "/99"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://", "no URL"),
        ("redis://:secret@host:port/0", "no host and port"),
        ("redis://host/name", "must be a number"),
        ("redis://one,two/0", "several hosts"),
        ("redis+sentinel://host", "SERVICE"),
        ("redis+cluster://host/3", "database 0"),
        ("redis://host/0?keep=soon", "keep must be"),
        ("redis://host/0?namespace={x}", "namespace"),
    ],
)
def test_a_bad_url_is_refused_at_once_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        RedisStore(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("password", ["a#b", "a/b", "a?b", "a@b", "a@b?c", "50%off", "a%40b"])
def test_a_password_may_have_any_characters_and_none_of_them_is_shown(password: str) -> None:
    address = parse(f"redis://ada:{password}@host:6380/2?namespace=team")
    assert (address.shown, address.namespace) == ("redis://ada:***@host:6380/2?namespace=team", "team")
    options = redis.connection.parse_url(address.plain)
    assert options == {
        "username": "ada", "password": unquote(password), "host": "host", "port": 6380, "db": 2,
    }  # fmt: skip


def test_a_url_without_a_host_is_the_server_on_this_machine() -> None:
    assert parse("redis://?namespace=team").hosts == (("localhost", 6379),)


async def test_an_unknown_option_is_told_of(own: Server) -> None:
    assert "colour" in await refusal(f"{own.url}?colour=red")


async def test_a_server_that_drops_keys_is_warned_of(own: Server) -> None:
    with own.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        store = RedisStore(own.url)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await store.open()  # without a limit nothing is dropped
            await store.close()
        client.config_set("maxmemory", "200mb")
        with pytest.warns(RuntimeWarning, match="noeviction"):
            await store.open()
        await store.close()


def test_an_old_server_is_refused() -> None:
    store = RedisStore("redis://host/0")
    with pytest.raises(StoreUnavailable, match=r"Redis 5\.0\.14; 6\.2 or newer"):
        store._server._check(b"redis_version:5.0.14\r\n")


async def test_a_user_with_rights_to_our_keys_only_will_do(own: Server) -> None:
    with own.client() as client:
        rights = ("~{cellq}*", "&{cellq}*", "+@all", "-@admin", "-@dangerous")
        client.execute_command("ACL", "SETUSER", "cellq", "on", ">pw", "resetchannels", *rights)
        client.execute_command("ACL", "SETUSER", "nobody", "on", ">pw", "+@all", "-eval", "-evalsha", "~*")
    store = RedisStore(own.url.replace("//", "//cellq:pw@"))
    await store.open()
    cursor = await store.wait(Topic.ENDED, 0, None)
    (lease,) = await start(store)
    assert await store.finish([completed(lease)]) == [True]
    assert await store.wait(Topic.ENDED, cursor, 10) > cursor
    await store.close()
    store = RedisStore(own.url.replace("//", "//nobody:pw@"))
    await store.open()
    with pytest.raises(StoreUnavailable, match="may not do that"):
        await store.push([message()], {})
    await store.close()


# ------------------------------------------------------------------------------------------- other ways in


async def works(store: Store) -> None:
    """Jobs get from one end to the other."""
    await store.open()
    cursor = await store.wait(Topic.NEWS, 0, None)
    (lease,) = await start(store)
    assert await store.finish([completed(lease)]) == [True]
    assert await store.wait(Topic.NEWS, cursor, 10) > cursor
    await store.prune(Keep(completed=0))
    await store.close()


async def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Server(VALKEY, tmp_path, "--unixsocket", str(path)):
        await works(RedisStore(f"unix://{path}?db=2"))


async def test_sentinels_name_the_master(own: Server, tmp_path: Path) -> None:
    place = tmp_path / "sentinel"
    place.mkdir()
    config = place / "sentinel.conf"
    config.write_text(f"sentinel monitor mymaster 127.0.0.1 {own.port} 1\n")
    with Server(VALKEY, place, sentinel=config) as sentinel:
        await works(RedisStore(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/mymaster/0"))
        text = await refusal(f"redis+sentinel://127.0.0.1:{sentinel.port}/other")
        assert "knows no 'other'" in text


async def test_namespaces_on_one_server_are_apart(own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLQ_NAMESPACE", "mine")
    mine, other = RedisStore(own.url), RedisStore(f"{own.url}?namespace=other")
    for store in (mine, other):
        await store.open()
    await mine.push([message()], {})
    assert await claim(other, A) == []
    assert len(await claim(mine, A)) == 1
    with own.client() as client:
        assert leaks(client, "mine") == []
        assert {key.split(b":")[0] for key in client.keys("*")} == {b"{mine}", b"{other}"}
    for store in (mine, other):
        await store.close()
