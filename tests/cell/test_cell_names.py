"""Which names a cell reads, touches, writes and deletes: each rule of Python's scopes, and code inside magics."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest

from cellq.cell.closure import needed
from cellq.cell.names import analyse, unknown

READS: dict[str, tuple[str, set[str], set[str]]] = {
    "assignment": ("y = x + 1", {"x"}, {"y"}),
    "bound before it is read": ("x = 1\ny = x", set(), {"x", "y"}),
    "augmented assignment": ("x += 1", {"x"}, {"x"}),
    "attribute, item": ("a.b = c\nd[e] = 1", {"a", "c", "d", "e"}, set()),
    "comprehension": ("[i for i in xs if i > k]", {"xs", "k"}, set()),
    "class body comprehension": ("class A:\n    z = [k for _ in r]\n    k = k + 1", {"k", "r"}, {"A"}),
    "class body name": ("class A:\n    a = 1\n    b = a", set(), {"A"}),
    "function not called": ("def f(a=d):\n    return g(a, b)", {"d"}, {"f"}),
    "function called": ("def f(a):\n    return g(a, b)\nf(1)", {"g", "b"}, {"f"}),
    "function called after its names are bound": ("def f(): return b\nb = 1\nf()", set(), {"f", "b"}),
    "functions that call each other": ("def f(): return g()\ndef g(): return k\nf()", {"k"}, {"f", "g"}),
    "decorated function": ("@deco\ndef f(): return b", {"deco", "b"}, {"f"}),
    "method of a class that is used": ("class A(B):\n    def m(self): return k\nA()", {"B", "k"}, {"A"}),
    "global in a function": ("def f():\n    global g\n    g = h\nf()", {"h"}, {"f", "g"}),
    "lambda": ("f = lambda a, b=c: a + d", {"c", "d"}, {"f"}),
    "f-string": ("f'{a:{b}} {c!r}'", {"a", "b", "c"}, set()),
    "walrus in a comprehension": ("[w := i for i in xs]", {"xs"}, {"w"}),
    "match": ("match v:\n    case {'k': cap, **rest}: pass", {"v"}, {"cap", "rest"}),
    "imports": ("import a.b, c as d\nfrom e import f as g\na.b.c", set(), {"a", "d", "g"}),
    "with, for, except targets": (
        "with o() as w:\n    pass\nfor i in r: pass\ntry: pass\nexcept E as e: pass",
        {"o", "r", "E"},
        {"w", "i", "e"},
    ),
    "file bound in its own statement": ("with open(p) as f:\n    f.read()", {"open", "p"}, {"f"}),
    "top-level await": ("r = await f(x)\nasync with c as d:\n    pass", {"f", "x", "c"}, {"r", "d"}),
    "annotation without a value": ("z: T", {"T"}, set()),
    "star arguments, slices, chained": ("f(*a, **b)[c:d] < e < g", set("fabcdeg"), set()),
    "line magic with code": ("%time y = f(x)", {"f", "x"}, {"y"}),
    "line magic with options": ("%timeit -n 10 -r 3 f(x)", {"f", "x"}, set()),
    "cell magic with code": ("%%time\ny = f(x)", {"f", "x"}, {"y"}),
    "capture": ("%%capture grabbed\nprint(x)", {"print", "x"}, {"grabbed"}),
    "shell command": ("!ls {d + '/a'} $e", {"d"}, set()),
    "shell command assigned": ("files = !ls {d}", {"d"}, {"files"}),
}


@pytest.mark.parametrize("case", READS)
def test_reads_and_writes(case: str) -> None:
    source, reads, writes = READS[case]
    names = analyse(source)
    assert names.reads == reads
    assert names.writes == writes


def test_a_name_bound_only_perhaps_is_touched_not_read() -> None:
    names = analyse("if c:\n    x = 1\nprint(x)")
    assert "x" in names.touched
    assert "x" not in names.reads


def test_a_deleted_name_is_read_and_deleted() -> None:
    names = analyse("del old\nnew = 1\ndel new")
    assert names.reads == {"old"}
    assert names.deletes == {"old", "new"}


def test_a_star_import_is_seen() -> None:
    assert analyse("from math import *").star


@pytest.mark.parametrize("source", ["eval('a')", "df.query('a > @k')", "smf.ols('y ~ x', df)", "globals()['a']"])
def test_code_that_looks_names_up_is_dynamic(source: str) -> None:
    assert analyse(source).dynamic


def test_plain_code_is_not_dynamic() -> None:
    assert not analyse("x = 1\n%time y = x\ndf.plot(title='a b')").dynamic


def test_a_syntax_error_is_raised() -> None:
    with pytest.raises(SyntaxError):
        analyse("x = = 1")


def test_unknown_names_are_those_that_nothing_defines() -> None:
    names = analyse("len(a) + typo\ndisplay(_)\nlater = 1\ndef f(): return later\nf()")
    assert unknown(names, {"a": 1}) == {"typo"}


def test_needs_reach_through_functions_classes_partials_and_containers() -> None:
    space: dict[str, object] = {"__name__": "__main__", "partial": partial}
    exec(
        "A, B, C, D, E, F, unused = range(7)\n"
        "def a(): return A\n"
        "def b(): return a() + B\n"
        "class K:\n    def m(self): return C\n"
        "class L(K):\n    p = property(lambda self: D)\n"
        "ways = {'x': [lambda: E]}\n"
        "part = partial(lambda: F)\n"
        "obj = L()\n",
        space,
    )
    needs = needed(analyse("b(); obj.m(); ways; part()"), space)
    assert set(needs.values) == {"b", "a", "A", "B", "obj", "K", "C", "L", "D", "ways", "E", "part", "F"}
    assert not needs.missing


def test_what_a_called_function_binds_globally_is_written() -> None:
    space: dict[str, object] = {"__name__": "__main__"}
    exec("def count():\n    global n\n    n = n + 1\nn = 0", space)
    needs = needed(analyse("count()"), space)
    assert needs.writes == {"n"}
    assert set(needs.values) == {"count", "n"}


def test_importing_the_room_does_not_import_ipython() -> None:
    code = (
        "import sys, cellq.cell.returned; sys.exit(any(m in sys.modules for m in ('IPython', 'numpy', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
