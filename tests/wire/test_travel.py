"""What a notebook can define travels: each callable answers in a fresh process elsewhere what it answers at home."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

SENDER = """
import json, pickle, sys
source = open(sys.argv[1]).read()
exec(compile(source, "<cell 1>", "exec"), globals())
import linecache
linecache.cache["<cell 1>"] = (len(source), None, source.splitlines(True), "<cell 1>")
from cellq.wire.pickling import dumps
parcels, answers = {}, {}
for name, question in QUESTIONS.items():
    try:
        body, buffers = dumps(question)
        parcels[name] = (body, [bytes(b) for b in buffers])
    except Exception as error:
        parcels[name] = repr(error)
with open(sys.argv[2], "wb") as file:
    pickle.dump(parcels, file)
for name, (func, args) in QUESTIONS.items():
    body = parcels[name]
    scale = 3
    answers[name] = func(*args)
print(json.dumps(answers))
"""

RECEIVER = """
import json, pickle, sys, traceback
from cellq.wire.pickling import loads
with open(sys.argv[1], "rb") as file:
    parcels = pickle.load(file)
namespaces = {"private": lambda: None, "given": dict}
answers = {}
for name, parcel in parcels.items():
    for kind, make in namespaces.items():
        try:
            if isinstance(parcel, str):
                raise RuntimeError(parcel)
            func, args = loads(*parcel, namespace=make())
            answers[f"{name} / {kind}"] = func(*args)
        except Exception as error:
            answers[f"{name} / {kind}"] = traceback.format_exc()
print(json.dumps(answers))
"""


def run(script: str, *args: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", script, *args], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names() -> list[str]:
    space: dict[str, object] = {"__name__": "names"}
    exec((HERE / "callables.py").read_text(), space)
    return list(space["QUESTIONS"])  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], dict[str, object]]:
    home, away = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("away")
    parcels = home / "parcels"
    at_home = json.loads(run(SENDER, str(HERE / "callables.py"), str(parcels), cwd=home))
    return at_home, json.loads(run(RECEIVER, str(parcels), cwd=away))


@pytest.mark.parametrize("kind", ["private", "given"])
@pytest.mark.parametrize("name", names())
def test_answers_the_same_elsewhere(name: str, kind: str, answers: tuple[dict[str, object], dict[str, object]]) -> None:
    at_home, away = answers
    assert away[f"{name} / {kind}"] == at_home[name]
