"""The seal: only what was signed for this purpose, job and code is unpickled; big arrays are used in place."""

import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellq.errors import Expired, NotPicklable, Untrusted, WrongPython
from cellq.message import Spill
from cellq.wire import sealing
from cellq.wire.sealing import SPILL_OVER, Purpose, Seal

SEAL = Seal(b"a secret of some length")
JOB, CODE = b"j" * 16, b"c" * 32


class Alarm:
    """Goes off when it is unpickled."""

    rung = 0

    def __reduce__(self) -> tuple[object, ...]:
        return (Alarm.ring, ())

    @staticmethod
    def ring() -> None:
        Alarm.rung += 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=200),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(VALUES, st.sampled_from(Purpose))
def test_what_was_sealed_is_opened(value: object, purpose: Purpose) -> None:
    blob = SEAL.seal(value, purpose=purpose, job_id=JOB, code=CODE)
    assert SEAL.open(blob, purpose=purpose, job_id=JOB, code=CODE) == value


PLAIN = SEAL.seal((Alarm(), 1), purpose=Purpose.CALL, job_id=JOB)
WITH_BUFFER = SEAL.seal((Alarm(), np.arange(9.0)), purpose=Purpose.CALL, job_id=JOB)
SQUEEZED = SEAL.seal((Alarm(), np.zeros(5000), b"a" * 70_000), purpose=Purpose.CALL, job_id=JOB)


@settings(max_examples=300)
@given(st.data(), st.sampled_from([PLAIN, WITH_BUFFER, SQUEEZED]))
def test_a_single_flipped_bit_is_refused_before_anything_is_unpickled(data: st.DataObject, blob: object) -> None:
    assert isinstance(blob, bytes)
    place = data.draw(st.integers(0, len(blob) * 8 - 1))
    bad = bytearray(blob)
    bad[place // 8] ^= 1 << place % 8
    with pytest.raises(Untrusted):
        SEAL.open(bytes(bad), purpose=Purpose.CALL, job_id=JOB)
    assert Alarm.rung == 0


def test_every_truncation_and_extension_is_refused() -> None:
    assert isinstance(WITH_BUFFER, bytes)
    for cut in range(len(WITH_BUFFER)):
        with pytest.raises(Untrusted):
            SEAL.open(WITH_BUFFER[:cut], purpose=Purpose.CALL, job_id=JOB)
    with pytest.raises(Untrusted):
        SEAL.open(WITH_BUFFER + b"\0", purpose=Purpose.CALL, job_id=JOB)
    assert Alarm.rung == 0


@given(st.binary(max_size=300))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    for blob in (data, b"cllq\x01\x02\x03\x0b" + data):
        with pytest.raises(Untrusted):
            SEAL.open(blob, purpose=Purpose.CALL)


@pytest.mark.parametrize(
    ("seal", "how"),
    [
        (Seal(b"another secret, also long"), {}),
        (SEAL, {"job_id": b"k" * 16}),
        (SEAL, {"code": b"d" * 32}),
        (SEAL, {"purpose": Purpose.RESULT}),
        (SEAL, {"job_id": b"", "code": b""}),
        (SEAL, {"job_id": JOB + CODE[:1], "code": CODE[1:]}),
    ],
)
def test_another_secret_job_code_or_purpose_is_refused(seal: Seal, how: dict[str, object]) -> None:
    blob = SEAL.seal((Alarm(), 1), purpose=Purpose.CALL, job_id=JOB, code=CODE)
    with pytest.raises(Untrusted):
        seal.open(blob, **{"purpose": Purpose.CALL, "job_id": JOB, "code": CODE, **how})  # type: ignore[arg-type]
    assert Alarm.rung == 0


def test_the_refusal_says_what_to_do() -> None:
    with pytest.raises(Untrusted, match="CELLQ_SECRET"):
        Seal(b"another secret, also long").open(PLAIN, purpose=Purpose.CALL, job_id=JOB)


def test_another_format_is_named() -> None:
    assert isinstance(PLAIN, bytes)
    with pytest.raises(Untrusted, match=r"format 9.*same version of cellq"):
        SEAL.open(PLAIN[:4] + b"\x09" + PLAIN[5:], purpose=Purpose.CALL, job_id=JOB)


def test_another_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    version = (3, sys.version_info[1] + 1, 0)
    with monkeypatch.context() as patch:
        patch.setattr(sealing.sys, "version_info", version)  # type: ignore[attr-defined]
        blob = SEAL.seal(1, purpose=Purpose.CALL)
    with pytest.raises(WrongPython, match=rf"Python 3\.{version[1]}"):
        SEAL.open(blob, purpose=Purpose.CALL)


# ----------------------------------------------------------------------------------------------- arrays


def test_arrays_arrive_writable_and_aligned(tmp_path: Path) -> None:
    arrays = [np.arange(10.0), np.arange(7, dtype="u1"), np.asfortranarray(np.ones((30, 40))), np.zeros(0)]
    big = [*arrays, np.arange(SPILL_OVER / 4)]
    for blob in (SEAL.seal(big, purpose=Purpose.CALL), SEAL.seal(big, purpose=Purpose.CALL, spill_dir=tmp_path)):
        back = SEAL.open(blob, purpose=Purpose.CALL)
        for one, other in zip(back, big, strict=True):
            assert (one == other).all()
            assert one.flags.writeable
            assert one.flags.aligned
            one += 1
        del back, one
        again = SEAL.open(blob, purpose=Purpose.CALL)
        assert (again[0] == arrays[0]).all(), "writing to an array reached the sealed value"


def test_a_read_only_array_stays_read_only(tmp_path: Path) -> None:
    array = np.arange(float(SPILL_OVER))
    array.flags.writeable = False
    for folder in (None, tmp_path):
        blob = SEAL.seal(array, purpose=Purpose.CALL, spill_dir=folder)
        assert not SEAL.open(blob, purpose=Purpose.CALL).flags.writeable


def test_only_large_values_spill(tmp_path: Path) -> None:
    assert isinstance(SEAL.seal(np.zeros(1000), purpose=Purpose.CALL, spill_dir=tmp_path), bytes)
    assert list(tmp_path.iterdir()) == []
    blob = SEAL.seal(b"x" * (SPILL_OVER + 1), purpose=Purpose.CALL, spill_dir=tmp_path)
    assert isinstance(blob, Spill)
    assert [str(path) for path in tmp_path.iterdir()] == [blob.path]
    assert Path(blob.path).stat().st_size == blob.size
    if os.name == "posix":
        assert Path(blob.path).stat().st_mode & 0o077 == 0


def test_a_spilled_value_is_verified_too(tmp_path: Path) -> None:
    blob = SEAL.seal((Alarm(), np.arange(float(SPILL_OVER))), purpose=Purpose.CALL, spill_dir=tmp_path)
    assert isinstance(blob, Spill)
    path = Path(blob.path)
    whole = path.read_bytes()
    for bad in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), whole + b"\0", whole[:20], b""):
        path.write_bytes(bad)
        with pytest.raises(Untrusted):
            SEAL.open(blob, purpose=Purpose.CALL)
    path.unlink()
    with pytest.raises(Expired, match="gone"):
        SEAL.open(blob, purpose=Purpose.CALL)
    assert Alarm.rung == 0


def test_a_spill_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OSError):
        SEAL.seal(np.zeros(SPILL_OVER), purpose=Purpose.CALL, spill_dir=blocked / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_compression_only_where_it_pays() -> None:
    regular, noise = np.zeros(50_000), np.random.default_rng(0).random(50_000)
    assert len(SEAL.seal(regular, purpose=Purpose.CALL)) < regular.nbytes / 10  # type: ignore[arg-type]
    assert len(SEAL.seal(noise, purpose=Purpose.CALL)) > noise.nbytes  # type: ignore[arg-type]
    for value in (regular, noise, "text " * 10_000):
        assert np.array_equal(SEAL.open(SEAL.seal(value, purpose=Purpose.CALL), purpose=Purpose.CALL), value)


# ------------------------------------------------------------------------------------------------- code


def test_code_is_sealed_once_and_checked_against_its_digest() -> None:
    digest, blob = SEAL.seal_code(lambda x: x + 1)
    assert len(digest) == 32
    assert SEAL.open_code(blob, digest)(1) == 2
    with pytest.raises(Untrusted, match="not the code"):
        SEAL.open_code(blob, b"d" * 32)
    forged = bytearray(blob)
    forged[-1] ^= 1
    import hashlib

    with pytest.raises(Untrusted):
        SEAL.open_code(bytes(forged), hashlib.sha256(forged).digest())


def test_the_same_function_has_the_same_digest() -> None:
    space: dict[str, object] = {"__name__": "__main__"}
    exec("k = 1\ndef g(): return k\ndef f(): return g()", space)
    f = space["f"]
    assert callable(f)
    assert len({SEAL.seal_code(f)[0] for _ in range(20)}) == 1


def test_what_cannot_be_sealed_is_named() -> None:
    import threading

    lock = threading.Lock()
    with pytest.raises(NotPicklable, match=r"function `.*` uses the outer variable `lock`"):
        SEAL.seal_code(lambda: lock)
    with pytest.raises(NotPicklable, match="the result"):
        SEAL.seal(lock, purpose=Purpose.RESULT, label="the result")


def test_the_header_is_as_drawn() -> None:
    blob = SEAL.seal(1, purpose=Purpose.RESULT)
    assert isinstance(blob, bytes)
    assert struct.unpack_from("<4sBBBBI", blob) == (b"cllq", 1, 3, *sys.version_info[:2], 1)


def test_what_was_sealed_to_be_scheduled_is_signed_anew_for_a_call_and_nothing_else_is(tmp_path: Path) -> None:
    seal, one, other = Seal(b"secret"), b"1" * 16, b"2" * 16
    for value in ({"x": 1}, bytes(2**21)):
        call = seal.seal(value, purpose=Purpose.CALL, job_id=one, code=b"code", spill_dir=tmp_path)
        kept = seal.resealed(call, purpose=Purpose.CALL, becomes=Purpose.SCHEDULE, of=one, to=one, code=b"code")
        made = seal.resealed(kept, purpose=Purpose.SCHEDULE, becomes=Purpose.CALL, of=one, to=other, code=b"code")
        assert seal.open(made, purpose=Purpose.CALL, job_id=other, code=b"code") == value
        assert isinstance(made, Spill) == isinstance(call, Spill)
        for wrong in (
            {"blob": call, "purpose": Purpose.SCHEDULE, "of": one, "code": b"code"},
            {"blob": kept, "purpose": Purpose.SCHEDULE, "of": other, "code": b"code"},
            {"blob": kept, "purpose": Purpose.SCHEDULE, "of": one, "code": b"other"},
        ):
            with pytest.raises(Untrusted):
                seal.resealed(**wrong, becomes=Purpose.CALL, to=other)
        with pytest.raises(Untrusted):
            seal.open(kept, purpose=Purpose.CALL, job_id=one, code=b"code")


def test_what_another_python_has_pickled_is_signed_anew_without_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    seal, one, other = Seal(b"secret"), b"1" * 16, b"2" * 16
    kept = seal.seal((1,), purpose=Purpose.SCHEDULE, job_id=one)
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    made = seal.resealed(kept, purpose=Purpose.SCHEDULE, becomes=Purpose.CALL, of=one, to=other)
    monkeypatch.undo()
    assert seal.open(made, purpose=Purpose.CALL, job_id=other) == (1,)
