"""The public names: a list under test, so that adding or losing one is a decision."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import cellq

PUBLIC = {
    "App", "AsyncJob", "AsyncJobGroup", "AsyncQueue", "AsyncSchedule", "CellqError", "Changed", "Expired",
    "Failure", "Handler", "Job", "JobCancelled", "JobFailed", "JobGroup", "JobLost", "JobTimeout", "MaxAge",
    "Message", "Middleware", "NotPicklable", "NotReady", "OpenTelemetry", "Options", "Progress", "Queue",
    "RateLimit", "RejectMessage", "RemoteError", "Retry", "RetryMessage", "Schedule", "Scheduler", "Sentry",
    "State", "StoreUnavailable", "Task", "Timeout", "TooLarge", "Untrusted", "Worker", "WorkerUnavailable",
    "WrongPython", "as_completed", "attach", "current_job", "progress", "task", "track", "wait",
}  # fmt: skip

HEAVY = {"IPython", "ipywidgets", "matplotlib", "numpy", "redis", "rich", "click", "cellq.app", "cellq.notebook"}


def test_all_is_the_list() -> None:
    assert set(cellq.__all__) == PUBLIC
    assert list(cellq.__all__) == sorted(cellq.__all__)


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    for name in cellq.__all__:
        assert getattr(cellq, name).__doc__, f"cellq.{name} has no docstring"
        assert name in dir(cellq)


def test_importing_cellq_loads_nothing_of_the_notebook_or_the_worker() -> None:
    code = "import sys, cellq; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(cellq, "no_such_name")


def test_type_checkers_see_every_public_name() -> None:
    stub = ast.parse((pathlib.Path(cellq.__file__).parent / "__init__.pyi").read_text())
    imported = {alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    defined = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    (listed,) = (ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign))
    assert listed == cellq.__all__
    assert set(listed) <= imported | defined
