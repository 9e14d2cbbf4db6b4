"""Why a job waits that a worker had and sent back without having started it: the note about it in its `ctx`.

worker A: over a rate limit ── hold_back ──▶ ctx ──▶ store ── Row.ctx ──▶ held_back: people read it
worker B: has it again ─────── go_on ──────▶ ctx
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

from cellq.message import Row, State


def hold_back(ctx: Any, attempt: int, reason: str) -> None:
    """Note in a message's `ctx` why its worker sends it back without having started it.

    Args:
        ctx: as middleware has left it, which may have put something else there.
        attempt: how many attempts it has had.
        reason: for people.
    """
    if isinstance(ctx, dict):
        ctx["held"] = [attempt, reason]


def go_on(ctx: dict[str, Any]) -> None:
    """Forget why it was held back: a worker has it again."""
    ctx.pop("held", None)


def held_back(row: Row, now: float) -> str | None:
    """Why a job was sent back that waits for its next try, "" when nobody said; None if that is not what it waits for.

    Args:
        row: the job.
        now: epoch seconds.
    """
    if row.state is not State.PENDING or row.due is None or row.due <= now or row.ctx == "{}":
        return None
    # Since the note it may have run, and failed, in a worker without middleware, which leaves `ctx` as it is.
    with contextlib.suppress(ValueError):
        match json.loads(row.ctx):
            case {"held": [attempt, str(reason)]} if attempt == row.attempt:
                return reason
    return None
