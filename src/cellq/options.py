"""How a job is to be run, checked when it is said; and when a failed one is run again."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from datetime import timedelta

from cellq.ids import JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a job is to be run. Durations are seconds.

    Args:
        queue: the line it waits in.
        name: what people call it; the function's or cell's name when empty.
        priority: larger runs first; equal ones run first in, first out.
        timeout: limit for one attempt, None for no limit.
        retries: how many times it is run again after a failure.
        backoff: pause before the first re-run; doubles each time, with jitter, at most an hour.
        delay: how long it waits before it may start.
        expires: how long after it was enqueued it may start; later it is cancelled instead. None for no limit.
        key: at most one live (pending or running) job per key.
        concurrency_key: what the jobs share of which only so many may run at once, whatever their queues and workers.
        max_running: how many that are: it may start while fewer than so many jobs of its `concurrency_key` run.
        after: ids of jobs that must have completed before it may start; when one of them fails, is cancelled or is not
            there, it is cancelled, too.
        isolated: run in a fresh process that no other job has used.

    Raises:
        TypeError, ValueError: an option has the wrong type or an impossible value.
    """

    queue: str = "default"
    name: str = ""
    priority: int = 0
    timeout: float | None = None
    retries: int = 0
    backoff: float = 1.0
    delay: float = 0.0
    expires: float | None = None
    key: str | None = None
    concurrency_key: str | None = None
    max_running: int = 1
    after: tuple[JobId, ...] = ()
    isolated: bool = False

    def __post_init__(self) -> None:
        for name in ("queue", "name"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be text, not {getattr(self, name)!r}")
        if not self.queue:
            raise ValueError("queue must not be empty")
        for name in ("queue", "name", "key", "concurrency_key"):
            _check_text(name, getattr(self, name))
        for name in ("key", "concurrency_key"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise TypeError(f"{name} must be non-empty text or None, not {value!r}")
        for name in ("priority", "retries", "max_running"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be a whole number, not {value!r}")
        if not -(2**31) <= self.priority < 2**31:
            raise ValueError(f"priority must fit in 32 bits, not {self.priority}")
        if not 0 <= self.retries < 2**31:
            raise ValueError(f"retries must not be negative, not {self.retries}")
        if not 1 <= self.max_running < 2**31:
            raise ValueError(f"max_running must be 1 or more, not {self.max_running}")
        if not isinstance(self.after, tuple) or not all(
            isinstance(one, bytes) and len(one) == 16 for one in self.after
        ):
            raise TypeError(f"after must be ids of jobs, 16 bytes each, not {self.after!r}")
        for name in ("delay", "backoff"):
            _check_seconds(name, getattr(self, name))
        if self.timeout is not None:
            _check_seconds("timeout", self.timeout)
            if self.timeout == 0:
                raise ValueError("timeout must be more than 0 seconds, or None for no limit")
        if self.expires is not None:
            _check_seconds("expires", self.expires)
            if self.expires <= self.delay:
                raise ValueError(f"expires ({self.expires!r} s) must be more than delay ({self.delay!r} s)")
        if not isinstance(self.isolated, bool):
            raise TypeError(f"isolated must be True or False, not {self.isolated!r}")


def _check_text(name: str, value: object) -> None:
    try:
        if isinstance(value, str):
            value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be text that can be encoded in UTF-8, not {value!r}") from None


def _check_seconds(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not 0 <= value < float("inf"):  # also refuses NaN
        raise ValueError(f"{name} must be 0 or more seconds, not {value!r}")


def retry_delay(backoff: float, attempt: int, rng: random.Random) -> float:
    """Seconds to wait before the attempt after `attempt` (1 for the first).

    Exponential with "equal jitter": half of it fixed, half random, so that failures spread out but never retry at once
    (M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015). At most an hour.
    """
    ceiling = min(backoff * 2.0 ** min(attempt - 1, 32), 3600.0)
    return ceiling / 2 + rng.random() * ceiling / 2


_PER = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def per_second(rate: str | float) -> float:
    """A rate as a number per second.

    Args:
        rate: such a number, or "10/s", "100/m", "1000/h", "5000/d".

    Raises:
        TypeError, ValueError: it is no rate, or not more than 0.
    """
    if isinstance(rate, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*/\s*([smhd])\s*", rate)
        number = float(found[1]) / _PER[found[2]] if found else 0.0
    elif isinstance(rate, int | float) and not isinstance(rate, bool):
        number = float(rate)
    else:
        raise TypeError(f"a rate is text like '10/s' or a number per second, not {rate!r}")
    if not 0 < number < float("inf"):
        raise ValueError(f"a rate is more than 0 and looks like '10/s', '100/m', '1000/h' or '5000/d', not {rate!r}")
    return number


def seconds(name: str, span: float | timedelta) -> float:
    """A time span in seconds, more than 0.

    Raises:
        TypeError, ValueError: it is no such thing; the message calls it `name`.
    """
    number = span.total_seconds() if isinstance(span, timedelta) else span
    _check_seconds(name, number)
    if not number > 0:
        raise ValueError(f"{name} must be more than 0 seconds, not {span!r}")
    return float(number)
