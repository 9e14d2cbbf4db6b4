"""A named line of jobs, for coroutines: enqueue, find again, look after. `sync.Queue` is the same for everybody else.

Arguments and functions are pickled in the caller's thread before anything is awaited: what runs is what they were at
the moment of the call, and what cannot be pickled is refused before a row exists.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import tzinfo
from types import BuiltinFunctionType
from typing import Any, ParamSpec, Self, TypeVar, Unpack, overload

from cellq import settings
from cellq.client.changes import OptionChanges, changed_options, line_limit
from cellq.client.connection import Connection, origin
from cellq.client.facts import Facts
from cellq.client.group import AsyncJobGroup, change_all
from cellq.client.inputs import check_known, held_ids, job_id_of
from cellq.client.job import AsyncJob
from cellq.client.portal import Ask, awaiting, blocking
from cellq.client.record import Record, enqueued
from cellq.client.schedule import AsyncSchedule, schedule, schedules
from cellq.errors import Expired
from cellq.ids import JobId, id_text, new_id, parse_id
from cellq.message import (
    Action,
    Blob,
    Changed,
    Filter,
    Keep,
    Kind,
    Message,
    Pushed,
    QueueSettings,
    Row,
    State,
    WorkerInfo,
)
from cellq.options import Options
from cellq.store.contract import Store
from cellq.timetable import own_rows
from cellq.wire.inputs import Handle
from cellq.wire.pickling import Label

P = ParamSpec("P")
R = TypeVar("R")

_PAGE = 500


class AsyncQueue:
    """A named line of jobs in a store, for coroutines in any event loop.

    Args:
        url: where the store is (see `settings.store_url`); `./.cellq/jobs.db` or `CELLQ_URL` when left out.
        name: of the line; workers serve "default" if not told otherwise.
        store: use this store instead of opening `url`.

    Nothing is opened before the first call. `async with` closes the connection at the end, `close()` does it by hand.

    Raises:
        TypeError, ValueError: the URL or the name is no such thing.
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | None = None,
        name: str = "default",
        *,
        store: Store | None = None,
        ask: Ask = awaiting,
    ) -> None:
        self._options = Options(queue=name)
        self._connection = Connection(url, store=store)
        self._ask = ask

    def __reduce__(self) -> tuple[Any, ...]:
        return (_made_again, (self._connection.full_url, self._options))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} at {self.url}>"

    @property
    def name(self) -> str:
        """The line's name."""
        return self._options.queue

    @property
    def defaults(self) -> Options:
        """The options of what is enqueued through this object."""
        return self._options

    @property
    def url(self) -> str:
        """The store's URL, without its password."""
        return self._connection.url

    def options(self, **changes: Unpack[OptionChanges]) -> Self:
        """The same queue with other options for what it enqueues; shares the connection.

        Args:
            changes: `priority`, `timeout`, `retries`, `backoff`, `delay`, `expires`, `key`, `concurrency_key`,
                `max_running`, `after`, `name`, `queue`, `isolated`, as told by `options.Options`. Durations are
                seconds. `after` takes one job or several: handles, groups, ids.

        Raises:
            TypeError: there is no such option, or its value has the wrong type.
            ValueError: its value is impossible, or a job to run after lives in another store.
        """
        return self.with_options(changed_options(self._options, changes, self._connection))

    def with_options(self, options: Options) -> Self:
        """The same queue with exactly these options; shares the connection."""
        derived = object.__new__(type(self))
        derived._connection, derived._ask = self._connection, self._ask
        derived._options = options
        return derived

    def asking(self, ask: Ask) -> Self:
        """The same queue for another kind of caller; shares the connection."""
        derived = self.with_options(self._options)
        derived._ask = ask
        return derived

    # ------------------------------------------------------------------------------------------- enqueuing

    @property
    def connection(self) -> Connection:
        """The client's side of the store; for the notebook room."""
        return self._connection

    @overload
    async def enqueue(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncJob[R]: ...
    @overload
    async def enqueue(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncJob[R]: ...
    async def enqueue(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AsyncJob[Any]:
        """Enqueue a call, as things are now, and give its job.

        With the option `key`, and a live job of that key, the answer is that job.

        A job anywhere in the arguments becomes what that job returned, and a group the list of what its jobs returned:
        the call runs once they have completed. (To pass a handle itself, pass `job.id`, and let the function ask
        `Queue.get`.)

        Raises:
            TypeError: `fn` cannot be called.
            ValueError: a job in the arguments lives in another store.
            NotPicklable: an argument, or something the function uses, cannot travel; the message names it.
            Expired: a job that it is to run after is not in the store (any more).
            StoreUnavailable: the store cannot be reached.
        """
        message, code = self._call(fn, args, kwargs)
        return AsyncJob((await self._push([message], code))[0], ask=self._ask)

    @overload
    async def map(
        self, fn: Callable[..., Coroutine[Any, Any, R]], /, *iterables: Iterable[Any]
    ) -> AsyncJobGroup[R]: ...
    @overload
    async def map(self, fn: Callable[..., R], /, *iterables: Iterable[Any]) -> AsyncJobGroup[R]: ...
    async def map(self, fn: Callable[..., Any], /, *iterables: Iterable[Any]) -> AsyncJobGroup[Any]:
        """Enqueue one call for each tuple of arguments, as the built-in `map` pairs them: all of them or none.

        Raises:
            ValueError: with the option `key`, of which only one job may live.
            TypeError, NotPicklable, Expired, StoreUnavailable: as `enqueue`.
        """
        if not iterables:
            raise TypeError("map needs at least one iterable of arguments")
        if self._options.key is not None:
            raise ValueError(
                "map cannot be used with a key: only one job with that key may live, the others would be lost"
            )
        kind, task, digest, blob = self._code(fn)
        options, came_from = self._options, origin()
        messages = []
        for args in zip(*iterables, strict=False):
            job_id = new_id()
            payload, inputs = self._seal((args, {}), job_id, digest, fn)
            messages.append(
                Message(
                    id=job_id,
                    kind=kind,
                    task=task,
                    code=digest,
                    payload=payload,
                    runtime=settings.RUNTIME,
                    options=options,
                    origin=came_from,
                    inputs=inputs,
                )
            )
        return AsyncJobGroup(await self._push(messages, {digest: blob}) if messages else [], ask=self._ask)

    async def push_cell(self, parcel: object, *, task: str, origin: str) -> AsyncJob[Any]:
        """Enqueue a notebook cell; for the notebook room. Options are those of the queue.

        Args:
            parcel: what the slot needs to run it (made by `cellq.cell.parcel`).
            task: what the cell is called when the option `name` is empty.
            origin: JSON about the notebook and the cell.

        Raises:
            NotPicklable, TooLarge, StoreUnavailable: as `enqueue`.
        """
        job_id = new_id()
        message = Message(
            id=job_id,
            kind=Kind.CELL,
            task=task,
            code=b"",
            payload=self._connection.sealed_call(parcel, job_id, b"", task),
            runtime=settings.RUNTIME,
            options=self._options,
            origin=origin,
        )
        return AsyncJob((await self._push([message], {}))[0], ask=self._ask)

    def _call(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Message, dict[bytes, Blob]]:
        kind, task, digest, blob = self._code(fn)
        job_id = new_id()
        payload, inputs = self._seal((args, kwargs), job_id, digest, fn)
        message = Message(
            id=job_id,
            kind=kind,
            task=task,
            code=digest,
            payload=payload,
            runtime=settings.RUNTIME,
            options=self._options,
            origin=origin(),
            inputs=inputs,
        )
        return message, {digest: blob}

    def _code(self, fn: Callable[..., Any]) -> tuple[Kind, str, bytes, Blob]:
        if not callable(fn):
            raise TypeError(f"a function is needed, not {fn!r}; write enqueue(f, x), not enqueue(f(x))")
        inner = fn
        while isinstance(inner, functools.partial):
            inner = inner.func
        builtin = isinstance(inner, BuiltinFunctionType)  # asked first: inspect takes its time
        kind = Kind.COROUTINE if not builtin and inspect.iscoroutinefunction(inner) else Kind.CALL
        task = getattr(inner, "__qualname__", None) or type(inner).__qualname__
        return (kind, task, *self._connection.functions.seal(fn))

    def _seal(
        self, arguments: tuple[tuple[Any, ...], dict[str, Any]], job_id: JobId, digest: bytes, fn: Label
    ) -> tuple[Blob, tuple[JobId, ...]]:
        """The arguments of a call, sealed, and the jobs among them."""
        met: list[Handle] = []
        payload = self._connection.sealed_call(arguments, job_id, digest, fn, met)
        return payload, held_ids(met, self._connection) if met else ()

    async def _push(self, messages: Sequence[Message], code: dict[bytes, Blob]) -> list[Record]:
        connection = self._connection
        parents = {
            job_id for message in messages if message.inputs or message.options.after for job_id in message.parents
        }
        if parents:
            await self._ask(check_known(connection, sorted(parents)))
        try:
            pushed = self._push_here(messages, code)
            if pushed is None:
                pushed = await self._ask(connection.push(messages, code))
        except Exception:
            raise
        except BaseException:  # interrupted: the caller gets no job, so there shall be none
            connection.take_back([message.id for message in messages])
            raise
        return [
            enqueued(connection, answer.id, message.options.name or message.task)
            for message, answer in zip(messages, pushed, strict=True)
        ]

    def _push_here(self, messages: Sequence[Message], code: dict[bytes, Blob]) -> list[Pushed] | None:
        if self._ask is not blocking:
            return None  # an event loop shall not stand still
        store = self._connection.here()
        return None if store is None else store.push_here(messages, code)

    # --------------------------------------------------------------------------------------- finding again

    async def get(self, job: str | bytes | Facts) -> AsyncJob[Any]:
        """The job with this id; in whatever line of the store it is.

        Args:
            job: the id, or as many of its last digits as are needed to tell it from others (people see eight).

        Raises:
            Expired: there is no such job (any more).
            ValueError: this is no id, or several jobs end with these digits.
        """
        row = await self._ask(self._find_one(job))
        return AsyncJob(Record(self._connection, row.id, row.name or row.task, row), ask=self._ask)

    async def _find_one(self, job: str | bytes | Facts) -> Row:
        store = await self._connection.ready()
        text = id_text(job_id_of(job)) if not isinstance(job, str) else job.strip()
        if len(text.replace("-", "")) >= 32:
            row = (await store.get([parse_id(text)]))[0]
        else:
            if len(text) < 4 or not all(digit in "0123456789abcdef" for digit in text.lower()):
                raise ValueError(f"{text!r} is no job id: give the whole id, or at least four of its last digits")
            rows = (await store.find(Filter(suffix=text.lower()), None, 5)).rows
            if len(rows) > 1:
                raise ValueError(f"several jobs end with {text!r}: {', '.join(id_text(row.id) for row in rows)}")
            row = rows[0] if rows else None
        if row is None:
            raise Expired(f"there is no job {text} in {self.url}: it was pruned or deleted, or lives in another store")
        return row

    async def jobs(
        self,
        *,
        state: State | str | Iterable[State | str] | None = None,
        name: str | None = None,
        key: str | None = None,
        limit: int | None = 100,
    ) -> list[AsyncJob[Any]]:
        """The jobs of this line, newest first.

        Args:
            state: only those in this state, or one of these.
            name, key: only those with this name, this key.
            limit: at most so many; None for all.

        Raises:
            ValueError: there is no such state.
        """
        states = (state,) if isinstance(state, str) else tuple(state or ())
        wanted = Filter(queue=self.name, states=tuple(State(one) for one in states), name=name, key=key)
        rows = await self._ask(self._find(wanted, limit))
        return [AsyncJob(Record(self._connection, row.id, row.name or row.task, row), ask=self._ask) for row in rows]

    async def _find(self, wanted: Filter, limit: int | None) -> list[Row]:
        store = await self._connection.ready()
        rows: list[Row] = []
        after = None
        while limit is None or len(rows) < limit:
            page = await store.find(wanted, after, _PAGE if limit is None else min(_PAGE, limit - len(rows)))
            rows += page.rows if wanted.queue else own_rows(page.rows)
            after = page.after
            if after is None:
                break
        return rows

    async def recent(self, limit: int = 20, *, states: tuple[State, ...] = (), key: str | None = None) -> list[Row]:
        """The newest jobs of the whole store, whatever their line, as rows; for the notebook room.

        Args:
            states: only those in one of these states.
            key: only those with this key.
        """
        return await self._ask(self._find(Filter(states=states, key=key), limit))

    async def count(self) -> dict[State, int]:
        """How many jobs of this line are in each state."""
        counts = await self._ask(self._counts())
        return {state: counts.get(state, 0) for state in State}

    async def _counts(self) -> dict[State, int]:
        line = (await (await self._connection.ready()).count()).queues.get(self.name)
        return dict(line.states) if line is not None else {}

    async def cron(
        self,
        name: str,
        expression: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        zone: str | tzinfo | None = None,
        missed: str = "once",
        **kwargs: Any,
    ) -> AsyncSchedule:
        """Enqueue a call, as things are now, at every instant of a cron expression; any worker of the store does that.

        A schedule of that name is replaced, and one that is the same already stays as it is. Its jobs are of this line,
        have the options of this object, and are called `name` if it has no other for them.

        Args:
            expression: minute, hour, day, month, weekday: "*/5 * * * *", "30 2 * * MON-FRI", or "@daily" and its like.
            zone: the time zone of the expression ("Europe/Berlin"); this machine's when None.
            missed: what becomes of instants that pass while nothing runs: "once" makes up one for all, "skip" none.

        Raises:
            ValueError: the expression or the zone is none, or it waits for other jobs.
            TypeError, NotPicklable, StoreUnavailable: as `enqueue`.
        """
        call, code = self._call(fn, args, kwargs)
        return await schedule(
            self._connection, call, code, name=name, expression=expression, zone=zone, missed=missed, ask=self._ask
        )

    async def schedules(self) -> list[AsyncSchedule]:
        """The schedules of the whole store, by name."""
        return await schedules(self._connection, self._ask)

    async def workers(self) -> list[WorkerInfo]:
        """The workers of the store that are alive, whatever queues they serve."""
        return await self._ask(self._workers())

    async def _workers(self) -> list[WorkerInfo]:
        return list((await (await self._connection.ready()).count()).workers)

    # --------------------------------------------------------------------------------------- looking after

    async def pause(self) -> None:
        """Workers start no more jobs of this line until `resume`. Running jobs run on."""
        await self._ask(self._tune(QueueSettings(paused=True)))

    async def resume(self) -> None:
        """Take `pause` back."""
        await self._ask(self._tune(QueueSettings(paused=False)))

    async def limit(self, most: int | None) -> None:
        """Let at most so many jobs of this line run at once, on all workers together; None lifts the limit.

        Takes effect at once for what has not started. (For limits across lines see the option `concurrency_key`.)

        Raises:
            TypeError, ValueError: it is no whole number of 1 or more.
        """
        await self._ask(self._tune(line_limit(most)))

    async def _tune(self, line: QueueSettings) -> None:
        await (await self._connection.ready()).tune(self.name, line)

    async def cancel(self, jobs: Iterable[Facts | str | bytes]) -> list[Changed]:
        """Cancel many jobs, given as handles or ids; what happened to each (see `AsyncJob.cancel`)."""
        return await self._change(jobs, Action.CANCEL)

    async def retry(self, jobs: Iterable[Facts | str | bytes]) -> list[Changed]:
        """Run many ended jobs once more; what happened to each (see `AsyncJob.retry`)."""
        return await self._change(jobs, Action.RETRY)

    async def delete(self, jobs: Iterable[Facts | str | bytes]) -> list[Changed]:
        """Delete ended jobs with their results and logs; "refused" for one that is pending or running."""
        return await self._change(jobs, Action.DELETE)

    async def _change(self, jobs: Iterable[Facts | str | bytes], action: Action) -> list[Changed]:
        records = [Record(self._connection, job_id_of(job), "") for job in jobs]
        return await change_all(records, action, self._ask)

    async def prune(
        self, *, completed: float | None = None, failed: float | None = None, cancelled: float | None = None
    ) -> int:
        """Delete jobs of the whole store that ended long ago, with their results and logs; gives how many.

        Args:
            completed, failed, cancelled: delete those that ended so more than so many seconds ago; None keeps them.
        """
        return await self._ask(self._prune(Keep(completed=completed, failed=failed, cancelled=cancelled)))

    async def _prune(self, keep: Keep) -> int:
        store = await self._connection.ready()
        total = 0
        while removed := await store.prune(keep, _PAGE):
            total += removed
        return total

    async def close(self) -> None:
        """Let go of the store. Derived queues and job handles share the connection; using one opens it again."""
        await self._ask(self._connection.close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _made_again(url: str, options: Options) -> AsyncQueue:
    return AsyncQueue(url).with_options(options)
