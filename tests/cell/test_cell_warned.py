"""Pins which warnings count as shown on the other side: those that Python would not show again on this one."""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from cellq.cell import ambient

CODE = "import warnings\ndef warn(text='careful'): warnings.warn(text)"


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    new = types.ModuleType("somelibrary")
    exec(CODE, vars(new))
    monkeypatch.setitem(sys.modules, "somelibrary", new)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield new


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_, **__: texts.append(str(message)))
    return texts


def shown() -> Any:
    return ambient.capture()["warnings shown"]


def forget(library: Any) -> None:
    """Like a process in which it has not warned."""
    vars(library).pop("__warningregistry__", None)


def test_a_warning_shown_on_one_side_is_not_shown_on_the_other(library: Any, seen: list[str]) -> None:
    library.warn()
    state = shown()
    forget(library)
    assert ambient.apply({"warnings shown": state}) == []
    library.warn()
    library.warn("another")
    assert seen == ["careful", "another"]


def test_what_a_change_of_the_filters_has_made_void_does_not_travel(library: Any, seen: list[str]) -> None:
    library.warn()
    with warnings.catch_warnings():
        pass
    assert "somelibrary" not in shown()
    library.warn()
    assert seen == ["careful", "careful"]


def test_to_ask_changes_nothing(library: Any, seen: list[str]) -> None:
    library.warn()
    filters = list(warnings.filters)
    ambient.capture()
    ambient.capture()
    library.warn()
    assert (seen, list(warnings.filters)) == (["careful"], filters)


def test_what_a_cell_makes_void_is_void_at_home(library: Any, seen: list[str]) -> None:
    library.warn()
    before = ambient.capture()
    with warnings.catch_warnings():  # the cell
        pass
    changed = ambient.difference(before)
    forget(library)
    ambient.apply({"warnings shown": before["warnings shown"]})
    ambient.apply({"warnings shown": changed["warnings shown"]})
    library.warn()
    assert seen == ["careful", "careful"]
