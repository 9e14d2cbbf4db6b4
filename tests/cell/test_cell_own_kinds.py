"""What a notebook defines stays whole from cell to cell: containers, caches, abstract classes, databases, handles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from test_cell_parcel import away, notebook

from cellq.cell.closure import needed
from cellq.cell.names import analyse
from cellq.cell.parcel import pack
from cellq.cell.returned import merge


def run(space: dict[str, Any], source: str) -> None:
    packed = pack(source, space)
    merge(away(packed), space, packed.snapshot)


CELLS: dict[str, tuple[list[str], str, object]] = {
    "a dict with arguments of its own": (
        [
            "from collections import defaultdict\nclass Board(defaultdict):\n"
            "    def __init__(self, width): self.width = width\nboard = Board(3); same = board",
            "board[0] = 'x'",
        ],
        "same[0], same.width, same is board",
        ("x", 3, True),
    ),
    "a function that is called above its definition": (
        ["def hold(n): return n + 1\ndeep = 3", "f = lambda n: g(n)\ndef g(n): return hold(n) + deep\ngot = f(1)"],
        "got",
        5,
    ),
    "a decorated function that calls a later one": (
        [
            "from functools import cache\ndef hold(n): return n + 1",
            "@cache\ndef f(n): return g(n)\ndef g(n): return hold(n)\ngot = f(1)",
        ],
        "got",
        2,
    ),
    "a cache": (
        ["from functools import cache\n@cache\ndef f(n): return [n]\na = f(1)", "f(1), f(2)", "got = f(1)"],
        "got, f.cache_info()[:2]",
        ([1], (2, 2)),
    ),
    "an attribute of an abstract class": (
        ["from abc import ABC\nclass A(ABC):\n    seen = 0\n    names = []", "A.seen += 1\nA.names.append('x')"],
        "A.seen, A.names",
        (1, ["x"]),
    ),
    "the children that a generator has spawned": (
        ["import numpy as np\nrng = np.random.default_rng(1); rng.spawn(2)", "rng.spawn(3)"],
        "rng.bit_generator.seed_seq.n_children_spawned",
        5,
    ),
    "an array owns its memory, a view shows it": (
        ["import numpy as np\na = np.arange(4)", "b = a.view()", "told = a.base is None, b.base is a, a.flags.owndata"],
        "told",
        (True, True, True),
    ),
    "what a widget holds, and what watches it": (
        [
            "from ipywidgets import IntSlider\nmoved = []\ndef note(change): moved.append(change['new'])\n"
            "slider = IntSlider(); same = slider\nslider.observe(note, names='value')",
            "slider.value = 7",
            "slider.value = 4",
        ],
        "same.value, moved",
        (4, [7, 4]),
    ),
    "a database in memory with a cursor": (
        [
            "import sqlite3\nconn = sqlite3.connect(':memory:')",
            "c = conn.cursor()\nc.execute('create table t (a)')",
            "c.execute('insert into t values (1)'); conn.commit()",
            "with conn: conn.execute('insert into t values (2)')",
            "count = c.execute('select count(*) from t').fetchone()[0]",
        ],
        "count, conn.execute('select count(*) from t').fetchall(), c.connection is conn",
        (2, [(2,)], True),
    ),
}


@pytest.mark.parametrize("case", CELLS)
def test_it_is_there_in_the_next_cell(case: str) -> None:
    cells, look, expected = CELLS[case]
    space = notebook()
    for source in cells:
        run(space, source)
    assert eval(look, space) == expected


def test_a_class_goes_along_with_its_instances_and_with_pickle() -> None:
    space = notebook("import pickle\nclass Card: pass\nclass Other: pass\ncards = [Card()]")
    assert set(needed(analyse("len(cards)"), space).values) == {"cards", "Card"}
    assert "Other" in needed(analyse("pickle.load(file)"), space).small


def test_annotations_that_are_kept_as_text_bring_their_names() -> None:
    source = "from __future__ import annotations\n@dataclass\nclass P:\n    a: int\n    _: KW_ONLY\n    b: P"
    assert {"KW_ONLY", "int"} <= analyse(source).touched
    assert "KW_ONLY" not in analyse("def f(a: 'KW_ONLY'): pass").touched


def test_a_file_that_scandir_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.txt").touch()
    space = notebook("import os")
    run(space, "for entry in os.scandir('.'): pass")
    assert isinstance(space["entry"], os.DirEntry)
    assert space["entry"].name == "x.txt"


def test_an_array_in_a_file_is_the_same_file_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space = notebook("import numpy as np")
    run(space, "m = np.memmap('m.dat', 'f4', 'w+', shape=(3,)); m[:] = 1")
    run(space, "m[1] = 5")
    assert (space["m"].tolist(), space["m"].mode) == ([1, 5, 1], "w+")


def test_a_row_keeps_its_names(tmp_path: Path) -> None:
    space = notebook("import sqlite3\nconn = sqlite3.connect(':memory:')\nconn.row_factory = sqlite3.Row")
    run(space, 'row = conn.execute(\'select 1 as a, "x" as "b c"\').fetchone()')
    assert (space["row"].keys(), space["row"]["b c"]) == (["a", "b c"], "x")
