"""What an ended attempt means for its job: run again, failed, cancelled, given back. Policy, and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from cellq.frames import Done, blob
from cellq.message import Blob, Claim, Ending, Failure, Outcome
from cellq.options import retry_delay
from cellq.worker.slot import Ended, Why

_RETRIED = ("exception", "timeout", "lost")
"""Causes of a failure that the option `retries` is about."""


def outcome_of(ended: Ended, rng: random.Random) -> Outcome | None:
    """What a slot's report means; None when the job belongs to another worker by now."""
    claim, why, done = ended.placed.claim, ended.placed.why, ended.done
    lease = claim.lease
    if why is Why.LOST:
        return None
    if done is not None and done.status == "ok":
        return Outcome(lease=lease, ending=Ending.COMPLETED, result=_blob(done.result))
    stopped = done is None or done.status == "interrupted"
    if why is Why.SHUTDOWN and stopped:
        return Outcome(lease=lease, ending=Ending.RELEASED)
    if why is Why.CANCEL and stopped:
        failure = Failure(cause="cancelled", message="cancelled while it was running")
        return Outcome(lease=lease, ending=Ending.CANCELLED, failure=failure, result=_result(done))
    if not ended.started:
        return Outcome(lease=lease, ending=Ending.RELEASED)
    failure, error = _failure(claim, why if stopped else None, done, ended.how)
    result = _result(done)
    if failure.cause == "retry" and done is not None and done.delay is not None:
        refusal = no_more_tries(ctx_of(claim), claim.attempt, reason_in(failure.message))
        if not refusal:
            return Outcome(lease=lease, ending=Ending.RETRY, failure=failure, error=error, delay=done.delay)
        failure = Failure(cause="retry", types=failure.types, message=refusal, traceback=failure.traceback)
        return Outcome(lease=lease, ending=Ending.FAILED, failure=failure, error=error, result=result)
    if failure.cause in _RETRIED and claim.attempt <= claim.retries:
        delay = retry_delay(claim.backoff, claim.attempt, rng)
        return Outcome(lease=lease, ending=Ending.RETRY, failure=failure, error=error, delay=delay)
    return Outcome(lease=lease, ending=Ending.FAILED, failure=failure, error=error, result=result)


def ctx_of(claim: Claim) -> dict[str, Any]:
    """What middleware keeps in a job; nothing where that cannot be read."""
    try:
        found = json.loads(claim.ctx)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def no_more_tries(ctx: Mapping[str, Any], attempt: int, reason: str) -> str:
    """Why a job that asks to run again does not, "" when it does: only the rule `max_tries` puts an end to that."""
    most = ctx.get("max_tries")
    if most is None or attempt < most:
        return ""
    return f"asked to run again{f' ({reason})' if reason else ''}, but has had its {most} tries"


def reason_in(message: str) -> str:
    """What was said, out of "RetryMessage: what was said"."""
    return message.partition(": ")[2]


def refused(claim: Claim, reason: str) -> Outcome:
    """The end of a job that a worker will not run."""
    return Outcome(lease=claim.lease, ending=Ending.FAILED, failure=Failure(cause="refused", message=reason))


def _failure(claim: Claim, why: Why | None, done: Done | None, how: str) -> tuple[Failure, Blob | None]:
    said = None if done is None or done.failure is None else done.failure
    if why is Why.TIMEOUT:
        message = f"stopped: one attempt took longer than its timeout of {claim.timeout:g} s"
        return Failure(cause="timeout", message=message, traceback=said[3] if said else ""), None
    if said is None:
        return Failure(cause="lost", message=f"the process that ran it {how}"), None
    cause, types, message, traceback = said
    assert done is not None
    if cause == "rejected":
        message = ": ".join(filter(None, ("rejected", reason_in(message))))
    return Failure(cause=cause, types=tuple(types), message=message, traceback=traceback), _blob(done.error)


def _blob(value: bytes | tuple[str, int] | None) -> Blob | None:
    return None if value is None else blob(value)


def _result(done: Done | None) -> Blob | None:
    return None if done is None else _blob(done.result)
