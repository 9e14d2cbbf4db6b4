"""Everything cellq raises, as one tree.

Each message says what happened, to which job, and what to do next.
"""

from __future__ import annotations


class CellqError(Exception):
    """The root: `except cellq.CellqError` catches whatever cellq itself raises."""


class JobFailed(CellqError):
    """The job ran and ended with an exception.

    When the original exception could be rebuilt it is `__cause__`; the remote traceback is always in `traceback`.

    Attributes:
        job_id: the job, as its canonical UUID text ("" when unknown).
        type_name: qualified name of the remote exception's type, e.g. ``"builtins.ValueError"``.
        traceback: the traceback as the worker formatted it, may be empty.
    """

    def __init__(self, message: str, *, job_id: str = "", type_name: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id
        self.type_name = type_name
        self.traceback = traceback

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self)._rebuild, (str(self), self.job_id, self.type_name, self.traceback))

    @classmethod
    def _rebuild(cls, message: str, job_id: str, type_name: str, traceback: str) -> JobFailed:
        return cls(message, job_id=job_id, type_name=type_name, traceback=traceback)


class JobTimeout(JobFailed):
    """The job was stopped because one attempt ran longer than its `timeout`."""


class JobLost(JobFailed):
    """The process that ran the job died (killed, crashed, out of memory), and no attempt is left."""


class JobCancelled(CellqError):
    """The job was cancelled before it could complete; it has no result."""


class NotReady(CellqError):
    """The job has not ended (yet, or within the time the caller was willing to wait)."""


class Expired(CellqError):
    """The job or its result is no longer in the store: it was pruned or deleted."""


class NotPicklable(CellqError, TypeError):
    """A value cannot travel to another process; the message names the variable and the path to it."""


class TooLarge(CellqError, ValueError):
    """What was to be enqueued is over the size limit; the message lists the largest names."""


class Untrusted(CellqError):
    """Bytes that were not signed with this user's secret; nothing of them was unpickled."""


class WrongPython(CellqError):
    """Bytes pickled by another minor version of Python; only that one can read them."""


class StoreUnavailable(CellqError):
    """The database or server cannot be used; the message gives its address and the cause."""


class WorkerUnavailable(CellqError):
    """A worker could not be started, or did not come up in time."""


class RemoteError(CellqError):
    """What a job's own failure looks like to middleware, which runs in the worker: text only, nothing is unpickled.

    Attributes:
        cause: "exception", "timeout" (it ran too long), "lost" (its process died) or "result" (it cannot be pickled).
        types: qualified names of the exception's classes, most special first, e.g. `"builtins.ValueError"`.
        message: what people read first.
        traceback: as formatted where it was raised, may be empty.
        again: the job runs again anyway, because it has `retries` left.
    """

    def __init__(
        self,
        message: str,
        *,
        cause: str = "exception",
        types: tuple[str, ...] = (),
        traceback: str = "",
        again: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.types = types
        self.traceback = traceback
        self.again = again

    def matches(self, kind: str | type[BaseException]) -> bool:
        """Whether it is of this class, or of one derived from it.

        Args:
            kind: the class, its qualified name, or its bare name ("HTTPError").
        """
        if isinstance(kind, type):
            kind = f"{kind.__module__}.{kind.__qualname__}"
        return any(name == kind or name.rpartition(".")[2] == kind for name in self.types)


class RetryMessage(Exception):
    """Raise it in a job or in middleware to have the job run again later.

    (No `CellqError`: a job that catches those shall not catch its own wish.)

    Args:
        delay: seconds until then.
        reason: what people read meanwhile.
        counts: whether this attempt is one of those that the job may have; False for one that only had to wait.

    Raises:
        ValueError: the delay is negative, or not a number of seconds.
    """

    def __init__(self, delay: float = 0.0, reason: str = "", *, counts: bool = True) -> None:
        if not isinstance(delay, int | float) or not 0 <= delay < float("inf"):
            raise ValueError(f"delay must be 0 or more seconds, not {delay!r}")
        super().__init__(delay, reason)
        self.delay = float(delay)
        self.reason = reason
        self.counts = counts

    def __str__(self) -> str:
        return self.reason


class RejectMessage(Exception):
    """Raise it in a job or in middleware to end the job as failed, whatever attempts it has left.

    Args:
        reason: why, for people.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
