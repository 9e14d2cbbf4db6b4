"""cellq: notebook cells and functions in background workers."""

from __future__ import annotations

import importlib
from typing import Any

from cellq.call import Handler, Message
from cellq.client.group import AsyncJobGroup, Progress
from cellq.client.job import AsyncJob
from cellq.client.queue import AsyncQueue
from cellq.client.schedule import AsyncSchedule
from cellq.client.sync import Job, JobGroup, Queue, Schedule, as_completed, wait
from cellq.client.task import Task, task
from cellq.errors import (
    CellqError,
    Expired,
    JobCancelled,
    JobFailed,
    JobLost,
    JobTimeout,
    NotPicklable,
    NotReady,
    RejectMessage,
    RemoteError,
    RetryMessage,
    StoreUnavailable,
    TooLarge,
    Untrusted,
    WorkerUnavailable,
    WrongPython,
)
from cellq.message import Changed, Failure, State
from cellq.options import Options

__version__ = "0.1.0"

# Loaded when they are first used: `import cellq` must not cost what a worker or a notebook needs.
_LATER = {
    "App": "cellq.app",
    "MaxAge": "cellq.worker.middleware",
    "Middleware": "cellq.worker.middleware",
    "OpenTelemetry": "cellq.worker.telemetry",
    "RateLimit": "cellq.worker.middleware",
    "Retry": "cellq.worker.middleware",
    "Scheduler": "cellq.app",
    "Sentry": "cellq.worker.middleware",
    "Timeout": "cellq.worker.middleware",
    "Worker": "cellq.app",
    "current_job": "cellq.runner.context",
    "progress": "cellq.runner.context",
    "track": "cellq.runner.context",
}

__all__ = [
    "App",
    "AsyncJob",
    "AsyncJobGroup",
    "AsyncQueue",
    "AsyncSchedule",
    "CellqError",
    "Changed",
    "Expired",
    "Failure",
    "Handler",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobGroup",
    "JobLost",
    "JobTimeout",
    "MaxAge",
    "Message",
    "Middleware",
    "NotPicklable",
    "NotReady",
    "OpenTelemetry",
    "Options",
    "Progress",
    "Queue",
    "RateLimit",
    "RejectMessage",
    "RemoteError",
    "Retry",
    "RetryMessage",
    "Schedule",
    "Scheduler",
    "Sentry",
    "State",
    "StoreUnavailable",
    "Task",
    "Timeout",
    "TooLarge",
    "Untrusted",
    "Worker",
    "WorkerUnavailable",
    "WrongPython",
    "as_completed",
    "attach",
    "current_job",
    "progress",
    "task",
    "track",
    "wait",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        value = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def attach(job: Job[Any] | str) -> Job[Any]:
    """Show a job in the notebook cell that runs now: all it has said so far, then what it says until it has ended.

    The names that a cell's job gives come back too, if they do not exist in the notebook.

    Args:
        job: the job or its id, of which the last digits are enough; of whatever notebook or program.

    Raises:
        CellqError: this is no notebook.
        TypeError, ValueError, Expired, StoreUnavailable: there is no such job, or no way to it.
    """
    shell = importlib.import_module("cellq.here").shell()
    if shell is None:
        raise CellqError("attach shows a job in a notebook's cell, and this is none; here, see job.logs(follow=True)")
    session = importlib.import_module("cellq.notebook").session_of(shell)
    attached: Job[Any] = session.attach(job)
    return attached


def load_ipython_extension(ipython: Any) -> None:
    """`%load_ext cellq`: the magics and live output."""
    importlib.import_module("cellq.notebook").load_ipython_extension(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """`%unload_ext cellq`."""
    importlib.import_module("cellq.notebook").unload_ipython_extension(ipython)
