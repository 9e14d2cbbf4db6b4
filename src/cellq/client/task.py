"""Functions that know how they are to be run: `@cellq.task(...)`, and `@worker.task(...)` in `app`.

A task is called like the function it is made of. Besides, it enqueues calls of itself:

                              coroutines                        everybody else
    one call                  await task.send(1, x=2)           task.enqueue(1, x=2)
    many, in one round trip   await task.send_bulk(messages)    task.map(xs)
    a call for later          task.message(1, x=2)

A *registered* task, made by a worker's decorator, travels by its name: only workers that have registered it can run it.
Any other travels by value, as functions do that are enqueued through a queue.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, ParamSpec, TypeVar, Unpack, overload

from cellq import settings
from cellq.call import Arguments, Message
from cellq.client.changes import OptionChanges, changed_options
from cellq.client.connection import Connection, origin
from cellq.client.group import AsyncJobGroup
from cellq.client.inputs import as_handles, held_ids
from cellq.client.job import AsyncJob
from cellq.client.portal import Ask, awaiting, blocking, settle
from cellq.client.queue import AsyncQueue
from cellq.client.record import Record
from cellq.client.sync import Job, JobGroup
from cellq.ids import name_digest, parse_id
from cellq.message import Blob, Claim, Kind
from cellq.message import Message as Sealed
from cellq.options import Options, per_second, seconds
from cellq.wire.inputs import Handle
from cellq.wire.sealing import Purpose

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class TaskChanges(OptionChanges, total=False):
    """What a task is told when it is made: the options of its jobs (see `options.Options`), and three rules.

    max_tries: how often a job may run in all; the same as one more than `retries`.
    max_age: a job that is about to start later than so long after it was enqueued fails instead; seconds or timedelta.
    max_rate: how many jobs of this task start in a time, over all workers: "10/s", "100/m", "1000/h".
    """

    max_tries: int
    max_age: float | timedelta
    max_rate: str | float


_LOOKS = ("__code__", "__defaults__", "__kwdefaults__")

RULES = ("max_tries", "max_age", "max_rate")
"""Those of `TaskChanges` that travel in a message's `ctx`: workers keep them also for tasks they do not know."""


class Task(Generic[P, R]):
    """A function with options; called as usual, and able to enqueue calls of itself. Made by the decorators.

    Attributes:
        fn: the function.
        name: what it is called: "worker:function" when it is registered with a worker.
        registered: it travels by its name, without code.
    """

    fn: Callable[P, R]

    def __init__(
        self,
        fn: Callable[P, R],
        *,
        name: str,
        queue: Callable[[], AsyncQueue],
        options: Options,
        rules: Mapping[str, Any],
        registered: bool,
    ) -> None:
        functools.update_wrapper(self, fn, updated=())
        for name_ in _LOOKS:  # with these, `inspect` takes it for what the function is: async, or not
            if hasattr(fn, name_):
                setattr(self, name_, getattr(fn, name_))
        self.fn = fn
        self.name = name
        self.registered = registered
        self._find_queue = queue
        self._options = options
        self._rules = dict(rules)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        url = self.queue.connection.full_url
        return (_made_again, (self.fn, self.name, url, self._options, self._rules, self.registered))

    @functools.cached_property
    def queue(self) -> AsyncQueue:
        """Where its calls go."""
        return self._find_queue()

    @functools.cached_property
    def _signature(self) -> inspect.Signature | None:
        try:
            return inspect.signature(self.fn)
        except ValueError:  # some built-in functions do not tell
            return None

    def options(self, **changes: Unpack[TaskChanges]) -> Task[P, R]:
        """The same task with other options for what it enqueues.

        Args:
            changes: as for the decorator.

        Raises:
            TypeError, ValueError: as the decorator.
        """
        options, rules = told(self._options, changes, self.queue.connection if "after" in changes else None)
        made = Task(
            self.fn,
            name=self.name,
            queue=lambda: self.queue,
            options=options,
            rules=self._rules | rules,
            registered=self.registered,
        )
        made.__dict__["queue"] = self.queue
        return made

    # ----------------------------------------------------------------------------------------------- enqueuing

    def message(self, *args: P.args, **kwargs: P.kwargs) -> Message:
        """One call, not enqueued yet. Its arguments are pickled when it is sent.

        A job anywhere in the arguments becomes what that job returned; see `AsyncQueue.enqueue`.

        Raises:
            TypeError: the function does not take these arguments.
        """
        if self._signature is not None:
            self._signature.bind(*args, **kwargs)
        return Message(
            args, kwargs, self.name, self._rules, queue=self._options.queue, timeout=self._options.timeout, source=self
        )

    @overload
    async def send(self: Task[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> AsyncJob[T]: ...
    @overload
    async def send(self: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> AsyncJob[R]: ...
    async def send(self, *args: P.args, **kwargs: P.kwargs) -> AsyncJob[Any]:
        """Enqueue a call, as things are now, and give its job.

        Raises:
            TypeError: the function does not take these arguments.
            ValueError: a job in the arguments lives in another store.
            NotPicklable: an argument cannot travel; the message names it.
            Expired: a job that it is to run after is not in the store (any more).
            StoreUnavailable: the store cannot be reached.
        """
        return AsyncJob((await self._push([self.message(*args, **kwargs)], awaiting))[0])

    @overload
    async def send_bulk(self: Task[P, Coroutine[Any, Any, T]], messages: Iterable[Message]) -> AsyncJobGroup[T]: ...
    @overload
    async def send_bulk(self: Task[P, R], messages: Iterable[Message]) -> AsyncJobGroup[R]: ...
    async def send_bulk(self, messages: Iterable[Message]) -> AsyncJobGroup[Any]:
        """Enqueue many calls in one round trip: all of them or none. One that was enqueued before is not again.

        Args:
            messages: of this task, or of others whose jobs live in the same store.

        Raises:
            TypeError, ValueError: one of them is no message of a task, or belongs into another store.
            NotPicklable, Expired, StoreUnavailable: as `send`.
        """
        return AsyncJobGroup(await self._push(list(messages), awaiting))

    @overload
    def enqueue(self: Task[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> Job[T]: ...
    @overload
    def enqueue(self: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[Any]:
        """As `send`, for those who cannot await."""
        return Job(settle(self._push([self.message(*args, **kwargs)], blocking))[0])

    @overload
    def map(self: Task[P, Coroutine[Any, Any, T]], /, *iterables: Iterable[Any]) -> JobGroup[T]: ...
    @overload
    def map(self: Task[P, R], /, *iterables: Iterable[Any]) -> JobGroup[R]: ...
    def map(self, /, *iterables: Iterable[Any]) -> JobGroup[Any]:
        """Enqueue one call for each tuple of arguments, as the built-in `map` pairs them: all of them or none.

        Raises:
            ValueError: with the option `key`, of which only one job may live.
            TypeError, NotPicklable, Expired, StoreUnavailable: as `enqueue`.
        """
        if not iterables:
            raise TypeError("map needs at least one iterable of arguments")
        if self._options.key is not None:
            raise ValueError("map cannot be used with a key: only one job with that key may live")
        message: Callable[..., Message] = self.message
        return JobGroup._of(settle(self._push([message(*args) for args in zip(*iterables, strict=False)], blocking)))

    async def _push(self, messages: Sequence[Message], ask: Ask) -> list[Record]:
        envelopes: dict[int, _Envelope] = {}  # one for each task, so that each function is pickled once
        sealed = [self._envelope(message, envelopes).seal(message) for message in messages]
        code = {digest: blob for envelope in envelopes.values() for digest, blob in envelope.code.items()}
        return await self.queue.asking(ask)._push(sealed, code) if sealed else []

    def _envelope(self, message: Message, made: dict[int, _Envelope]) -> _Envelope:
        if not isinstance(message, Message):
            raise TypeError(f"messages are made by task.message(...), {message!r} is none")
        task = message.source
        if not isinstance(task, Task):
            raise ValueError(f"{message!r} was not made by task.message(...), so nobody knows where it belongs")
        if task.queue.url != self.queue.url:
            raise ValueError(f"{message!r} belongs into {task.queue.url}, and the others into {self.queue.url}")
        if id(task) not in made:
            made[id(task)] = _Envelope(task, self.queue)
        return made[id(task)]

    @property
    def defaults(self) -> Options:
        """The options of what is enqueued."""
        return self._options


class _Envelope:
    """Seals messages of one task.

    Attributes:
        code: what has to be pushed along with them, by digest; nothing for a registered task.
    """

    def __init__(self, task: Task[..., Any], queue: AsyncQueue) -> None:
        self._connection = queue.connection
        self._options = task.defaults
        self._task = task
        self.code: dict[bytes, Blob] = {}
        if task.registered:
            self._digest = name_digest(task.name)
        else:
            self._digest, blob = self._connection.functions.seal(task.fn)
            self.code[self._digest] = blob
        self._kind = Kind.COROUTINE if inspect.iscoroutinefunction(task.fn) else Kind.CALL

    def seal(self, message: Message) -> Sealed:
        """The record of a message, as stores keep it."""
        job_id, options, ctx = parse_id(message.id), self._options, message.ctx
        if message.timeout != options.timeout:
            options = dataclasses.replace(options, timeout=message.timeout)
        if "max_age" in ctx and options.delay:
            ctx = {**ctx, "max_age": ctx["max_age"] + options.delay}  # the wait that was asked for does not count
        met: list[Handle] = []
        payload = self._connection.sealed_call((message.args, message.kwargs), job_id, self._digest, self._task.fn, met)
        return Sealed(
            id=job_id,
            kind=self._kind,
            task=message.task,
            code=self._digest,
            payload=payload,
            runtime=settings.RUNTIME,
            options=options,
            origin=origin(),
            ctx=_text(ctx, message),
            inputs=held_ids(met, self._connection) if met else (),
        )


def sealed(message: Message) -> tuple[AsyncQueue, Sealed, dict[bytes, Blob]]:
    """A message as stores keep it, the queue of its task, and the code to push along; for `app`.

    Raises:
        TypeError, ValueError: it is no message of a task.
        NotPicklable: an argument cannot travel.
    """
    if not isinstance(message, Message) or not isinstance(message.source, Task):
        raise TypeError(f"a message is needed, as task.message(...) makes them, not {message!r}")
    envelope = _Envelope(message.source, message.source.queue)
    return message.source.queue, envelope.seal(message), envelope.code


def _text(ctx: Mapping[str, Any], message: Message) -> str:
    try:
        return json.dumps(ctx)
    except (TypeError, ValueError) as error:
        raise TypeError(f"ctx of {message!r} must hold JSON values only: {error}") from error


def told(
    options: Options, changes: TaskChanges, connection: Connection | None = None
) -> tuple[Options, dict[str, Any]]:
    """The options with these changes, and the rules among them as `ctx` carries them.

    Args:
        connection: where the jobs that are named by `after` must live; None when that is not known yet.

    Raises:
        TypeError, ValueError: there is no such option, or its value makes no sense.
    """
    rules: dict[str, Any] = {}
    rest = dict(changes)
    if (tries := rest.pop("max_tries", None)) is not None:
        if not isinstance(tries, int) or isinstance(tries, bool) or tries < 1:
            raise ValueError(f"max_tries must be a whole number of 1 or more, not {tries!r}")
        if "retries" in rest:
            raise TypeError("say max_tries or retries, not both: max_tries=3 is retries=2")
        rest["retries"] = tries - 1
    if (age := rest.pop("max_age", None)) is not None:
        rules["max_age"] = seconds("max_age", age)  # type: ignore[arg-type]  # TypedDict.pop tells no type
    if (rate := rest.pop("max_rate", None)) is not None:
        per_second(rate)  # type: ignore[arg-type]
        rules["max_rate"] = rate
    changed = changed_options(options, rest, connection)  # type: ignore[arg-type]
    if "retries" in rest:
        rules["max_tries"] = changed.retries + 1
    return changed, rules


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(*, url: str | None = None, **changes: Unpack[TaskChanges]) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(fn: Callable[..., Any] | None = None, /, *, url: str | None = None, **changes: Unpack[TaskChanges]) -> Any:
    """Make a function a task whose calls travel by value: any worker that serves its queue can run them.

    Args:
        url: the store; `CELLQ_URL` or `./.cellq/jobs.db` at the time of the first call when None.
        changes: `max_tries`, `max_age`, `max_rate`, `timeout`, `queue`, `priority`, `retries`, `backoff`, `delay`,
            `expires`, `key`, `concurrency_key`, `max_running`, `after`, `name`, `isolated`; see `TaskChanges` and
            `options.Options`. Durations are seconds.

    Raises:
        TypeError, ValueError: there is no such option, or its value makes no sense.
    """
    options, rules = told(Options(), changes)

    def decorate(fn: Callable[..., Any]) -> Task[..., Any]:
        return Task(
            _function(fn),
            name=getattr(fn, "__qualname__", type(fn).__qualname__),
            queue=lambda: AsyncQueue(url, options.queue),
            options=options,
            rules=rules,
            registered=False,
        )

    return decorate if fn is None else decorate(fn)


def _function(fn: Callable[P, R]) -> Callable[P, R]:
    """The function itself, which is what a decorator must be given.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(fn, Task):
        raise TypeError(f"{fn!r} is a task already")
    if not callable(fn):
        raise TypeError(f"a task is made of a function, not of {fn!r}")
    return fn


def registered_task(
    fn: Callable[P, R], *, worker: str, queue: Callable[[], AsyncQueue], options: Options, rules: Mapping[str, Any]
) -> Task[P, R]:
    """A task that travels by its name, "worker:function"; for `app.Worker`.

    The option `name` replaces the function's.
    """
    name = f"{worker}:{options.name or getattr(fn, '__name__', type(fn).__name__)}"
    return Task(
        _function(fn),
        name=name,
        queue=queue,
        options=dataclasses.replace(options, name=""),
        rules=rules,
        registered=True,
    )


def _made_again(
    fn: Callable[..., Any], name: str, url: str, options: Options, rules: dict[str, Any], registered: bool
) -> Task[..., Any]:
    return Task(
        fn,
        name=name,
        queue=lambda: AsyncQueue(url, options.queue),
        options=options,
        rules=rules,
        registered=registered,
    )


def arguments_of(queue: AsyncQueue, claim: Claim) -> Arguments:
    """The arguments of a claimed call, unpickled, with handles where results will be; none for a cell. For `app`.

    Raises:
        Untrusted: they are not signed with this user's secret.
    """
    if claim.kind is Kind.CELL:
        return (), {}
    opened: Arguments = queue.connection.seal.open(
        claim.payload,
        purpose=Purpose.CALL,
        job_id=claim.lease.id,
        code=claim.code,
        homeward=True,
        arrival=as_handles(queue.connection),
    )
    return opened
