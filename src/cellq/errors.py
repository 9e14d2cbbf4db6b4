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
