"""What tests of stores make again and again: messages, workers, a clock that stands still."""

from __future__ import annotations

from cellq.ids import new_id
from cellq.message import (
    Action,
    Claim,
    Ending,
    Failure,
    Filter,
    Kind,
    Lane,
    Lease,
    Message,
    Outcome,
    Row,
    State,
    WorkerInfo,
)
from cellq.options import Options
from cellq.store.contract import Store

CODE = b"c" * 32
ROOM = {Lane.SYNC: 10, Lane.COROUTINES: 10, Lane.SCHEDULES: 10}


class Clock:
    """Time that moves only when told to."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def step(self, seconds: float) -> None:
        """Move on, or back."""
        self.now += seconds


def message(
    kind: Kind = Kind.CALL,
    runtime: str = "3.11",
    payload: bytes = b"payload",
    code: bytes = CODE,
    inputs: tuple[bytes, ...] = (),
    **options: object,
) -> Message:
    """A new message of these options."""
    return Message(
        id=new_id(),
        kind=kind,
        task="module.function",
        code=code,
        payload=payload,
        runtime=runtime,
        options=Options(**options),  # type: ignore[arg-type]
        origin='{"cell": "abc"}',
        inputs=inputs,
    )


def worker(name: str = "w", lease: float = 15.0, host: str = "elsewhere", pid: int = 1) -> WorkerInfo:
    """A worker on another machine, whose life only its beats tell of."""
    return WorkerInfo(
        id=name.encode().ljust(16, b"."),
        host=host,
        pid=pid,
        started=0.0,
        runtime="3.11",
        queues=("default",),
        slots=2,
        lease=lease,
    )


async def claim(store: Store, who: WorkerInfo, n: int = 10, queues: tuple[str, ...] = ("default",)) -> list[Claim]:
    """What this worker gets when it has room for `n` sync jobs; it has beaten right before."""
    await store.beat(who, [])
    return (await store.claim(who.id, queues, {Lane.SYNC: n, Lane.COROUTINES: n}, "3.11")).claims


async def start(store: Store, n: int = 1, who: WorkerInfo | None = None, **options: object) -> list[Lease]:
    """The leases of `n` new jobs, which `who` now runs."""
    messages = [message(**options) for _ in range(n)]  # type: ignore[arg-type]
    await store.push(messages, {CODE: b"code"})
    queues = (messages[0].options.queue,)
    leases = [one.lease for one in await claim(store, who or worker(), n, queues)]
    assert [lease.id for lease in leases] == [one.id for one in messages]
    return leases


def completed(lease: Lease, result: bytes = b"result") -> Outcome:
    """It went well."""
    return Outcome(lease=lease, ending=Ending.COMPLETED, result=result)


def failed(lease: Lease, ending: Ending = Ending.FAILED, delay: float = 0.0) -> Outcome:
    """It went wrong."""
    failure = Failure(cause="exception", types=("builtins.ValueError",), message="no", traceback="Traceback …")
    return Outcome(lease=lease, ending=ending, failure=failure, error=b"error", delay=delay)


def released(lease: Lease) -> Outcome:
    """It never really ran."""
    return Outcome(lease=lease, ending=Ending.RELEASED)


async def in_state(store: Store, state: State, who: WorkerInfo | None = None, **options: object) -> bytes:
    """A new job that has come to this state."""
    if state is State.PENDING:
        (pushed,) = await store.push([message(**options)], {CODE: b"code"})  # type: ignore[arg-type]
        return pushed.id
    (lease,) = await start(store, who=who, **options)
    if state is State.COMPLETED:
        assert await store.finish([completed(lease)]) == [True]
    elif state is State.FAILED:
        assert await store.finish([failed(lease)]) == [True]
    elif state is State.CANCELLED:
        await store.change([lease.id], Action.CANCEL)
        assert await store.finish([Outcome(lease=lease, ending=Ending.CANCELLED)]) == [True]
    return lease.id


async def row(store: Store, job_id: bytes) -> Row:
    """The job as it stands."""
    (found,) = await store.get([job_id])
    assert found is not None
    return found


async def check_counts(store: Store) -> None:
    """Whatever a test did: what `count` says must be what a full count of the rows gives."""
    counted: dict[tuple[str, State], int] = {}
    after = None
    while True:
        page = await store.find(Filter(), after, 500)
        for row in page.rows:
            counted[row.queue, row.state] = counted.get((row.queue, row.state), 0) + 1
        after = page.after
        if after is None:
            break
    told = {
        (queue, state): jobs
        for queue, numbers in (await store.count()).queues.items()
        for state, jobs in numbers.states.items()
        if jobs
    }
    assert told == counted
