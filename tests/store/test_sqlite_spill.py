"""Pins what happens to large values: files beside the database that come, stay and go with their jobs."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from making import CODE, claim, completed, failed, message, start, worker

from cellq.errors import StoreUnavailable
from cellq.message import Action, Ending, Keep, Outcome, Part, Spill
from cellq.store.sqlite import SQLiteStore
from cellq.store.sqlite.spill import LARGE

BIG = b"x" * (LARGE + 1)


@pytest.fixture(params=["normal", "full"])
async def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    """An open store in an empty database."""
    store = SQLiteStore(tmp_path / "jobs.db", durability=request.param)
    await store.open()
    yield store
    await store.close()


def files(store: SQLiteStore) -> list[Path]:
    """What lies in the spill folder."""
    assert store.spill_dir is not None
    return sorted(store.spill_dir.iterdir()) if store.spill_dir.exists() else []


def spill(store: SQLiteStore, name: str, content: bytes = BIG) -> Spill:
    """A value that a client has written to a file of its own."""
    assert store.spill_dir is not None
    store.spill_dir.mkdir(exist_ok=True)
    path = store.spill_dir / name
    path.write_bytes(content)
    return Spill(path=str(path), size=len(content))


def content(blob: object) -> bytes:
    """What a spilled value holds."""
    assert isinstance(blob, Spill)
    assert Path(blob.path).stat().st_size == blob.size
    return Path(blob.path).read_bytes()


async def test_small_values_stay_in_their_row(sqlite: SQLiteStore) -> None:
    await sqlite.push([message(payload=b"x" * LARGE)], {})
    (got,) = await claim(sqlite, worker())
    assert got.payload == b"x" * LARGE
    assert files(sqlite) == []


async def test_a_large_payload_comes_back_as_a_file_for_this_user_only(sqlite: SQLiteStore) -> None:
    await sqlite.push([message(payload=BIG)], {})
    (got,) = await claim(sqlite, worker())
    assert content(got.payload) == BIG
    assert files(sqlite)[0].stat().st_mode & 0o077 == 0
    assert files(sqlite)[0].parent.stat().st_mode & 0o077 == 0


async def test_large_results_errors_and_code_too(sqlite: SQLiteStore) -> None:
    await sqlite.push([message()], {CODE: BIG + b"c"})
    (got,) = await claim(sqlite, worker())
    await sqlite.finish([Outcome(lease=got.lease, ending=Ending.FAILED, result=BIG + b"r", error=BIG + b"e")])
    (row,) = await sqlite.get([got.lease.id], list(Part))
    assert row is not None
    assert [content(blob)[-1:] for blob in (row.code, row.result, row.error)] == [b"c", b"r", b"e"]


async def test_a_file_that_a_client_brings_is_taken_over(sqlite: SQLiteStore) -> None:
    asked = message(payload=spill(sqlite, "mine"))  # type: ignore[arg-type]
    assert (await sqlite.push([asked], {}))[0].created
    assert not (await sqlite.push([asked], {}))[0].created
    (got,) = await claim(sqlite, worker())
    assert content(got.payload) == BIG
    assert len(files(sqlite)) == 1


async def test_a_missing_file_is_refused(sqlite: SQLiteStore) -> None:
    asked = message(payload=Spill(path=str(sqlite.path.parent / "none"), size=5))  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable, match="is gone"):
        await sqlite.push([asked], {})
    assert await sqlite.get([asked.id]) == [None]


async def test_files_go_with_their_job(sqlite: SQLiteStore) -> None:
    await sqlite.push([message(payload=BIG) for _ in range(2)], {})
    leases = [got.lease for got in await claim(sqlite, worker())]
    await sqlite.finish([completed(lease, BIG) for lease in leases])
    assert len(files(sqlite)) == 4
    await sqlite.change([leases[0].id], Action.DELETE)
    assert len(files(sqlite)) == 2
    await sqlite.prune(Keep(completed=0))
    assert files(sqlite) == []


async def test_the_result_goes_with_a_retry_and_the_payload_stays(sqlite: SQLiteStore) -> None:
    await sqlite.push([message(payload=BIG)], {})
    (got,) = await claim(sqlite, worker())
    await sqlite.finish([completed(got.lease, BIG)])
    await sqlite.change([got.lease.id], Action.RETRY)
    assert [file.suffix for file in files(sqlite)] == [".payload"]
    (again,) = await claim(sqlite, worker())
    assert content(again.payload) == BIG


async def test_the_error_of_an_earlier_attempt_goes_when_the_next_one_ends(sqlite: SQLiteStore) -> None:
    (lease,) = await start(sqlite, retries=1)
    await sqlite.finish([Outcome(lease=lease, ending=Ending.RETRY, error=BIG)])
    assert len(files(sqlite)) == 1
    (again,) = await claim(sqlite, worker())
    await sqlite.finish([completed(again.lease)])
    assert files(sqlite) == []


async def test_the_file_of_a_job_whose_key_is_held_is_not_kept(sqlite: SQLiteStore) -> None:
    await sqlite.push([message(key="k")], {})
    await sqlite.push([message(key="k", payload=BIG)], {})
    assert files(sqlite) == []


async def test_prune_sweeps_old_files_that_no_row_refers_to(sqlite: SQLiteStore) -> None:
    await sqlite.push([message(payload=BIG)], {CODE: BIG})
    (got,) = await claim(sqlite, worker())
    await sqlite.finish([completed(got.lease, BIG)])
    owned = files(sqlite)
    assert await sqlite.finish([failed(got.lease)]) == [False]
    assert await sqlite.finish([completed(got.lease, BIG)]) == [False]  # said twice: the file is still the row's
    stale = Outcome(lease=got.lease._replace(attempt=7), ending=Ending.COMPLETED, result=BIG)
    assert await sqlite.finish([stale]) == [False]
    spill(sqlite, "draft.left.behind")
    spill(sqlite, message().id.hex() + ".payload")
    orphans = set(files(sqlite)) - set(owned)
    assert len(orphans) == 3
    for file in files(sqlite):
        os.utime(file, (0, time.time() - 4000))
    young = Path(spill(sqlite, "draft.young").path)
    await sqlite.prune(Keep())
    assert files(sqlite) == sorted([*owned, young])
