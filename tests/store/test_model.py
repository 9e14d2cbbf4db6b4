"""Pins that a store and the reference in memory agree on every answer, whatever is asked in whatever order.

The same programs are tried in each run, so that it fails always or never. To hunt with new ones:
`CELLQ_HUNT=2000 pytest tests/store/test_model.py`.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from making import CODE, Clock, message, worker

from cellq.message import (
    Action,
    Ending,
    Event,
    Failure,
    Filter,
    Keep,
    Kind,
    Lane,
    Lease,
    Message,
    Outcome,
    Page,
    Part,
    QueueSettings,
    State,
)
from cellq.store.contract import Store
from cellq.store.memory import MemoryStore
from cellq.store.sqlite import SQLiteStore

# Shrinking a failure takes minutes. A timeout that strikes then is taken for one more failure, and called flaky.
pytestmark = pytest.mark.timeout(0)
HUNT = int(os.environ.get("CELLQ_HUNT", "0"))

QUEUES = st.sampled_from(["default", "default", "q"])
WORKERS = [worker(name, lease) for name, lease in (("a", 15.0), ("b", 15.0), ("c", 40.0))]
CURRENT = st.sampled_from([True, True, True, False])
SECONDS = st.sampled_from([1.0, 5.0, 16.0, 16.0, 60.0])
SOME = st.lists(
    st.integers(0, 1000), min_size=1, max_size=4
)  # which ones of those that there are, counted from the newest

PUSHED = {
    "queue": QUEUES,
    "kinds": st.lists(st.sampled_from(list(Kind)), min_size=1, max_size=3),
    "runtime": st.sampled_from(["3.11", "3.11", "3.12", ""]),
    "priority": st.integers(-1, 1),
    "retries": st.integers(0, 2),
    "delay": st.sampled_from([0.0, 0.0, 0.0, 3.0, 30.0]),
    "code": st.sampled_from([CODE, b"d" * 32, b""]),
}
LIMITED = {
    "expires": st.sampled_from([None, None, None, None, 31.0, 60.0]),
    "concurrency_key": st.sampled_from([None, None, None, "x", "y"]),
    "max_running": st.sampled_from([1, 1, 2, 3]),
}
CLAIMED = {
    "who": st.sampled_from(WORKERS),
    "queues": st.sampled_from([["default", "q"], ["default", "q"], ["default", "q"], ["q"], []]),
    "sync": st.sampled_from([3, 3, 1, 0]),
    "coroutines": st.sampled_from([3, 3, 1, 0]),
    "schedules": st.sampled_from([3, 3, 1, 0]),
    "claims": st.sampled_from(["3.11", "3.11", "3.11", "3.12"]),
    "beats": st.sampled_from([True, True, True, False]),
}


def pick(some: Iterable[int], of: Sequence[Any]) -> list[Any]:
    """Some of these, the same one twice now and then."""
    return [of[-1 - n % min(len(of), 6)] for n in some] if of else []


class Model(RuleBasedStateMachine):
    """Everything is asked of both stores: of SQLite here, of others in classes that say how to make them."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.jobs: list[Message] = []
        self.leases = [Lease(b"?" * 16, 1)]
        self.reference = MemoryStore(clock=self.clock)
        self.other = self.make()
        self.runner.run(self.other.open())
        for who in WORKERS:
            self.both(lambda store, who=who: store.beat(who, []))

    def make(self) -> Store:
        """The store to be held against the reference, empty."""
        return SQLiteStore(Path(self.folder.name) / "jobs.db", clock=self.clock)

    async def push_ahead(self, one: Message, bodies: Mapping[bytes, bytes]) -> None:
        """The quickest way in, for stores that have one."""
        if self.other.push_here([one], bodies) is None:  # type: ignore[attr-defined]
            await self.other.push([one], bodies)

    def teardown(self) -> None:
        self.runner.run(self.other.close())
        self.runner.close()
        self.folder.cleanup()

    def held(self, some: Iterable[int], current: bool) -> list[Lease]:
        """Some leases; current ones if wanted and there are any (left to chance, few would be)."""
        running = self.runner.run(self.reference.find(Filter(states=(State.RUNNING,)))).rows
        ids = {row.id for row in running} if current else set()
        newest = {lease.id: lease for lease in self.leases if lease.id in ids}
        return pick(some, list(newest.values()) or self.leases)

    def both(self, ask: Callable[[Store], Awaitable[Any]]) -> Any:
        async def asked() -> tuple[Any, Any]:
            return await ask(self.reference), await ask(self.other)

        expected, got = self.runner.run(asked())
        assert got == expected
        return got

    async def pages(self, wanted: Filter, marks: tuple[bytes | None, bytes | None], limit: int) -> tuple[Page, Page]:
        return await self.reference.find(wanted, marks[0], limit), await self.other.find(wanted, marks[1], limit)

    @rule(
        **PUSHED,
        **LIMITED,
        key=st.sampled_from([None, None, None, "k"]),
        after=st.lists(st.integers(0, 1000), max_size=2),
        inputs=st.lists(st.integers(0, 1000), max_size=1),
        unknown=st.sampled_from([False] * 9 + [True]),
        chained=st.booleans(),
    )
    def push(
        self,
        queue: str,
        kinds: list[Kind],
        runtime: str,
        code: bytes,
        after: list[int],
        inputs: list[int],
        unknown: bool,
        chained: bool,
        **options: Any,
    ) -> None:
        parents = [one.id for one in pick(after, self.jobs)] + [b"?" * 16] * unknown
        given = tuple(one.id for one in pick(inputs, self.jobs))
        asked: list[Message] = []
        for kind in kinds:
            before = tuple(parents) + (tuple(one.id for one in asked[-1:]) if chained else ())
            asked.append(message(kind, runtime, code=code, inputs=given, queue=queue, after=before, **options))
        self.both(lambda store: store.push(asked, {code: b"body"} if code else {}))
        self.jobs += asked

    @rule(some=SOME)
    def push_again(self, some: list[int]) -> None:
        self.both(lambda store: store.push(pick(some, self.jobs), {}))

    @rule(
        **PUSHED,
        **CLAIMED,
        smooth=st.sampled_from([True, True, False]),
        again=st.lists(st.integers(0, 1000), max_size=2),
        more=st.lists(st.integers(-1, 1), max_size=2),
    )
    def push_ahead_and_claim(
        self,
        again: list[int],
        kinds: list[Kind],
        more: list[int],
        queue: str,
        runtime: str,
        code: bytes,
        priority: int,
        retries: int,
        delay: float,
        smooth: bool,
        **claimed: Any,
    ) -> None:
        """The claim finds in the journal what nobody has looked at: new jobs, and some that were pushed before."""
        if smooth:  # left to chance, something nearly always keeps one of them from being started at once
            runtime, delay = "3.11", 0.0
            for name in ("default", "q"):
                self.both(lambda store, name=name: store.tune(name, QueueSettings(paused=False, max_running=0)))
            claimed |= {"queues": ["default", "q"], "claims": "3.11", "beats": True}
            claimed |= {"sync": 1000, "coroutines": 1000, "schedules": 1000}
            self.claim(**claimed)
        new = [
            message(kind, runtime, code=code, queue=queue, priority=priority, retries=retries, delay=delay)
            for kind in kinds
        ]
        new += [message(kinds[0], code=b"", priority=one) for one in more]
        repeated = {one.id: one for one in pick(again, self.jobs)}
        asked = [*sorted(repeated.values(), key=lambda one: one.id), *new]

        async def push() -> None:
            for one in asked:
                bodies = {one.code: b"body"} if one.code else {}
                await self.reference.push([one], bodies)
                await self.push_ahead(one, bodies)

        if claimed["beats"]:  # before: also a beat brings into rows what is in the journal
            self.both(lambda store: store.beat(claimed["who"], []))
        self.runner.run(push())
        self.jobs += new
        self.claim(**claimed | {"beats": False})

    @rule(**CLAIMED)
    def claim(
        self, who: Any, queues: list[str], sync: int, coroutines: int, schedules: int, claims: str, beats: bool
    ) -> None:
        if beats:
            self.both(lambda store: store.beat(who, []))
        room = {Lane.SYNC: sync, Lane.COROUTINES: coroutines, Lane.SCHEDULES: schedules}
        answer = self.both(lambda store: store.claim(who.id, queues, room, claims))
        self.leases += [claim.lease for claim in answer.claims]

    @rule(who=st.sampled_from(WORKERS), some=SOME, signs_off=st.sampled_from([False, False, False, True]))
    def beat(self, who: Any, some: list[int], signs_off: bool) -> None:
        info = replace(who, lease=0.0) if signs_off else who
        self.both(lambda store: store.beat(info, pick(some, self.leases)))

    @rule(
        some=SOME,
        current=CURRENT,
        kind=st.sampled_from(["stream", "progress", "error"]),
        data=st.sampled_from(["{}", "é", ""]),
    )
    def report(self, some: list[int], current: bool, kind: str, data: str) -> None:
        events = [Event(lease, kind, data) for lease in self.held(some, current)]
        self.both(lambda store: store.report(events))

    @rule(
        some=SOME,
        current=CURRENT,
        ending=st.sampled_from(list(Ending)),
        result=st.sampled_from([None, b"", b"result"]),
        failure=st.sampled_from([None, Failure(cause="exception", types=("a.B",), message="é", traceback="t")]),
        delay=st.sampled_from([0.0, 3.0]),
        ctx=st.sampled_from([None, '{"n": 1}']),
    )
    def finish(self, some: list[int], current: bool, **how: Any) -> None:
        outcomes = [Outcome(lease=lease, error=b"e", **how) for lease in self.held(some, current)]
        self.both(lambda store: store.finish(outcomes))

    @rule(some=SOME, action=st.sampled_from(list(Action)))
    def change(self, some: list[int], action: Action) -> None:
        self.both(lambda store: store.change([one.id for one in pick(some, self.jobs)], action))

    @rule(
        queue=QUEUES,
        paused=st.sampled_from([None, False, False, True]),
        max_running=st.sampled_from([None, 0, 0, 1, 2]),
    )
    def tune(self, queue: str, paused: bool | None, max_running: int | None) -> None:
        self.both(lambda store: store.tune(queue, QueueSettings(paused=paused, max_running=max_running)))

    @rule(bucket=st.sampled_from(["a", "b"]))
    def take(self, bucket: str) -> None:
        self.both(lambda store: store.take(bucket, 0.1, 2))

    @rule(
        completed=st.sampled_from([None, 0.0, 10.0]),
        failed=st.sampled_from([None, 0.0, 10.0]),
        cancelled=st.sampled_from([None, 5.0]),
        limit=st.integers(1, 4),
    )
    def prune(self, limit: int, **keep: Any) -> None:
        self.both(lambda store: store.prune(Keep(**keep), limit))

    @rule(seconds=SECONDS, back=st.sampled_from([False, False, False, True]))
    def step(self, seconds: float, back: bool) -> None:
        self.clock.step(-seconds if back else seconds)

    @rule(
        states=st.lists(st.sampled_from(list(State)), max_size=2).map(tuple),
        queue=st.sampled_from([None, "q"]),
        ended_after=st.sampled_from([None, 0, 2]),
        limit=st.integers(1, 3),
    )
    def look_around(self, limit: int, **wanted: Any) -> None:
        marks: tuple[bytes | None, bytes | None] = (None, None)
        while True:
            pages = self.runner.run(self.pages(Filter(**wanted), marks, limit))
            assert pages[1].rows == pages[0].rows
            marks = (pages[0].after, pages[1].after)  # each store's own: what a cursor holds is its affair
            assert (marks[0] is None) == (marks[1] is None)
            if marks[0] is None:
                break
        ids = [one.id for one in self.jobs]
        for parts in ([part] for part in Part):
            self.both(lambda store, parts=parts: store.get(ids, parts))
        for job_id in ids:
            self.both(lambda store, job_id=job_id: store.tail(job_id, 1, limit))

    @invariant()
    def they_agree(self) -> None:
        self.both(lambda store: store.find(Filter(), None, 1000))
        self.both(lambda store: store.count())


Model.TestCase.settings = settings(
    max_examples=HUNT or 80,
    stateful_step_count=50,
    derandomize=not HUNT,
    deadline=None,  # a machine may be busy
    suppress_health_check=[HealthCheck.too_slow],
)
TestModel = Model.TestCase
