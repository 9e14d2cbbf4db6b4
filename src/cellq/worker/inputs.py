"""Claims whose arguments hold results of other jobs: those are fetched first, sealed as they are.

    claims ──▶ begin ──▶ a read for all that wait ──▶ supplied claims ──▶ backlog ──▶ slots, which open the seals
                 │                                └─▶ a result is gone: the job fails
                 ▼ those that have all they need
              backlog

A result is signed for its job and that job's code, so a slot opens nothing but what the named job returned. Reads are
made in a task of their own, and other claims go their way meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

from cellq.errors import StoreUnavailable
from cellq.frames import Result, flat
from cellq.ids import JobId, short_id
from cellq.message import Claim, Ending, Failure, Kind, Lane, Lease, Outcome, Part, Row, Spill, State, lane_of
from cellq.store.contract import Store

log = logging.getLogger("cellq.worker")

_AT_ONCE = 200  # results in one read
_MOST_BYTES = 2 << 30  # of results in one frame, whose length has 32 bits
_TRY_AGAIN = 1.0  # seconds until the store is asked again that could not be reached


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplied(Claim):
    """A claim with the results that are among its arguments, as a frame carries them."""

    results: tuple[Result, ...]


class Inputs:
    """The claims of one worker whose inputs are being fetched.

    Args:
        ready: takes those that have all they need.
        failed: takes the outcome of one whose inputs cannot be had.
    """

    def __init__(self, store: Store, ready: Callable[[list[Claim]], None], failed: Callable[[Outcome], None]) -> None:
        self._store = store
        self._ready = ready
        self._failed = failed
        self._held: dict[Lease, Claim] = {}
        self._fresh: list[Claim] = []
        self._fetching: asyncio.Task[None] | None = None

    def __bool__(self) -> bool:
        return bool(self._held)

    def begin(self, claims: list[Claim]) -> list[Claim]:
        """Take those that need inputs; gives the others."""
        needy = [claim for claim in claims if claim.inputs and not isinstance(claim, Supplied)]
        if not needy:
            return claims
        self._held |= {claim.lease: claim for claim in needy}
        self._fresh += needy
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(), name="inputs")
        return [claim for claim in claims if claim.lease not in self._held]

    def leases(self) -> list[Lease]:
        """Of those whose inputs are being fetched."""
        return list(self._held)

    def lanes(self) -> list[Lane]:
        """For each of them the lane it will take up room in."""
        return [lane_of(claim.kind) for claim in self._held.values()]

    def take_out(self, lease: Lease) -> bool:
        """Drop this one; whether it was there."""
        return self._held.pop(lease, None) is not None

    def take_all(self) -> list[Claim]:
        """Take out all of them."""
        held, self._held = self._held, {}
        return list(held.values())

    async def close(self) -> None:
        """Fetch no more."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _fetch(self) -> None:
        try:
            while self._fresh:
                claims, self._fresh = self._fresh, []
                rows = await self._rows(list(dict.fromkeys(job_id for claim in claims for job_id in claim.inputs)))
                supplied: list[Claim] = []
                for claim in claims:
                    if not self.take_out(claim.lease):
                        continue  # stopped meanwhile
                    made = supply(claim, rows)
                    if isinstance(made, Failure):
                        self._failed(Outcome(lease=claim.lease, ending=Ending.FAILED, failure=made))
                    else:
                        supplied.append(made)
                if supplied:
                    self._ready(supplied)
        finally:
            self._fetching = None

    async def _rows(self, ids: Sequence[JobId]) -> dict[JobId, Row | None]:
        while True:
            try:
                return await rows_of(self._store, ids)
            except StoreUnavailable as error:
                log.error("%s; trying again", error)
                await asyncio.sleep(_TRY_AGAIN)


async def rows_of(store: Store, ids: Sequence[JobId]) -> dict[JobId, Row | None]:
    """What the store holds of these jobs, with their results.

    Raises:
        StoreUnavailable: it cannot be reached.
    """
    rows: dict[JobId, Row | None] = {}
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        rows |= zip(some, await store.get(some, [Part.RESULT]), strict=True)
    return rows


def supply(claim: Claim, rows: Mapping[JobId, Row | None]) -> Supplied | Failure:
    """The claim with its inputs, or why it cannot have them."""
    results: list[Result] = []
    size = 0
    for job_id in claim.inputs:
        row = rows[job_id]
        if row is None or row.state is not State.COMPLETED or row.result is None:
            return Failure(cause="dependency", message=_gone(job_id, row))
        results.append((job_id, row.code_digest, flat(row.result), row.kind is Kind.CELL))
        size += 0 if isinstance(row.result, Spill) else len(row.result)
    if size > _MOST_BYTES:
        message = f"the results among its arguments have {size / 1e9:.1f} GB in all, more than can be handed over"
        return Failure(cause="dependency", message=f"{message}: let the jobs write files, and return their names")
    return Supplied(**{field.name: getattr(claim, field.name) for field in fields(Claim)}, results=tuple(results))


def _gone(job_id: JobId, row: Row | None) -> str:
    """Why a result that was there once is not there now."""
    if row is None:
        name, became = "", "was pruned or deleted"
    else:
        name = f" ({row.name or row.task})"
        became = "lost its result" if row.state is State.COMPLETED else f"was run again, and is {row.state} now"
    return f"the result of job {short_id(job_id)}{name}, one of its arguments, is gone: that job {became}"
