"""What dumps and loads promise: namespaces, sharing, arrays outside the pickle, and what is refused, by its name."""

import asyncio
import builtins
import socket
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

from cellq.errors import NotPicklable
from cellq.wire.pickling import dumps, loads


def notebook(source: str) -> dict[str, object]:
    """The namespace of a notebook in which this was run."""
    space: dict[str, object] = {"__name__": "__main__"}
    exec(source, space)
    return space


def refused(value: object, **how: object) -> str:
    with pytest.raises(NotPicklable) as caught:
        dumps(value, **how)  # type: ignore[arg-type]
    return str(caught.value)


# ------------------------------------------------------------------------------------------ namespaces


def test_a_function_that_comes_back_sees_what_is_defined_later() -> None:
    sent = dumps(notebook("def f(): return later")["f"])
    here: dict[str, object] = {}
    f = loads(*sent, namespace=here)
    here["later"] = 5
    assert f() == 5


def test_a_global_that_is_missing_is_filled_in_and_a_newer_one_is_kept() -> None:
    sent = dumps(notebook("a = b = 1\ndef f(): return a, b")["f"])
    here: dict[str, object] = {"a": 2}
    assert loads(*sent, namespace=here)() == (2, 1)
    assert here["a"] == 2
    assert here["b"] == 1


def test_without_a_namespace_functions_of_one_pickle_share_a_private_one() -> None:
    space = notebook("n = 0\ndef up():\n    global n\n    n += 1\ndef get(): return n")
    up, get = loads(*dumps((space["up"], space["get"])))
    up()
    assert get() == 1
    assert space["n"] == 0
    assert up.__globals__ is get.__globals__


def test_a_namespace_given_has_builtins_and_the_name_of_main() -> None:
    here: dict[str, object] = {}
    loads(*dumps(notebook("def f(): return len([])")["f"]), namespace=here)
    assert here["__builtins__"] is builtins
    assert here["__name__"] == "__main__"


def test_what_was_loaded_can_be_sent_on() -> None:
    here: dict[str, object] = {}
    f = loads(*dumps(notebook("k = 2\ndef g(): return k\ndef f(): return g()")["f"]), namespace=here)
    here["k"] = 3
    assert loads(*dumps(f))() == 3


def test_threads_load_into_their_own_namespaces() -> None:
    sent = dumps(notebook("def f(): return k")["f"])
    answers = []

    def load(k: int) -> None:
        for _ in range(50):
            answers.append(loads(*sent, namespace={"k": k})() == k)

    threads = [threading.Thread(target=load, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 200
    assert all(answers)


def test_loading_a_class_where_it_lives_leaves_it_alone() -> None:
    space = notebook("class A:\n    def f(self): return k\nk = 1\na = A()")
    method = space["A"].f  # type: ignore[attr-defined]
    back = loads(*dumps(space["a"]), namespace={})
    assert type(back) is space["A"]
    assert space["A"].f is method  # type: ignore[attr-defined]


ROUND_TRIP = """
import subprocess, sys, pickle
from cellq.wire.pickling import dumps, loads
class Patched:
    kept = "home"
    def f(self): return "old"
    def gone(self): pass
class Enumerated(__import__("enum").Enum):
    A = 1
def work(p):
    Patched.f = lambda self: "new"
    Patched.added = 1
    del Patched.gone
    global fresh
    class fresh:
        def f(self): return later
    return p, fresh, Enumerated.A
code = '''
import sys, pickle
from cellq.wire.pickling import dumps, loads
work, p = loads(*pickle.loads(sys.stdin.buffer.read()), namespace={})
sys.stdout.buffer.write(pickle.dumps(tuple(dumps(work(p)))))
'''
sent = pickle.dumps(tuple(dumps((work, Patched()))))
out = subprocess.run([sys.executable, "-c", code], input=sent, stdout=subprocess.PIPE, check=True).stdout
Patched.kept = "changed at home meanwhile"
p, fresh, a = loads(*pickle.loads(out), namespace=globals(), homeward=True)
later = 8
assert type(p) is Patched and p.f() == "new" and Patched.added == 1 and not hasattr(Patched, "gone")
assert Patched.kept == "changed at home meanwhile"
assert a is Enumerated.A
assert fresh().f() == 8
print("fine")
"""


def test_a_class_comes_home_with_what_the_worker_changed_and_nothing_else(tmp_path: Path) -> None:
    script = tmp_path / "notebook.py"
    script.write_text(ROUND_TRIP)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "fine\n", done.stderr


# ------------------------------------------------------------------------------------- data and sharing


def test_arrays_travel_outside_the_pickle_and_stay_writable() -> None:
    array = np.arange(100_000.0)
    body, buffers = dumps({"a": array})
    assert len(body) < 1000
    back = loads(body, [bytearray(b) for b in buffers])["a"]
    back[0] = 5
    assert (back[1:] == array[1:]).all()


def test_sharing_between_names_is_kept() -> None:
    shared = [1]
    back = loads(*dumps({"a": shared, "b": {"c": shared}}))
    assert back["a"] is back["b"]["c"]


@pytest.mark.parametrize(
    "value", [None, True, 3, 2**80, -1.5, "text", b"bytes", (1, "a"), ((1,), {}), {"a": [1, 2]}, [], float("inf")]
)
def test_plain_values_are_the_same(value: object) -> None:
    back = loads(*dumps(value))
    assert back == value
    assert type(back) is type(value)


def test_deep_nesting_travels_or_is_refused_clearly() -> None:
    deep: list[object] = []
    for _ in range(20_000):
        deep = [deep]
    if sys.version_info >= (3, 12):  # the limit of C code is fixed there
        assert "nested too deeply" in refused(deep, label="variable `deep`")
        return
    back, depth = loads(*dumps(deep)), 0
    while back:
        back, depth = back[0], depth + 1
    assert depth == 20_000


class Endless:
    def __reduce__(self) -> tuple[object, ...]:
        return (Endless, (Endless(),))


def test_endless_reduction_is_refused() -> None:
    assert "nested too deeply" in refused(Endless(), label="variable `e`")


def test_tracebacks_and_getsource_find_the_cell(tmp_path: Path) -> None:
    script = (
        "import sys, pickle, inspect\nfrom cellq.wire.pickling import loads\n"
        "f = loads(*pickle.load(open(sys.argv[1], 'rb')))\nprint(inspect.getsource(f))"
    )
    import linecache
    import pickle

    source = "x = 1\ndef f(a):\n    return (\n        a + x\n    )\n"
    file = "/tmp/ipykernel_1/12.py"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    space: dict[str, object] = {"__name__": "__main__"}
    exec(compile(source, file, "exec"), space)
    parcel = tmp_path / "parcel"
    parcel.write_bytes(pickle.dumps(tuple(dumps(space["f"]))))
    out = subprocess.run([sys.executable, "-c", script, str(parcel)], capture_output=True, text=True, timeout=60)
    assert out.stdout.strip() == "def f(a):\n    return (\n        a + x\n    )", out.stderr


# -------------------------------------------------------------------------------------------- refusals


class Holder:
    def __init__(self, **things: object) -> None:
        self.__dict__.update(things)


def opened() -> object:
    return Path(__file__).open()


def opened_for_bytes() -> object:
    return Path(__file__).open("rb")


def generator() -> object:
    return (x for x in "ab")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (threading.Lock, "a _thread.lock"),
        (socket.socket, "a socket"),
        (opened, "an open file"),
        (opened_for_bytes, "an open file"),
        (generator, "a generator"),
        (asyncio.new_event_loop, ""),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_cannot_travel_is_refused_by_name_and_path(make, kind: str) -> None:  # type: ignore[no-untyped-def]
    thing = make()
    try:
        text = refused({"fine": 1, "cfg": {"db": Holder(inner=[thing])}})
        assert "variable `cfg`: cfg['db'].inner[0]" in text
        assert kind in text
    finally:
        if hasattr(thing, "close"):
            thing.close()


def test_arguments_are_named_by_the_function() -> None:
    def train(cfg: object, *rest: object, steps: object = None) -> None: ...

    lock = threading.Lock()
    assert "argument `cfg`: cfg['db'].lock is a _thread.lock" in refused(
        (({"db": Holder(lock=lock)},), {}), label=train
    )
    assert "argument `steps`: it is a _thread.lock" in refused(((1,), {"steps": lock}), label=train)
    assert "argument `rest[1]`" in refused(((1, 2, lock), {}), label=train)
    assert "argument `args[0]`" in refused(((lock,), {}), label=print)
    assert "argument `1`" in refused(((lock,), {}), label=type)


def test_a_global_of_a_function_is_named() -> None:
    space = notebook("def train(): return helper()\ndef helper(): return sock\n")
    with socket.socket() as sock:
        space["sock"] = sock
        text = refused(space["train"], label="function `train`")
    assert "function `train` uses the global `helper`, which uses the global `sock`, a socket" in text


def test_a_closure_default_and_method_are_named() -> None:
    lock = threading.Lock()
    space = notebook(
        "def make(outer):\n    def inner(): return outer\n    return inner\n"
        "def default(a, b=None): pass\n"
        "class A:\n    def f(self): return held\n"
    )
    assert "the outer variable `outer`, a _thread.lock" in refused(space["make"](lock))  # type: ignore[operator]
    default = space["default"]
    assert isinstance(default, types.FunctionType)
    default.__defaults__ = (lock,)
    assert "the default `b`, a _thread.lock" in refused(default)
    space["held"] = lock
    assert "the global `held`, a _thread.lock" in refused({"a": space["A"]()})  # type: ignore[operator]


def test_a_result_is_named_by_its_label() -> None:
    assert "the result: it is a generator" in refused(generator(), label="the result")


def test_the_inside_of_a_librarys_object_is_not_told() -> None:
    text = refused({"t": [threading.Thread()]})
    assert "variable `t`: t[0] is a threading.Thread, which holds a _thread.lock" in text


class Sly:
    def __reduce__(self) -> tuple[object, ...]:
        raise ValueError("not today")


class Hidden:
    def __reduce__(self) -> tuple[object, ...]:
        return (list, ([threading.Lock()],))


class Evil:
    def __getattribute__(self, name: str) -> object:
        raise RuntimeError("go away")

    def __repr__(self) -> str:
        raise RuntimeError("go away")


def evil_key() -> object:
    return {Evil(): threading.Lock()}


@pytest.mark.parametrize("make", [Sly, Hidden, Evil, evil_key])
def test_objects_that_hinder_the_search_are_still_named_by_variable(make) -> None:  # type: ignore[no-untyped-def]
    assert "variable `bad`" in refused({"good": 1, "bad": [make(), threading.Lock()]})


def test_the_search_ends_on_huge_values() -> None:
    assert "variable `huge`" in refused({"huge": [*range(300_000), threading.Lock()]})


def test_standard_streams_travel_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert loads(*dumps({"out": sys.stdout}))["out"] is sys.stdout
