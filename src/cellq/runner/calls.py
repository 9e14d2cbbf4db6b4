"""From a ticket to a call, and from what the call gave to what the worker is told.

Functions are decoded once and kept, keyed by the digest of their code: `map` over one function unpickles it once per
slot. Jobs of one function therefore share that function's globals, as calls in one session do (`isolated=True` gives a
job a process of its own).
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import sys
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cellq.call import Arguments, Place
from cellq.errors import CellqError, NotPicklable, RejectMessage, RetryMessage, Untrusted
from cellq.frames import Done, Result, Ticket, blob, flat
from cellq.ids import short_id
from cellq.message import Blob, Failure, Kind
from cellq.wire.exceptions import carry, describe
from cellq.wire.inputs import Reference
from cellq.wire.sealing import Purpose, Seal

KEPT_FUNCTIONS = 64
"""How many decoded functions a slot keeps."""


class Calls:
    """Opens payloads and seals what comes out of them.

    Args:
        seal: signs and verifies with this user's secret.
        spill_dir: where large results go as files, None to keep them in the frame.
    """

    def __init__(self, seal: Seal, spill_dir: Path | None) -> None:
        self._seal = seal
        self._spill_dir = spill_dir
        self._blobs: dict[bytes, Blob] = {}
        self._functions: OrderedDict[bytes, Callable[..., object]] = OrderedDict()
        self._tasks: dict[bytes, Place] = {}

    def learn(self, digest: bytes, sealed: Blob) -> None:
        """Keep a sealed function until it is called for the first time."""
        self._blobs[digest] = sealed

    def knows(self, ticket: Ticket) -> bool:
        """Whether the ticket can be opened without asking the worker for code."""
        return ticket.kind == Kind.CELL or any(
            ticket.code in known for known in (self._functions, self._blobs, self._tasks)
        )

    def learn_task(self, digest: bytes, place: Place) -> None:
        """Keep where the function of a registered task is, by the digest of its name."""
        self._tasks[digest] = place

    def open_call(self, ticket: Ticket) -> tuple[Callable[..., object], tuple[object, ...], dict[str, object]]:
        """The function and its arguments.

        Raises:
            Untrusted: something was not signed with this user's secret.
        """
        function = self._functions.get(ticket.code)
        if function is None:
            place = self._tasks.get(ticket.code)
            if place is None:
                function = self._seal.open_code(self._blobs.pop(ticket.code), ticket.code)
            elif isinstance(place, bytes):
                function = self._seal.open_code(place, hashlib.sha256(place).digest())
            else:
                function = _imported(*place)
            self._functions[ticket.code] = function
            if len(self._functions) > KEPT_FUNCTIONS:
                self._functions.popitem(last=False)
        else:
            self._functions.move_to_end(ticket.code)
        # The module of a task is imported here, and knows its own classes.
        return function, *self.open_arguments(ticket, homeward=ticket.code in self._tasks)

    def open_arguments(self, ticket: Ticket, *, homeward: bool) -> Arguments:
        """The arguments of a call, with the results that are among them.

        Args:
            homeward: classes and modules that are here already are preferred.

        Raises:
            Untrusted: something was not signed with this user's secret.
        """
        arguments: Arguments = self.open_payload(ticket, homeward=homeward)  # as a client seals them
        return arguments

    def open_payload(self, ticket: Ticket, *, homeward: bool = False) -> Any:
        """The arguments of a call, or the parcel of a cell."""
        return self._seal.open(
            blob(ticket.payload),
            purpose=Purpose.CALL,
            job_id=ticket.id,
            code=ticket.code,
            homeward=homeward,
            arrival=_Results(self._seal, ticket.results) if ticket.results else None,
        )

    def ok(self, ticket: Ticket, value: object, seconds: float) -> Done:
        """The job returned `value`. A value that cannot travel makes it a failure that says so."""
        try:
            result = self._seal.seal(
                value,
                purpose=Purpose.RESULT,
                job_id=ticket.id,
                code=ticket.code,
                label="the result",
                spill_dir=self._spill_dir,
            )
        except NotPicklable as error:
            return self.failed(ticket, error, seconds, cause="result")
        return Done(ticket.number, "ok", flat(result), None, None, seconds)

    def failed(
        self,
        ticket: Ticket,
        error: BaseException,
        seconds: float,
        *,
        cause: str = "exception",
        text: str | None = None,
    ) -> Done:
        """The job raised. `text` is its traceback, formatted here when not given."""
        delay: float | None = None
        if isinstance(error, Untrusted):
            cause = "untrusted"
        elif isinstance(error, RejectMessage):
            cause = "rejected"
        elif isinstance(error, RetryMessage):
            cause, delay = "retry", error.delay
        if text is None:
            text = "" if cause == "result" else _traceback(error)
        failure = describe(error, cause=cause, traceback=text)
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "error"
        carried: Blob | None
        try:
            carried = self._seal.seal(carry(error), purpose=Purpose.ERROR, job_id=ticket.id, code=ticket.code)
        except (CellqError, RecursionError, MemoryError):
            carried = None
        return Done(
            ticket.number,
            status,
            None,
            _flat_failure(failure),
            None if carried is None else flat(carried),
            seconds,
            delay,
        )


class _Results:
    """What arrives in place of the jobs among a call's arguments: each result opened once, when it is met."""

    def __init__(self, seal: Seal, results: Sequence[Result]) -> None:
        self._seal = seal
        self._sealed = {result[0]: result for result in results}
        self._opened: dict[bytes, object] = {}

    def __call__(self, jobs: Sequence[Reference], several: bool) -> object:
        values = [self._value(job) for job in jobs]
        return values if several else values[0]

    def _value(self, job: Reference) -> object:
        if job.id not in self._opened:
            what = f"the result of job {short_id(job.id)} ({job.name}), which is one of its arguments"
            if job.id not in self._sealed:
                raise CellqError(f"{what}, did not come along")
            try:
                self._opened[job.id] = self._open(job.id)
            except CellqError as error:
                raise type(error)(f"{what}: {error}") from None
            except Exception as error:
                error.add_note(f"This was met while unpickling {what}.")
                raise
        return self._opened[job.id]

    def _open(self, job_id: bytes) -> object:
        _, code, result, cell = self._sealed[job_id]
        value: Any = self._seal.open(blob(result), purpose=Purpose.RESULT, job_id=job_id, code=code)
        return value.last_value() if cell else value


def _imported(module: str, name: str, paths: list[str]) -> Callable[..., object]:
    """The function of a registered task, out of its module; from there on as a call in one program finds it."""
    sys.path += [path for path in paths if path not in sys.path]
    found: Any = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    function: Callable[..., object] = getattr(found, "fn", found)  # the decorator has put a task in its place
    return function


def _flat_failure(failure: Failure) -> tuple[str, tuple[str, ...], str, str]:
    return (failure.cause, failure.types, failure.message, failure.traceback)


def _traceback(error: BaseException) -> str:
    """The traceback without this package's own frames at its top: people look for theirs."""
    step = error.__traceback__
    while step is not None and step.tb_frame.f_globals.get("__name__", "").startswith("cellq.runner"):
        step = step.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, step))
    except Exception as broken:  # an exception whose __str__ raises
        return f"(the traceback of a {type(error).__qualname__} cannot be shown: {broken!r})\n"
