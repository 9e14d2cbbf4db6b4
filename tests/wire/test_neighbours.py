"""Modules beside the notebook travel by value, always as they are in memory; installed ones by name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HELPER = """
import threading
from dataclasses import dataclass

LIMIT = {limit}
lock = threading.Lock()
seen = []

def f(x):
    with lock:
        seen.append(x)
    return [x * LIMIT, deeper(x)]

def deeper(x):
    return x + LIMIT

@dataclass
class C:
    x: int
    def value(self):
        return self.x * LIMIT

class Faulty(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = b
"""

NOTEBOOK = """
import importlib, json, os, pickle, subprocess, sys
sys.path.insert(0, os.getcwd())
sys.dont_write_bytecode = True
from pathlib import Path
from cellq.wire.pickling import dumps, loads
import helper, pack.part
import pack.other as other
from helper import f, C

def by_module(x): return helper.f(x)
def by_name(x): return f(x)
def by_submodule(x): return pack.part.g(x)
def by_alias(x): return other.h(x)
def by_import(x):
    import helper as late
    from pack import part
    return [late.f(x), part.g(x)]
def state(x):
    helper.f(x); f(x)
    return helper.seen
def give(x): return C(x)
def give_class(x): return type("Sub", (C,), {})(x).value()
def found(c):
    import pickle
    return [pickle.loads(pickle.dumps(c)) == c, isinstance(c, C)]

parcels = {}
def pack_all(version):
    parcels[f"module {version}"] = dumps((by_module, (2,)))
    parcels[f"name {version}"] = dumps((by_name, (2,)))
    parcels[f"direct {version}"] = dumps((f, (2,)))
    parcels[f"submodule {version}"] = dumps((by_submodule, (2,)))
    parcels[f"alias {version}"] = dumps((by_alias, (2,)))
    parcels[f"import {version}"] = dumps((by_import, (2,)))
    parcels[f"state {version}"] = dumps((state, (2,)))
    parcels[f"instance {version}"] = dumps((C.value, (C(2),)))
    parcels[f"bound {version}"] = dumps((C(2).value, ()))
    parcels[f"subclass {version}"] = dumps((give_class, (2,)))
    parcels[f"found {version}"] = dumps((found, (C(2),)))
    parcels[f"give {version}"] = dumps((give, (2,)))

pack_all("old")
Path("helper.py").write_text(Path("helper.py").read_text().replace("LIMIT = 10", "LIMIT = 1000"))
importlib.reload(helper)
from helper import f, C
pack_all("new")
helper.LIMIT = 7
parcels["patched"] = dumps((by_name, (2,)))
parcels["error"] = dumps((helper.Faulty, ("a", "b")))
Path("parcels").write_bytes(pickle.dumps({k: (b, [bytes(x) for x in bufs]) for k, (b, bufs) in parcels.items()}))
worker = subprocess.run([sys.executable, "-c", sys.argv[1], os.path.abspath("parcels")], cwd=sys.argv[2],
                        stdout=subprocess.PIPE, check=True)
answers, given, error = pickle.loads(worker.stdout)
back = loads(*given, homeward=True)
failed = loads(*error, homeward=True)
answers["came home"] = [type(back) is C, back.value(), sys.modules["helper"] is helper, helper.LIMIT, C.value(C(1))]
answers["error came home"] = [type(failed) is helper.Faulty, failed.args, failed.b]
print(json.dumps(answers))
"""

WORKER = """
import pickle, sys, traceback
from cellq.wire.pickling import dumps, loads
answers, given, error = {}, None, None
for name, parcel in pickle.loads(open(sys.argv[1], "rb").read()).items():
    try:
        func, args = loads(*parcel)
        answer = func(*args)
        if name == "give new":
            given = tuple(dumps(answer))
        elif name == "error":
            error = tuple(dumps(answer))
        else:
            answers[name] = answer if not name.startswith("give") else answer.value()
    except Exception:
        answers[name] = traceback.format_exc()
sys.stdout.buffer.write(pickle.dumps((answers, given, error)))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    home, away = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("away")
    (home / "helper.py").write_text(HELPER.format(limit=10))
    (home / "pack").mkdir()
    (home / "pack" / "__init__.py").write_text("from pack import part\nNAME = 'pack'\n")
    (home / "pack" / "part.py").write_text("def g(x):\n    from . import NAME\n    return [NAME, x]\n")
    (home / "pack" / "other.py").write_text("from .part import g\ndef h(x):\n    return ['other', *g(x)]\n")
    (home / "notebook.py").write_text(NOTEBOOK)
    done = subprocess.run(
        [sys.executable, "notebook.py", WORKER, str(away)], cwd=home, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "answer"),
    {
        "module": lambda limit: [2 * limit, 2 + limit],
        "name": lambda limit: [2 * limit, 2 + limit],
        "direct": lambda limit: [2 * limit, 2 + limit],
        "submodule": lambda limit: ["pack", 2],
        "alias": lambda limit: ["other", "pack", 2],
        "import": lambda limit: [[2 * limit, 2 + limit], ["pack", 2]],
        "state": lambda limit: [2, 2],
        "instance": lambda limit: 2 * limit,
        "bound": lambda limit: 2 * limit,
        "subclass": lambda limit: 2 * limit,
        "found": lambda limit: [True, True],
    }.items(),
)
def test_a_worker_elsewhere_has_the_module_as_it_was_when_sent(name, answer, answers) -> None:  # type: ignore[no-untyped-def]
    assert answers[f"{name} old"] == answer(10)
    assert answers[f"{name} new"] == answer(1000), "an edited and reloaded module did not replace the old one"


def test_a_module_global_set_by_hand_travels(answers: dict[str, object]) -> None:
    assert answers["patched"] == [14, 9]


def test_a_result_comes_home_as_an_instance_of_the_class_that_lives_here(answers: dict[str, object]) -> None:
    same_class, value, same_module, limit, own = answers["came home"]  # type: ignore[misc]
    assert same_class
    assert same_module, "the notebook's own module was replaced"
    assert (value, limit, own) == (14, 7, 7)


def test_an_exception_of_a_helper_comes_home(answers: dict[str, object]) -> None:
    assert answers["error came home"] == [True, ["a"], "b"]


def test_installed_modules_travel_by_name() -> None:
    import numpy

    from cellq.wire.neighbours import travels

    assert not travels(numpy)
    assert not travels(json)
    assert not travels(sys.modules["cellq.wire.neighbours"])


def test_an_environment_beside_the_notebook_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import ModuleType

    from cellq.wire.neighbours import travels

    monkeypatch.chdir(tmp_path)
    installed, own = ModuleType("installed"), ModuleType("own")
    installed.__file__ = str(tmp_path / ".venv" / "lib" / "python3.11" / "site-packages" / "installed.py")
    own.__file__ = str(tmp_path / "own.py")
    assert not travels(installed)
    assert travels(own)
