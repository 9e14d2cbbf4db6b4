"""A hand that plays the worker by store verbs, so that the client is tested with nothing of the worker's code."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

from cellq import settings
from cellq.client.portal import portal
from cellq.ids import new_id
from cellq.message import Claim, Ending, Event, Failure, Kind, Lane, Outcome, Part, Topic, WorkerInfo
from cellq.store import open_store
from cellq.wire.exceptions import carry, describe
from cellq.wire.sealing import Purpose, Seal

DEADLINE = 20.0


def eventually(what: Callable[[], Any], message: str) -> Any:
    """What `what()` gives as soon as it is true."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.002)
    raise AssertionError(message)


class Hand:
    """A worker without slots: it claims jobs, runs plain functions on the spot, and finishes them."""

    def __init__(self, url: str) -> None:
        self.seal = Seal(settings.secret())
        self.store = open_store(url)
        self.info = WorkerInfo(
            id=new_id(), host="test", pid=os.getpid(), started=0.0, runtime=settings.RUNTIME,
            queues=("default",), slots=1, lease=600.0,
        )  # fmt: skip
        portal().call(self.store.open())
        portal().call(self.store.beat(self.info, []))
        self._code: dict[bytes, Any] = {}
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1)

    def claim(self, limit: int = 1, queue: str = "default") -> list[Claim]:
        room = {Lane.SYNC: limit, Lane.COROUTINES: limit}
        return portal().call(self.store.claim(self.info.id, [queue], room, settings.RUNTIME)).claims

    def outcome(self, claim: Claim) -> Outcome:
        """Run a claimed call, or hand back what a cell carries, and say how it went."""
        job_id = claim.lease.id
        payload = self.seal.open(claim.payload, purpose=Purpose.CALL, job_id=job_id, code=claim.code)
        try:
            if claim.kind is Kind.CELL:
                value = payload
            else:
                args, kwargs = payload
                value = self._function(claim)(*args, **kwargs)
            result = self.seal.seal(
                value, purpose=Purpose.RESULT, job_id=job_id, code=claim.code, spill_dir=self.store.spill_dir
            )
        except Exception as error:
            sealed = self.seal.seal(carry(error), purpose=Purpose.ERROR, job_id=job_id, code=claim.code)
            return Outcome(lease=claim.lease, ending=Ending.FAILED, failure=describe(error), error=sealed)
        return Outcome(lease=claim.lease, ending=Ending.COMPLETED, result=result)

    def _function(self, claim: Claim) -> Callable[..., Any]:
        if claim.code not in self._code:
            (row,) = portal().call(self.store.get([claim.lease.id], [Part.CODE]))
            assert row is not None
            assert row.code is not None
            self._code[claim.code] = self.seal.open_code(row.code, claim.code)
        return self._code[claim.code]

    def finish(self, *outcomes: Outcome) -> None:
        assert all(portal().call(self.store.finish(outcomes)))

    def fail(self, claim: Claim, cause: str, message: str = "") -> None:
        self.finish(Outcome(lease=claim.lease, ending=Ending.FAILED, failure=Failure(cause=cause, message=message)))

    def say(self, claim: Claim, text: str) -> None:
        data = json.dumps({"name": "stdout", "text": text})
        assert not portal().call(self.store.report([Event(claim.lease, "stream", data)]))

    def show(self, claim: Claim, progress: Any) -> None:
        assert not portal().call(self.store.report([Event(claim.lease, "progress", json.dumps(progress))]))

    def work(self, limit: int = 100) -> int:
        """Run all that is waiting, and give how many that were."""
        total = 0
        while claims := self.claim(limit):
            self.finish(*[self.outcome(claim) for claim in claims])
            total += len(claims)
        return total

    def start(self) -> None:
        """Keep working in a thread of our own."""
        self._working = self._pool.submit(self._keep_working)

    def _keep_working(self) -> None:
        cursor = 0
        while not self._stop.is_set():
            cursor = portal().call(self.store.wait(Topic.WORK, cursor, 0.05))
            self.work()

    def close(self) -> None:
        self._stop.set()
        self._pool.shutdown()
        if hasattr(self, "_working"):
            self._working.result()
        portal().call(self.store.close())


_WAITS = (("doorbell.py", "wait"), ("redis/threads.py", "_hear"))


def somebody_waits() -> bool:
    """Whether a thread of this process is blocked until a job ends."""
    return any(map(_waits, sys._current_frames().values()))


def _waits(frame: FrameType | None) -> bool:
    """Whether this frame, or one that called it, is a store's wait for a ring."""
    while frame is not None:
        code = frame.f_code
        if any(code.co_filename.endswith(file) and code.co_name == name for file, name in _WAITS):
            return True
        frame = frame.f_back
    return False
