"""What a notebook sets in modules and library classes is there in a worker, and the other way round."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

from cellq.cell import ambient, patches
from cellq.cell.names import analyse


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patches, "_first", {})
    first = textwrap.fill
    yield
    textwrap.fill = first
    vars(json).pop("fast", None)


def state() -> Any:
    return ambient.capture()["attributes of modules"]


def test_stores_are_dotted_names() -> None:
    names = analyse("pd.DataFrame.shout = f\njson.fast = 1\na[0].b = 2\ndel x.y\nprint(q.r)", transform=False)
    assert names.stores == {"pd.DataFrame.shout", "json.fast", "x.y"}


def test_only_what_differs_from_the_library_is_captured() -> None:
    patches.watch(["json.fast", "json.loads"], {"json": json})
    assert state() == {}
    json.fast = True  # type: ignore[attr-defined]
    assert state() == {("json", "", "fast"): True}


def test_what_is_no_module_or_library_class_is_not_watched() -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("class Mine: pass\nthing = Mine()", space)
    patches.watch(["Mine.a", "thing.a", "unknown.a"], space)
    assert patches._first == {}


def test_a_patch_is_applied_and_taken_back() -> None:
    own = textwrap.fill
    patched = ambient.difference(
        {"attributes of modules": {}}, {"attributes of modules": {("textwrap", "", "fill"): len}}
    )
    ambient.apply(patched)
    assert textwrap.fill is len
    assert state() == {("textwrap", "", "fill"): len}
    ambient.apply(ambient.difference({"attributes of modules": state()}, {"attributes of modules": {}}))
    assert textwrap.fill is own
    assert state() == {}


def test_a_new_attribute_goes_when_the_cell_has_deleted_it() -> None:
    ambient.apply({"attributes of modules": {("json", "", "fast"): 1}})
    assert json.fast == 1  # type: ignore[attr-defined]
    ambient.apply(ambient.difference({"attributes of modules": state()}, {"attributes of modules": {}}))
    assert not hasattr(json, "fast")


def test_what_was_set_before_it_was_watched_travels() -> None:
    json.fast = True  # type: ignore[attr-defined]
    patches.watch(["json.fast"], {"json": json}, done=True)
    assert state() == {("json", "", "fast"): True}


def test_what_a_cell_imports_and_changes_is_watched_before_it_does() -> None:
    names = analyse(
        "import textwrap as t\nfrom json import decoder as d\nt.width = d.JSONDecoder.shout = 1", transform=False
    )
    assert {"textwrap:width", "json:decoder.JSONDecoder.shout"} <= names.stores
    patches.watch(names.stores, {}, importing=True)
    assert set(patches._first) == {("textwrap", "", "width"), ("json.decoder", "JSONDecoder", "shout")}
