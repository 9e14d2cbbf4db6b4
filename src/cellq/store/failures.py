"""Failures as stores word and keep them."""

from __future__ import annotations

import json

from cellq.message import Failure


def lost(host: str, pid: int, attempt: int, retries: int) -> Failure:
    """Why a job failed whose last worker died."""
    return Failure(
        cause="lost",
        message=f"its worker (process {pid} on {host}) died during attempt {attempt} of {retries + 1}; "
        f"give it more with retries=",
    )


def failure_text(failure: Failure | None) -> str | None:
    """A failure as text, for a column or a field."""
    if failure is None:
        return None
    return json.dumps([failure.cause, failure.types, failure.message, failure.traceback], ensure_ascii=False)
