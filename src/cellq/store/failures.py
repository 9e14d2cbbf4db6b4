"""Failures as stores word and keep them."""

from __future__ import annotations

import json

from cellq.ids import JobId, short_id
from cellq.message import Failure, State


def lost(host: str, pid: int, attempt: int, retries: int) -> Failure:
    """Why a job failed whose last worker died."""
    return Failure(
        cause="lost",
        message=f"its worker (process {pid} on {host}) died during attempt {attempt} of {retries + 1}; "
        f"give it more with retries=",
    )


def unmet(parent: JobId, state: State | None) -> Failure:
    """Why a job was cancelled that was to run after `parent`, which ended in this state, or is not in the store."""
    became = "is not in the store" if state is None else "failed" if state is State.FAILED else "was cancelled"
    return Failure(cause="dependency", message=f"job {short_id(parent)}, which it was to run after, {became}")


EXPIRED = Failure(cause="expired", message="no worker started it before it expired; give it longer with expires=")


def failure_text(failure: Failure | None) -> str | None:
    """A failure as text, for a column or a field. What is no text at all (a file's name may be such) is escaped."""
    if failure is None:
        return None
    words = [_encodable(failure.message), _encodable(failure.traceback)]
    return json.dumps([failure.cause, failure.types, *words], ensure_ascii=False)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
