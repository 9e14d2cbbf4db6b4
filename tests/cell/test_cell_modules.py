"""Pins what of a library's modules travels with cells that use it, and that no flag travels without its thing."""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

import pytest

from cellq.cell import ambient


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    new = types.ModuleType("somelibrary")
    exec("count = 0\nnames = ['a']\nready = False\nhandle = None\nclass Part:\n    made = 0", vars(new))
    monkeypatch.setitem(sys.modules, "somelibrary", new)
    monkeypatch.setattr(sys.modules["__main__"], "lib", new, raising=False)
    return new


def state() -> Any:
    return ambient.capture()["modules"]


def test_plain_values_of_modules_and_classes_are_told(library: Any) -> None:
    before = state()
    library.count, library.Part.made = 3, 2
    library.names.append("b")
    changed = ambient.difference({"modules": before}, {"modules": state()})
    library.count, library.Part.made = 0, 0
    names = library.names
    names[:] = ["a"]
    assert ambient.apply(changed) == []
    assert (library.count, library.Part.made, library.names) == (3, 2, ["a", "b"])
    assert library.names is names


def test_what_stands_for_something_of_this_process_stays(library: Any) -> None:
    before = state()
    library.ready, library.handle = True, object()
    changed = ambient.difference({"modules": before}, {"modules": state()})
    library.ready, library.handle = False, None
    ambient.apply(changed)
    assert (library.ready, library.handle) == (False, None)


def test_libraries_the_notebook_has_no_name_of_are_left_alone(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ("somelibrary", "") in state()
    monkeypatch.delattr(sys.modules["__main__"], "lib")
    assert ("somelibrary", "") not in state()


def test_a_library_that_is_not_imported_yet_gets_its_state_when_it_is(
    library: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "laterlibrary.py").write_text("count = 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    ambient.apply({"modules": {("laterlibrary", ""): {"count": 7}}})
    assert importlib.import_module("laterlibrary").count == 7
    del sys.modules["laterlibrary"]
