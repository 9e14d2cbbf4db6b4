"""Jobs that a call depends on: those it is to run after, and those whose results are among its arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cellq.client.connection import Connection
from cellq.client.facts import Facts
from cellq.client.group import AsyncJobGroup
from cellq.client.handle import Held
from cellq.client.job import AsyncJob
from cellq.client.record import Record
from cellq.errors import Expired
from cellq.ids import JobId, id_text, parse_id, short_id
from cellq.wire.inputs import Arrival, Handle, Reference

OneJob = Facts | str | bytes
"""A job given as a handle, as UUID text, or as 16 bytes."""

Jobs = OneJob | Held | Iterable[OneJob | Held]
"""One job, or several; a group counts for all of its jobs."""


def job_id_of(job: OneJob) -> JobId:
    """The id of a job given as a handle, as UUID text or as 16 bytes.

    Raises:
        TypeError, ValueError: it is no such thing.
    """
    if isinstance(job, Facts):
        return job._record.id
    if isinstance(job, bytes):
        if len(job) != 16:
            raise ValueError(f"{job!r} is not a job id: those have 16 bytes")
        return job
    if not isinstance(job, str):
        raise TypeError(f"a job or its id is needed, not {job!r}")
    return parse_id(job)


def job_ids_of(jobs: Jobs | None, connection: Connection | None) -> tuple[JobId, ...]:
    """The ids of the jobs that the option `after` names, each once.

    Args:
        connection: the store they must live in; None when that is not known yet.

    Raises:
        TypeError: this names no jobs.
        ValueError: one of them lives in another store.
    """
    if jobs is None:
        return ()
    given: Iterable[Any] = [jobs] if isinstance(jobs, Held | str | bytes) or not isinstance(jobs, Iterable) else jobs
    ids: list[JobId] = []
    for one in given:
        if isinstance(one, Held):
            ids += held_ids([one], connection)
        else:
            ids.append(job_id_of(one))
    return tuple(dict.fromkeys(ids))


def held_ids(handles: Iterable[Handle], connection: Connection | None) -> tuple[JobId, ...]:
    """The ids of all jobs that these handles stand for, each once.

    Raises:
        ValueError: one of them lives in another store.
    """
    records = [record for handle in handles if isinstance(handle, Held) for record in handle.held()]
    if connection is not None:
        for record in records:
            if record.connection is not connection and record.connection.url != connection.url:
                raise ValueError(
                    f"{record.title} lives in {record.connection.url}, and a job in {connection.url} cannot wait"
                    f" for it: pass its result, or its id if it needs no more than that"
                )
    return tuple(dict.fromkeys(record.id for record in records))


async def check_known(connection: Connection, ids: Sequence[JobId]) -> None:
    """Refuse jobs that the store does not hold: nothing can wait for them. On the portal's loop.

    Raises:
        Expired: there is no such job (any more).
    """
    missing = [job_id for job_id, row in zip(ids, await connection.get(ids), strict=True) if row is None]
    if missing:
        more = f" (and {len(missing) - 1} more that were asked for)" if len(missing) > 1 else ""
        raise Expired(
            f"there is no job {id_text(missing[0])}{more} in {connection.url} to run after:"
            f" it was pruned or deleted, or lives in another store"
        )


def as_handles(connection: Connection) -> Arrival:
    """Has jobs among arguments arrive as handles: for middleware, which runs before their results are fetched."""

    def arrival(jobs: Sequence[Reference], several: bool) -> object:
        records = [Record(connection, job.id, job.name or short_id(job.id)) for job in jobs]
        return AsyncJobGroup(records) if several else AsyncJob(records[0])

    return arrival
