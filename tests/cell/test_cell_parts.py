"""Objects inside of values come home as the notebook's own: every alias sees what a cell has changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_cell_parcel import away, notebook

from cellq.cell.parcel import pack
from cellq.cell.returned import merge


def run(space: dict[str, Any], source: str) -> None:
    packed = pack(source, space)
    merge(away(packed), space, packed.snapshot)


ALIASES: dict[str, tuple[str, str, str, object]] = {
    "through a list": ("a = [1]\nboth = [a, a]", "both[0].append(2)", "a, both[1] is a", ([1, 2], True)),
    "through a tuple": ("a = [1]\nt = (a, 'x')", "t[0].append(2)", "a, t[0] is a", ([1, 2], True)),
    "through a dict": ("a = {1}\nd = {'k': a}", "d['k'].add(2)", "a, d['k'] is a", ({1, 2}, True)),
    "through attributes": (
        "class P: pass\na = [1]\np = P(); p.a = a; p.me = p",
        "p.me.a.append(2)",
        "a, p.a is a, p.me is p",
        ([1, 2], True, True),
    ),
    "an instance in a set": (
        "class P:\n    n = 0\na = P()\nbag = {a}",
        "for p in bag: p.n = 5",
        "a.n, a in bag, len(bag)",
        (5, True, 1),
    ),
    "an instance as a key": (
        "class P: pass\na = P()\ntable = {a: 1}",
        "for p in table: p.n = 5\ntable[p] += 1",
        "a.n, table[a]",
        (5, 2),
    ),
    "a class attribute": ("class K:\n    seen = []\nseen = K.seen", "K.seen.append(1)", "seen", [1]),
    "a default argument": (
        "def add(x, to=[]):\n    to.append(x)\n    return to\nkept = add(1)",
        "add(2)",
        "kept",
        [1, 2],
    ),
    "two closures over one variable": (
        "def make():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n        return n\n"
        "    return up, lambda: n\nup, now = make()",
        "up()",
        "up(), now()",
        (2, 2),
    ),
    "a bound method": ("class P:\n    n = 0\n    def f(self): self.n += 1\np = P()\nf = p.f", "f()", "p.n", 1),
    "a list that holds itself": ("a = [1]\na.append(a)", "a[1].append(2)", "len(a), a[1] is a", (3, True)),
}


@pytest.mark.parametrize("case", ALIASES)
def test_a_change_is_seen_through_every_name(case: str) -> None:
    before, source, look, expected = ALIASES[case]
    space = notebook(before)
    run(space, source)
    assert eval(look, space) == expected


def test_frames_changed_through_a_list_are_the_notebooks_own() -> None:
    space: dict[str, Any] = notebook()
    space["train"], space["test"] = pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})
    space["combine"] = [space["train"], space["test"]]
    run(space, "for data in combine:\n    data['b'] = data['a'] * 2")
    assert space["train"]["b"].tolist() == [2]
    assert space["combine"][1] is space["test"]
    assert space["data"] is space["test"]


def test_what_a_cell_left_as_it_was_is_not_touched_at_home() -> None:
    space = notebook("inner = [1]\nouter = {'inner': inner}")
    packed = pack("report = [outer['inner']]", space)
    back = away(packed)
    space["inner"].append("mine")
    merge(back, space, packed.snapshot)
    assert space["report"][0] is space["inner"]
    assert space["inner"] == [1, "mine"]


def test_a_view_made_by_a_cell_shows_the_notebooks_array() -> None:
    space: dict[str, Any] = notebook()
    space["a"] = np.arange(12).reshape(3, 4)
    run(space, "row = a[1]")
    space["row"][0] = 99
    assert space["a"][1, 0] == 99


def test_a_change_through_a_view_changes_the_array() -> None:
    space: dict[str, Any] = notebook()
    space["a"] = np.zeros((3, 4))
    space["part"] = space["a"][:2, :2]
    run(space, "part[:] = 5")
    assert space["a"].sum() == 20
    run(space, "a[0] = 1\ntotal = part.sum()")
    assert space["total"] == 12


def test_a_function_brings_no_data_home_that_it_only_uses() -> None:
    space: dict[str, Any] = notebook()
    space["big"] = np.zeros(100_000)
    packed = pack("def f(): return big.sum()\nf()", space)
    back = away(packed)
    assert sum(memoryview(buffer).nbytes for buffer in back.names.buffers) == 0
    merge(back, space, packed.snapshot)
    assert space["f"]() == 0
