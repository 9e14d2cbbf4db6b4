"""Jobs as the scripts pack them, and back: one string for a whole answer.

A list of many small strings costs 2 to 4 µs each to read from the wire; slices of one string cost a tenth.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from cellq.ids import JobId
from cellq.message import (
    Blob,
    Claim,
    Ending,
    Failure,
    Heard,
    Kind,
    Lease,
    Outcome,
    Part,
    Row,
    State,
    WorkerInfo,
)
from cellq.store.failures import EXPIRED, failure_text, lost, unmet

STATES = (State.PENDING, State.RUNNING, State.COMPLETED, State.FAILED, State.CANCELLED)
STATE_DIGITS = {state: str(number) for number, state in enumerate(STATES)}

_ENDINGS = {
    Ending.COMPLETED: 2,
    Ending.FAILED: 3,
    Ending.CANCELLED: 4,
    Ending.RETRY: 5,
    Ending.RELEASED: 6,
}
RECORD = struct.Struct("<BBBBBIIiIdddddQQ")
"""The numbers of a job's record; its texts come behind, each with its size: see `lua/record.lua`."""

_ABSENT = 0xFFFFFFFF
_NUMBER = struct.Struct("<I")
_CLAIM = struct.Struct("<IIIIII")
_CLAIMS = struct.Struct("<ddI")
_OUTCOME = struct.Struct("<BBId")
_EVENT = struct.Struct("<IdI")
_WORKER = struct.Struct("<ddd")
_TIME = struct.Struct("<d")
_PAGE = struct.Struct("<dBd")
_ID = 32  # hex digits


class Asked(NamedTuple):
    """What never changes about a job: as JSON, the field `m` of its hash."""

    queue: str
    name: str
    task: str
    kind: Kind
    priority: int
    retries: int
    timeout: float | None
    backoff: float
    isolated: bool
    key: str | None
    concurrency_key: str | None
    max_running: int
    runtime: str
    code: bytes
    origin: str


@lru_cache(maxsize=512)
def asked(text: bytes) -> Asked:
    """What was asked for. Jobs of one `map` share the text, so it is parsed once for all of them."""
    what = Asked(*json.loads(text))
    return what._replace(kind=Kind(what.kind), code=bytes.fromhex(what.code))  # type: ignore[arg-type]


def _split(ids: bytes) -> tuple[JobId, ...]:
    return tuple(bytes.fromhex(ids[at : at + _ID].decode()) for at in range(0, len(ids), _ID))


class Handed(NamedTuple):
    """A job as `claim` hands it out, its payload as the hash holds it."""

    lease: Lease
    what: Asked
    payload: bytes
    ctx: str
    refunds: int
    inputs: tuple[JobId, ...]

    def claim(self, payload: Blob) -> Claim:
        """The same for a worker."""
        what = self.what
        return Claim(
            lease=self.lease,
            queue=what.queue,
            task=what.task,
            kind=what.kind,
            code=what.code,
            payload=payload,
            timeout=what.timeout,
            retries=what.retries,
            backoff=what.backoff,
            isolated=what.isolated,
            origin=what.origin,
            ctx=self.ctx,
            refunds=self.refunds,
            inputs=self.inputs,
        )


def handed(packed: bytes) -> tuple[list[Handed], float | None, int | None]:
    """The answer to `claim`: jobs, when the next delayed one is due, and the rings so far if the next is published."""
    next_due, rings, count = _CLAIMS.unpack_from(packed)
    found, at = [], _CLAIMS.size
    for _ in range(count):
        starts, refunds, *sizes = _CLAIM.unpack_from(packed, at)
        at += _CLAIM.size
        job_id = bytes.fromhex(packed[at : at + _ID].decode())
        what_at = at + _ID
        payload_at = what_at + sizes[0]
        ctx_at = payload_at + sizes[1]
        inputs_at = ctx_at + sizes[2]
        at = inputs_at + sizes[3]
        what, payload = asked(packed[what_at:payload_at]), packed[payload_at:ctx_at]
        ctx, inputs = packed[ctx_at:inputs_at].decode(), _split(packed[inputs_at:at]) if sizes[3] else ()
        found.append(Handed(Lease(job_id, starts), what, payload, ctx, refunds, inputs))
    return found, next_due if next_due >= 0 else None, int(rings) if rings >= 0 else None


class Found(NamedTuple):
    """A job as `get` and `find` give it: its record, and the blobs asked for as the hash holds them."""

    id: JobId
    record: bytes
    what: Asked
    progress: str
    failure: bytes | None
    ctx: str
    blobs: tuple[bytes | None, ...]
    after: bytes | None

    def row(self, now: float, blobs: Mapping[Part, Blob | None] = MappingProxyType({})) -> Row:
        """The same for those who look."""
        (
            state_, stop, _, _, _, starts, refunds, _, _, created, due, expires, started, finished, _, ended,
        ) = RECORD.unpack_from(self.record)  # fmt: skip
        size = _NUMBER.unpack_from(self.record, RECORD.size)[0]
        worker = self.record[RECORD.size + 4 : RECORD.size + 4 + size]
        what, state = self.what, STATES[state_]
        return Row(
            id=self.id,
            queue=what.queue,
            name=what.name,
            task=what.task,
            kind=what.kind,
            state=state,
            priority=what.priority,
            attempt=starts - refunds,
            retries=what.retries,
            timeout=what.timeout,
            key=what.key,
            concurrency_key=what.concurrency_key,
            max_running=what.max_running,
            runtime=what.runtime,
            code_digest=what.code,
            created=created,
            due=due if due > now else None,
            expires=expires if expires >= 0 else None,
            after=_split(self.after) if self.after else (),
            started=started if started >= 0 else None,
            finished=finished if finished >= 0 else None,
            ended=ended or None,
            worker=bytes.fromhex(worker.decode()) if worker else None,
            cancelling=state is State.RUNNING and bool(stop),
            progress=self.progress,
            failure=_failure(self.failure),
            origin=what.origin,
            ctx=self.ctx,
            payload=blobs.get(Part.PAYLOAD),
            code=blobs.get(Part.CODE),
            result=blobs.get(Part.RESULT),
            error=blobs.get(Part.ERROR),
        )

    @property
    def place(self) -> int:
        """Its rank in the order of pushing."""
        return int(RECORD.unpack_from(self.record)[14])

    @property
    def ended(self) -> int:
        """The number of its ending."""
        return int(RECORD.unpack_from(self.record)[15])


def found(packed: bytes, at: int, parts: int) -> tuple[Found, int]:
    """The job that is packed from `at` on, and where the next one begins."""
    job_id = bytes.fromhex(packed[at : at + _ID].decode())
    at += _ID
    fields: list[bytes | None] = []
    for _ in range(5 + parts + 1):
        (size,) = _NUMBER.unpack_from(packed, at)
        at += 4
        if size == _ABSENT:
            fields.append(None)
        else:
            fields.append(packed[at : at + size])
            at += size
    record, what, progress, failure, ctx, *blobs, after = fields
    assert record is not None
    assert what is not None
    said, kept = (progress or b"").decode(), (ctx or b"{}").decode()
    return Found(job_id, record, asked(what), said, failure, kept, tuple(blobs), after), at


def got(packed: bytes, parts: int) -> tuple[float, list[Found | None]]:
    """The answer to `get`: the time, and each job or None."""
    (now,) = _TIME.unpack_from(packed)
    jobs: list[Found | None] = []
    at = _TIME.size
    while at < len(packed):
        there = packed[at : at + 1] == b"1"
        at += 1
        if there:
            job, at = found(packed, at, parts)
            jobs.append(job)
        else:
            jobs.append(None)
    return now, jobs


def page(packed: bytes) -> tuple[float, bool, float, list[Found]]:
    """The answer to `find`: the time, whether there may be more, the place reached, jobs."""
    now, more, mark = _PAGE.unpack_from(packed)
    jobs = []
    at = _PAGE.size
    while at < len(packed):
        job, at = found(packed, at, 0)
        jobs.append(job)
    return now, bool(more), mark, jobs


def _failure(text: bytes | None) -> Failure | None:
    if text is None:
        return None
    held = json.loads(text)
    if isinstance(held, dict):  # a script ended it: facts, for which we have the words
        if "parent" in held:
            return unmet(bytes.fromhex(held["parent"]), STATES[held["state"]] if "state" in held else None)
        return EXPIRED if "expired" in held else lost(**held)
    cause, types, message, traceback = held
    return Failure(cause=cause, types=tuple(types), message=message, traceback=traceback)


def outcome(one: Outcome, result: bytes | None, error: bytes | None) -> Iterator[bytes]:
    """How an attempt ended, as `finish` reads it; values as the hash is to hold them."""
    failure = failure_text(one.failure)
    texts = (
        result,
        None if failure is None else failure.encode(),
        error,
        None if one.ctx is None else one.ctx.encode(),
    )
    flags = sum(1 << n for n, text in enumerate(texts) if text is not None)
    yield _OUTCOME.pack(_ENDINGS[one.ending], flags, one.lease.attempt, one.delay) + one.lease.id.hex().encode()
    yield from (text for text in texts if text is not None)


def lease(one: Lease) -> bytes:
    """A lease, as `beat` and `report` read it."""
    return _NUMBER.pack(one.attempt) + one.id.hex().encode()


def heard(packed: bytes, seq: int) -> Heard:
    """An event of a job's log."""
    attempt, at, size = _EVENT.unpack_from(packed)
    begin = _EVENT.size + size
    return Heard(seq, attempt, at, packed[_EVENT.size : begin].decode(), packed[begin:].decode())


def introduction(info: WorkerInfo) -> bytes:
    """Who a worker is, as JSON; host and process first, which scripts read."""
    return json.dumps(
        [info.host, info.pid, info.started, info.runtime, info.queues, info.slots, info.busy, info.detail]
    ).encode()


def worker(worker_id: bytes, packed: bytes) -> WorkerInfo:
    """A worker as its record tells."""
    lease_, beat, _ = _WORKER.unpack_from(packed)
    host, pid, started, runtime, queues, slots, busy, detail = json.loads(packed[_WORKER.size :])
    return WorkerInfo(
        id=bytes.fromhex(worker_id.decode()),
        host=host,
        pid=pid,
        started=started,
        runtime=runtime,
        queues=tuple(queues),
        slots=slots,
        busy=busy,
        lease=lease_,
        detail=detail,
        beat=beat,
    )
