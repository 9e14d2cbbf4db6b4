"""How a job is to be run, checked when it is said; and when a failed one is run again."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from datetime import timedelta


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
        key: at most one live (pending or running) job per key.
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
    key: str | None = None
    isolated: bool = False

    def __post_init__(self) -> None:
        for name in ("queue", "name"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be text, not {getattr(self, name)!r}")
        if not self.queue:
            raise ValueError("queue must not be empty")
        if self.key is not None and (not isinstance(self.key, str) or not self.key):
            raise TypeError(f"key must be non-empty text or None, not {self.key!r}")
        for name in ("priority", "retries"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be a whole number, not {value!r}")
        if not -(2**31) <= self.priority < 2**31:
            raise ValueError(f"priority must fit in 32 bits, not {self.priority}")
        if not 0 <= self.retries < 2**31:
            raise ValueError(f"retries must not be negative, not {self.retries}")
        for name in ("delay", "backoff"):
            _check_seconds(name, getattr(self, name))
        if self.timeout is not None:
            _check_seconds("timeout", self.timeout)
            if self.timeout == 0:
                raise ValueError("timeout must be more than 0 seconds, or None for no limit")
        if not isinstance(self.isolated, bool):
            raise TypeError(f"isolated must be True or False, not {self.isolated!r}")


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
