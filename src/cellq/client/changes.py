"""What callers say of how jobs are to be run, turned into options and settings."""

from __future__ import annotations

import dataclasses
from typing import Any, TypedDict

from cellq.client.connection import Connection
from cellq.client.inputs import Jobs, job_ids_of
from cellq.message import QueueSettings
from cellq.options import Options


class OptionChanges(TypedDict, total=False):
    """The options of a job; their meaning is told by `options.Options`."""

    queue: str
    name: str
    priority: int
    timeout: float | None
    retries: int
    backoff: float
    delay: float
    expires: float | None
    key: str | None
    concurrency_key: str | None
    max_running: int
    after: Jobs | None
    isolated: bool


def changed_options(options: Options, changes: OptionChanges, connection: Connection | None = None) -> Options:
    """The options with these changes.

    Args:
        connection: where the jobs that are named by `after` must live; None when that is not known yet.

    Raises:
        TypeError: there is no such option, or its value has the wrong type.
        ValueError: its value is impossible, or a job lives in another store.
    """
    unknown = [name for name in changes if name not in OptionChanges.__annotations__]
    if unknown:
        raise TypeError(f"there is no option {unknown[0]!r}; known are {', '.join(OptionChanges.__annotations__)}")
    if "after" in changes:
        changed: dict[str, Any] = {**changes, "after": job_ids_of(changes["after"], connection)}
        return dataclasses.replace(options, **changed)
    return dataclasses.replace(options, **changes)  # type: ignore[arg-type]


def line_limit(most: int | None) -> QueueSettings:
    """The settings that let at most so many jobs of a line run at once; None: any number.

    Raises:
        TypeError, ValueError: it is no whole number of 1 or more.
    """
    if most == 0 and most is not False:
        raise ValueError("a limit is 1 or more; None lifts it, and pause() holds all jobs back")
    return QueueSettings(max_running=0 if most is None else most)
