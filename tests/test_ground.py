"""The words everybody uses: ascending ids, checked options, legal moves, and pauses between attempts."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellq.ids import id_text, instant_id, new_id, parse_id, short_id
from cellq.message import TRANSITIONS, Action, Ending, State
from cellq.options import Options, retry_delay


def test_ids_ascend_also_within_a_millisecond_and_are_uuids_of_version_7() -> None:
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {(one[6] >> 4, one[8] >> 6) for one in ids} == {(7, 0b10)}


def test_the_id_of_an_instant_is_a_uuid_of_version_8_and_the_same_whoever_asks() -> None:
    one, other = new_id(), new_id()
    ids = [instant_id(one, 1_795_348_800.0 + 60 * n) for n in range(1000)]
    assert ids == sorted(ids)
    assert ids == [instant_id(one, 1_795_348_800.0 + 60 * n) for n in range(1000)]
    assert {(found[6] >> 4, found[8] >> 6) for found in ids} == {(8, 2)}
    assert len({*ids, *(instant_id(other, 1_795_348_800.0 + 60 * n) for n in range(1000))}) == 2000
    assert len({short_id(found) for found in ids}) == 1000
    assert int.from_bytes(ids[0][:6], "big") == 1_795_348_800_000


def test_ids_are_read_back_from_their_text() -> None:
    one = new_id()
    assert parse_id(id_text(one)) == one
    assert parse_id(id_text(one).replace("-", "")) == one
    assert id_text(one).endswith(short_id(one))
    for bad in ("", "xyz", id_text(one)[:-1]):
        with pytest.raises(ValueError, match="not a job id"):
            parse_id(bad)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("queue", "", ValueError),
        ("queue", "\udcff", ValueError),
        ("name", "\udcff", ValueError),
        ("key", "\udcff", ValueError),
        ("queue", 3, TypeError),
        ("priority", 1.5, TypeError),
        ("priority", True, TypeError),
        ("priority", 2**31, ValueError),
        ("retries", -1, ValueError),
        ("delay", -1, ValueError),
        ("delay", float("nan"), ValueError),
        ("delay", "3", TypeError),
        ("timeout", 0, ValueError),
        ("timeout", float("inf"), ValueError),
        ("backoff", -0.1, ValueError),
        ("key", "", TypeError),
        ("isolated", 1, TypeError),
    ],
)
def test_an_impossible_option_is_refused_by_name(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        Options(**{name: value})  # type: ignore[arg-type]


def test_every_state_can_be_left_and_only_as_the_table_says() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set(TRANSITIONS[State.RUNNING]) == set(Ending)
    for state in State:
        if state.ended:
            assert dict(TRANSITIONS[state]) == {Action.RETRY: State.PENDING}


@given(st.floats(0.001, 1e6), st.integers(1, 10_000), st.integers())
def test_the_pause_between_attempts_grows_with_jitter_up_to_an_hour(backoff: float, attempt: int, seed: int) -> None:
    pause = retry_delay(backoff, attempt, random.Random(seed))
    ceiling = min(backoff * 2.0 ** min(attempt - 1, 32), 3600.0)
    assert ceiling / 2 <= pause <= ceiling
