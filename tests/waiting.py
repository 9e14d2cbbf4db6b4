"""Waiting for a condition, in every kind of test that has real processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest


def until(condition: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
    """What `condition()` gives as soon as it is true; fail with what was waited for."""
    deadline = time.monotonic() + timeout
    pause = 0.001
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout:g} s in vain until {what}")
        time.sleep(pause)  # between two looks at the condition
        pause = min(pause * 2, 0.05)
    return found
