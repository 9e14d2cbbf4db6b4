"""One job as the store in memory remembers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cellq.ids import JobId
from cellq.message import Blob, Claim, Failure, Filter, Heard, Lease, Message, Part, Row, State


@dataclass(slots=True)
class RememberedJob:
    """Everything that happened to one message.

    Attributes:
        place: its rank in the order of pushing.
        after: its parents that have not completed yet.
    """

    message: Message
    place: int
    created: float
    due: float | None
    expires: float | None = None
    after: list[JobId] = field(default_factory=list)
    state: State = State.PENDING
    starts: int = 0
    refunds: int = 0
    stop: bool = False
    worker: bytes | None = None
    started: float | None = None
    finished: float | None = None
    ended: int | None = None
    ctx: str = "{}"
    progress: str = ""
    failure: Failure | None = None
    result: Blob | None = None
    error: Blob | None = None
    log: list[Heard] = field(default_factory=list)
    heard: int = 0
    logged: int = 0
    dropped: int = 0

    @property
    def lease(self) -> Lease:
        """The lease of its present (or last) start."""
        return Lease(self.message.id, self.starts)

    @property
    def attempt(self) -> int:
        """Starts that count."""
        return self.starts - self.refunds

    def claim(self) -> Claim:
        """What a worker is handed."""
        return Claim.of(self.message, self.lease, ctx=self.ctx, refunds=self.refunds)

    def row(self, now: float, code: Mapping[bytes, Blob], parts: Sequence[Part]) -> Row:
        """The job as it stands; `code` is the store's, by digest."""
        message, options = self.message, self.message.options
        pending = self.state is State.PENDING
        return Row(
            id=message.id,
            queue=options.queue,
            name=options.name or message.task,
            task=message.task,
            kind=message.kind,
            state=self.state,
            priority=options.priority,
            attempt=self.attempt,
            retries=options.retries,
            timeout=options.timeout,
            key=options.key,
            concurrency_key=options.concurrency_key,
            max_running=options.max_running,
            runtime=message.runtime,
            code_digest=message.code,
            created=self.created,
            due=self.due if pending and self.due is not None and self.due > now else None,
            expires=self.expires,
            after=tuple(self.after) if pending else (),
            started=self.started,
            finished=self.finished,
            ended=self.ended,
            worker=self.worker,
            cancelling=self.state is State.RUNNING and self.stop,
            progress=self.progress,
            failure=self.failure,
            origin=message.origin,
            ctx=self.ctx,
            payload=message.payload if Part.PAYLOAD in parts else None,
            code=code.get(message.code) if Part.CODE in parts else None,
            result=self.result if Part.RESULT in parts else None,
            error=self.error if Part.ERROR in parts else None,
        )

    def matches(self, wanted: Filter) -> bool:
        """Whether it is one of those looked for."""
        options = self.message.options
        return (
            (wanted.queue is None or options.queue == wanted.queue)
            and (not wanted.states or self.state in wanted.states)
            and (wanted.name is None or (options.name or self.message.task) == wanted.name)
            and (wanted.key is None or options.key == wanted.key)
            and (not wanted.suffix or self.message.id.hex().endswith(wanted.suffix.lower()))
            and (wanted.created_after is None or self.created > wanted.created_after)
            and (wanted.ended_after is None or (self.ended or 0) > wanted.ended_after)
        )
