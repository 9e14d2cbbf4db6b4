"""Pins that what cannot be put together costs itself and what needs it, and nothing else of its pickle."""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from cellq.wire.pickling import dumps, loads
from cellq.wire.salvaging import Lost, Unpickler, lost_in


def refuse(*_: object) -> None:
    raise LookupError("not here")


class Made:
    """Fails to be made."""

    def __reduce__(self) -> tuple[Any, ...]:
        return refuse, (1,)


class Filled:
    """Fails to be filled."""

    def __init__(self) -> None:
        self.inner = {"me": self}

    def __setstate__(self, state: object) -> None:
        refuse()


def salvaged(**values: object) -> dict[str, Any]:
    pickled = dumps(values)
    with pytest.raises(LookupError, match="not here"):
        loads(pickled.body, pickled.buffers)
    found = loads(pickled.body, pickled.buffers, unpickler=Unpickler)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("bad", [Made(), Filled()], ids=["made", "filled"])
def test_the_others_are_there_and_still_share_what_they_shared(bad: object) -> None:
    shared = [1, 2]
    found = salvaged(one=shared, bad=bad, two={"shared": shared}, three=bad)
    assert found["one"] == [1, 2]
    assert found["two"]["shared"] is found["one"]
    for name in ("bad", "three"):
        assert str(lost_in(found[name])) == "LookupError: not here"
    assert lost_in([found["one"], found["two"]]) is None


def test_what_needs_it_is_lost_for_the_same_reason() -> None:
    found = salvaged(key={Made(): 1}, deep=[(0, {"a": [Made()]})], made_of=types.SimpleNamespace(part=Made()), good=1)
    assert {name for name in found if lost_in(found[name])} == {"key", "deep", "made_of"}
    assert str(lost_in(found["made_of"])) == "LookupError: not here"


def test_a_class_that_is_not_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "only_there.py").write_text("class Thing: pass")
    with monkeypatch.context() as there:
        there.syspath_prepend(tmp_path)
        thing = importlib.import_module("only_there").Thing
        pickled = dumps({"things": [thing(), thing()], "good": 1})
    monkeypatch.delitem(sys.modules, "only_there")
    found = loads(pickled.body, pickled.buffers, unpickler=Unpickler)
    assert found["good"] == 1
    assert str(lost_in(found["things"])) == "ModuleNotFoundError: No module named 'only_there'"


def test_functions_are_looked_into_but_not_the_names_they_share() -> None:
    lost = Lost(ValueError("gone"))

    def closure() -> object:
        return lost

    assert lost_in(closure) is lost
    assert lost_in(refuse) is None
