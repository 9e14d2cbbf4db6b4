"""Exceptions survive the trip or degrade to text; whatever a user's exception does, nothing raises."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cellq.errors import JobFailed
from cellq.wire.exceptions import carry, describe, rebuild
from cellq.wire.pickling import dumps, loads


def travel(error: BaseException) -> BaseException | None:
    return rebuild(loads(*dumps(carry(error))))


class Demanding(Exception):
    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(f"code {code}")
        self.code, self.hint = code, hint


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Unreducible(Exception):
    def __reduce__(self) -> tuple[object, ...]:
        raise RuntimeError("no")

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        raise RuntimeError("no")


class Guarded(Exception):
    @property
    def value(self) -> int:
        return 1


class Made(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "No such thing", path)


class NewArgs(Exception):
    def __new__(cls, a: int, b: int) -> "NewArgs":
        return super().__new__(cls, a, b)


class Group(ExceptionGroup[Exception]):
    def derive(self, excs):  # type: ignore[no-untyped-def]
        return Group(self.message, excs)


def caught(func) -> BaseException:  # type: ignore[no-untyped-def]
    try:
        func()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


ERRORS = [
    ValueError("text"),
    KeyError("k"),
    OSError(2, "No such file", "name"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    SystemExit(3),
    KeyboardInterrupt(),
    StopIteration(5),
    SyntaxError("bad", ("file", 1, 2, "text", 1, 3)),
    ImportError("none", name="n", path="p"),
    Demanding(1, hint="h"),
    Unprintable("x"),
    Unreducible("y"),
    Made("p"),
    NewArgs(1, 2),
    ExceptionGroup("g", [ValueError("a"), ExceptionGroup("h", [Demanding(2, hint="i")])]),
    BaseExceptionGroup("b", [KeyboardInterrupt()]),
    Group("own", [KeyError(1)]),
    JobFailed("m", job_id="j", type_name="t", traceback="tb"),
    caught(lambda: None.nothing),  # type: ignore[attr-defined]
    caught(lambda: int("x")),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_type_arguments_and_attributes_survive(error: BaseException) -> None:
    back = travel(error)
    assert type(back) is type(error)
    assert back is not None
    if not isinstance(error, BaseExceptionGroup):
        assert back.args == error.args
        assert {k: v for k, v in vars(back).items() if k != "obj"} == vars(error)
    if not isinstance(error, Unprintable):
        assert str(back) == str(error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_exception_is_described(error: BaseException) -> None:
    failure = describe(error)
    assert failure.types[0].endswith(type(error).__qualname__)
    assert failure.types[-1] == "builtins.BaseException"
    assert failure.message.startswith(type(error).__qualname__)
    assert failure.traceback


def test_special_attributes_survive() -> None:
    system = travel(OSError(2, "No such file", "name"))
    assert isinstance(system, FileNotFoundError)
    assert (system.errno, system.filename) == (2, "name")
    made = travel(Made("p"))
    assert isinstance(made, Made)
    assert (made.errno, made.filename) == (2, "p")
    imported = travel(ImportError("none", name="n"))
    assert isinstance(imported, ImportError)
    assert imported.name == "n"


def test_group_members_survive() -> None:
    back = travel(ERRORS[14])
    assert isinstance(back, ExceptionGroup)
    assert back.message == "g"
    inner = back.exceptions[1]
    assert isinstance(inner, ExceptionGroup)
    assert isinstance(inner.exceptions[0], Demanding)
    assert inner.exceptions[0].hint == "i"


def chain() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second")  # noqa: B904 - the context is what is tested
    except ValueError as error:
        raise Demanding(3, hint="third") from error


def test_causes_contexts_and_notes_survive() -> None:
    error = caught(chain)
    error.add_note("a note")
    back = travel(error)
    assert isinstance(back, Demanding)
    assert back.__notes__ == ["a note"]
    assert isinstance(back.__cause__, ValueError)
    assert isinstance(back.__cause__.__context__, KeyError)
    assert back.__suppress_context__
    assert "KeyError" in describe(error).traceback


def test_a_circle_of_contexts_ends() -> None:
    a, b = ValueError("a"), ValueError("b")
    a.__context__, b.__context__ = b, a
    back = travel(a)
    assert back is not None
    assert back.__context__ is not None
    assert back.__context__.__context__ is back


def test_what_cannot_travel_is_dropped_alone() -> None:
    error = Demanding(1, hint="h")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    error.kept = [1]  # type: ignore[attr-defined]
    error.args = ("text", threading.Lock())
    back = travel(error)
    assert isinstance(back, Demanding)
    assert vars(back) == {"code": 1, "hint": "h", "kept": [1]}
    assert back.args == ("text", None)


def test_an_exception_that_is_a_value_travels_without_a_context_that_cannot() -> None:
    error, context = Demanding(1, hint="h"), ValueError("c", threading.Lock())
    error.__context__, error.__cause__ = context, KeyError("cause")
    back = loads(*dumps([error]))[0]
    assert (type(back), vars(back)) == (Demanding, {"code": 1, "hint": "h"})
    assert isinstance(back.__cause__, KeyError)
    assert back.__context__ is None


def test_a_property_does_not_hinder() -> None:
    error = Guarded("x")
    error.__dict__["value"] = 3
    back = travel(error)
    assert isinstance(back, Guarded)
    assert back.value == 1


def test_an_unprintable_exception_is_described() -> None:
    assert describe(Unprintable("x")).message == "Unprintable: <its text cannot be read: __str__ raised>"


def test_the_cause_and_traceback_given_are_kept() -> None:
    failure = describe(ValueError("x"), cause="result", traceback="as shown")
    assert (failure.cause, failure.traceback, failure.message) == ("result", "as shown", "ValueError: x")


def test_a_long_message_is_cut() -> None:
    assert len(describe(ValueError("x" * 100_000)).message) < 5000


def test_rubbish_is_no_exception() -> None:
    assert rebuild(None) is None
    assert rebuild(()) is None
    assert rebuild((1, 2)) is None
    assert rebuild("text") is None


SENDER = """
import pickle, sys
from cellq.wire.exceptions import carry
from cellq.wire.pickling import dumps
sys.path.insert(0, sys.argv[2])
class Own(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = b
    def show(self): return [self.args, self.b]
import library
errors = [Own(1, 2), library.Foreign(3)]
errors[0].__cause__ = library.Foreign(4)
open(sys.argv[1], "wb").write(pickle.dumps([tuple(dumps(carry(e))) for e in errors]))
"""

RECEIVER = """
import pickle, sys
from cellq.wire.exceptions import rebuild
from cellq.wire.pickling import loads
own, foreign = (rebuild(loads(*p)) for p in pickle.loads(open(sys.argv[1], "rb").read()))
print(type(own).__name__, own.show(), own.__cause__, foreign)
"""


def test_a_notebooks_own_exception_travels_and_one_of_a_missing_module_does_not(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "library.py").write_text("class Foreign(Exception): pass\n")
    parcel = str(tmp_path / "parcel")
    subprocess.run([sys.executable, "-c", SENDER, parcel, str(installed)], check=True, timeout=60, cwd=tmp_path)
    out = subprocess.run([sys.executable, "-c", RECEIVER, parcel], capture_output=True, text=True, timeout=60)
    assert out.stdout == "Own [(1,), 2] None None\n", out.stderr
