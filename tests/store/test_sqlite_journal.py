"""Pushes that are written ahead: seen by everyone at once, in order, once, and whatever becomes of their writer."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from making import message

from cellq.message import Filter, Lane, Message
from cellq.store.sqlite import SQLiteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


def journals(path: Path) -> list[Path]:
    folder = path.with_name(path.name + ".pushed")
    return sorted(folder.iterdir()) if folder.exists() else []


async def opened(path: Path) -> SQLiteStore:
    store = SQLiteStore(path)
    await store.open()
    return store


def plain() -> Message:
    return message(code=b"")


async def test_a_push_goes_into_a_journal_and_every_look_finds_it(path: Path) -> None:
    ours, theirs = await opened(path), await opened(path)
    pushed = [plain() for _ in range(3)]
    for one in pushed:
        assert ours.push_here([one], {}) == [(one.id, True)]
    assert len(journals(path)) == 1
    rows = await theirs.get([one.id for one in pushed])
    assert [row.id for row in rows if row is not None] == [one.id for one in pushed]
    found = (await ours.find(Filter())).rows
    assert [row.id for row in reversed(found)] == [one.id for one in pushed]
    assert (await theirs.count()).queues["default"].states["pending"] == 3
    await ours.close()
    await theirs.close()


async def test_two_writers_keep_the_order_of_pushing(path: Path) -> None:
    first, second = await opened(path), await opened(path)
    pushed = [plain() for _ in range(10)]
    for number, one in enumerate(pushed):
        (first if number % 2 else second).push_here([one], {})
    found = (await first.find(Filter())).rows
    assert [row.id for row in reversed(found)] == [one.id for one in pushed]
    await first.close()
    await second.close()


async def test_a_push_that_is_repeated_is_one_job(path: Path) -> None:
    store = await opened(path)
    one = plain()
    store.push_here([one], {})
    await store.push([one], {})
    store.push_here([one], {})
    assert len((await store.find(Filter())).rows) == 1
    await store.close()


async def test_a_journal_is_removed_when_its_writer_closes(path: Path) -> None:
    store = await opened(path)
    one = plain()
    store.push_here([one], {})
    await store.close()
    assert journals(path) == []
    again = await opened(path)
    assert (await again.get([one.id]))[0] is not None
    await again.close()


async def test_what_a_killed_program_pushed_is_there_and_its_torn_end_is_not(path: Path) -> None:
    await (await opened(path)).close()
    program = textwrap.dedent(
        """
        import asyncio, os, signal, sys
        sys.path.insert(0, sys.argv[2])
        from making import message
        from cellq.store.sqlite import SQLiteStore
        async def main():
            store = SQLiteStore(sys.argv[1])
            await store.open()
            for _ in range(5):
                one = message(code=b"")
                store.push_here([one], {})
                print(one.id.hex(), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
        """
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    (journal,) = journals(path)
    with journal.open("ab") as file:
        file.write(b"\x40\x00\x00\x00 a record that its writer never finished")
    store = await opened(path)
    rows = await store.get([bytes.fromhex(text) for text in ended.stdout.split()])
    assert all(row is not None for row in rows)
    assert len(rows) == 5
    await store.close()


async def test_journals_of_a_database_that_was_deleted_do_not_turn_up_in_the_next(path: Path) -> None:
    store = await opened(path)
    store.push_here([plain()], {})
    (left,) = journals(path)
    copy = left.read_bytes()
    await store.close()
    for file in path.parent.glob("jobs.db*"):
        if file.is_file():
            file.unlink()
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(copy)
    fresh = await opened(path)
    assert (await fresh.find(Filter())).rows == []
    await fresh.close()
    assert journals(path) == []


async def test_a_push_with_a_key_or_a_large_value_takes_the_ordinary_way(path: Path) -> None:
    store = await opened(path)
    assert store.push_here([message(code=b"", key="nightly")], {}) is not None
    assert store.push_here([message(code=b"", payload=os.urandom(100_000))], {}) is not None
    assert journals(path) == []
    await store.close()


async def test_with_full_durability_nothing_is_written_ahead(path: Path) -> None:
    store = SQLiteStore(path, durability="full")
    await store.open()
    store.push_here([plain()], {})
    assert journals(path) == []
    assert len((await store.find(Filter())).rows) == 1
    await store.close()


async def test_a_claim_finds_what_was_pushed_ahead(path: Path) -> None:
    from making import worker

    client, claimer = await opened(path), await opened(path)
    me = worker()
    await claimer.beat(me, [])
    assert (await claimer.claim(me.id, ["default"], {Lane.SYNC: 1}, "3.11")).claims == []
    one = message(code=b"", runtime="3.11")
    client.push_here([one], {})
    (claim,) = (await claimer.claim(me.id, ["default"], {Lane.SYNC: 1}, "3.11")).claims
    assert claim.lease.id == one.id
    await client.close()
    await claimer.close()


async def test_a_folder_that_was_removed_and_made_anew_is_read_again(path: Path) -> None:
    reader, writer = await opened(path), await opened(path)
    writer.push_here([plain()], {})
    assert len((await reader.find(Filter())).rows) == 1
    await writer.close()
    path.with_name(path.name + ".pushed").rmdir()
    another = await opened(path)
    another.push_here([plain()], {})
    assert len((await reader.find(Filter())).rows) == 2
    await another.close()
    await reader.close()
