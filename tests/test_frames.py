"""Frames arrive whole however the stream was cut, and carry nothing that could make the other side run code."""

import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellq.frames import BadFrame, Decoder, Frame, pack

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(st.tuples(st.sampled_from(Frame), PLAIN), max_size=5), st.integers(1, 50))
def test_frames_survive_any_cut(frames: list[tuple[Frame, object]], cut: int) -> None:
    stream = b"".join(pack(kind, value) for kind, value in frames)
    decoder = Decoder()
    heard = [frame for at in range(0, len(stream), cut) for frame in decoder.feed(stream[at : at + cut])]
    assert heard == frames


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.abort, ())


def test_a_class_in_a_frame_is_refused() -> None:
    with pytest.raises(BadFrame, match="plain values"):
        list(Decoder().feed(pack(Frame.DONE, Bomb())))


@pytest.mark.parametrize("body", [b"", b"nonsense", pickle.dumps([1])[:-1]])
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    with pytest.raises(BadFrame):
        list(Decoder().feed(len(body).to_bytes(4, "little") + bytes([Frame.DONE]) + body))
