"""cellq: notebook cells and functions in background workers."""

from __future__ import annotations

import importlib
from typing import Any

from cellq.client.group import AsyncJobGroup, Progress
from cellq.client.job import AsyncJob
from cellq.client.queue import AsyncQueue
from cellq.client.sync import Job, JobGroup, Queue, as_completed, wait
from cellq.errors import (
    CellqError,
    Expired,
    JobCancelled,
    JobFailed,
    JobLost,
    JobTimeout,
    NotPicklable,
    NotReady,
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
    "Worker": "cellq.app",
    "current_job": "cellq.runner.context",
    "progress": "cellq.runner.context",
    "track": "cellq.runner.context",
}

__all__ = [
    "AsyncJob",
    "AsyncJobGroup",
    "AsyncQueue",
    "CellqError",
    "Changed",
    "Expired",
    "Failure",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobGroup",
    "JobLost",
    "JobTimeout",
    "NotPicklable",
    "NotReady",
    "Options",
    "Progress",
    "Queue",
    "State",
    "StoreUnavailable",
    "TooLarge",
    "Untrusted",
    "Worker",
    "WorkerUnavailable",
    "WrongPython",
    "as_completed",
    "current_job",
    "progress",
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


def load_ipython_extension(ipython: Any) -> None:
    """`%load_ext cellq`: the magics and live output."""
    importlib.import_module("cellq.notebook").load_ipython_extension(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """`%unload_ext cellq`."""
    importlib.import_module("cellq.notebook").unload_ipython_extension(ipython)
