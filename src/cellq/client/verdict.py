"""From a row that has ended to what the caller gets: the value, or the exception that tells why there is none."""

from __future__ import annotations

from typing import Any

from cellq.errors import CellqError, Expired, JobCancelled, JobFailed, JobLost, JobTimeout, Untrusted
from cellq.ids import id_text, short_id
from cellq.message import Failure, Row, State
from cellq.wire.exceptions import rebuild
from cellq.wire.sealing import Purpose, Seal

_BY_CAUSE: dict[str, type[JobFailed]] = {"timeout": JobTimeout, "lost": JobLost}


def complete(row: Row) -> bool:
    """True when the row holds all that `value` and `error` need (lists of rows come without results)."""
    if row.state is State.COMPLETED:
        return row.result is not None
    # An attempt that raised has its exception sealed beside the text, as a rule; only a read with parts can tell.
    return row.state is State.CANCELLED or row.error is not None or (row.failure or _NO_FAILURE).cause != "exception"


def value(row: Row, seal: Seal, namespace: dict[str, Any] | None = None) -> Any:
    """The value of a completed job.

    Raises:
        Untrusted: it is not signed with this user's secret.
        Expired: its file is gone.
    """
    if row.result is None:
        raise Expired(f"{_title(row)} has completed, but its result is no longer in the store")
    return seal.open(row.result, purpose=Purpose.RESULT, job_id=row.id, code=row.code_digest, namespace=namespace)


def error(row: Row, seal: Seal) -> CellqError | None:
    """What `result()` raises for this ended row; None for a completed one."""
    if row.state is State.COMPLETED:
        return None
    failure = row.failure or _NO_FAILURE
    if row.state is State.CANCELLED:
        reason = "" if row.failure is None else row.failure.message
        return JobCancelled(f"{_title(row)} was cancelled{f': {reason}' if reason else ''}")
    if failure.cause == "untrusted":
        return Untrusted(f"{_title(row)} was refused: {failure.message}")
    type_name = failure.types[0] if failure.types else ""
    failed = _BY_CAUSE.get(failure.cause, JobFailed)(
        f"{_title(row)} failed: {failure.message or failure.cause}",
        job_id=id_text(row.id),
        type_name=type_name,
        traceback=failure.traceback,
    )
    if failure.traceback:
        failed.add_note(f"Traceback in the worker:\n{failure.traceback}")
    if row.error is not None:
        try:
            carried = seal.open(row.error, purpose=Purpose.ERROR, job_id=row.id, code=row.code_digest)
            failed.__cause__ = rebuild(carried)
        except Exception as reason:
            failed.add_note(f"The original exception could not be rebuilt here: {type(reason).__name__}: {reason}")
    return failed


_NO_FAILURE = Failure(cause="unknown", message="the worker gave no reason")


def _title(row: Row) -> str:
    return f"job {short_id(row.id)} ({row.name or row.task})"
