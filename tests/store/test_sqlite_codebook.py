"""Pins that code is kept exactly as long as a job refers to it, however short the stretches of the search are."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from making import Clock, message

from cellq.message import Action, Changed, Keep, Part
from cellq.store.sqlite import SQLiteStore, codebook


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a search takes several prunes among a few jobs."""
    monkeypatch.setattr(codebook, "STRETCH", 3)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    """An open store."""
    made = SQLiteStore(tmp_path / "jobs.db", clock=Clock())
    await made.open()
    yield made
    await made.close()


async def push(store: SQLiteStore, *codes: bytes) -> list[bytes]:
    """A job for each of these codes, which are brought along."""
    asked = [message(code=code) for code in codes]
    await store.push(asked, {code: b"body of " + code for code in codes})
    return [one.id for one in asked]


async def delete(store: SQLiteStore, *ids: bytes) -> None:
    """Cancel and delete these jobs."""
    assert await store.change(ids, Action.CANCEL) == [Changed.DONE] * len(ids)
    assert await store.change(ids, Action.DELETE) == [Changed.DONE] * len(ids)


async def kept(store: SQLiteStore) -> set[bytes]:
    """The codes there are."""
    found = await store._connection.read(lambda sql: sql.execute("SELECT digest FROM code").fetchall())
    return {digest for (digest,) in found}


async def sweep(store: SQLiteStore, times: int = 1) -> None:
    """Nothing is past its keep: this only sweeps."""
    for _ in range(times):
        assert await store.prune(Keep()) == 0


async def test_code_goes_with_the_last_job_that_refers_to_it(store: SQLiteStore) -> None:
    first, _, last = await push(store, b"a", b"b", b"a")
    await delete(store, first)
    await sweep(store, 9)
    assert await kept(store) == {b"a", b"b"}
    await delete(store, last)
    await sweep(store, 9)
    assert await kept(store) == {b"b"}


async def test_a_far_reference_is_found_over_several_prunes(store: SQLiteStore) -> None:
    first, *_ = await push(store, b"a", *[b"b"] * 20, b"a")
    await delete(store, first)
    await sweep(store, 20)
    assert await kept(store) == {b"a", b"b"}


async def test_one_search_serves_all_that_wait_for_it(store: SQLiteStore) -> None:
    codes = [bytes((n,)) for n in range(10)]
    ids = await push(store, *codes, *[b"b"] * 6)
    await delete(store, *ids[:10])
    await sweep(store, 3)
    assert await kept(store) == {b"b"}


async def test_a_search_ends_although_each_prune_brings_more_to_look_for(store: SQLiteStore) -> None:
    ids = await push(store, *[bytes((n,)) for n in range(40)], *[b"b"] * 30)
    for job_id in ids[:40]:
        await delete(store, job_id)
        await sweep(store)
    assert len(await kept(store)) < 30


async def test_a_push_in_front_of_a_running_search_is_seen(store: SQLiteStore) -> None:
    ids = await push(store, *[b"b"] * 8, b"a", *[b"c"] * 8)
    await delete(store, ids[8])
    await sweep(store, 2)  # it is under way among the last jobs, whose numbers are free when they are deleted
    await delete(store, *ids[4:8], *ids[9:])
    await push(store, b"a")
    await sweep(store, 20)
    assert await kept(store) == {b"a", b"b"}


async def test_a_push_brings_code_again_that_another_process_has_swept(tmp_path: Path, store: SQLiteStore) -> None:
    other = SQLiteStore(store.path)
    await other.open()
    for _ in range(3):
        (job_id,) = await push(store, b"a")
        (found,) = await store.get([job_id], [Part.CODE])
        assert found is not None
        assert found.code == b"body of a"
        await delete(other, job_id)
        await other.prune(Keep())
        assert await kept(other) == set()
    await other.close()


async def test_code_that_comes_after_its_job_is_kept_for_it(store: SQLiteStore) -> None:
    early = message(code=b"a")
    await store.push([early], {})
    (late,) = await push(store, b"a")
    await delete(store, late)
    await sweep(store, 9)
    (found,) = await store.get([early.id], [Part.CODE])
    assert found is not None
    assert found.code == b"body of a"


async def test_code_that_no_new_job_refers_to_goes(store: SQLiteStore) -> None:
    held, refused = message(key="k", code=b"a"), message(key="k", code=b"c")
    await store.push([held], {b"a": b"body"})
    await store.push([refused], {b"c": b"body"})
    await sweep(store, 9)
    assert await kept(store) == {b"a"}


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_no_code_is_missing_and_in_the_end_none_too_many(store: SQLiteStore, seed: int) -> None:
    dice = random.Random(seed)
    jobs: dict[bytes, bytes] = {}
    for _ in range(150):
        what = dice.random()
        if what < 0.45:
            codes = [bytes((dice.randrange(6),)) for _ in range(dice.randint(1, 3))]
            jobs.update(zip(await push(store, *codes), codes, strict=True))
        elif what < 0.8 and jobs:
            some = dice.sample(list(jobs), min(len(jobs), dice.randint(1, 3)))
            # The newest ones often, so that their numbers are given anew.
            some = dice.choice([some, list(jobs)[-len(some) :]])
            await delete(store, *some)
            for job_id in some:
                del jobs[job_id]
        else:
            await sweep(store)
        assert set(jobs.values()) <= await kept(store)
    await sweep(store, 200)
    assert await kept(store) == set(jobs.values())


async def test_the_file_of_a_code_outlives_its_row_for_an_hour(store: SQLiteStore) -> None:
    large = os.urandom(2**20 + 1)
    asked = message(code=b"a")
    await store.push([asked], {b"a": large})
    await delete(store, asked.id)
    await sweep(store)
    assert await kept(store) == set()
    assert store.spill_dir is not None
    (file,) = store.spill_dir.iterdir()  # somebody may be pushing the same code right now
    os.utime(file, (0, 0))
    await sweep(store)
    assert list(store.spill_dir.iterdir()) == []
