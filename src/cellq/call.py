"""One call as people meet it: before it is enqueued, and in middleware while a worker has it.

`message.Message` is its sealed record, which stores and workers move; this is the open letter. What middleware may do
besides reading it: keep state in `ctx`, change `timeout`, `take` a token that all workers share, and wait `resting`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any, Protocol

from cellq.ids import id_text, new_id, parse_id

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Message:
    """One call: a task, its arguments, and `ctx`, which middleware keeps across attempts.

    Made by `task.message(...)`; enqueue it with `task.send_bulk([...])`. Enqueued twice, it is one job.

    Attributes:
        task: name of the task.
        ctx: a dict of JSON values; what middleware writes here, the next attempt finds.
        id: canonical UUID text; the id of its job.
        queue: name of the queue it waits in.
        attempt: 1 for the first, 0 before a worker has it.
        timeout: limit for one attempt in seconds, None for no limit; middleware may change it before the job starts.
        source: the task it was made from, None in a worker.
    """

    def __init__(
        self,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        task: str = "",
        ctx: Mapping[str, Any] | None = None,
        id: str | None = None,
        *,
        queue: str = "",
        timeout: float | None = None,
        source: Any = None,
    ) -> None:
        self._arguments: Arguments | None = (tuple(args), dict(kwargs or {}))
        self.task = task
        self.ctx: dict[str, Any] = dict(ctx or {})
        self.id = id_text(new_id()) if id is None else id
        self.queue = queue
        self.attempt = 0
        self.timeout = timeout
        self.source = source

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments. In a worker they are unpickled when first asked for, and else never."""
        return self._opened()[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments; as `args`."""
        return self._opened()[1]

    def _opened(self) -> Arguments:
        assert self._arguments is not None
        return self._arguments

    def anew(self) -> Message:
        """The same call as a new message, with an id of its own."""
        return Message(
            self.args, self.kwargs, self.task, self.ctx, queue=self.queue, timeout=self.timeout, source=self.source
        )

    @property
    def created(self) -> float:
        """When it was made, in epoch seconds: its id holds the milliseconds."""
        return int.from_bytes(parse_id(self.id)[:6], "big") / 1000

    async def take(self, bucket: str, rate: float, burst: float) -> float:
        """Take a token from a bucket that all workers of the store share; for middleware.

        Args:
            rate: tokens added per second.
            burst: how many the bucket holds, 1 or more.

        Returns:
            0.0 when a token was taken, else the seconds until one is there.

        Raises:
            RuntimeError: no worker has this message.
        """
        raise RuntimeError(f"{self!r} is not in a worker: only middleware takes tokens")

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """While middleware waits in this block, the worker starts other jobs in this one's place."""
        yield

    def __repr__(self) -> str:
        return f"<Message {self.task} {self.id[-8:]}>"


Place = bytes | tuple[str, str, list[str]]
"""Where the function of a registered task is: sealed in these bytes; or the module to import, its name in there, and
directories on whose account the module can be imported."""


class Handler(Protocol):
    """What comes next on a message's way: the next middleware, or the job itself."""

    def __call__(self, message: Message, /) -> Awaitable[object]:
        """See the message through."""
        ...
