"""Pins that the collector rests while a parcel is made, and no longer."""

from __future__ import annotations

import gc

import pytest

from cellq.cell.garbage import uncollected


def test_the_collector_rests_and_goes_on_whatever_happens() -> None:
    seen = []

    @uncollected()
    def work() -> None:
        seen.append(gc.isenabled())
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):
            work()
        assert gc.isenabled()
    assert seen == [False, False]


def test_one_that_the_user_has_stopped_is_left_alone() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
