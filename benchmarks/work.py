"""What the jobs do: as little as possible, or something that is hard to stop."""

from __future__ import annotations

import collections
import itertools
import os
import re
import subprocess
import time
from typing import Any


def nothing(x: Any = None) -> Any:
    """The job whose cost is the queue's alone."""
    return x


def now(_: object = None) -> float:
    """When it was run, in epoch seconds."""
    return time.time()


def announced_sleep() -> None:
    """Say which process this is, then sleep."""
    print(os.getpid(), flush=True)
    time.sleep(1000)


def python_loop() -> None:
    """A loop of Python code, which looks for signals at each turn."""
    while True:
        pass


def sleep() -> None:
    """A blocking call that signals end."""
    time.sleep(1000)


def regex() -> None:
    """A regular expression that backtracks for longer than the universe is old, and holds the GIL."""
    re.match(r"(a+)+$", "a" * 64 + "b")


def c_call() -> None:
    """C code that holds the GIL and never looks for signals."""
    collections.deque(itertools.repeat(None), maxlen=0)


def child_process() -> None:
    """A program that runs in a process of its own."""
    subprocess.run(["sleep", "1000"], check=True)
