# What type checkers and editors see: the names that `__init__.py` loads later are Any to them otherwise.

from typing import Any

from cellq.app import App, Scheduler, Worker
from cellq.call import Handler, Message
from cellq.client.group import AsyncJobGroup, Progress
from cellq.client.job import AsyncJob
from cellq.client.queue import AsyncQueue
from cellq.client.schedule import AsyncSchedule
from cellq.client.sync import (
    Job,
    JobGroup,
    Queue,
    Schedule,
    as_completed,
    wait,
)
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
from cellq.runner.context import current_job, progress, track
from cellq.worker.middleware import (
    MaxAge,
    Middleware,
    RateLimit,
    Retry,
    Sentry,
    Timeout,
)
from cellq.worker.telemetry import OpenTelemetry

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
__version__: str

def attach(job: Job[Any] | str) -> Job[Any]: ...
def load_ipython_extension(ipython: Any) -> None: ...
def unload_ipython_extension(ipython: Any) -> None: ...
